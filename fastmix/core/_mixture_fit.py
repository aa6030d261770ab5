# SPDX-License-Identifier: BSD-3-Clause
"""One fit of a Gaussian mixture on validated input."""

import math
import time
from typing import NamedTuple

import numpy as np

from fastmix.core._assignment import default_memory
from fastmix.core._checkpoint import why_stopped
from fastmix.core._em import MixtureState, expectation_maximisation, unchecked_start
from fastmix.core._floor import CollapseError, Floor
from fastmix.core._frame import Frame
from fastmix.core._kernels import isa
from fastmix.core._mixture_bounds import Pruning
from fastmix.core._mixture_checkpoint import open_checkpoints
from fastmix.core._mixture_scan import scan_columns
from fastmix.core._mixture_start import Starter
from fastmix.core._mixture_use import log_likelihood, log_scale, reframed
from fastmix.core._parameters import Factors, Parameters, component_variances
from fastmix.core._passes import row_nanoseconds
from fastmix.core._threads import thread_limit, useful_threads

__all__ = ["MixtureModel", "MixtureResult", "fit", "report_of_parameters", "user_parameters"]

# Starts agree where their mean log-likelihoods differ by less than so many times tol: an end within
# tol a step of the optimum may be some steps away.
AGREE = 100.0


class MixtureModel(NamedTuple):
    """What predict needs: regularised parameters and factors in the frame, and the frame."""

    parameters: Parameters
    factors: Factors
    frame: Frame


class MixtureResult(NamedTuple):
    """Result of a fit: the best start's model, its lower bounds, and the report."""

    model: MixtureModel
    converged: bool
    n_iter: int
    lower_bounds: list
    log_likelihood: float
    report: dict


def user_parameters(model):
    """Weights, means and covariances in the user's coordinates, and P there; float64."""
    frame, parameters = model.frame, model.parameters
    with np.errstate(over="ignore", under="ignore"):
        covariances = parameters.covariances / frame.scale / frame.scale
        P = model.factors.P * frame.scale
    return parameters.weights, frame.out_of(parameters.means), covariances, P


def _hook(callbacks, printer, rows, frame, max_iter, init, began, earlier):
    """The function called after an iteration, or None.

    earlier is the number of iterations in the starts before.
    """
    if not callbacks and printer is None:
        return None

    def after_iteration(start, change):
        if printer is not None:
            printer.iteration(start.n_iter, change)
        if not callbacks:
            return False
        weights, means, covariances, _ = user_parameters(
            MixtureModel(start.parameters, start.factors, frame)
        )
        state = MixtureState(
            iteration=start.n_iter - 1,
            max_iter=max_iter,
            objective=start.lower_bound + log_scale(frame),
            change=change,
            seconds=time.perf_counter() - began,
            init=init,
            weights=weights,
            means=means,
            covariances=covariances,
            rows=rows.n * (earlier + start.n_iter - start.resumed),
            bytes_read=rows.bytes_read,
        )
        # Every callback is called, whatever an earlier one answers.
        return any([callback(state) for callback in callbacks])

    return after_iteration


def _near(a, b, tolerance):
    """Whether two lower bounds are as good as equal; -inf is that of a start without iterations."""
    return a == b or abs(a - b) <= tolerance


