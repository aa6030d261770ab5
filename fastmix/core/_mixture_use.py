# SPDX-License-Identifier: BSD-3-Clause
"""The use of a fitted mixture: densities, labels and responsibilities of rows."""

import math

import numpy as np

from fastmix.core._finite import finite_calls, is_checked_later
from fastmix.core._mixture import log
from fastmix.core._moments import framed_rows
from fastmix.core._parameters import Parameters, ordered_sum
from fastmix.core._passes import slot_passes
from fastmix.core._validation import result_dtype

__all__ = [
    "best_log_responsibilities",
    "labels_of",
    "log_densities",
    "log_likelihood",
    "log_likelihood_of",
    "log_scale",
    "reframed",
    "responsibilities_of",
    "weighted_total",
]

LN2 = 0.6931471805599453

# Values that are added up at a time.
PIECE = 2**16


def reframed(values, old, new):
    """Parameters or factors in another frame than the old one, as far as float64 holds them."""
    ratio = new.scale / old.scale
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        means = values.means * ratio + (old.pivot - new.pivot) * new.scale
        if isinstance(values, Parameters):
            return values._replace(means=means, covariances=values.covariances * ratio * ratio)
        shift = log_scale(old) - log_scale(new)
        return values._replace(means=means, P=values.P / ratio, log_det=values.log_det + shift)


def log_scale(frame):
    """What a density per framed unit lacks, in ln: D ln scale (the frame's scale is 1 or 2^e)."""
    return len(frame.pivot) * (math.frexp(frame.scale)[1] - 1) * LN2


class _Total:
    """sum_n w_n v_n in the order of the rows, whatever the parts in which they come."""

    def __init__(self, weights=None):
        self.weights, self.at, self.sum, self.rest = weights, 0, 0.0, np.empty(0)

    def add(self, values):
        """The values of the next rows, (m,) float64."""
        start, self.at = self.at, self.at + len(values)
        if self.weights is not None:
            values = values * self.weights[start : self.at]
        if len(self.rest):
            values = np.concatenate([self.rest, values])
        whole = len(values) // PIECE * PIECE
        for start in range(0, whole, PIECE):
            self.sum += float(ordered_sum(values[start : start + PIECE]))
        self.rest = values[whole:].copy()

    def end(self):
        """The sum."""
        return self.sum + float(ordered_sum(self.rest)) if len(self.rest) else self.sum


def weighted_total(values, weights=None):
    """sum_n w_n v_n of (n,) values, in the order of the rows."""
    total = _Total(weights)
    for start in range(0, len(values), PIECE):
        total.add(values[start : start + PIECE])
    return total.end()


def log_likelihood(rows, factors, frame, weights, n_threads, check=False, pruning=None):
    """sum_n w_n ln p(x_n) (PRML 9.14) of framed rows, per unit of the user's space.

    With check, ValueError if a value is not finite.  pruning, of E-steps that these factors come
    next to, decides which pairs are computed, which changes no bit.
    """
    how = {} if pruning is None else pruning.last(factors)
    kind, k, shift = factors.covariance_type, len(factors.means), log_scale(frame)
    total, calls = _Total(weights), slot_passes(rows, kind, k, n_threads, values=1)
    for start, stop, threads in finite_calls(rows, calls, n_threads, check):
        log_prob = np.empty(stop - start)
        rows.expect(start, stop, factors, threads, log_prob=log_prob, origin=start, **how)
        total.add(log_prob + shift if shift else log_prob)
    return total.end()


def log_likelihood_of(X, model, weights, n_threads):
    """The same of validated rows."""
    later = is_checked_later(X)
    rows = framed_rows(X, model.frame, n_threads, check=not later)
    return log_likelihood(rows, model.factors, model.frame, weights, n_threads, check=later)


def log_densities(X, model, n_threads, joint=None, out=None, dtype=np.float64):
    """ln p(x) (PRML 9.12) of validated rows, into out (n,) of any float dtype or a new array; and
    ln p(x, z_k = 1) in joint (n, k), which is new."""
    later, shift = is_checked_later(X, out), log_scale(model.frame)
    rows = framed_rows(X, model.frame, n_threads, check=not later)
    kind, k = model.factors.covariance_type, len(model.factors.means)
    out = np.empty(rows.n, dtype=dtype) if out is None else out
    calls = slot_passes(rows, kind, k, n_threads, values=1)
    for start, stop, threads in finite_calls(rows, calls, n_threads, later):
        part = np.empty(stop - start)
        own = None if joint is None else joint[start:stop]
        rows.expect(start, stop, model.factors, threads, log_prob=part, log_joint=own, origin=start)
        with np.errstate(over="ignore"):
            out[start:stop] = part + shift
        if own is not None:
            own += shift
    return out


def labels_of(X, model, n_threads, out=None):
    """Component of the largest responsibility of every row, (n,) int32; ties to the lowest."""
    later = is_checked_later(X, out)
    labels = np.empty(len(X), dtype=np.int32) if out is None else out
    rows = framed_rows(X, model.frame, n_threads, check=not later)
    kind, k = model.factors.covariance_type, len(model.factors.means)
    calls = slot_passes(rows, kind, k, n_threads)
    for start, stop, threads in finite_calls(rows, calls, n_threads, later):
        rows.expect(start, stop, model.factors, threads, labels=labels)
    return labels


def responsibilities_of(X, model, n_threads, out=None):
    """Responsibilities (PRML 9.13) of validated rows, written to out (n, k) of any float dtype, or
    to a new array."""
    kind, k = model.factors.covariance_type, len(model.factors.means)
    later = is_checked_later(X, out)
    rows = framed_rows(X, model.frame, n_threads, check=not later)
    out = np.empty((rows.n, k), dtype=result_dtype(X.dtype)) if out is None else out
    direct = out.dtype == np.float64 and out.flags.c_contiguous and out.dtype.isnative
    calls = slot_passes(rows, kind, k, n_threads, values=0 if direct else k)
    for start, stop, threads in finite_calls(rows, calls, n_threads, later):
        part = out[start:stop] if direct else np.empty((stop - start, k))
        rows.expect(start, stop, model.factors, threads, responsibilities=part, origin=start)
        if not direct:
            out[start:stop] = part
    return out


def best_log_responsibilities(X, model, weights, n_threads):
    """sum_n w_n ln max_k r_nk, in the order of the rows, which are finite: the classification term
    of the ICL."""
    kind, k = model.factors.covariance_type, len(model.factors.means)
    rows, total = framed_rows(X, model.frame, n_threads, check=False), _Total(weights)
    for start, stop, threads in slot_passes(rows, kind, k, n_threads, values=k):
        r = np.empty((stop - start, k))
        rows.expect(start, stop, model.factors, threads, responsibilities=r, origin=start)
        total.add(log(r.max(axis=1)))
    return total.end()
