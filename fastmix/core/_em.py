# SPDX-License-Identifier: BSD-3-Clause
"""EM for Gaussian mixtures (PRML 9.2.2): E-step and moments in one pass over the rows, then the
M-step, in turn."""

import time
from dataclasses import dataclass, field

import numpy as np

from fastmix.core._floor import CollapseError
from fastmix.core._mixture_bounds import Pruning
from fastmix.core._moments import Moments
from fastmix.core._parameters import Factors, Parameters
from fastmix.core._passes import slot_passes

__all__ = [
    "MixtureState",
    "Start",
    "collect",
    "expectation_maximisation",
    "new_start",
    "settle",
    "unchecked_start",
]


@dataclass
class MixtureState:
    """What a callback is given after every iteration.

    ``objective`` is the mean log-likelihood of a row before the M-step of the iteration (the
    ``lower_bound_``), ``change`` its gain over the iteration before; the parameters are those after
    the M-step, in the user's coordinates.  ``rows`` counts those that the E-steps have seen,
    ``bytes_read`` what was read of a source that is not in memory, and ``seconds`` are those of
    this call of fit.
    """

    iteration: int
    max_iter: int
    objective: float
    change: float
    seconds: float
    init: int
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    rows: int = 0
    bytes_read: int = 0


@dataclass(eq=False)
class Start:
    """One start of EM, kept up to date so that an interrupt leaves its best state.

    held (m,) are the covariances to which the floor is added, m being 1 for tied, else k; reseeded
    and dead (k,) the components that were moved, and those that were left without weight.
    """

    raw: Parameters  # of the M-step
    parameters: Parameters  # regularised
    factors: Factors
    held: np.ndarray
    reseeded: np.ndarray
    dead: np.ndarray
    lower_bound: float = -np.inf
    lower_bounds: list = field(default_factory=list)
    n_iter: int = 0
    stopped: str = "max_iter"
    # (iteration, component or -1 for the tied covariance, "re-seeded" or "held")
    repairs: list = field(default_factory=list)
    seconds: float = 0.0
    # Pairs of a row and a component that were computed, and how bounds were used.
    pairs: int = 0
    bounds_reason: str = "no iterations"
    resumed: int = 0  # iterations that are not of this call, but of a checkpoint

    @property
    def sound(self):
        """Whether no component met the floor or emptied."""
        return not self.repairs

    def better_than(self, other, margin=0.0):
        """Whether this is the better start, by more than a margin in the lower bound.

        A component on the floor buys likelihood without limit (PRML 9.2.1), so that starts with one
        compete with one another only.
        """
        if self.sound != other.sound:
            return self.sound
        return self.lower_bound > other.lower_bound + margin


def collect(rows, frame, factors, weights, n_threads, pruning=None):
    """Moments of all rows under the mixture of these factors, less the entropy: a fused E-step.

    pruning decides which pairs are computed, which changes no bit.
    """
    kind, (k, d) = factors.covariance_type, factors.means.shape
    moments = Moments(kind, k, d, frame)
    how = {} if pruning is None else pruning.begin(factors)
    for start, stop, threads in slot_passes(rows, kind, k, n_threads):
        rows.expect(
            start, stop, factors, threads, weights=weights, moments=moments, entropy=False, **how
        )
        if pruning is not None:
            pruning.count()
    if pruning is not None:
        pruning.end()
    moments.entropy = np.nan
    return moments


def settle(start, raw, floor, moments, iteration):
    """(raw, regularised, factors) after the M-step of an iteration, with the floor's policy."""
    shared = raw.covariance_type == "tied"
    parameters, factors, met = floor.factors(raw, start.held, moments)
    empty = floor.empty(raw) & ~start.dead
    if not floor.remedy:
        if not shared:
            met |= raw.weights == 0
        if met.any():
            raise CollapseError.of(raw.covariance_type, int(np.argmax(met)), iteration)
    if met.any() or empty.any():
        raw = _repair(start, raw, floor, met, empty, iteration)
        parameters, factors, _ = floor.factors(raw, start.held)
    return raw, parameters, factors


def _repair(start, raw, floor, met, empty, iteration):
    """Parameters with components re-seeded; those that cannot be are held.  All is recorded."""
    shared = raw.covariance_type == "tied"
    troubled = empty if shared else empty | met
    spared = troubled | start.dead if shared else troubled | start.dead | start.held
    for component in np.flatnonzero(troubled):
        split = None
        if floor.auto and not start.reseeded[component]:
            split = floor.split(raw, component, spared)
        if split is not None:
            raw = split
            start.reseeded[component], spared[component] = True, False
        else:
            start.dead[component] |= empty[component]
            if not shared:
                start.held[component] |= met[component]
        what = "held" if split is None else "re-seeded"
        start.repairs.append((iteration, int(component), what))
    if shared and met.any():
        start.held[0] = True
        start.repairs.append((iteration, -1, "held"))
    return raw


def unchecked_start(parameters, factors):
    """A start from given parameters as they are."""
    k = len(parameters.means)
    m = 1 if parameters.covariance_type == "tied" else k
    masks = [np.zeros(size, dtype=bool) for size in (m, k, k)]
    return Start(parameters, parameters, factors, *masks)


def new_start(parameters, floor, moments=None):
    """A start from given parameters, regularised."""
    start = unchecked_start(parameters, None)
    start.raw, start.parameters, start.factors = settle(start, parameters, floor, moments, 0)
    return start


def expectation_maximisation(rows, frame, weights, start, floor, *, max_iter, tol, n_threads,
                             after_iteration=None, pruning=None, save=None):  # fmt: skip
    """Iterate until the mean log-likelihood changes by less than tol; start holds the result.

    scikit-learn's rule: the likelihood is that before the M-step, so that the parameters are one
    M-step ahead of it.  after_iteration(start, change) may return true to stop; save(start) is
    called last.  pruning is new; default: one that leaves nothing out.
    """
    began, spent = time.perf_counter(), start.seconds
    if pruning is None:
        pruning = Pruning(rows, start.factors.covariance_type, len(start.factors.means), 0)
    while start.n_iter < max_iter and start.stopped == "max_iter":
        moments = collect(rows, frame, start.factors, weights, n_threads, pruning)
        bound = float(moments.log_likelihood / moments.total)
        n_repairs = len(start.repairs)
        raw = moments.parameters(start.raw)
        raw, parameters, factors = settle(start, raw, floor, moments, start.n_iter + 1)
        change, lower_bounds = bound - start.lower_bound, [*start.lower_bounds, bound]
        # No call is made between these, and so no signal is seen: an interrupt leaves a whole
        # iteration, or none of it.
        start.raw, start.parameters, start.factors = raw, parameters, factors
        start.lower_bound, start.lower_bounds = bound, lower_bounds
        start.n_iter += 1
        start.pairs, start.bounds_reason = pruning.pairs, pruning.reason()
        start.seconds = spent + time.perf_counter() - began
        if abs(change) < tol and len(start.repairs) == n_repairs:
            start.stopped = "tol"
        if after_iteration is not None and after_iteration(start, change):
            start.stopped = "callback" if start.stopped == "max_iter" else start.stopped
        if save is not None:
            save(start)
    return start
