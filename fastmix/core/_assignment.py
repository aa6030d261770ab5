# SPDX-License-Identifier: BSD-3-Clause
"""E-steps of one run of K-means: plain scans, or bounds where they pay.  The labels are the same."""

import math

import numpy as np

from fastmix.core._bounds import PANEL_WIDTH, GroupBounds
from fastmix.core._dense import DenseRows
from fastmix.core._frame import passes
from fastmix.core._leading import Leading
from fastmix.core._prefix import Prefix

__all__ = ["Assignment"]

# Statistics of the threads beyond this are shared under locks instead.
SUMS_BYTES = 2**28

# Bytes a row that bounds may take where half of a row is less.
LEAST_BOUND_BYTES = 24

# Nanoseconds on one thread (Zen 4), of which only the ratios matter: a multiply-add of the plain
# scan and of the scores of picked rows, what a row costs either way, and what an open row, each of
# its columns and each of its groups adds.  The first line is for float32; float64 takes twice that.
DENSE_PRODUCT, PICKED_PRODUCT = 0.018, 0.034
DENSE_ROW, BOUNDED_ROW, BOUND_BYTE = 6.0, 3.0, 0.08
OPEN_ROW, OPEN_COLUMN, OPEN_GROUP = 14.0, 0.5, 7.0
# The same of products of leading coordinates, of groups that they are to rule out.
LEADING_PRODUCT, LEADING_GROUP = 0.011, 5.0

# Least columns of which the leading ones are looked at, and the part of its groups that a row has
# open in the E-steps after the first ones: one in so many (definitions, K=1000: 124 in the first
# with bounds, 40 after seven, 10 after twenty).
LEADING_COLUMNS, LATER = 32, 3

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
        if isinstance(rows, DenseRows) and algorithm != "lloyd" and k > 1:
            # Codes of two bytes, in eights.
            groups = min(math.ceil(k / PANEL_WIDTH), int(memory // rows.n - 4) // 16 * 8)
        self.groups = max(0, groups)
        self.forced = algorithm == "elkan"
        self.memory, self.axes, self.prefix, self.at_once = memory, 0, None, False

    def __call__(self, centers, labels, n_threads, spread, sums=None):
        """Labels (n,) for framed centres, in place; returns how many changed.

        sums (k, 2, stride), where given, follow the labels.  spread: about the distance of a row to
        its centre, once that is known.
        """
        rows = self.rows
        if self.steps == 1 and self.groups and rows.d >= LEADING_COLUMNS and spread > 0:
            self._look_ahead(centers, labels)
        fresh = self.bounds is None and self._worth_taking(spread)
        if fresh:
            if self.axes and self.prefix is None:
                self.prefix = self.leading.prefix(self.axes, n_threads)
            self.bounds = GroupBounds(rows, centers, self.groups, spread, self.prefix)
            self.first_bounded = self.steps if self.first_bounded is None else self.first_bounded
        self.steps += 1
        assign = self._plain(centers) if self.bounds is None else self._bounded(centers, n_threads)
        n_changed, parts = 0, None
        # Calls of as many rows as the cost of the last E-step allows.
        scanned = self.k if fresh or self.bounds is None else math.ceil(self.k * self.share)
        for start, stop, threads in passes(rows, scanned, n_threads):
            if sums is not None and parts is None:
                n_parts = max(1, min(threads, SUMS_BYTES // sums.nbytes))
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

    def _bounded(self, centers, n_threads):
        bounds = self.bounds
        bounds.move(centers, self.x_square, n_threads)
        bounds.products = bounds.rows_open = bounds.groups_open = bounds.groups_guessed = 0
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

    def _bounded_cost(self, rows_open, groups_open, products, guessed=0):
        """Of one row, given how many of these it has on average; guessed: groups that leading
        coordinates were to rule out."""
        d = self.rows.d
        return (
            BOUNDED_ROW
            + BOUND_BYTE * 2 * math.ceil(self.groups / 8) * 8
            + rows_open * (OPEN_ROW + self._product(OPEN_COLUMN) * d)
            + groups_open * OPEN_GROUP
            + products * self._product(PICKED_PRODUCT) * d
            + guessed * (LEADING_GROUP + LEADING_PRODUCT * self.axes * self.k / self.groups)
        )

    def _look_ahead(self, centers, labels):
        """Chooses how many leading coordinates to use, and how many groups memory leaves them."""
        n, k, whole, dense = self.rows.n, self.k, self.groups, self._dense_cost()
        row_bytes = int(self.memory // n) - 4
        self.leading = Leading(self.rows, k, self.memory)
        best, choice = min(dense, self._bounded_cost(1, whole / LATER, k / LATER)), (whole, 0)
        for m, left in zip(*self.leading.groups_left(centers, labels, whole), strict=True):
            self.groups = min(whole, (row_bytes - Prefix.row_bytes(m)) // 16 * 8)
            if self.groups < min(whole, 8):
                break
            self.axes = m
            scanned = 1 + min(self.groups - 1, left)
            now, later = (
                self._bounded_cost(1, scanned, k / self.groups * scanned, self.groups / part)
                for part in (1, LATER)
            )
            if later < best:
                best, choice = later, (self.groups, m)
                self.at_once = now < WORTHWHILE * dense
        self.groups, self.axes = choice

    def _worth_taking(self, spread):
        if not self.groups or not spread > 0:
            return False
        if self.axes and self.at_once:
            return self.steps == 1 or self.changed < self.retry
        if self.changed == self.rows.n:
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
        cost = self._bounded_cost(
            found.rows_open / n, found.groups_open / n, found.products / n, found.groups_guessed / n
        )
        self.share = min(1.0, max(0.2, 2 * cost / self._dense_cost()))
        if not fresh and not self.forced and cost > self._dense_cost():
            self.bounds = None
            self.retry = self.changed / 2

    @property
    def algorithm(self):
        """What ran: "lloyd", or "yinyang" where bounds were used."""
        return "lloyd" if self.first_bounded is None else "yinyang"

    def reason(self):
        """Why these E-steps were computed as they were."""
        if self.first_bounded is None:
            return "bounds would not pay" if self.groups else "bounds are not used here"
        axes = f" and {self.axes} leading coordinates" if self.axes else ""
        return (
            f"bounds for {self.groups} groups of centres{axes} in {self.bounded_steps} of "
            f"{self.steps} E-steps, first in number {self.first_bounded + 1}"
        )
