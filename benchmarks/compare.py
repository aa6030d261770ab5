# SPDX-License-Identifier: BSD-3-Clause
"""fastmix beside scikit-learn and, for mixtures, oneDAL, in one process with interleaved repeats.

Prints a Markdown table with the CPU, the date, the versions and the target of each line.
"""

import argparse
import datetime
import math
import os
import platform
import statistics
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import (
    N_THREADS,
    data,
    fits,
    kmeans,
    measure,
    memory,
    minibatch,
    mixtures,
    rates,
    streams,
)  # fmt: skip


def cpu_model():
    """Name, family and model: a virtual machine's name alone does not tell the generation."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in pairs}
    if "model name" not in cpu:
        return platform.machine()
    return f"{cpu['model name']} (family {cpu['cpu family']}, model {cpu['model']})"


def _installed(package):
    try:
        return [f"{package} {version(package)}"]
    except PackageNotFoundError:
        return []


def heading():
    from fastmix.core import versions

    ours = versions()
    parts = [
        str(datetime.date.today()),
        cpu_model(),
        f"{N_THREADS} threads on {os.cpu_count()} CPUs",
        f"fastmix {ours['fastmix']} ({ours['isa']}, OpenMP {ours['openmp']})",
        f"scikit-learn {version('scikit-learn')}",
        *_installed("scikit-learn-intelex"),
        f"NumPy {version('numpy')}",
        f"Python {platform.python_version()}",
    ]
    return ", ".join(parts)


class Table:
    """A Markdown table, printed row by row: a long run shows what it has."""

    def __init__(self, *columns):
        print(f"\n{heading()}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)

    def row(self, *cells):
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _shape(X, n_clusters):
    return f"{X.shape[0]:,} x {X.shape[1]:,}, K={n_clusters}"


def _ratio(slow, fast):
    middle, low, high = measure.ratio(slow, fast)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _fraction(rate, limit):
    # A kernel that beats the limit says that something disturbed the measurement of the limit.
    return f"{rate / limit:.2f}" + (", disturbed: run again" if rate > limit else "")


def _target(value):
    return "" if value is None else f"at least {value:g}"


def _per_iteration(options, works, task_class):
    """Seconds per iteration of fastmix and its peers on some works."""
    ours, *peers = task_class.libraries
    table = Table(
        *("work", "shape", "dtype"),
        *(f"{library}, s/iteration" for library in (*peers, ours)),
        *(
            column
            for peer in peers
            for column in (f"{peer} / fastmix (lowest to highest repeat)", "target")
        ),
        *(f"whole fits, {peer} / fastmix" for peer in peers),
        "iterations",
        *(f"objective against {peer}'s" for peer in peers),
    )
    for name in options.work or works:
        for dtype in options.dtype:
            work = data.named(name, options.scale)
            task = task_class(work, dtype, options.seed)
            timings = measure.timings(task, options.more, options.repeats)
            fast, slow = timings[ours], [timings[peer] for peer in peers]
            found, *expected = (task.objective(t.model) for t in (fast, *slow))
            table.row(
                name,
                _shape(task.X, work.n_clusters),
                dtype,
                *(f"{statistics.median(t.per_iteration):.4g}" for t in (*slow, fast)),
                *(
                    cell
                    for peer, t in zip(peers, slow, strict=True)
                    for cell in (
                        _ratio(t.per_iteration, fast.per_iteration),
                        _target(work.target_for(dtype, peer)),
                    )
                ),
                *(_ratio(t.whole, fast.whole) for t in slow),
                ", ".join(str(t.model.n_iter_) for t in (*slow, fast)),
                *(f"{(found - value) / abs(value):+.1e}" for value in expected),
            )


def lloyd(options):
    _per_iteration(options, data.WORKS, kmeans.LloydTask)


def whole_fits(options):
    table = Table(
        *("work", "shape", "dtype", "scikit-learn, s", "peers at as many iterations, s"),
        *("fastmix lloyd, s", "fastmix auto, s", "scikit-learn / auto", "target"),
        *("best peer / auto", "target", "lloyd / auto", "iterations", "products left"),
        *("objective against scikit-learn's", "auto = lloyd"),
    )
    for name in options.work or data.WORKS:
        for dtype in options.dtype:
            work = data.named(name, options.scale)
            X = work.make(dtype, options.seed)
            start = kmeans.starting_centers(X, work.n_clusters, options.seed)
            for library in kmeans.LIBRARIES:
                fits.fit(library, X[: max(2000, work.least_rows)], start, "lloyd")
            plain, dense = fits.fit("fastmix", X, start, "lloyd")
            auto, model = fits.fit("fastmix", X, start, "auto")
            slow, expected = fits.fit("scikit-learn", X, start, "lloyd")
            peers = {
                peer: fits.peer_fit(peer, X, start, model.n_iter_)[0] for peer in fits.peers_for(X)
            }
            same = (dense.labels_ == model.labels_).all() and dense.inertia_ == model.inertia_
            report = model.fit_report_
            found, theirs = (kmeans.objective(X, m.cluster_centers_) for m in (model, expected))
            table.row(
                name,
                _shape(X, work.n_clusters),
                dtype,
                f"{slow:.4g}",
                ", ".join(f"{peer} {seconds:.4g}" for peer, seconds in peers.items()),
                f"{plain:.4g}",
                f"{auto:.4g}",
                f"{slow / auto:.2f}",
                _target(work.target_fit),
                f"{min(peers.values()) / auto:.2f}" if peers else "",
                _target(work.target_fit_peers),
                f"{plain / auto:.2f}",
                f"{expected.n_iter_}, {model.n_iter_}",
                f"{report['products'] / (report['e_steps'] * X.shape[0] * work.n_clusters):.3f}",
                f"{(found - theirs) / theirs:+.1e}",
                "yes" if same else "NO",
            )


def mixture(options):
    _per_iteration(options, data.MIXTURES, mixtures.EMTask)


def e_step(options):
    table = Table(
        *("work", "shape", "dtype", "E-step alone, s", "iteration, s", "iteration / E-step"),
        "target",
    )
    for name in options.work or data.MIXTURES:
        for dtype in options.dtype:
            work = data.named(name, options.scale)
            task = mixtures.EMTask(work, dtype, options.seed)
            timing = measure.timings(task, options.more, options.repeats, ["fastmix"])["fastmix"]
            iteration = statistics.median(timing.per_iteration)
            alone = mixtures.e_step_seconds(task, timing.model, 2 * options.repeats + 1)
            table.row(
                name,
                _shape(task.X, work.n_clusters),
                dtype,
                f"{alone:.4g}",
                f"{iteration:.4g}",
                f"{iteration / alone:.2f}",
                "at most 1.35" if name == "sep_500kx16_k32" and dtype == "float64" else "",
            )


def seeding(options):
    from scipy.stats import ks_2samp

    table = Table(
        *("shape", "dtype", "scikit-learn, s", "fastmix, s", "ratio (lowest to highest seed)"),
        *("target", "seeds", "potential, scikit-learn", "potential, fastmix", "p of one law"),
    )
    work = data.named("blobs_1Mx32_k256", options.scale)
    for dtype in options.dtype:
        X = work.make(dtype, options.seed)
        runs = kmeans.seeding_runs(X, work.n_clusters, options.seeds)
        (fast, found), (slow, expected) = (runs[library] for library in kmeans.LIBRARIES)
        laws = [
            f"{statistics.mean(p):.6g}, sd {statistics.pstdev(p):.2g}, {min(p):.6g} to {max(p):.6g}"
            for p in (expected, found)
        ]
        table.row(
            _shape(X, work.n_clusters),
            dtype,
            f"{statistics.median(slow):.4g}",
            f"{statistics.median(fast):.4g}",
            _ratio(slow, fast),
            _target(10 if dtype == "float32" else None),
            options.seeds,
            *laws,
            f"{ks_2samp(expected, found).pvalue:.2g}",
        )


def tiny(options):
    table = Table(
        *("shape", "start", "dtype", "scikit-learn, ms/fit", "fastmix, ms/fit"),
        *("ratio (lowest to highest repeat)", "target", "iterations"),
    )
    work = data.TINY
    for dtype in options.dtype:
        X = work.make(dtype, options.seed)
        given = kmeans.starting_centers(X, work.n_clusters, options.seed)
        for label, init in (("given rows", given), ("k-means++", "k-means++")):
            results = kmeans.tiny_timings(X, work.n_clusters, init, options.fits, options.repeats)
            (fast, n_fast), (slow, n_slow) = (results[library] for library in kmeans.LIBRARIES)
            table.row(
                _shape(X, work.n_clusters),
                label,
                dtype,
                f"{1e3 * statistics.median(slow):.4g}",
                f"{1e3 * statistics.median(fast):.4g}",
                _ratio(slow, fast),
                _target(work.target),
                f"{statistics.mean(n_slow):.3g} and {statistics.mean(n_fast):.3g}",
            )


def mini_batches(options):
    table = Table(
        *("shape", "batch", "ends", "dtype", "scikit-learn, ms/step", "fastmix, ms/step"),
        *("ratio of fits (lowest to highest repeat)", "target", "steps", "mean squared distance"),
    )
    for case in minibatch.CASES:
        for dtype in options.dtype:
            found, X = minibatch.results(case, dtype, options.scale, options.repeats, options.seed)
            fast, slow = (found[library] for library in minibatch.LIBRARIES)
            table.row(
                _shape(X, case[2]),
                case[3],
                "converged" if case[4] is None else "after the steps",
                dtype,
                f"{minibatch.step_milliseconds(slow):.3g}",
                f"{minibatch.step_milliseconds(fast):.3g}",
                _ratio(slow[0], fast[0]),
                _target(case[5]),
                f"{slow[1]} and {fast[1]}",
                f"{slow[2]:.7g} and {fast[2]:.7g}",
            )


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
            taken = []
            for n_rows in sizes:
                # Fits of tenths of a second are repeated: their medians count.
                repeats = 1 if n_rows == sizes[-1] else options.repeats
                runs = [
                    [streams.measure(path, n_rows, kind, place) for place in streams.PLACES]
                    for _ in range(repeats)
                ]
                mapped, inside = (
                    statistics.median(run[place]["seconds"] for run in runs) for place in (0, 1)
                )
                taken.append(mapped)
                table.row(
                    kind,
                    f"{n_rows:,}",
                    f"{mapped:.3g}",
                    f"{inside:.3g}",
                    f"{inside / mapped:.2f} ({streams.LEAST_SPEED})",
                    f"{max(run[0]['bytes'] for run in runs) / 1e6:.0f} "
                    f"({streams.MOST_BYTES / 1e6:.0f})",
                    len({run["hash"] for pair in runs for run in pair}) == 1,
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
        _fraction(rate, peak),
        _target(target),
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
                    _fraction(rate, read),
                    "",
                )


def parser():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dtype", nargs="+", choices=measure.DTYPES, default=measure.DTYPES)
    common.add_argument("--scale", type=float, default=data.SCALE, help="part of the rows")
    common.add_argument("--repeats", type=int, default=3, help="of each measurement")
    common.add_argument("--seed", type=int, default=0, help="of the data and of the starting rows")

    main = argparse.ArgumentParser(description=__doc__)
    commands = main.add_subparsers(required=True)

    def command(function, name, text):
        sub = commands.add_parser(name, parents=[common], help=text)
        sub.set_defaults(function=function)
        return sub

    for function, name, text, works, more in (
        (lloyd, "iterations", "seconds per Lloyd iteration and per fit", data.WORKS, 10),
        (mixture, "mixtures", "seconds per EM iteration and per fit", data.MIXTURES, 3),
        (e_step, "e-step", "an EM iteration beside its E-step alone", data.MIXTURES, 3),
    ):
        sub = command(function, name, text)
        sub.add_argument("--work", nargs="+", choices=works, help="all of them by default")
        sub.add_argument("--more", type=int, default=more, help="iterations after the first")
    sub = command(whole_fits, "fits", "whole fits to convergence, beside every peer installed")
    sub.add_argument("--work", nargs="+", choices=data.WORKS, help="all of them by default")
    sub = command(seeding, "seeding", "greedy k-means++: seconds and potential")
    sub.add_argument("--seeds", type=int, default=3)
    sub = command(tiny, "tiny", "whole fits of 150 x 4")
    sub.add_argument("--fits", type=int, default=50, help="fits in one repeat")
    command(mini_batches, "minibatch", "MiniBatchKMeans: the same batches, and whole fits")
    command(peak_memory, "memory", "peak memory of a fit beyond X")
    sub = command(stream, "stream", "fits of a memory-mapped file, which is made and removed")
    sub.add_argument("--folder", help="where the file is made: 6.4 GB at --scale 1")
    sub = command(kernels, "kernels", "fractions of the FMA peak and of the read bandwidth")
    sub.add_argument("--seconds", type=float, default=0.5, help="of one measurement")
    return main


if __name__ == "__main__":
    options = parser().parse_args()
    measure.check_threads()
    sys.exit(options.function(options))
