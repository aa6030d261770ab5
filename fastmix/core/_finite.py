# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a source that are found finite as they are used, so that they are read once."""

from fastmix.core._frame import Frame, extremes, has_large_integers, place
from fastmix.core._source import Source, changed

__all__ = ["finite_calls", "is_checked_later"]


def is_checked_later(X, out=None):
    """Whether rows need no pass of their own to be found finite: those of a source, where nothing
    of the user's is written before the last of them has been."""
    return isinstance(X, Source) and out is None


def finite_calls(rows, calls, n_threads, later):
    """The calls of a pass, (start, stop, threads); with later, the rows of each are found finite
    first, and the ValueError is that of ``extremes``."""
    for call in calls:
        if later:
            _check(rows, *call, n_threads)
        yield call


def _check(rows, start, stop, threads, n_threads):
    frame = rows.offset, rows.scale, rows.grids
    # As they are: a difference of two finite values may not be.
    place(rows, Frame.identity(rows.d, rows.dtype))
    bounds, finite = rows.extremes(start, stop, threads)
    if not finite or has_large_integers(rows, bounds):
        extremes(rows, n_threads)  # raises, with the place
        raise changed(f"rows {start} to {stop - 1} have other values")
    rows.set_frame(*frame)
