# SPDX-License-Identifier: BSD-3-Clause
"""E-steps over sparse rows: one bound a row for all other centres."""

from fastmix.core._assignment import Assignment
from fastmix.core._sparse_bounds import BYTES, SparseBounds

__all__ = ["SparseAssignment"]

# Threads share statistics where this many times the entries that are added are fewer than a part
# has elements: zeroing and adding up two parts of 16 MB took 8 of 26 ms (Zen 4).
SHARED_ENTRIES = 8


class SparseAssignment(Assignment):
    """The E-steps of one run over sparse rows.

    Parameters
    ----------
    rows : SparseRows
    weights : ndarray of shape (n,) or None
    k : int
    algorithm : {"auto", "lloyd", "elkan"}
        "lloyd" reads every row.  Bounds cost what one more centre does, and choose from counts how
        much they scan, so that "auto" and "elkan" are one.
    memory : int
        Bytes that the bounds may take.
    """

    def __init__(self, rows, weights, k, algorithm, memory):
        super().__init__(rows, weights, k, None)
        if algorithm == "lloyd":
            self.why = "asked for"
        elif memory < BYTES * rows.n:
            self.why = "no memory for bounds"
        elif not SparseBounds.possible(rows, k):
            self.why = "bounds could not pay"
        else:
            self.bounds = SparseBounds(rows)

    @property
    def algorithm(self):
        """What ran: "lloyd", or "hamerly" where bounds were used."""
        return "hamerly" if self.bounded_steps else "lloyd"

    def _prepare(self, centers, labels, n_threads, spread):
        if not self.rows.screened:
            self.bounds = None  # another run of these rows has found that a screen does not pay
        if self.bounds is not None:
            self.bounds.move(centers)
            self.bounds.products = self.bounds.rows_open = 0
            self.bounded_steps += 1
        return False

    def _most_parts(self, sums):
        if SHARED_ENTRIES * self.changed * self.rows.entries < sums.size:
            return 1
        return super()._most_parts(sums)

    def _assign(self, start, stop, centers, labels, threads, parts):
        if self.bounds is None:
            return super()._assign(start, stop, centers, labels, threads, parts)
        return self.bounds.assign(start, stop, labels, threads, parts, self.weights)

    def _count(self, fresh):
        if self.bounds is None:
            super()._count(fresh)
            return
        self.products += self.bounds.products
        self.rows_scanned += self.bounds.rows_open
        if not self.bounds.useful:
            self.bounds = None

    def reason(self):
        if self.why:
            return self.why
        return f"a bound for all other centres in {self.bounded_steps} of {self.steps} E-steps"
