# SPDX-License-Identifier: BSD-3-Clause
"""E-steps of one run of K-means: plain scans, or bounds where they pay.  The labels are the same."""

import math

import numpy as np

from fastmix.core._bounds import PANEL_WIDTH, GroupBounds
from fastmix.core._dense import DenseRows
from fastmix.core._frame import passes
from fastmix.core._sparse_bounds import BYTES as SPARSE_BOUND_BYTES
from fastmix.core._sparse_bounds import SparseBounds

__all__ = ["Assignment"]

# Statistics of the threads beyond this are shared under locks instead.
SUMS_BYTES = 2**28

# Statistics of sparse rows are shared, too, where this many times the entries that are added are
# fewer than a part has elements: zeroing and adding up two parts of 16 MB took 8 of 26 ms (Zen 4).
SHARED_ENTRIES = 8

# Bytes a row that bounds may take where half of a row is less.
LEAST_BOUND_BYTES = 24

# Nanoseconds on one thread (Zen 4), of which only the ratios matter: a multiply-add of the plain
# scan and of the scores of picked rows, what a row costs either way, and what an open row, each of
# its columns and each of its groups adds.  The first line is for float32; float64 takes twice that.
DENSE_PRODUCT, PICKED_PRODUCT = 0.018, 0.034
DENSE_ROW, BOUNDED_ROW, BOUND_BYTE = 6.0, 3.0, 0.08
OPEN_ROW, OPEN_COLUMN, OPEN_GROUP = 14.0, 0.5, 7.0

# Bounds are taken up, and kept, where they promise this part of a plain scan's time at most.
WORTHWHILE = 0.85


