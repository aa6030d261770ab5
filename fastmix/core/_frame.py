# SPDX-License-Identifier: BSD-3-Clause
"""The scan: what one fit must know of its rows before it starts, and the frame it computes in."""

import math
from dataclasses import dataclass

import numpy as np

from fastmix.core._kernels import exact_sum_grid
from fastmix.core._threads import useful_threads

__all__ = ["Frame", "extremes", "frame_of", "passes", "round_pivot", "scan", "spread_exponent"]

# One driver call between two looks at pending signals.
CALL_NANOSECONDS = 40e6

# Largest |x - pivot| that is left as it is: squares stay far from overflow and underflow, in
# either dtype.  Beyond, a power of two brings it to about 1.
UNSCALED = {np.dtype(np.float32): (2.0**-30, 2.0**30), np.dtype(np.float64): (2.0**-300, 2.0**300)}


@dataclass(frozen=True)
class Frame:
    """Where a fit computes: rows become ``(x - pivot) * scale`` in ``dtype``.

    pivot (d,) float64 is representable in dtype; scale is a power of two; largest (d,) bounds the
    framed rows that were scanned.
    """

    pivot: np.ndarray
    scale: float
    dtype: np.dtype
    largest: np.ndarray

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
        return self.pivot + centers / self.scale


def passes(rows, k, limit):
    """Cut all rows into calls of at most about 40 ms: yields start, stop, threads.

    k is the number of centres each row meets, limit that of the threads; cuts fall between blocks,
    so that they change nothing.
    """
    cost = rows.nanoseconds(k)
    threads = useful_threads(min(limit, -(-rows.n // rows.block_rows)), rows.n * cost)
    step = max(1, int(CALL_NANOSECONDS * threads / (cost * rows.block_rows))) * rows.block_rows
    for start in range(0, rows.n, step):
        yield start, min(rows.n, start + step), threads


def extremes(rows, n_threads):
    """Column minima and maxima (2, d) in user units; ValueError names the first bad element."""
    low, high = None, None
    for start, stop, threads in passes(rows, 0, n_threads):
        part, finite = rows.extremes(start, stop, threads)
        if not finite:
            row, column, value = rows.first_non_finite()
            what = "NaN" if np.isnan(value) else "infinity"
            raise ValueError(
                f"Input X contains {what}: X[{row}, {column}] = {value}; "
                "every value must be finite."
            )
        low = part[0] if low is None else np.minimum(low, part[0])
        high = part[1] if high is None else np.maximum(high, part[1])
    bounds = np.array([low, high], dtype=np.float64)
    if rows.X.dtype.kind in "iu" and np.abs(bounds).max() > 2.0**53:
        raise ValueError(
            f"X holds integers as large as {np.abs(bounds).max():.17g}, beyond 2**53, which "
            "float64 cannot tell apart; subtract an offset first"
        )
    return bounds


def frame_of(bounds, pivot, dtype):
    """Frame with this pivot for rows within bounds (2, d)."""
    largest = np.maximum(np.abs(bounds[0] - pivot), np.abs(bounds[1] - pivot))
    low, high = UNSCALED[dtype]
    most = float(largest.max())
    scale = 1.0
    if most > high or 0 < most < low:
        # 2^127 is the largest power of two in float32, 2^1023 in float64.
        limit = 127 if dtype == np.float32 else 1000
        scale = math.ldexp(1.0, max(-limit, min(limit, -math.frexp(most)[1])))
    return Frame(pivot, scale, dtype, largest * scale)


def round_pivot(mean, spread_exponent, dtype):
    """The mean (d,) to a sixteenth of the spread, which is about 2^spread_exponent, in dtype.

    Any pivot near the mean serves; one of few bits makes x - pivot exact for most data, and keeps
    exact the ties of data on a grid.  spread_exponent None: no spread, the mean as it is.
    """
    if spread_exponent is not None and -1000 < spread_exponent < 1000:
        unit = math.ldexp(1.0, spread_exponent - 4)
        if np.abs(mean).max() < unit * 2.0**52:
            mean = np.rint(mean / unit) * unit
        if dtype == np.float64:
            # Eight bits to spare: no pivot at all where the mean is within 16 spreads of zero, so
            # that the mean of copies of one row is that row to the last bit.
            mean = np.where(np.abs(mean) <= 256 * unit, 0.0, mean)
    return mean.astype(dtype).astype(np.float64)


def spread_exponent(variance, scale=1.0):
    """e with 2^e about the standard deviation in user units, of a framed variance; or None."""
    if not variance > 0:
        return None
    return math.frexp(variance)[1] // 2 - math.frexp(scale)[1] + 1


def _place(rows, frame, weights):
    """Put rows into the frame, with grids for sums of any of them."""
    heaviest = 1.0 if weights is None else float(weights.max())
    largest = np.nextafter(frame.largest, np.inf)
    rows.set_frame(
        frame.pivot * frame.scale, frame.scale, exact_sum_grid(largest, heaviest, rows.n)
    )


def scan(rows, weights, n_threads):
    """Frame of a fit, into which the rows are put.

    Two passes: the column extremes, which also prove every value finite, and the exact column sums
    on the grids that they allow, whose quotient is the pivot.  Neither depends on the order of the
    rows.  ``weights`` : (n,) float64 or None.
    """
    bounds = extremes(rows, n_threads)
    if not rows.centered:
        frame = frame_of(bounds, np.zeros(rows.d), rows.dtype)
        _place(rows, frame, weights)
        return frame
    # The sums are taken about the middle of the range: only their rounding needs to be small.
    middle = bounds[0] / 2 + bounds[1] / 2
    about = frame_of(bounds, middle.astype(rows.dtype).astype(np.float64), rows.dtype)
    _place(rows, about, weights)
    total = np.zeros((2, rows.stride))
    for start, stop, threads in passes(rows, 0, n_threads):
        sums = rows.empty_sums(threads, 1)
        rows.add_all(start, stop, threads, sums, weights)
        total += sums[:, 0].sum(axis=0)
    sums = total.sum(axis=0)
    mean, square = sums[: rows.d] / sums[rows.d], sums[rows.d + 1] / sums[rows.d]
    variance = (square - np.cumsum(np.square(mean))[-1]) / rows.d
    pivot = round_pivot(
        np.clip(about.out_of(mean), bounds[0], bounds[1]),
        spread_exponent(variance, about.scale),
        rows.dtype,
    )
    frame = frame_of(bounds, pivot, rows.dtype)
    _place(rows, frame, weights)
    return frame
