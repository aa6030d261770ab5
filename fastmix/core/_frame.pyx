# SPDX-License-Identifier: BSD-3-Clause
"""The scan: what one fit must know of its rows before it starts, and the frame it computes in."""

import math
from dataclasses import dataclass

import numpy as np

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, fabs, ldexp, nextafter, rint

from fastmix.core._kernels import exact_sum_grid
from fastmix.core._threads import useful_threads
from fastmix.core._validation import as_rows

__all__ = [
    "CALL_NANOSECONDS",
    "FARTHEST",
    "Frame",
    "check_signals",
    "extremes",
    "frame_of",
    "framed_reach",
    "has_large_integers",
    "passes",
    "place",
    "round_pivot",
    "scan",
    "scanned_rows",
    "spread_exponent",
    "weighted_extremes",
]

# One driver call between two looks at pending signals.
CALL_NANOSECONDS = 40e6

# Largest |x - pivot| that is left as it is: squares stay far from overflow and underflow, in
# either dtype.  Beyond, a power of two brings it to about 1.
UNSCALED = {np.dtype(np.float32): (2.0**-30, 2.0**30), np.dtype(np.float64): (2.0**-300, 2.0**300)}

# Below this, squares come near to the least float32.
DROWNED = 2.0**-40

# Largest |x - pivot| * scale whose squares, summed, stay in float64; float32 tiles hold no more.
FARTHEST = {np.dtype(np.float32): 2.0**126, np.dtype(np.float64): 2.0**300}


@dataclass(frozen=True)
class Frame:
    """Where a fit computes: rows become ``(x - pivot) * scale`` in ``dtype``.

    pivot (d,) float64 is representable in dtype; scale is a power of two; largest (d,) bounds the
    framed rows of a fit, and is zero where it is not known.
    """

    pivot: np.ndarray
    scale: float
    dtype: np.dtype
    largest: np.ndarray

    @property
    def drowned(self):
        """Whether rows in this frame are too small for float32 beside what they lie about."""
        return self.dtype == np.float32 and 0 < self.largest.max() < DROWNED

    @classmethod
    def identity(cls, d, dtype):
        """The frame in which rows are as they are."""
        return cls(np.zeros(d), 1.0, np.dtype(dtype), np.zeros(d))

    def into(self, values):
        """User coordinates, (m, d), to the frame: float64."""
        return np.ascontiguousarray(values, dtype=np.float64) * self.scale - self.pivot * self.scale

    def squared(self, value):
        """A framed squared distance, or objective, in the user's units."""
        if self.scale == 1:
            return value
        with np.errstate(over="ignore", under="ignore"):
            return np.float64(value) / self.scale / self.scale

    def out_of(self, centers):
        """Framed centres, (m, d), to the user's coordinates: float64."""
        if self.scale == 1:
            return self.pivot + centers
        with np.errstate(over="ignore", under="ignore"):
            unscaled = self.pivot + centers / self.scale
            # The sum of two finite values, unscaled, may not be finite; scaled, one may be lost.
            scaled = (self.pivot * self.scale + centers) / self.scale
        return np.where(np.isfinite(unscaled), unscaled, scaled)


def check_signals():
    """Run the handlers of signals that have come: compiled code runs none by itself."""
    PyErr_CheckSignals()


