# SPDX-License-Identifier: BSD-3-Clause
"""What fastmix takes of the machine: memory, disk, arithmetic and bandwidth."""

import math
import statistics
import tempfile
from pathlib import Path

from benchmarks import data, memory, rates, streams
from comparisons.tables import Table, fraction_cell, target_cell

__all__ = ["kernels", "peak_memory", "stream"]


def peak_memory(options):
    for name in (memory.KMEANS_WORK, memory.MIXTURE_WORK):
        work = data.named(name, options.scale)
        ours, *peers = memory.task_class(name).libraries
        libraries = (*peers, ours)
        table = Table(
            *("work", "shape", "dtype", "X, MB"),
            *(f"{library}, MB" for library in libraries),
            "at most, MB",
        )
        for dtype in options.dtype:
            peaks = [
                memory.peak_beyond_data(library, name, dtype, scale=options.scale)
                for library in libraries
            ]
            itemsize = 4 if dtype == "float32" else 8
            table.row(
                name,
                f"{work.n_samples:,} x {work.n_features}, K={work.n_clusters}",
                dtype,
                f"{work.n_samples * work.n_features * itemsize / 1e6:.0f}",
                *(f"{peak / 1e6:.0f}" for peak in peaks),
                f"{memory.allowed(name, work) / 1e6:.0f}",
            )


def stream(options):
    table = Table(
        "fit", "rows", "memory map, s", "memory, s", "rows/s of the map / of memory (at least)",
        "beyond the page cache, MB (at most)", "same bits",
    )  # fmt: skip
    sizes = [int(streams.N_ROWS * options.scale * part) for part in (0.01, 0.1, 1)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder, "rows.npy")
        streams.make(path, sizes[-1], options.seed)
        for kind in streams.KINDS:
            # The sizes take turns, so that a machine that slows down does so for each of them.
            runs = {size: [] for size in sizes}
            for _ in range(options.repeats):
                for size in sizes:
                    runs[size].append(
                        [streams.measure(path, size, kind, place) for place in streams.PLACES]
                    )
            taken = []
            for size in sizes:
                mapped, inside = (
                    statistics.median(run[place]["seconds"] for run in runs[size])
                    for place in (0, 1)
                )
                taken.append(mapped)
                table.row(
                    kind,
                    f"{size:,}",
                    f"{mapped:.3g}",
                    f"{inside:.3g}",
                    f"{inside / mapped:.2f} ({streams.LEAST_SPEED})",
                    f"{max(run[0]['bytes'] for run in runs[size]) / 1e6:.0f} "
                    f"({streams.MOST_BYTES / 1e6:.0f})",
                    len({run["hash"] for pair in runs[size] for run in pair}) == 1,
                )
            slope = statistics.linear_regression(
                [math.log(size) for size in sizes], [math.log(seconds) for seconds in taken]
            ).slope
            print(f"{kind}: seconds grow as rows to the power {slope:.3f} (0.97 to 1.03)")
        n_iter, part = streams.read_later(path, sizes[1])
        print(
            f"whole fit with bounds, {sizes[1]:,} rows, {n_iter} iterations: {100 * part:.0f} % of "
            "the bytes read in the later half (at most 50 %)"
        )


def _flops_row(table, kernel, dtype, rates_found, target):
    rate, peak = rates_found
    table.row(
        kernel,
        dtype,
        f"{rate / 1e9:.0f} GFLOP/s",
        f"{peak / 1e9:.0f} GFLOP/s",
        fraction_cell(rate, peak),
        target_cell(target),
    )


def kernels(options):
    table = Table("kernel", "dtype", "rate", "limit", "fraction", "target")
    span = (options.seconds, options.repeats)
    for dtype in options.dtype:
        for shape, target in rates.ASSIGN_SHAPES.items():
            found = rates.assign_rates(dtype, *shape, *span)
            _flops_row(table, "assign, D={}, K={}".format(*shape), dtype, found, target)
        for shape, target in rates.MAHALANOBIS_SHAPES.items():
            found = rates.mahalanobis_rates(dtype, *shape, *span)
            target = target if dtype == "float64" else None
            _flops_row(table, "E-step, full, D={}, K={}".format(*shape), dtype, found, target)
        if dtype == "float64":
            for shape, target in rates.MOMENTS_SHAPES.items():
                found = rates.moments_rates(*shape, *span)
                _flops_row(table, "M-step, full, D={}, K={}".format(*shape), dtype, found, target)
        for name in rates.BANDWIDTH_WORKS:
            X = data.named(name, options.scale).make(dtype, options.seed)
            *passes, read = rates.bandwidths(X, *span)
            for kernel, rate in zip(("scan", "pack"), passes, strict=True):
                table.row(
                    f"{kernel}, {X.shape[0]:,} x {X.shape[1]}",
                    dtype,
                    f"{rate / 1e9:.1f} GB/s",
                    f"{read / 1e9:.1f} GB/s",
                    fraction_cell(rate, read),
                    "",
                )
