# SPDX-License-Identifier: BSD-3-Clause
"""Stepwise EM (Cappe and Moulines 2009): statistics that move towards those of every new batch."""

import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fastmix.core._em import Start, collect, settle, unchecked_start
from fastmix.core._floor import LEAST_VARIANCE, Floor
from fastmix.core._frame import FARTHEST
from fastmix.core._mixture_fit import MixtureModel
from fastmix.core._mixture_scan import column_pivot, room_for, scan_columns
from fastmix.core._mixture_start import Starter
from fastmix.core._mixture_use import log_scale, reframed
from fastmix.core._moments import Moments, framed_rows
from fastmix.core._parameters import component_variances, ordered_sum
from fastmix.core._rates import steps_of
from fastmix.core._threads import thread_limit

__all__ = ["State", "begin", "learn", "resume"]

# Weights of rows are counted up to this, so that the sum of two is a float64.
MOST_WEIGHT = 2.0**1000

# The pivot stays where it is while the mean of all is within so many standard deviations of it, in
# every column: variances are differences of squares about it, and lose ten bits of 53 then.
FAR = 32.0

# Moves for one batch: where its mean is 2^26 spreads away or more, the first is to a rough place.
MOVES = 3

# A component that has been forgotten to less than this of all the weight has none: the moments of
# smaller ones would lose their digits where float64 ends.
FORGOTTEN = 2.0**-500


class State(NamedTuple):
    """What stepwise EM knows; never written once made.

    moments are those of all batches so far as the learning rate weighs them, None before the first;
    average is the mean, per unit of weight, of those after each of the last ``averaged`` batches of
    ``calls``; step is that of the last, and seen the weight of all rows.
    """

    start: Start
    floor: Floor
    model: MixtureModel
    moments: Moments | None = None
    average: Moments | None = None
    averaged: int = 0
    seen: float = 0.0
    calls: int = 0
    step: float = 0.0

    @property
    def lower_bound(self):
        """Mean log-likelihood of a row of the last batch, before its M-step; user's units."""
        return self.start.lower_bound + log_scale(self.model.frame)


def begin(X, k, *, covariance_type, weights, reg_covar, init_params, given, random_state,
          n_threads, on_drowned=None):  # fmt: skip
    """The state before the first batch, whose rows X are: a start of fit, in the frame of fit."""
    n_threads = thread_limit(n_threads)
    rows, frame, variances = scan_columns(X, reg_covar, weights, n_threads)
    floor = Floor(reg_covar, variances, frame, n_threads)
    if floor.drowned and on_drowned is not None:
        on_drowned()
    starter = Starter(
        rows, frame, weights, covariance_type, k, init_params, given, floor, random_state, n_threads
    )
    start = starter()
    model = MixtureModel(start.parameters, start.factors, frame)
    return State(start, floor, model)


def resume(model, reg_covar, seen, held=()):
    """The state of a model behind which are rows of weight ``seen``: its own moments, expanded.

    held are the covariances to whose variances the floor was added.
    """
    parameters, factors, frame = model
    weights, means = parameters.weights, parameters.means
    kind, covariances = parameters.covariance_type, parameters.covariances
    spread = component_variances(kind, covariances, *means.shape) + np.square(means)
    mean = ordered_sum(weights[:, np.newaxis] * means)
    variances = ordered_sum(weights[:, np.newaxis] * spread) - np.square(mean)
    floor = Floor(reg_covar, np.maximum(variances, 0.0), frame)
    start = unchecked_start(parameters, factors)
    start.held[list(held)] = True
    raw = floor.lowered(parameters, start.held)
    return State(start, floor, model, moments_of(raw, frame), seen=seen)


