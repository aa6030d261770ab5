# SPDX-License-Identifier: BSD-3-Clause
"""Seconds per iteration of K-means and of mixtures, beside the peers and the E-step alone."""

import statistics

from benchmarks import data, kmeans, measure, mixtures
from comparisons.tables import Table, ratio_cell, shape_cell, target_cell

__all__ = ["e_step", "lloyd", "mixture"]


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
                shape_cell(task.X, work.n_clusters),
                dtype,
                *(f"{statistics.median(t.per_iteration):.4g}" for t in (*slow, fast)),
                *(
                    cell
                    for peer, t in zip(peers, slow, strict=True)
                    for cell in (
                        ratio_cell(t.per_iteration, fast.per_iteration),
                        target_cell(work.target_for(dtype, peer)),
                    )
                ),
                *(ratio_cell(t.whole, fast.whole) for t in slow),
                ", ".join(str(t.model.n_iter_) for t in (*slow, fast)),
                *(f"{(found - value) / abs(value):+.1e}" for value in expected),
            )


def lloyd(options):
    _per_iteration(options, data.WORKS, kmeans.LloydTask)


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
                shape_cell(task.X, work.n_clusters),
                dtype,
                f"{alone:.4g}",
                f"{iteration:.4g}",
                f"{iteration / alone:.2f}",
                "at most 1.35" if name == "sep_500kx16_k32" and dtype == "float64" else "",
            )
