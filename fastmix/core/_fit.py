# SPDX-License-Identifier: BSD-3-Clause
"""One fit of K-means on validated input, and the use of its model: what the functions and the
estimator share."""

import numbers
import sys
import time
from typing import NamedTuple

import numpy as np

from fastmix.core import _lloyd
from fastmix.core._assignment import Assignment, default_memory
from fastmix.core._checkpoint import why_stopped
from fastmix.core._dense import DenseRows
from fastmix.core._finite import finite_calls
from fastmix.core._frame import Frame, extremes, framed_reach, passes, place, scanned_rows
from fastmix.core._kernels import isa
from fastmix.core._kmeans_checkpoint import open_checkpoints
from fastmix.core._margin_assignment import MarginAssignment
from fastmix.core._seeding import read_only, starting_centers
from fastmix.core._sparse_assignment import SparseAssignment
from fastmix.core._threads import thread_limit, useful_threads
from fastmix.core._validation import (
    as_centers,
    as_count,
    as_random_state,
    as_rows,
    borrow_random_state,
    result_dtype,
    return_random_state,
)
from fastmix.core._warn import warn

__all__ = [
    "ALGORITHMS",
    "KMeansModel",
    "KMeansResult",
    "as_callbacks",
    "check_arguments",
    "distances",
    "fit",
    "model_rows",
    "objective",
    "predict",
]

ALGORITHMS = ("auto", "lloyd", "elkan")


class KMeansModel(NamedTuple):
    """What predict needs: centres (k, d) float64 in the frame, and the frame."""

    centers: np.ndarray
    frame: Frame


class KMeansResult(NamedTuple):
    """Result of :func:`kmeans`.

    Attributes
    ----------
    centers : ndarray of shape (n_clusters, n_features)
        Centres in the dtype of X if that is float32, else float64.
    labels : ndarray of shape (n_samples,), int32
        Cluster of every row.
    inertia : float
        Objective J (PRML 9.1), by differences in float64; of CSR arrays by squares about zero.
    n_iter : int
        Iterations of the best start.
    report : dict
        What ran: see ``fit_report_`` of :class:`fastmix.KMeans`.
    model : KMeansModel
        Float64 centres and the frame they are in, whatever the dtype of X.
    counts : ndarray of shape (n_clusters,), float64
        Weight of the rows that each centre is the mean of.
    """

    centers: np.ndarray
    labels: np.ndarray
    inertia: float
    n_iter: int
    report: dict
    model: KMeansModel
    counts: np.ndarray


def _assignment(rows, weights, k, algorithm, memory, reach):
    """The E-steps of one run."""
    if isinstance(rows, DenseRows):
        assign = MarginAssignment(rows, weights, k, algorithm, memory, reach)
    else:
        assign = SparseAssignment(rows, weights, k, algorithm, memory)
    # Small fits are over before the choices of bounds have been looked at.
    plain = assign.why and not (assign.serving or assign.in_whole)
    return Assignment(rows, weights, k, assign.why) if plain else assign


def _report(run, rows, began, threads, scan_seconds, resumed):
    assign = run.assign
    return {
        "algorithm": assign.algorithm,
        "reason": assign.reason(),
        "isa": isa(),
        "n_threads": threads,
        "dtype": f"float{8 * rows.dtype.itemsize}",
        "n_iter": run.n_iter,
        "stopped": run.stopped,
        "e_steps": assign.steps,
        "products": assign.products,
        "rows_scanned": assign.rows_scanned,
        "rows_shortlisted": assign.rows_shortlisted,
        "rows_changed": run.rows_changed,
        "bytes_read": assign.rows.bytes_read,
        "seconds": {"scan": scan_seconds, **run.seconds, "total": time.perf_counter() - began},
        "repairs": run.repairs,
        "resumed": resumed,
    }


def _finish(run, frame, dtype, factor, report):
    with np.errstate(over="ignore"):  # infinite where float64 cannot hold it
        report["objective_trace"] = frame.squared(np.array(run.trace)) * factor
        inertia = float(frame.squared(run.inertia) * factor)
    if inertia == np.inf:
        warn(
            "inertia is infinite: X or sample_weight is so large that float64 cannot hold it; "
            "labels and centers are those of the scaled data",
            RuntimeWarning,
        )
    centers = frame.out_of(run.centers).astype(dtype)
    model = KMeansModel(run.centers, frame)
    return KMeansResult(centers, run.labels, inertia, run.n_iter, report, model, run.sizes * factor)


