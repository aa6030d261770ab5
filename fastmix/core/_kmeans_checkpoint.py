# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints of K-means: the centres before the last M-step, from which an E-step rebuilds all."""

import numpy as np

from fastmix.core._checkpoint import Checkpoints, argument, table
from fastmix.core._lloyd import inertia

__all__ = ["KMeansCheckpoints", "open_checkpoints"]

# What a run that has ended tells of itself, beside its arrays.
ENDED = ("n_iter", "stopped", "inertia", "rows_changed")


def open_checkpoints(file, shape, dtype, k, init, n_init, tol, factor, weights, random_state):
    """The checkpoints of a fit with these arguments, or None without a file."""
    if file is None:
        return None
    arguments = {
        "n_samples": shape[0],
        "n_features": shape[1],
        "dtype": str(dtype.newbyteorder("=")),
        "n_clusters": k,
        "init": init,
        "n_init": n_init,
        "tol": tol,
        "random_state": random_state,
        "sample_weight": "none" if weights is None else f"times {factor!r}",
    }
    return KMeansCheckpoints(file, {name: argument(value) for name, value in arguments.items()})


class KMeansCheckpoints(Checkpoints):
    """The checkpoints of one fit of K-means."""

    fingerprints = (("moment", "the sum of squares"),)

    def open(self, rows, frame, weights, draws, n_threads):
        """Take the rows of this fit; ValueError where they are not the checkpoint's."""
        # About the pivot, by differences and exactly summed: of no order and no chunks, as a fit.
        origin, labels = np.zeros((1, rows.d)), np.zeros(rows.n, dtype=np.int32)
        moment = inertia(rows, origin, labels, weights, frame.largest, n_threads)
        self.begin(frame, draws, {"moment": np.array([moment])})

    def resume(self, new_run):
        """(start, run, best) to go on with; run None: of a new start, best None: none has ended.

        new_run(centers) makes a run.
        """
        if self.saved is None:
            return 0, None, None
        values, arrays = self.saved
        run = new_run(arrays["centers"])
        run.n_iter, run.limit = values["n_iter"], values["limit"]
        run.rows_changed = values["rows_changed"]
        # What a callback ended, and what max_iter did, goes on.
        run.stopped = values["stopped"] if values["stopped"] in ("strict", "tol") else "max_iter"
        _take(run, arrays, "")
        if values["best"] is None:
            return values["start"], run, None
        best = new_run(arrays["best_centers"])
        for name in ENDED:
            setattr(best, name, values["best"][name])
        _take(best, arrays, "best_")
        best.sizes = arrays["best_sizes"]
        return values["start"], run, best

    def saver(self, start, best, max_iter):
        """The function save(run, before) of a start; best is the best run that has ended."""

        def save(run, before):
            if not self.due(run.n_iter, run.stopped, max_iter):
                return
            values = {
                "start": start,
                "n_iter": run.n_iter,
                "stopped": run.stopped,
                "limit": run.limit,
                "rows_changed": run.rows_changed,
                "n_repairs": len(run.repairs),
                "best": None,
            }
            arrays = _arrays_of(run, before, "")
            if best is not None:
                values["best"] = {name: getattr(best, name) for name in ENDED}
                values["best"]["n_repairs"] = len(best.repairs)
                arrays |= _arrays_of(best, best.centers, "best_") | {"best_sizes": best.sizes}
            self.write(values, arrays)

        return save


def _arrays_of(run, centers, prefix):
    return {
        f"{prefix}centers": centers,
        f"{prefix}trace": np.array(run.trace, dtype=np.float64),
        f"{prefix}repairs": table(run.repairs, 3),
    }


def _take(run, arrays, prefix):
    run.trace = arrays[f"{prefix}trace"].tolist()
    run.repairs = [tuple(row) for row in arrays[f"{prefix}repairs"].tolist()]
