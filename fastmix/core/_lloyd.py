# SPDX-License-Identifier: BSD-3-Clause
"""Lloyd's algorithm (PRML 9.1): E-steps and M-steps in turn on exact sums."""

import math
import time
from dataclasses import dataclass, field

import numpy as np

from fastmix.core._assignment import Assignment
from fastmix.core._checkpoint import other_data
from fastmix.core._frame import passes
from fastmix.core._kernels import (
    column_variance,
    exact_column_grid,
    residual_bound,
    update_centers,
)
from fastmix.core._validation import as_key

__all__ = ["IterationState", "Run", "inertia", "lloyd"]

# The objective is summed again where its rounding, as a rule, is beyond this part of it, on a grid
# that is finer by this at least.
LOSS, PROGRESS = 2.0**-40, 2.0**10

# Relative to the squares of centres: that of a few roundings of one.
ROUNDING = 2.0**-101


@dataclass
class IterationState:
    """What a callback is given after every iteration.

    ``centers`` and ``labels`` are those of the iteration: centres in the user's coordinates, and a
    read-only view of labels, which the next iteration changes.  ``objective`` is from sums, to the
    precision of squared distances from the mean of all rows; ``inertia_`` is by differences.
    ``rows`` counts those that the E-steps have seen, ``bytes_read`` what was read of a source that
    is not in memory, and ``seconds`` are those of this call of fit.
    """

    iteration: int
    max_iter: int
    objective: float
    center_shift: float
    n_changed: int
    seconds: float
    init: int
    centers: np.ndarray
    labels: np.ndarray
    rows: int = 0
    bytes_read: int = 0


@dataclass
class Run:
    """One run of Lloyd's algorithm, kept up to date so that an interrupt leaves its best state.

    One from a checkpoint has the centres before the M-step of its last iteration, which ``lloyd``
    does again.
    """

    centers: np.ndarray  # (k, d) float64, in the frame
    labels: np.ndarray  # (n,) int32
    assign: Assignment
    n_iter: int = 0
    stopped: str = "max_iter"
    inertia: float = np.nan
    trace: list = field(default_factory=list)
    repairs: list = field(default_factory=list)
    rows_changed: int = 0
    limit: float | None = None  # shifts of at most this are the end
    whole: bool = False  # whether labels and centres are those of a whole iteration
    sizes: np.ndarray | None = None  # (k,) weights of the rows that the centers are means of
    seconds: dict = field(
        default_factory=lambda: dict.fromkeys(("init", "assign", "update", "final"), 0.0)
    )


def inertia(rows, centers, labels, weights, largest, n_threads, assign=False):
    """Objective (PRML 9.1) by differences in float64, exactly summed; in framed units.

    0 where it is no more than the rounding of the centres.  largest (d,) bounds the framed rows.
    With assign, an E-step writes labels in the same pass.
    """
    heaviest = 1.0 if weights is None else float(weights.max())
    bound, again = heaviest * residual_bound(largest, centers), False
    while True:
        grid = exact_column_grid(bound, rows.n)
        coarse = fine = 0.0
        for start, stop, threads in passes(rows, len(centers) if assign else 1, n_threads):
            if assign:
                rows.assign(start, stop, centers, labels, threads, again=start > 0)
            part = rows.inertia(start, stop, centers, labels, grid, threads, weights)
            coarse, fine = coarse + part[0], fine + part[1]
        total, unit = coarse + fine, math.ulp(grid[1])
        # Addends are off by half a unit.  Where one row or centre is far from all others, that may
        # be more than the rest: the sum, and what it is off by, then bound them better.
        if math.sqrt(rows.n) * unit <= LOSS * total or total + rows.n * unit > bound / PROGRESS:
            break
        bound, assign, again = total + rows.n * unit, False, True
    if again:
        sizes = _sizes(labels, len(centers))
        sizes[sizes == 1] = 0  # a row is its own mean
        lengths = np.square(centers).sum(axis=1)
        if total <= ROUNDING * heaviest * float((sizes * lengths).sum()):
            return 0.0
    return total


def _sizes(labels, k):
    """How many rows each cluster has, (k,)."""
    sizes = np.zeros(k, dtype=np.intp)
    for start in range(0, len(labels), 2**20):
        sizes += np.bincount(labels[start : start + 2**20], minlength=k)
    return sizes


def _at_least_the(count, values):
    """Mask of the count largest values, with all that equal the least of them."""
    if count >= len(values):
        return np.ones(len(values), dtype=bool)
    return values >= np.partition(values, -count)[-count]


def _farthest(rows, run, weights, count, n_threads):
    """The count rows farthest from their centres, and their ties; rows at a centre left out.

    Sorted by distance, then by the row itself and its weight, largest first: the order of the rows
    does not matter.  Returns the indices and the framed rows.
    """
    best = np.empty(0, dtype=np.intp)
    reach = np.empty(0)
    for start, stop, threads in passes(rows, 1, n_threads):
        part = np.empty(stop - start)
        rows.residuals(start, stop, run.centers, run.labels, part, threads)
        if weights is not None:
            part[weights[start:stop] == 0] = 0
        far = np.flatnonzero(_at_least_the(count, part) & (part > 0))
        best = np.concatenate([best, start + far])
        reach = np.concatenate([reach, part[far]])
        keep = _at_least_the(count, reach)
        best, reach = best[keep], reach[keep]
    points = rows.take(best)
    heaviest = np.zeros(len(best)) if weights is None else weights[best]
    order = np.lexsort([-heaviest, *-points.T[::-1], -reach])
    return best[order], points[order]