def moments_of(parameters, frame, total=1.0):
    """Moments of this weight whose M-step gives these parameters, to rounding."""
    kind, weights, means, covariances = parameters
    k, d = means.shape
    moments = Moments(kind, k, d, frame)
    moments.weight[...], moments.total = weights, 1.0
    moments.first[...] = weights[:, np.newaxis] * means
    squares, products = np.square(means), means[:, :, np.newaxis] * means[:, np.newaxis, :]
    if kind == "full":
        moments.second[...] = np.tril(weights[:, np.newaxis, np.newaxis] * (covariances + products))
    elif kind == "tied":
        between = ordered_sum(weights[:, np.newaxis, np.newaxis] * products)
        moments.second[...] = np.tril(covariances + between)
    elif kind == "diag":
        moments.second[...] = weights[:, np.newaxis] * (covariances + squares)
    else:
        moments.second[...] = weights * (d * covariances + ordered_sum(squares, axis=1))
    return moments.scale(total)


def learn(state, X, weights, factor, rate, averaging, n_threads, reg_covar):
    """The state after one batch: E-step, s <- (1 - step) s + step s(batch), M-step.

    weights and factor are those of as_weights; rate(seen, weight) is the step.  s is kept times
    some weight, so that with step 1 it is s(batch), to the bit.
    """
    n_threads = thread_limit(n_threads)
    batch = _expect(state, X, weights, n_threads)
    weight = min(batch.total * factor, MOST_WEIGHT)
    step = float(steps_of(rate, np.array([state.seen]), np.array([weight]))[0])
    if state.moments is None:
        step = 1.0 if step > 0 else 0.0  # the start is of these rows
    lower_bound = float(batch.log_likelihood / batch.total)
    if step > 0:
        moments = _blend(state.moments, batch, step)
        for _ in range(MOVES):
            frame = _better_frame(moments)
            if frame is None:
                break
            state = _moved(state, frame)
            batch = _expect(state, X, weights, n_threads)
            lower_bound = float(batch.log_likelihood / batch.total)
            moments = _blend(state.moments, batch, step)
        # After the E-step: tiny covariances may be none in a frame with room for reg_covar.
        frame = room_for(reg_covar, state.model.frame)
        if frame is not state.model.frame:
            moments = _moved_moments(moments, state.start.raw, frame)
            state = _moved(state, frame)
        state = _maximise(state, moments, reg_covar)
    start = replace(state.start, lower_bound=lower_bound, n_iter=state.start.n_iter + 1)
    model = MixtureModel(start.parameters, start.factors, state.model.frame)
    average, averaged = None, 0
    if averaging and state.moments is not None:
        average, mean = _average(state)
        model = model if mean is None else mean
        averaged = 0 if average is None else state.averaged + 1
    seen = min(state.seen + weight, MOST_WEIGHT)
    return state._replace(
        start=start, model=model, average=average, averaged=averaged, seen=seen,
        calls=state.calls + 1, step=step,
    )  # fmt: skip


def _expect(state, X, weights, n_threads):
    """Moments of a batch under the parameters of the state."""
    frame = state.model.frame
    rows = framed_rows(X, frame, n_threads)
    _check_reach(rows, frame)
    batch = collect(rows, frame, state.start.factors, weights, n_threads)
    if not all(np.isfinite(part).all() for part in (batch.log_likelihood, batch.first)):
        raise ValueError(
            "X has values so far from the batches before that their densities leave float64"
        )
    return batch


def _maximise(state, moments, reg_covar):
    """The state after the M-step from new moments, with the floor's policy.

    The floor is relative to the variances of all that the moments stand for; that of the first
    call, which may be the one iteration of a fit, to the variances that a fit has scanned.
    """
    floor = state.floor
    if state.calls or state.moments is not None:
        floor = Floor(reg_covar, _spread(moments)[1], moments.frame)
    start = replace(
        state.start, repairs=list(state.start.repairs),
        **{name: getattr(state.start, name).copy() for name in ("held", "reseeded", "dead")},
    )  # fmt: skip
    raw = moments.parameters(start.raw)
    start.raw, start.parameters, start.factors = settle(
        start, raw, floor, moments, start.n_iter + 1
    )
    averaged = state.averaged
    if len(start.repairs) > len(state.start.repairs):
        averaged = 0  # a component is no longer what it was
    if start.raw is not raw:
        moments = moments_of(start.raw, moments.frame)
    return state._replace(start=start, floor=floor, moments=moments, averaged=averaged)