def _hook(callbacks, verbose, frame, factor, max_iter, init, began, n_rows, earlier):
    """The function that lloyd calls after an iteration, or None.

    earlier is the number of E-steps, of n_rows each, in the starts before.
    """
    if not callbacks and not verbose:
        return None

    def after_iteration(run, objective, shift, limit, n_changed):
        iteration = run.n_iter - 1
        if verbose:
            print(f"Iteration {iteration}, inertia {frame.squared(run.trace[-2]) * factor}.")
            if run.stopped == "strict":
                print(f"Converged at iteration {iteration}: strict convergence.")
            elif run.stopped == "tol":
                print(
                    f"Converged at iteration {iteration}: center shift {frame.squared(shift)} "
                    f"within tolerance {frame.squared(limit)}."
                )
        state = _lloyd.IterationState(
            iteration=iteration,
            max_iter=max_iter,
            objective=frame.squared(objective) * factor,
            center_shift=frame.squared(shift),
            n_changed=n_changed,
            seconds=time.perf_counter() - began,
            init=init,
            centers=frame.out_of(run.centers),
            labels=read_only(run.labels),
            bytes_read=run.assign.rows.bytes_read,
            rows=n_rows * (earlier + run.assign.steps),
        )
        # Every callback is called, whatever an earlier one answers.
        return any([callback(state) for callback in callbacks])

    return after_iteration


def fit(X, k, *, weights, factor, init, n_init, max_iter, tol, random_state, algorithm,
        bounds_memory, n_threads, callbacks, verbose, keep=None, checkpoint=None):  # fmt: skip
    """Fit validated rows; keep(result), where given, receives the best state of a fit that an
    interrupt or a failing checkpoint ended.

    weights and factor are those of as_weights, init that of check_arguments, checkpoint that of
    ``_checkpoint.py``.
    """
    began = time.perf_counter()
    n_threads = thread_limit(n_threads)
    dtype = result_dtype(X.dtype)
    saving = open_checkpoints(
        checkpoint, X.shape, X.dtype, k, init, n_init, tol, factor, weights, random_state
    )
    # A callable may keep what it is given; an array draws nothing.
    draws = None
    if isinstance(init, str):
        draws = borrow_random_state(random_state)
    elif callable(init):
        draws = as_random_state(random_state)
    rows, frame = scanned_rows(X, weights, n_threads)
    scan_seconds = time.perf_counter() - began
    threads = useful_threads(n_threads, rows.n * rows.nanoseconds(k))
    bounds_memory = default_memory(X) if bounds_memory is None else min(bounds_memory, sys.maxsize)
    first, run, best, steps, save = 0, None, None, 0, None

    def new_run(centers):
        assign = _assignment(rows, weights, k, algorithm, bounds_memory, frame.largest)
        return _lloyd.Run(centers, np.empty(rows.n, dtype=np.int32), assign)

    def result(run):
        if not run.whole:  # of a checkpoint, which has no labels
            run.labels[...] = -1
            run.assign(run.centers, run.labels, n_threads, 0.0)
        resumed = None if saving is None else saving.resumed
        report = _report(run, rows, began, threads, scan_seconds, resumed)
        return _finish(run, frame, dtype, factor, report)

    if saving is not None:
        saving.open(rows, frame, weights, draws, n_threads)
        first, run, best = saving.resume(new_run)
    for index in range(first, n_init):
        started = time.perf_counter()
        try:
            if saving is not None:
                save = saving.saver(index, best, max_iter)
            if run is None:
                centers = starting_centers(rows, frame, X, k, init, weights, draws, n_threads)
                run = new_run(centers)
                if save is not None:
                    save(run, run.centers)
            run.seconds["init"] = time.perf_counter() - started
            if verbose:
                print("Initialization complete")
            _lloyd.lloyd(
                rows,
                frame,
                weights,
                run,
                max_iter=max_iter,
                tol=tol,
                n_threads=n_threads,
                after_iteration=_hook(
                    callbacks, verbose, frame, factor, max_iter, index, began, rows.n, steps
                ),
                save=save,
            )
        except BaseException as error:
            why = why_stopped(error, saving)
            if why and keep is not None and (best is not None or (run is not None and run.whole)):
                if best is None:
                    # The objective after the last M-step; labels may be those of a later E-step.
                    best, run.inertia = run, run.trace[-1]
                best.stopped = why
                keep(result(best))
            raise
        if best is None or run.inertia < best.inertia:
            best = run
        steps += run.assign.steps
        if run.stopped == "callback":
            break
        run = None

    if isinstance(init, str):
        return_random_state(draws, random_state)
    return result(best)