class _Fit:
    """The starts of one fit, and the best of them so far."""

    def __init__(self, rows, frame, weights, n_threads):
        self.rows, self.frame, self.weights, self.n_threads = rows, frame, weights, n_threads
        self.starts = []  # that ended in this call
        self.ends = []  # the lower bound of each that ended, in the frame; None for a failure
        self.best, self.failure = None, None
        self.pruning = None  # of the best, if that is the last
        self.resumed = None

    @property
    def iterations(self):
        """Iterations of this call, but for those of a start that has not ended."""
        return sum(start.n_iter - start.resumed for start in self.starts)

    def add(self, start, pruning=None):
        """Keep a finished start if it is the best; where equal, the earlier one."""
        self.starts.append(start)
        self.ends.append(start.lower_bound)
        if self.best is None or start.better_than(self.best):
            self.best, self.pruning = start, pruning

    def fail(self, error):
        self.ends.append(None)
        self.failure = self.failure or error

    def result(self, began, phases, factor, tol, reason):
        """Result of the best start, after a last E-step for the likelihood of its parameters."""
        best, rows, frame = self.best, self.rows, self.frame
        at = time.perf_counter()
        kind, k = best.parameters.covariance_type, len(best.parameters.means)
        shift = log_scale(frame)
        # Where this is interrupted, bounds are of no use any more.
        pruning, self.pruning = self.pruning, None
        likelihood = factor * log_likelihood(
            rows, best.factors, frame, self.weights, self.n_threads, pruning=pruning
        )
        bounds = [bound + shift for bound in best.lower_bounds]
        ends = [None if end is None else end + shift for end in self.ends]
        end = best.lower_bound + shift
        near = max(AGREE * tol, 1e-9 * abs(end)) if math.isfinite(end) else 0.0
        cost = row_nanoseconds(rows, kind, k)
        report = {
            "algorithm": "em",
            "reason": reason,
            "isa": isa(),
            "n_threads": useful_threads(self.n_threads, rows.n * cost),
            "dtype": str(rows.dtype),
            "covariance_type": kind,
            "n_iter": best.n_iter,
            "stopped": best.stopped,
            "starts": ends,
            "agreed": sum(other is not None and _near(other, end, near) for other in ends),
            "failed": sum(end is None for end in ends),
            "repairs": list(best.repairs),
            "held": np.flatnonzero(best.held if kind != "tied" else best.held[[0] * k]).tolist(),
            "rows_scanned": rows.n * self.iterations,
            "pairs_evaluated": sum(start.pairs for start in self.starts),
            "bounds": best.bounds_reason,
            "bytes_read": rows.bytes_read,
            "resumed": self.resumed,
            "seconds": {
                **phases,
                "em": sum(start.seconds for start in self.starts),
                "final": time.perf_counter() - at,
                "total": time.perf_counter() - began,
            },
            "objective_trace": np.array(bounds),
        }
        model = MixtureModel(best.parameters, best.factors, frame)
        return MixtureResult(model, best.stopped == "tol", best.n_iter, bounds, likelihood, report)


def report_of_parameters(model):
    """The report of a model that no fit has made: the keys of every fit, of no work."""
    return {
        "algorithm": "none",
        "reason": "all parameters given",
        "isa": isa(),
        "n_threads": 0,
        "dtype": str(model.frame.dtype),
        "covariance_type": model.parameters.covariance_type,
        "n_iter": 0,
        "stopped": "given",
        "starts": [],
        "agreed": 0,
        "failed": 0,
        "repairs": [],
        "held": [],
        "rows_scanned": 0,
        "pairs_evaluated": 0,
        "bounds": "no iterations",
        "bytes_read": 0,
        "resumed": None,
        "seconds": {"scan": 0.0, "init": 0.0, "em": 0.0, "final": 0.0, "total": 0.0},
        "objective_trace": np.empty(0),
    }


def _warm_start(model, lower_bound, frame):
    """A start from a model, moved from its frame to this one; None where it leaves float64."""
    old, parameters, factors = model.frame, model.parameters, model.factors
    if old.scale != frame.scale or (old.pivot != frame.pivot).any():
        # Moments cancel far from the pivot, which is therefore that of these rows.
        parameters, factors = reframed(parameters, old, frame), reframed(factors, old, frame)
        kind, (k, d) = parameters.covariance_type, parameters.means.shape
        arrays = parameters.means, parameters.covariances, factors.P
        if not all(np.isfinite(values).all() for values in arrays):
            return None
        if not (component_variances(kind, parameters.covariances, k, d) > 0).all():
            return None
    start = unchecked_start(parameters, factors)
    start.lower_bound = lower_bound - log_scale(frame)
    return start