def _spread(moments):
    """Means and variances (d,) of the framed columns over all that the moments stand for."""
    total, d = moments.total, moments.first.shape[1]
    means = ordered_sum(moments.first) / total
    squares = ordered_sum(moments.weight[:, np.newaxis] * moments.raw_second()) / total
    if moments.covariance_type == "spherical":
        variances = np.full(d, (squares[0] - ordered_sum(np.square(means))) / d)
    else:
        variances = squares - np.square(means)
    return means, np.maximum(variances, 0.0)


def _better_frame(moments):
    """A frame whose pivot is nearer to the mean of all, where that is far from it; or None."""
    frame, (means, variances) = moments.frame, _spread(moments)
    far = np.square(means) > FAR * FAR * variances
    pivot = frame.pivot
    if far.any():
        pivot = np.where(far, column_pivot(frame.out_of(means), variances, frame), pivot)
    # A column that varies, but too little for float32.
    thin = ((variances > 0) & (variances <= LEAST_VARIANCE[frame.dtype])).any()
    dtype = np.dtype(np.float64) if thin else frame.dtype
    same = (pivot == frame.pivot).all() and dtype == frame.dtype
    return None if same else replace(frame, pivot=pivot, dtype=dtype)


def _moved_moments(moments, raw, frame):
    """The same moments, or None, in another frame, to rounding; raw as of Start."""
    if moments is None:
        return None
    parameters = reframed(moments.parameters(raw), moments.frame, frame)
    return moments_of(parameters, frame, moments.total)


def _moved(state, frame):
    """The same state in another frame, to rounding."""
    old, start, floor, model = state.model.frame, state.start, state.floor, state.model
    if frame.scale != old.scale:
        ratio = frame.scale / old.scale
        floor = Floor(floor.reg_covar, floor.variances * ratio * ratio, frame, floor.n_threads)
    moved_start = replace(
        start, raw=reframed(start.raw, old, frame), factors=reframed(start.factors, old, frame),
        parameters=reframed(start.parameters, old, frame),
    )  # fmt: skip
    model = MixtureModel(
        reframed(model.parameters, old, frame), reframed(model.factors, old, frame), frame
    )
    return state._replace(
        start=moved_start, floor=floor, model=model,
        moments=_moved_moments(state.moments, start.raw, frame),
        average=_moved_moments(state.average, start.raw, frame),
    )  # fmt: skip


def _average(state):
    """Mean of the moments per unit of weight, with those of the last batch, and its model; None
    twice where a covariance fails, which in exact arithmetic none can."""
    moments, count, start = state.moments, state.averaged + 1, state.start
    own = _scaled(moments, 1 / moments.total / count)
    if count > 1:
        own.merge(_scaled(state.average, (count - 1) / count))
    parameters, factors, met = state.floor.factors(own.parameters(start.raw), start.held)
    if met.any():
        return None, None
    return own, MixtureModel(parameters, factors, moments.frame)


def _check_reach(rows, frame):
    """ValueError for rows whose squares about the pivot leave float64."""
    at = np.argmax(np.abs(rows.column_range / 2 - frame.pivot / 2))
    value, column = rows.column_range.flat[at], at % rows.d
    if abs(value / 2 - frame.pivot[column] / 2) * frame.scale > FARTHEST[rows.dtype] / 2:
        raise ValueError(
            f"X has {value} in column {column}, so far from the batches before, which are about "
            f"{frame.pivot[column]} there, that squares leave {rows.dtype}"
        )


def _scaled(moments, factor):
    """A copy of moments, scaled."""
    return copy.deepcopy(moments).scale(factor)


def _blend(old, new, step):
    """(1 - step) old + step new, both per unit of weight; times the weight of new, or of old where
    that has more of it, so that no factor is beyond 1."""
    if old is None or step == 1:
        return new
    ratio = (1 - step) / step * (new.total / old.total)
    if ratio <= 1:
        moments = new.merge(_scaled(old, ratio))
    else:
        moments = _scaled(old, 1.0).merge(new.scale(1 / ratio))
    lost = moments.weight < FORGOTTEN * moments.total
    moments.weight[lost], moments.first[lost] = 0.0, 0.0
    if moments.covariance_type != "tied":
        moments.second[lost] = 0.0
    return moments
