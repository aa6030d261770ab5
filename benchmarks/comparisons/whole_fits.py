# SPDX-License-Identifier: BSD-3-Clause
"""Whole fits of K-means and of mini-batches, large and tiny, and the seeding alone."""

import statistics

from benchmarks import data, fits, kmeans, minibatch
from comparisons.tables import Table, ratio_cell, shape_cell, target_cell

__all__ = ["mini_batches", "seeding", "tiny", "whole_fits"]


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
                shape_cell(X, work.n_clusters),
                dtype,
                f"{slow:.4g}",
                ", ".join(f"{peer} {seconds:.4g}" for peer, seconds in peers.items()),
                f"{plain:.4g}",
                f"{auto:.4g}",
                f"{slow / auto:.2f}",
                target_cell(work.target_fit),
                f"{min(peers.values()) / auto:.2f}" if peers else "",
                target_cell(work.target_fit_peers),
                f"{plain / auto:.2f}",
                f"{expected.n_iter_}, {model.n_iter_}",
                f"{report['products'] / (report['e_steps'] * X.shape[0] * work.n_clusters):.3f}",
                f"{(found - theirs) / theirs:+.1e}",
                "yes" if same else "NO",
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
                shape_cell(X, work.n_clusters),
                label,
                dtype,
                f"{1e3 * statistics.median(slow):.4g}",
                f"{1e3 * statistics.median(fast):.4g}",
                ratio_cell(slow, fast),
                target_cell(work.target),
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
                shape_cell(X, case[2]),
                case[3],
                "converged" if case[4] is None else "after the steps",
                dtype,
                f"{minibatch.step_milliseconds(slow):.3g}",
                f"{minibatch.step_milliseconds(fast):.3g}",
                ratio_cell(slow[0], fast[0]),
                target_cell(case[5]),
                f"{slow[1]} and {fast[1]}",
                f"{slow[2]:.7g} and {fast[2]:.7g}",
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
            shape_cell(X, work.n_clusters),
            dtype,
            f"{statistics.median(slow):.4g}",
            f"{statistics.median(fast):.4g}",
            ratio_cell(slow, fast),
            target_cell(10 if dtype == "float32" else None),
            options.seeds,
            *laws,
            f"{ks_2samp(expected, found).pvalue:.2g}",
        )