def check_arguments(shape, k, init="k-means++", n_init=1, max_iter=1, tol=0, algorithm="auto",
                    bounds_memory=None):  # fmt: skip
    """ValueError or TypeError for what the callers may have got wrong, given the shape of X.

    Returns init, an array as centres (k, d) float64.
    """
    k = as_count(k, "n_clusters")
    if shape[0] < k:
        raise ValueError(f"n_samples={shape[0]} should be >= n_clusters={k}.")
    if isinstance(init, str) and init not in ("k-means++", "random"):
        raise ValueError(
            f"init must be 'k-means++', 'random', an array or a callable, got {init!r}"
        )
    as_count(n_init, "n_init")
    as_count(max_iter, "max_iter")
    if isinstance(tol, bool) or not isinstance(tol, numbers.Real):
        raise TypeError(f"tol must be a number >= 0, got {tol!r}")
    if not tol >= 0:
        raise ValueError(f"tol must be a number >= 0, got {tol!r}")
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {ALGORITHMS}, got {algorithm!r}")
    if bounds_memory is not None:
        as_count(bounds_memory, "bounds_memory", least=0)
    return init if isinstance(init, str) or callable(init) else as_centers(init, k, shape[1])


def as_callbacks(callbacks):
    """None, one callable or several, as a tuple."""
    if callbacks is None:
        return ()
    if not callable(callbacks) and not isinstance(callbacks, list | tuple):
        raise TypeError(f"callbacks must be callable, or a list of callables, got {callbacks!r}")
    callbacks = (callbacks,) if callable(callbacks) else tuple(callbacks)
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks must be callable, got {callback!r}")
    return callbacks


def model_rows(X, model, n_threads, check=True):
    """Validated X as rows in a model's frame, and the centres there; with check, ValueError if a
    value is not finite."""
    rows = as_rows(X, model.frame.dtype)
    if check:
        rows.column_range = extremes(rows, n_threads)
    shift = place(rows, model.frame)
    return rows, model.centers if shift is None else model.centers + shift


def predict(rows, centers, n_threads, second=None, out=None, check=False):
    """E-step (PRML 9.2): labels (n,) int32 of rows for framed centres; ties to the lowest.

    With check, ValueError if a value is not finite.
    """
    labels = np.empty(rows.n, dtype=np.int32) if out is None else out
    labels[...] = -1
    calls = passes(rows, len(centers), n_threads)
    for start, stop, threads in finite_calls(rows, calls, n_threads, check):
        rows.assign(start, stop, centers, labels, threads, second=second, again=start > 0)
    return labels


def distances(rows, centers, n_threads, check=False):
    """Euclidean distances (n, k), in the compute dtype, of rows to framed centres.

    With check, ValueError if a value is not finite.
    """
    out = np.empty((rows.n, len(centers)), dtype=rows.dtype)
    # Twice the operations of an E-step, square roots, and a new page of memory every 4 KiB.
    calls = passes(rows, 4 * len(centers), n_threads)
    for start, stop, threads in finite_calls(rows, calls, n_threads, check):
        rows.distances(start, stop, centers, out[start:stop], threads)
    return out


def objective(rows, centers, weights, n_threads):
    """Objective (PRML 9.1) in the user's units of checked rows in a model's frame, each at its
    nearest centre."""
    largest = framed_reach(rows, rows.column_range)
    labels = np.zeros(rows.n, dtype=np.int32)
    total = _lloyd.inertia(rows, centers, labels, weights, largest, n_threads, assign=True)
    with np.errstate(over="ignore"):  # infinite where float64 cannot hold it
        return total / np.float64(rows.scale) / rows.scale
