# SPDX-License-Identifier: BSD-3-Clause
"""Stepwise EM (Cappe and Moulines 2009): statistics that move towards those of every new batch."""

import copy
from typing import NamedTuple

import numpy as np

from fastmix.core._em import Start, collect, settle, unchecked_start
from fastmix.core._floor import Floor
from fastmix.core._mixture import MixtureRows
from fastmix.core._mixture_fit import MixtureModel
from fastmix.core._mixture_scan import scan_columns
from fastmix.core._mixture_start import Starter
from fastmix.core._mixture_use import log_scale
from fastmix.core._moments import Moments, framed_rows
from fastmix.core._parameters import ordered_sum
from fastmix.core._threads import thread_limit
from fastmix.core._validation import result_dtype

__all__ = ["State", "begin", "learn", "resume"]


class State(NamedTuple):
    """What stepwise EM knows; never written once made.

    moments are those of all batches so far as the learning rate weighs them, None before the first;
    average is the mean of those after each batch, per unit of weight, and calls their number.
    """

    start: Start
    floor: Floor
    model: MixtureModel
    moments: Moments
    average: Moments
    seen: float
    calls: int

    @property
    def lower_bound(self):
        """Mean log-likelihood of a row of the last batch, before its M-step; user's units."""
        return self.start.lower_bound + log_scale(self.model.frame)


def begin(X, k, *, covariance_type, weights, reg_covar, init_params, given, random_state,
          n_threads, on_drowned=None):  # fmt: skip
    """The state before the first batch, whose rows X are: a start of fit, in the frame of fit."""
    n_threads = thread_limit(n_threads)
    rows = MixtureRows(X, result_dtype(X.dtype))
    frame, variances = scan_columns(rows, weights, n_threads)
    floor = Floor(reg_covar, variances, frame)
    if floor.drowned and on_drowned is not None:
        on_drowned()
    starter = Starter(
        rows, frame, weights, covariance_type, k, init_params, given, floor, random_state, n_threads
    )
    start = starter()
    model = MixtureModel(start.parameters, start.factors, frame)
    return State(start, floor, model, None, None, 0.0, 0)


def resume(model, reg_covar, seen):
    """The state of a model behind which are rows of weight ``seen``: its own moments, expanded."""
    parameters, factors, frame = model
    kind, weights, means = parameters.covariance_type, parameters.weights, parameters.means
    k, d = means.shape
    moments = Moments(kind, k, d, frame)
    total = seen if seen > 0 else 1.0
    share = weights * total
    moments.weight[...], moments.total = share, total
    moments.first[...] = share[:, np.newaxis] * means
    squares = np.square(means)
    spread = _variances(parameters) + squares
    mean = ordered_sum(weights[:, np.newaxis] * means)
    variances = ordered_sum(weights[:, np.newaxis] * spread) - np.square(mean)
    floor = Floor(reg_covar, np.maximum(variances, 0.0), frame)
    # Without what regularises them, which every M-step adds anew.
    covariances = parameters.covariances
    if floor.added:
        covariances = floor.diagonal(kind, covariances, np.full(d, -floor.added))
    products = means[:, :, np.newaxis] * means[:, np.newaxis, :]
    if kind == "full":
        moments.second[...] = np.tril(share[:, np.newaxis, np.newaxis] * (covariances + products))
    elif kind == "tied":
        between = ordered_sum(share[:, np.newaxis, np.newaxis] * products)
        moments.second[...] = np.tril(total * covariances + between)
    elif kind == "diag":
        moments.second[...] = share[:, np.newaxis] * (covariances + squares)
    else:
        moments.second[...] = share * (d * covariances + ordered_sum(squares, axis=1))
    start = unchecked_start(parameters, factors)
    return State(start, floor, model, moments, None, seen, 0)


def _variances(parameters):
    """Variances of the columns in each component, (k, d) or what broadcasts to it."""
    kind, covariances = parameters.covariance_type, parameters.covariances
    if kind in ("full", "tied"):
        return np.diagonal(covariances, axis1=-2, axis2=-1)
    return covariances if kind == "diag" else covariances[:, np.newaxis]


def learn(state, X, weights, factor, rate, averaging, n_threads):
    """The state after one batch: E-step, s <- (1 - step) s + step s(batch), M-step.

    weights and factor are those of as_weights; rate(seen, weight) is the step.  s is kept times the
    weight that it stands for, that of the batch over the step: with step 1 it is s(batch), to the
    bit.
    """
    n_threads = thread_limit(n_threads)
    frame, start = state.model.frame, copy.copy(state.start)
    start.held, start.reseeded, start.dead = (
        mask.copy() for mask in (start.held, start.reseeded, start.dead)
    )
    start.repairs = list(start.repairs)
    rows = framed_rows(X, frame, n_threads)
    moments = collect(rows, frame, start.factors, weights, n_threads)
    moments.entropy = 0.0
    sums = moments.log_likelihood, moments.first, moments.second
    if not all(np.isfinite(part).all() for part in sums):
        raise ValueError(
            "X has values so far from the first batch that the sums of their squares, or their "
            "densities, leave float64: they would stay in the statistics"
        )
    start.lower_bound = float(moments.log_likelihood / moments.total)
    start.lower_bounds = [*start.lower_bounds, start.lower_bound]
    if factor != 1:
        moments.scale(factor)
    weight = moments.total
    step = _step(rate, state.seen, weight)
    start.n_iter += 1
    if step > 0:
        if step < 1 and state.moments is not None:
            old = copy.deepcopy(state.moments)
            moments.merge(old.scale((1 - step) / step * weight / old.total))
        raw = moments.parameters(start.raw)
        start.raw, start.parameters, start.factors = settle(
            start, raw, state.floor, moments, start.n_iter
        )
    else:
        moments = state.moments
    calls, average, model = state.calls + 1, None, start.parameters
    factors = start.factors
    if averaging and moments is not None:  # None: nothing but steps of 0 yet
        average = copy.deepcopy(moments).scale(1 / moments.total / calls)
        if state.average is not None:
            average.merge(copy.deepcopy(state.average).scale(state.calls / calls))
        model, factors, _ = state.floor.factors(average.parameters(start.raw), start.held)
    model = MixtureModel(model, factors, frame)
    return State(start, state.floor, model, moments, average, state.seen + weight, calls)


def _step(rate, seen, weight):
    """The step of a learning rate, checked."""
    step = float(np.asarray(rate(np.array([seen]), np.array([weight]))).reshape(-1)[0])
    if not 0 <= step <= 1:
        raise ValueError(f"learning_rate gave a step of {step}; expected [0, 1]")
    return step
