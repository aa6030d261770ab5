# SPDX-License-Identifier: BSD-3-Clause
"""Passes of a mixture over all rows, cut between slots into calls of bounded time."""

from fastmix.core._frame import CALL_NANOSECONDS
from fastmix.core._threads import useful_threads

__all__ = ["row_nanoseconds", "slot_passes"]

# Exponential and list of one responsibility, measured as 2 ns for the first.
RESPONSIBILITY_NANOSECONDS = 3.0

# Values (float64) that a caller holds for the rows of a call.
CALL_VALUES = 2**20


def row_nanoseconds(rows, covariance_type, k):
    """Rough cost of one row's E- and M-step on one thread, within a factor of three."""
    # In inner products of length d: a triangle for the E-step and one for the moments, tied one
    # for all components, else a few operations a column.
    triangles = {"full": k * rows.d, "tied": 2 * k + rows.d}.get(covariance_type, 4 * k)
    return rows.nanoseconds(triangles) + RESPONSIBILITY_NANOSECONDS * k


def slot_passes(rows, covariance_type, k, limit, values=0):
    """Cut all rows into calls of at most about 40 ms: yields start, stop, threads.

    Cuts fall between slots, whose sums are folded in the order of the rows: they change nothing.
    values is how many float64 the caller holds for each row of a call.
    """
    cost = row_nanoseconds(rows, covariance_type, k)
    n_slots = -(-rows.n // rows.slot_rows)
    threads = useful_threads(min(limit, n_slots), rows.n * cost)
    step = max(1, int(CALL_NANOSECONDS * threads / (cost * rows.slot_rows))) * rows.slot_rows
    # A thread has whole slots only.
    step = -(-step // (threads * rows.slot_rows)) * threads * rows.slot_rows
    if values:
        step = min(step, max(1, CALL_VALUES // values // rows.slot_rows) * rows.slot_rows)
    for first, last in rows.spans(rows.slot_rows):
        for start in range(first, last, step):
            yield start, min(last, start + step), threads
