# SPDX-License-Identifier: BSD-3-Clause
"""Sequential K-means (PRML 9.5): centres that move with every mini-batch, or with every row."""

from typing import NamedTuple

import numpy as np

from fastmix.core._frame import (
    CALL_NANOSECONDS,
    Frame,
    check_signals,
    extremes,
    passes,
    place,
    scanned_rows,
)
from fastmix.core._means import Means
from fastmix.core._rates import HalfLife, as_rate, is_constant, mean_rate, steps_of
from fastmix.core._seeding import starting_centers
from fastmix.core._threads import useful_threads
from fastmix.core._validation import as_rows

__all__ = ["Learner", "State", "begin", "in_units", "learn", "restored", "resume", "state_of"]

# Rows of a CSR array that are made dense at a time, by elements, for the loop row by row.
DENSE_ELEMENTS = 2**20

# Of an element: adding it to a sum in two float64, and renewing and packing a centre's, in
# nanoseconds (Zen 4, centres beyond the second-level cache): for choosing threads.
ADDED_NANOSECONDS, RENEWED_NANOSECONDS = 1.0, 8.0

# For cutting work into calls, within a factor of three (on a shared Zen 4): of an element and of a
# row added where neither is in a cache (8 an element of 16 columns, 14 of 2, 1.4 of 784), by one
# thread, since all rows may be one cluster's; and of one learnt row by row (130 to 200 a row of up
# to 16 columns, 500 of 64, 8000 of 784), beside finding its centre, for which all are read anew.
GATHERED_NANOSECONDS, ROW_NANOSECONDS = 3.0, 20.0
LEARNT_NANOSECONDS, LEARNT_ROW_NANOSECONDS = 8.0, 100.0


class State(NamedTuple):
    """What a sequential estimate knows: never written once made.

    centers (k, d) float64 in the frame, means (k, d) float64 of rows times the frame's scale;
    weights (k, 2) of the rows behind each centre, and sums (k, 2, d), both in high and low parts,
    weights in units of ``unit``.
    """

    frame: Frame
    centers: np.ndarray
    means: np.ndarray
    weights: np.ndarray
    sums: np.ndarray
    unit: float

    @property
    def counts(self):
        """Weight of the rows behind each centre: (k,) float64."""
        return self.weights[:, 0] * self.unit

    @property
    def public(self):
        """Centres in the user's coordinates: (k, d) float64."""
        return self.means / self.frame.scale


def begin(X, k, init, weights, unit, random_state, n_threads):
    """A state of centres that no row has moved: the start of a fit, in the frame of these rows."""
    rows, frame = scanned_rows(X, weights, n_threads)
    centers = starting_centers(rows, frame, X, k, init, weights, random_state, n_threads)
    return resume(frame, centers, np.zeros(k), unit)


def resume(frame, centers, counts, unit):
    """A state of centres (k, d) in a frame with weights (k,) behind them."""
    weights = np.zeros((len(centers), 2))
    weights[:, 0] = counts
    means = Means(frame, np.array(centers, order="C"), weights)
    return state_of(frame, means, unit)


def restored(frame, centers, weights, sums, unit):
    """The state that had these, but for ``public``."""
    means = Means(frame, centers.copy(), weights.copy(), sums.copy())
    return State(frame, centers, means.means, weights, sums, unit)


def state_of(frame, means, unit):
    """The state that running means have come to; they must not be moved any more.

    ValueError where it is not finite.
    """
    if not (np.isfinite(means.centers).all() and np.isfinite(means.weights * unit).all()):
        raise ValueError(
            "rows or sample_weight are so large, or so small, against those before that centres or "
            "their counts leave float64"
        )
    return State(frame, means.centers, means.means, means.weights, means.sums, unit)


def in_units(weights, factor, unit, n):
    """Weights (n,) times factor, None for ones, in units of a state: both powers of two."""
    if factor == unit:
        return weights
    weights = np.ones(n) if weights is None else weights
    return np.ldexp(weights, np.frexp(factor)[1] - np.frexp(unit)[1])


def learn(state, X, weights, factor, rate, batch_size, n_threads):
    """The state after the rows of X, their labels when they were met and the squared distances
    (user's units) to the centres there were then.

    weights and factor are those of as_weights; batch_size None: one batch, 1: row by row.
    """
    rate = as_rate(rate)
    frame, unit = state.frame, state.unit
    rows = as_rows(X, frame.dtype)
    extremes(rows, n_threads)
    weights = in_units(weights, factor, unit, rows.n)
    means = Means(frame, state.centers.copy(), state.weights.copy(), state.sums.copy())
    labels, values = np.empty(rows.n, dtype=np.int32), np.empty(rows.n)
    learner = Learner(frame, means, rate, unit)
    if batch_size == 1:
        learner.row_by_row(X, rows, weights, labels, values)
    else:
        size = rows.n if batch_size is None else min(batch_size, rows.n)
        shift = place(rows, frame)
        for start in range(0, rows.n, size):
            stop = min(rows.n, start + size)
            if shift is None:
                learner.batch(rows, start, stop, weights, labels, values, n_threads)
                continue
            part = as_rows(X[start:stop], frame.dtype)
            place(part, frame)
            own = None if weights is None else weights[start:stop]
            arrays = labels[start:stop], values[start:stop]
            learner.batch(part, 0, part.n, own, *arrays, n_threads, shift)
    return state_of(frame, means, unit), labels, frame.squared(values)