class Assignment:
    """The E-steps of one run.

    Parameters
    ----------
    rows : DenseRows or SparseRows
    weights : ndarray of shape (n,) or None
    k : int
    algorithm : {"auto", "lloyd", "elkan"}
        "lloyd" scans every row; "elkan" uses bounds from the second E-step on; "auto" decides from
        counts alone: rows, columns, clusters, labels that changed, and what bounds left open.
    memory : int
        Bytes that the bounds may take.
    reach : ndarray of shape (d,)
        Bounds the framed rows.
    """

    def __init__(self, rows, weights, k, algorithm, memory, reach):
        self.rows, self.weights, self.k = rows, weights, k
        self.x_square = float(np.square(reach).sum()) * (1 + 1e-6)
        self.bounds = None
        self.products = self.rows_scanned = self.steps = self.bounded_steps = 0
        self.first_bounded = None
        self.changed = rows.n  # rows whose label the last E-step changed
        self.retry = rows.n  # bounds are thought of when fewer change
        groups = 0
        self.dense = isinstance(rows, DenseRows)
        # Bounds of sparse rows cost what one more centre does, and choose how much they scan.
        self.sparse = (
            not self.dense
            and algorithm != "lloyd"
            and memory >= SPARSE_BOUND_BYTES * rows.n
            and SparseBounds.possible(rows, k)
        )
        if self.dense and algorithm != "lloyd" and k > 1:
            # Codes of two bytes, in eights.
            groups = min(math.ceil(k / PANEL_WIDTH), int(memory // rows.n - 4) // 16 * 8)
        self.groups = max(0, groups)
        self.forced = algorithm == "elkan"

    def __call__(self, centers, labels, n_threads, spread, sums=None):
        """Labels (n,) for framed centres, in place; returns how many changed.

        sums (k, 2, stride), where given, follow the labels.  spread: about the distance of a row to
        its centre, once that is known.
        """
        rows = self.rows
        fresh = self.bounds is None and self._worth_taking(spread)
        if fresh:
            self.bounds = (
                GroupBounds(rows, centers, self.groups, spread)
                if self.dense
                else SparseBounds(rows)
            )
            self.first_bounded = self.steps if self.first_bounded is None else self.first_bounded
        self.steps += 1
        assign = self._plain(centers) if self.bounds is None else self._bounded(centers)
        n_changed, parts = 0, None
        for start, stop, threads in passes(rows, self.k, n_threads):
            if sums is not None and parts is None:
                n_parts = max(1, min(threads, SUMS_BYTES // sums.nbytes))
                if not self.dense and SHARED_ENTRIES * self.changed * rows.entries < sums.size:
                    n_parts = 1
                parts = rows.empty_sums(n_parts, self.k) if n_parts > 1 else sums[np.newaxis]
            n_changed += assign(start, stop, labels, threads, parts)
        if parts is not None and len(parts) > 1:
            for part in parts:
                sums += part
        self.changed = n_changed
        self._count(fresh)
        return n_changed

    def _plain(self, centers):
        def assign(start, stop, labels, threads, parts):
            return self.rows.assign(start, stop, centers, labels, threads, parts, self.weights)

        return assign

    def _bounded(self, centers):
        bounds = self.bounds
        bounds.move(centers, self.x_square)
        bounds.products = bounds.rows_open = 0
        if self.dense:
            bounds.groups_open = 0
        self.bounded_steps += 1

        def assign(start, stop, labels, threads, parts):
            return bounds.assign(start, stop, labels, threads, parts, self.weights)

        return assign

    # ------------------------------------------------------------ what pays

    def _product(self, nanoseconds):
        return nanoseconds * self.rows.dtype.itemsize / 4

    def _dense_cost(self):
        """Of one row."""
        return DENSE_ROW + self._product(DENSE_PRODUCT) * self.k * self.rows.d

    def _bounded_cost(self, rows_open, groups_open, products):
        """Of one row, given how many of these it has on average."""
        d = self.rows.d
        return (
            BOUNDED_ROW
            + BOUND_BYTE * 2 * math.ceil(self.groups / 8) * 8
            + rows_open * (OPEN_ROW + self._product(OPEN_COLUMN) * d)
            + groups_open * OPEN_GROUP
            + products * self._product(PICKED_PRODUCT) * d
        )

    def _worth_taking(self, spread):
        if self.sparse:
            return True
        if not self.groups or self.changed == self.rows.n or not spread > 0:
            return False
        if self.forced:
            return True
        if self.changed >= self.retry:
            return False
        # The part of the row-centre products that bounds left open on the shapes of the benchmarks
        # was 0.1 to 1.7 times this root.
        share = min(1.0, 1.2 * math.sqrt(self.changed / self.rows.n))
        cost = self._bounded_cost(min(1.0, 4 * share), self.groups * share, self.k * share)
        return cost < WORTHWHILE * self._dense_cost()

    def _count(self, fresh):
        n = self.rows.n
        if self.bounds is None:
            self.products += n * self.k
            self.rows_scanned += n
            return
        found = self.bounds
        self.products += found.products
        self.rows_scanned += found.rows_open
        if not self.dense:
            if not found.useful:
                self.bounds, self.sparse = None, False
            return
        cost = self._bounded_cost(found.rows_open / n, found.groups_open / n, found.products / n)
        if not fresh and not self.forced and cost > self._dense_cost():
            self.bounds = None
            self.retry = self.changed / 2

    @property
    def algorithm(self):
        """What ran: "lloyd", or where bounds were used "yinyang", of sparse rows "hamerly"."""
        if self.first_bounded is None:
            return "lloyd"
        return "yinyang" if self.dense else "hamerly"

    def reason(self):
        """Why these E-steps were computed as they were."""
        if self.first_bounded is None:
            return "bounds would not pay" if self.groups else "bounds are not used here"
        if not self.dense:
            return f"a bound for all other centres in {self.bounded_steps} of {self.steps} E-steps"
        return (
            f"bounds for {self.groups} groups of centres in {self.bounded_steps} of {self.steps} "
            f"E-steps, first in number {self.first_bounded + 1}"
        )