def fit(X, k, *, covariance_type, weights, factor, tol, reg_covar, max_iter, n_init, init_params,
        given, random_state, n_threads, callbacks, printer=None, warm=None, keep=None,
        on_drowned=None, bounds_memory=None, checkpoint=None, seed=None, origin=None):  # fmt: skip
    """Fit validated rows; keep(result), where given, receives the best state of a fit that an
    interrupt or a failing checkpoint ended.

    weights and factor are those of as_weights; given holds weights, means and precisions in user
    units, each or None; warm is (model, lower bound) to go on from; printer has methods begin,
    iteration and end; on_drowned() is called where reg_covar is large against the data.
    bounds_memory is what bounds may take, in bytes; default: that of ``default_memory``.
    checkpoint is that of ``_checkpoint.py``, seed what random_state was made from, and origin what
    the fit, or the one that it goes on with, began from: that of ``origin_of``.
    """
    began = time.perf_counter()
    n_threads = thread_limit(n_threads)
    saving = open_checkpoints(
        checkpoint, X, k, given, factor, weights, covariance_type=covariance_type, tol=tol,
        reg_covar=reg_covar, n_init=n_init, init_params=init_params, random_state=seed,
        warm_start=origin,
    )  # fmt: skip
    if bounds_memory is None:
        bounds_memory = default_memory(X)
    rows, frame, variances = scan_columns(X, reg_covar, weights, n_threads)
    floor = Floor(reg_covar, variances, frame, n_threads)
    if floor.drowned and on_drowned is not None:
        on_drowned()
    phases = {"scan": time.perf_counter() - began, "init": 0.0}
    found = _Fit(rows, frame, weights, n_threads)
    starter = Starter(
        rows, frame, weights, covariance_type, k, init_params, given, floor, random_state, n_threads
    )
    # Where everything is given, every start is the same.
    first, start, save = 0, None, None
    n_starts = 1 if warm is not None or starter.fixed else n_init
    if saving is not None:
        saving.open(frame, variances, random_state)
        first, start, n_starts = saving.resume(found, starter) or (first, start, n_starts)
        found.resumed = saving.resumed
    try:
        for index in range(first, n_starts):
            at = time.perf_counter()
            if printer is not None:
                printer.begin(index)
            if saving is not None:
                save = saving.saver(index, n_starts, found, lambda: starter.reason, max_iter)
            found.pruning = None  # two would take twice the memory
            pruning = Pruning(rows, covariance_type, k, bounds_memory)
            try:
                if start is None:
                    start = None if warm is None else _warm_start(*warm, frame)
                    start = start or starter()
                    if save is not None:
                        save(start)
                phases["init"] += time.perf_counter() - at
                expectation_maximisation(
                    rows, frame, weights, start, floor, max_iter=max_iter, tol=tol,
                    n_threads=n_threads,
                    after_iteration=_hook(
                        callbacks, printer, rows, frame, max_iter, index, began, found.iterations
                    ),
                    pruning=pruning, save=save,
                )  # fmt: skip
            except CollapseError as error:
                found.fail(error)
                start = None
                continue
            if printer is not None:
                printer.end(start.lower_bound + log_scale(frame), start.stopped == "tol")
            found.add(start, pruning)
            if start.stopped == "callback":
                break
            start = None
        if found.best is None:
            raise found.failure
        return found.result(began, phases, factor, tol, starter.reason)
    except BaseException as error:
        why = why_stopped(error, saving)
        if why is None:
            raise
        # A start that was cut short counts by what it had reached.
        if start is not None and start.n_iter and start not in found.starts:
            found.add(start)
        if keep is not None and found.best is not None:
            found.best.stopped = why
            keep(found.result(began, phases, factor, tol, starter.reason))
        raise