class Learner:
    """Updates of running means by a learning rate."""

    def __init__(self, frame, means, rate=mean_rate, unit=1.0):
        self.frame, self.means, self.rate, self.unit = frame, means, rate, unit

    def assign(self, rows, start, stop, labels, values, n_threads, shift=None, chosen=None):
        """E-step of one batch, in calls between which signals are looked at.

        Those of a CSR array, whose rows have a shift, are a batch as a whole.
        """
        means = self.means
        if shift is not None:
            centers = means.centers + shift
        elif means.rows is not rows:
            means.use(rows)
        cost = rows.nanoseconds(means.k)
        threads = useful_threads(n_threads, (stop - start) * cost)
        if shift is not None:
            labels[...] = -1
            for at, end, threads in passes(rows, means.k, n_threads):
                rows.assign(at, end, centers, labels, threads)
                rows.residuals(at, end, centers, labels, values[at:end], threads)
            return
        step = max(1, int(CALL_NANOSECONDS * threads / (cost * rows.block_rows))) * rows.block_rows
        for at in range(start, stop, step):
            end = min(stop, at + step)
            check_signals()
            means.assign(at, end, labels[at:end], values[at:end], threads, chosen)

    def batch(self, rows, start, stop, weights, labels, values, n_threads, shift=None,
              chosen=None):  # fmt: skip
        """E-step, then every centre moves towards the mean of its rows."""
        self.assign(rows, start, stop, labels, values, n_threads, shift, chosen)
        means, own = self.means, labels[start:stop]
        count = stop - start
        renewed = RENEWED_NANOSECONDS * min(count, means.k)
        threads = useful_threads(n_threads, rows.d * (count * ADDED_NANOSECONDS + renewed))
        if self.rate is mean_rate:
            self._add(means, rows, start, stop, own, threads, weights, chosen)
            return
        k, d = means.centers.shape
        new = Means(self.frame, np.zeros((k, d)), np.zeros((k, 2)))
        self._add(new, rows, start, stop, own, threads, weights, chosen)
        seen, weight = means.weights, new.weights[:, 0]
        steps = self.steps(seen[:, 0], weight)
        met = weight > 0
        gap = steps[:, np.newaxis] * (new.centers - means.centers)
        moved = np.where(steps[:, np.newaxis] == 1, new.centers, means.centers + gap)
        means.centers[met] = moved[met]
        add_weights(seen, weight)
        means.touched[met] = 1
        means.restore(threads)

    @staticmethod
    def _add(means, rows, start, stop, labels, n_threads, weights, chosen):
        """Rows of a batch added to means, in calls between which signals are seen; the order of
        the additions, and so their bits, are those of one call."""
        row = ROW_NANOSECONDS + GATHERED_NANOSECONDS * (rows.d if rows.centered else rows.entries)
        # A call renews the centres that have rows in it.
        renewed = RENEWED_NANOSECONDS * means.k * rows.d
        step = max(1, int(max(CALL_NANOSECONDS, renewed) / row))
        for at in range(start, stop, step):
            end = min(stop, at + step)
            own = labels[at - start : end - start]
            means.add(rows, at, end, own, n_threads, weights, chosen)

    def steps(self, seen, weight):
        """Steps of the rate for weights in units of the state."""
        return steps_of(self.rate, seen * self.unit, weight * self.unit)

    def row_by_row(self, X, rows, weights, labels, values):
        """Sequential K-means on all rows; those of a CSR array are made dense, some at a time."""
        n, d = X.shape
        sparse = not isinstance(X, np.ndarray)
        size = max(1, DENSE_ELEMENTS // d) if sparse else n
        for at in range(0, n, size):
            end = min(n, at + size)
            if sparse:
                rows = as_rows(X[at:end].toarray(), self.frame.dtype)
            place(rows, self.frame)
            self.means.use(rows, serial=True)
            own = None if weights is None else weights[at:end]
            self._serially(rows, own, labels[at:end], values[at:end])

    def _serially(self, rows, weights, labels, values):
        means, steps = self.means, None
        mean = self.rate is mean_rate
        fixed = not mean and (is_constant(self.rate) or isinstance(self.rate, HalfLife))
        if fixed:
            weight = np.ones(rows.n) if weights is None else weights
            steps = np.ascontiguousarray(self.steps(np.zeros(rows.n), weight))
        if mean or fixed:
            cost = LEARNT_ROW_NANOSECONDS + LEARNT_NANOSECONDS * rows.d
            cost += rows.nanoseconds(4 * means.k)  # one row at a time: no tile
            step = max(1, int(CALL_NANOSECONDS / cost))
            for start in range(0, rows.n, step):
                stop = min(rows.n, start + step)
                means.learn(start, stop, labels, values, weights, steps)
            return
        steps = np.zeros(rows.n)
        for row in range(rows.n):
            weight = 1.0 if weights is None else weights[row]
            j = means.nearest(row)
            seen = means.weights[j : j + 1, 0]
            steps[row] = self.steps(seen, np.array([weight]))[0]
            means.learn(row, row + 1, labels, values, weights, steps)


def add_weights(weights, more):
    """weights (k, 2), in high and low parts, plus more (k,), in place."""
    high, low = weights.T
    total = high + more
    part = total - high
    error = (high - (total - part)) + (more - part) + low
    weights[:, 0] = total + error
    weights[:, 1] = error - (weights[:, 0] - total)