def _repair(rows, run, weights, sums, empty, n_threads):
    """Statistics with a far row moved into each empty cluster, as far as there are any.

    The policy is scikit-learn's: the rows farthest from their centres, the farthest to the lowest
    empty cluster.  Beyond it, no two of them are copies of one row, none has weight zero, and none
    is the last of its own cluster.  The labels stay; the next E-step sees the new centres.
    """
    members = _sizes(run.labels, len(sums))
    chosen = []
    count = 2 * len(empty) + 16
    while True:
        candidates, points = _farthest(rows, run, weights, count, n_threads)
        chosen, seen, left = [], set(), members.copy()
        for row, point in zip(candidates, points, strict=True):
            label = run.labels[row]
            if len(chosen) < len(empty) and left[label] > 1 and as_key(point) not in seen:
                seen.add(as_key(point))
                chosen.append(row)
                left[label] -= 1
        if len(chosen) == len(empty) or len(candidates) < count:
            break
        count *= 4
    sums = sums.copy()
    if chosen:
        picked = np.array(chosen, dtype=np.intp)
        to = empty[: len(picked)].astype(np.int32)
        rows.move(picked, to, run.labels[picked], sums, weights)
        run.repairs += [(run.n_iter, int(j), int(i)) for j, i in zip(to, picked, strict=True)]
    return sums


def _iterate(rows, weights, run, sums, spread, n_threads):
    """One E-step and one M-step; returns rows that changed, squared shift of the centres, and about
    the distance of a row to its centre."""
    began = time.perf_counter()
    n_changed = run.assign(run.centers, run.labels, n_threads, spread, sums)
    assigned = time.perf_counter()
    run.seconds["assign"] += assigned - began

    old = run.centers
    centers, sizes, before, after, shift, least = update_centers(sums, old)
    if least <= 0:
        empty = np.flatnonzero(sizes <= 0)
        moved = _repair(rows, run, weights, sums, empty, n_threads)
        centers, sizes, _, after, shift, _ = update_centers(moved, old)
        # Fewer distinct rows than clusters: the rest share the heaviest one's centre.
        centers[sizes <= 0] = centers[np.argmax(sizes)]
        shift = float(np.cumsum(np.square(centers - old))[-1])
    before, after = max(0.0, before), max(0.0, after)
    spread = math.sqrt(after / math.fsum(sizes))
    # No call is made between these, and so no signal is seen: an interrupt leaves all or nothing.
    run.centers, run.sizes = centers, sizes
    run.rows_changed += n_changed
    run.n_iter += 1
    run.whole = True
    run.trace += [before, after]
    run.seconds["update"] += time.perf_counter() - assigned
    return n_changed, shift, spread


def _repeat(rows, weights, run, sums, n_threads):
    """The last iteration of a checkpoint once more, for labels and sums; returns the spread.

    Exact sums have no history: full ones have the bits of those that followed the labels.
    """
    trace, rows_changed = run.trace, run.rows_changed
    run.n_iter -= 1
    run.trace = trace[:-2]
    run.repairs = [repair for repair in run.repairs if repair[0] < run.n_iter]
    _, _, spread = _iterate(rows, weights, run, sums, 0.0, n_threads)
    run.rows_changed = rows_changed
    if run.trace != trace:
        raise other_data("the objective")
    return spread


def lloyd(rows, frame, weights, run, *, max_iter, tol, n_threads, after_iteration=None, save=None):
    """Iterate from run.centers until nothing changes; run holds the result.

    after_iteration(run, objective, shift, limit, n_changed) may return true to stop; a shift of at
    most limit stops as well.  Both are in framed units.  save(run, before) is called last, with the
    centres before the M-step.
    Only the rows whose label changed are added and removed, which leaves the bits of a full sum.
    """
    k, d = run.centers.shape
    sums = rows.empty_sums(1, k)[0]
    run.labels[...] = -1
    spread = 0.0
    if run.n_iter:
        spread = _repeat(rows, weights, run, sums, n_threads)
    while run.n_iter < max_iter and run.stopped == "max_iter":
        old, n_repairs = run.centers, len(run.repairs)
        n_changed, shift, spread = _iterate(rows, weights, run, sums, spread, n_threads)
        if run.limit is None:
            run.limit = tol * column_variance(sums, d)  # scikit-learn's
        # Without changes, centres move where an empty cluster has come to share another's.
        if n_changed == 0 and shift == 0 and len(run.repairs) == n_repairs:
            run.stopped = "strict"
        elif shift <= run.limit:
            run.stopped = "tol"
        if after_iteration is not None and after_iteration(
            run, run.trace[-1], shift, run.limit, n_changed
        ):
            run.stopped = "callback" if run.stopped == "max_iter" else run.stopped
        if save is not None:
            save(run, old)

    began = time.perf_counter()
    if run.stopped != "strict":
        # So that predict(X) gives labels_.
        run.assign(run.centers, run.labels, n_threads, spread)
    run.inertia = inertia(rows, run.centers, run.labels, weights, frame.largest, n_threads)
    run.seconds["final"] += time.perf_counter() - began
    return run
