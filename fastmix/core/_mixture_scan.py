# SPDX-License-Identifier: BSD-3-Clause
"""The scan of a mixture: finiteness, a frame with a pivot for every column, column variances."""

import math
from dataclasses import replace

import numpy as np

from fastmix.core._floor import LEAST_VARIANCE
from fastmix.core._frame import (
    FARTHEST,
    extremes,
    frame_of,
    place,
    round_pivot,
    spread_exponent,
    weighted_extremes,
)
from fastmix.core._mixture import MixtureRows
from fastmix.core._moments import Moments
from fastmix.core._passes import slot_passes
from fastmix.core._validation import result_dtype

__all__ = ["column_pivot", "room_for", "scan_columns"]

# What reg_covar adds to a framed variance is no more than two to this power.
MOST_ADDED = 900


def _column_moments(rows, frame, weights, n_threads):
    """Means and variances, two of (d,), of the framed columns."""
    moments = Moments("diag", 1, rows.d, frame)
    labels = np.zeros(0, dtype=np.int32)
    for start, stop, threads in slot_passes(rows, "diag", 1, n_threads, values=1):
        if len(labels) < stop - start:
            labels = np.zeros(stop - start, dtype=np.int32)
        rows.gather(start, stop, labels, threads, moments=moments, weights=weights, origin=start)
    parameters = moments.parameters()
    return parameters.means[0], np.maximum(parameters.covariances[0], 0.0)


def column_pivot(means, variances, frame):
    """A pivot (d,) for columns with these means, in user units, and framed variances.

    K-means has one spread for all columns, and so a pivot to a sixteenth of that; here each column
    has its own: a covariance is a difference of moments about the pivot, which must not cancel in a
    column of seconds since 1970 because another column is large.
    """
    pivot = np.empty(len(means))
    for column, variance in enumerate(variances):
        at = slice(column, column + 1)
        pivot[at] = round_pivot(
            means[at], spread_exponent(float(variance), frame.scale), frame.dtype
        )
    return pivot


def scan_columns(X, reg_covar, weights, n_threads):
    """Rows of a fit in their frame, the frame, and the variances (d,) of the framed columns.

    Rows of float32 are computed in float64 where a column varies so little beside the others that
    float32 has no exponents for both.
    """
    rows = MixtureRows(X, result_dtype(X.dtype))
    bounds = extremes(rows, n_threads)
    ends = weighted_extremes(rows, weights, bounds)
    constant = ends[0] == ends[1]
    frame, variances = _frame_and_variances(rows, bounds, ends, reg_covar, weights, n_threads)
    if rows.dtype == np.float32 and (variances[~constant] <= LEAST_VARIANCE[rows.dtype]).any():
        rows = MixtureRows(X, np.dtype(np.float64))
        frame, variances = _frame_and_variances(rows, bounds, ends, reg_covar, weights, n_threads)
    # A column that varies has a variance, be it lost beside the others.
    return rows, frame, np.where(constant, 0.0, np.maximum(variances, np.finfo(float).tiny))


def _frame_and_variances(rows, bounds, ends, reg_covar, weights, n_threads):
    """The frame of rows within ends where they have a weight, and within bounds where they have
    none, into which they are put; and the variances of the framed columns."""
    middle = ends[0] / 2 + ends[1] / 2
    about = _frame_at(bounds, ends, middle.astype(rows.dtype).astype(np.float64), rows.dtype)
    place(rows, about)
    means, variances = _column_moments(rows, about, weights, n_threads)
    means = np.clip(about.out_of(means), ends[0], ends[1])
    pivot = column_pivot(means, variances, about)
    # The mean of copies of one value is that value to the last bit.
    pivot = np.where(ends[0] == ends[1], ends[0], pivot)
    frame = _frame_at(bounds, ends, pivot, rows.dtype)
    frame = room_for(reg_covar, frame)
    place(rows, frame)
    return frame, _column_moments(rows, frame, weights, n_threads)[1]


def room_for(reg_covar, frame):
    """The frame, of a smaller scale where reg_covar would leave float64 in this one: beside it,
    rows so small need no scale of their own."""
    if isinstance(reg_covar, str) or reg_covar == 0:
        return frame
    excess = math.frexp(reg_covar)[1] + 2 * math.frexp(frame.scale)[1] - MOST_ADDED
    if excess <= 0:
        return frame
    ratio = 2.0 ** -(excess // 2)
    return replace(frame, scale=frame.scale * ratio, largest=frame.largest * ratio)


def _frame_at(bounds, ends, pivot, dtype):
    """Frame with this pivot (d,) for rows within ends where they have a weight, and within bounds
    where they have none: of the scale of the former, unless the latter are too far for that."""
    frame = frame_of(ends, pivot, dtype)
    if np.abs(bounds / 2 - pivot / 2).max() * frame.scale > FARTHEST[dtype] / 2:
        return frame_of(bounds, pivot, dtype)
    return frame
