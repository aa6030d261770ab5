# SPDX-License-Identifier: BSD-3-Clause
"""The scan of a mixture: finiteness, a frame with a pivot for every column, column variances."""

import numpy as np

from fastmix.core._frame import extremes, frame_of, place, round_pivot, spread_exponent
from fastmix.core._moments import Moments
from fastmix.core._passes import slot_passes

__all__ = ["column_pivot", "scan_columns"]


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


def scan_columns(rows, weights, n_threads):
    """Frame of a fit, into which the rows are put, and the variances (d,) of the framed columns."""
    bounds = extremes(rows, n_threads)
    middle = bounds[0] / 2 + bounds[1] / 2
    about = frame_of(bounds, middle.astype(rows.dtype).astype(np.float64), rows.dtype)
    place(rows, about)
    means, variances = _column_moments(rows, about, weights, n_threads)
    means = np.clip(about.out_of(means), bounds[0], bounds[1])
    pivot = column_pivot(means, variances, about)
    # The mean of copies of one value is that value to the last bit.
    pivot = np.where(bounds[0] == bounds[1], bounds[0], pivot)
    frame = frame_of(bounds, pivot, rows.dtype)
    place(rows, frame)
    variances = _column_moments(rows, frame, weights, n_threads)[1]
    return frame, np.where(bounds[0] == bounds[1], 0.0, variances)