def passes(rows, Py_ssize_t k, int limit, wanted=None, Py_ssize_t page=0, bint look=True):
    """Cut all rows into calls of at most about 40 ms: yields start, stop, threads.

    k is the number of centres each row meets, limit that of the threads; cuts fall between blocks,
    so that they change nothing.  Signals are looked at before every call.  wanted is a mask of the
    pages of so many rows that will be looked at, and calls may then begin at any page; without
    look none will be.
    """
    cdef Py_ssize_t n = rows.n, block = rows.block_rows, start, stop, step
    cdef double cost = rows.nanoseconds(k)
    cdef int threads = useful_threads(min(limit, (n + block - 1) // block), n * cost)
    step = max(1, int(CALL_NANOSECONDS * threads / (cost * block))) * block
    for start, stop in rows.spans(page or block, wanted) if look else ((0, n),):
        while start < stop:
            PyErr_CheckSignals()
            yield start, min(stop, start + step), threads
            start += step


def has_large_integers(rows, bounds):
    """Whether rows within bounds, as float64, may be integers that it cannot tell apart."""
    return rows.X.dtype.kind in "iu" and np.abs(bounds).max() >= 2.0**53


def extremes(rows, n_threads):
    """Column minima and maxima (2, d) of rows that are in no frame yet, and so in the user's units;
    ValueError names the first bad element."""
    bounds = None
    for start, stop, threads in passes(rows, 0, n_threads):
        part, finite = rows.extremes(start, stop, threads)
        if not finite:
            row, column, value = rows.first_non_finite()
            what = "NaN" if np.isnan(value) else "infinity"
            raise ValueError(
                f"Input X contains {what}: X[{row}, {column}] = {value}; "
                "every value must be finite."
            )
        if bounds is None:
            bounds = part
        else:
            np.minimum(bounds[0], part[0], out=bounds[0])
            np.maximum(bounds[1], part[1], out=bounds[1])
    if has_large_integers(rows, bounds):
        raise ValueError(
            f"X holds integers as large as {np.abs(bounds).max():.17g}; from 2**53 on float64 "
            "cannot tell them apart; subtract an offset first"
        )
    return bounds


def weighted_extremes(rows, weights, bounds):
    """Column minima and maxima (2, d) of the rows that have a weight, given those of all: bounds,
    where all have one, or where the origin is the pivot.

    Values that stand for none, in rows of weight zero, may be of any size.
    """
    if weights is None or weights.all() or not rows.centered:
        return bounds
    ends = np.stack([np.full(rows.d, np.inf), np.full(rows.d, -np.inf)])
    for start, part in rows.chunks():
        check_signals()
        part = part[weights[start : start + len(part)] > 0]
        if len(part):
            np.minimum(ends[0], part.min(axis=0), out=ends[0])
            np.maximum(ends[1], part.max(axis=0), out=ends[1])
    return ends


def framed_reach(rows, ends):
    """Bounds (d,) of rows in their frame that are within ends (2, d) in the user's units."""
    return np.abs(ends * rows.scale - rows.offset).max(axis=0)


def _drowns(rows, frame, weights):
    """Whether rows in their frame that have a weight are too small for float32 beside others, or
    beside what they lie about."""
    if frame.drowned:
        return True
    if rows.dtype != np.float32 or weights is None or weights.all() or not rows.centered:
        return False
    return framed_reach(rows, weighted_extremes(rows, weights, None)).max() < DROWNED


def frame_of(const double[:, ::1] bounds, pivot, dtype):
    """Frame with this pivot (d,) for rows within bounds (2, d)."""
    largest = np.empty(len(pivot))
    cdef const double[::1] at = pivot
    cdef double[::1] reach = largest
    cdef double most = 0.0, value = 0.0, scale = 1.0
    cdef Py_ssize_t j
    for j in range(at.shape[0]):
        reach[j] = max(fabs(bounds[0, j] - at[j]), fabs(bounds[1, j] - at[j]))
        most = max(most, reach[j])
        value = max(value, fabs(bounds[0, j]), fabs(bounds[1, j]))
    if most == INFINITY:  # the difference of two finite values
        most = 0.0
        for j in range(at.shape[0]):
            reach[j] = max(fabs(bounds[0, j] / 4 - at[j] / 4), fabs(bounds[1, j] / 4 - at[j] / 4))
            most = max(most, reach[j])
        scale = ldexp(1.0, -2 - math.frexp(most)[1])
        largest *= 4 * scale
        return Frame(pivot, scale, dtype, largest)
    low, high = UNSCALED[dtype]
    if most > high or 0 < most < low:
        # 2^127 is the largest power of two in float32; in float64 sums need room.
        limit = 127 if dtype == np.float32 else 1000
        exponent = max(-limit, min(limit, -math.frexp(most)[1]))
        if exponent > 0:
            # Values, which may be far from zero, times the scale are numbers, too, and in float64
            # what running means make of these.
            room = 127 if dtype == np.float32 else 900
            exponent = max(0, min(exponent, room - math.frexp(value)[1]))
        scale = ldexp(1.0, exponent)
        largest *= scale
    return Frame(pivot, scale, dtype, largest)


cdef void _round_to(dtype, double[::1] values):
    """Values as dtype holds them."""
    cdef Py_ssize_t j
    if dtype == np.float32:
        for j in range(values.shape[0]):
            values[j] = <float>values[j]


def round_pivot(mean, exponent, dtype):
    """The mean (d,) to a sixteenth of the spread, which is about 2^exponent, in dtype.

    Any pivot near the mean serves; one of few bits makes x - pivot exact for most data, and keeps
    exact the ties of data on a grid.  exponent None: no spread, the mean as it is.
    """
    pivot = mean.copy()
    cdef double[::1] at = pivot
    cdef Py_ssize_t j
    cdef double unit, most = 0.0
    cdef bint double_precision = dtype == np.float64
    if exponent is not None and -1000 < exponent < 1000:
        unit = ldexp(1.0, exponent - 4)
        for j in range(at.shape[0]):
            most = max(most, fabs(at[j]))
        for j in range(at.shape[0]):
            if most < unit * 2.0**52:
                at[j] = rint(at[j] / unit) * unit
            # Eight bits to spare: no pivot at all where the mean is within 16 spreads of zero, so
            # that the mean of copies of one row is that row to the last bit.
            if double_precision and fabs(at[j]) <= 256 * unit:
                at[j] = 0.0
    _round_to(dtype, at)
    return pivot


def spread_exponent(double variance, double scale=1.0):
    """e with 2^e about the standard deviation in user units, of a framed variance; or None."""
    if not variance > 0:
        return None
    return math.frexp(variance)[1] // 2 - math.frexp(scale)[1] + 1


def place(rows, frame):
    """Put rows into a frame; returns what is to be added to centres there, or None.

    Without grids: for exact sums there is the scan of a fit.  The rows of a CSR array keep their
    zeros, and so the origin.
    """
    offset = frame.pivot * frame.scale
    grids = np.zeros((2, rows.stride))
    rows.set_frame(offset if rows.centered else np.zeros(rows.d), frame.scale, grids)
    return None if rows.centered else offset


def _place_with_grids(rows, frame, weights, ends):
    """Put rows, which are within ends where they have a weight, into a frame, with grids for exact
    sums of any of them."""
    heaviest = 1.0 if weights is None else float(weights.max())
    place(rows, frame)
    largest = np.minimum(frame.largest, framed_reach(rows, ends))
    cdef double[::1] reach = largest
    cdef Py_ssize_t j
    for j in range(reach.shape[0]):
        reach[j] = nextafter(reach[j], INFINITY)
    rows.set_frame(rows.offset, rows.scale, exact_sum_grid(largest, heaviest, rows.n))


cdef double _column_sum(const double[:, :, :, ::1] parts, Py_ssize_t column) noexcept:
    """Exact sum of a column from statistics (parts, 1, 2, stride)."""
    cdef double coarse = 0.0, fine = 0.0
    for part in range(parts.shape[0]):
        coarse += parts[part, 0, 0, column]
        fine += parts[part, 0, 1, column]
    return coarse + fine


def scanned_rows(X, weights, n_threads):
    """Rows of a fit and their frame: of float32 in float64 where they are too small for it."""
    rows = as_rows(X)
    frame = scan(rows, weights, n_threads)
    if _drowns(rows, frame, weights):
        rows = as_rows(X, np.dtype(np.float64))
        frame = scan(rows, weights, n_threads)
    return rows, frame


def scan(rows, weights, n_threads):
    """Frame of a fit, into which the rows are put.

    Two passes: the column extremes, which also prove every value finite, and the exact column sums
    on the grids that they allow, whose quotient is the pivot.  Neither depends on the order of the
    rows.  ``weights`` : (n,) float64 or None.
    """
    bounds = extremes(rows, n_threads)
    reach = weighted_extremes(rows, weights, bounds)
    if not rows.centered:
        frame = frame_of(bounds, np.zeros(rows.d), rows.dtype)
        _place_with_grids(rows, frame, weights, reach)
        return frame
    # The sums are taken about the middle of the range: only their rounding needs to be small.
    cdef Py_ssize_t j, d = rows.d
    cdef const double[:, ::1] ends = reach
    center = np.empty(d)
    cdef double[::1] at = center
    for j in range(d):
        at[j] = ends[0, j] / 2 + ends[1, j] / 2
    _round_to(rows.dtype, at)
    frame = frame_of(bounds, center, rows.dtype)
    _place_with_grids(rows, frame, weights, reach)
    parts = None
    for start, stop, threads in passes(rows, 0, n_threads):
        if parts is None:
            parts = rows.empty_sums(threads, 1)
        rows.add_all(start, stop, threads, parts, weights)
    cdef const double[:, :, :, ::1] sums = parts
    cdef double weight = _column_sum(sums, d), mean, square = 0.0, scale = frame.scale
    for j in range(d):
        mean = _column_sum(sums, j) / weight
        square += mean * mean
        at[j] += mean / scale
        if at[j] < ends[0, j]:
            at[j] = ends[0, j]
        elif at[j] > ends[1, j]:
            at[j] = ends[1, j]
    variance = (_column_sum(sums, d + 1) / weight - square) / d
    pivot = round_pivot(center, spread_exponent(variance, scale), rows.dtype)
    frame = frame_of(bounds, pivot, rows.dtype)
    _place_with_grids(rows, frame, weights, reach)
    return frame
