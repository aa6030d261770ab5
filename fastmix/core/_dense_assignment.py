# SPDX-License-Identifier: BSD-3-Clause
"""E-steps over dense rows: group bounds, and rows in few bits, where they pay."""

import math

import numpy as np

from fastmix.core._assignment import Assignment
from fastmix.core._bounds import GroupBounds
from fastmix.core._groups import group_centers
from fastmix.core._kernels import GROUP_WIDTH, intel
from fastmix.core._leading import Leading
from fastmix.core._prefix import Prefix
from fastmix.core._row_codes import RowCodes
from fastmix.core._threads import useful_threads

__all__ = ["DenseAssignment"]

# Groups of centres at most: each has lists of rows in every thread.
MAX_GROUPS = 1024

# Nanoseconds a row on one thread (Zen 4; only the ratios matter), fitted to the E-steps of eleven
# fits in both dtypes, most of them within a tenth.  A plain scan: of each column, centre, and
# product of both.  With bounds: of each byte of codes, of an open row, each of its columns, each
# group of centres that it meets, and each product.  What goes by column doubles in float64.
DENSE_COLUMN, DENSE_CENTER, DENSE_PRODUCT = 0.29, 0.027, 0.0172
BOUND_BYTE, OPEN_ROW, OPEN_COLUMN, OPEN_GROUP, OPEN_PRODUCT = 0.24, 13.5, 0.6, 2.5, 0.025
# What bounds do takes so many times these beside a scan (2M x 16, K=64 and 1M x 32, K=256 on a Xeon
# of family 6, model 207: 1.6 to 2.0).
BOUNDED = 1.8 if intel() else 1.0
# The same of a group that leading coordinates are to rule out, and of a product of these.
LEADING_GROUP, LEADING_PRODUCT = 8.0, 0.011
# The same of codes of 8 bits.
CODED_GROUP, CODED_PRODUCT = 8.0, 0.004

# Least columns of which the leading ones are looked at, and the part of its groups that a row has
# open in the E-steps after the first ones: one in so many (definitions, K=1000: 124 in the first
# with bounds, 40 after seven, 10 after twenty).
LEADING_COLUMNS, LATER = 32, 3

# Least columns in codes, and the part of the groups for which memory must have room beside them
# (1,000,000 x 32, K=256: 8 groups and codes take longer than 32 groups alone).
CODED_COLUMNS, CODED_GROUPS = 64, 1 / 3

# Nanoseconds of a coordinate of a centre that moves; calls are cut as if shortlists were this many
# times as fast as a scan at most.
MOVE_NANOSECONDS, MOST_SPEEDUP = 6.0, 3.0

# Bounds are extended from the probes to all rows where they promise this part of a plain scan's
# time at most, and given up where they take more than all of it.
WORTHWHILE = 0.85

# The probes: this part of the rows, so many at most, in at most so many stretches, one for so much
# time of a plain scan.
PROBED_PART, MOST_PROBED, MAX_PROBES, PROBE_NANOSECONDS = 1 / 256, 2**13, 8, 2e6

# A plain scan in less time on one thread is not worth the probes and the axes (2,000 x 4,000, K=10:
# 4 of 36 ms for nothing).
LEAST_NANOSECONDS = 5e6


class DenseAssignment(Assignment):
    """The E-steps of one run over dense rows.

    Parameters
    ----------
    rows : DenseRows
    weights : ndarray of shape (n,) or None
    k : int
    algorithm : {"auto", "lloyd", "elkan"}
        "lloyd" scans every row; "elkan" uses bounds from the second E-step on; "auto" tries them on
        few rows, and takes them up where what they leave open there, counted, is worth it.
    memory : int
        Bytes that the bounds may take beyond one float a row.
    reach : ndarray of shape (d,)
        Bounds the framed rows.
    """

    def __init__(self, rows, weights, k, algorithm, memory, reach):
        super().__init__(rows, weights, k, None)
        self.first_bounded = None
        self.forced = algorithm == "elkan"
        # Leading coordinates, once they are chosen; the part of a plain scan that bounds cost.
        self.memory, self.leading, self.axes, self.share = memory, None, 0, 1.0
        self.looks_ahead, self.x_square = False, float(np.square(reach).sum()) * (1 + 1e-6)
        self.coded, self.coarse, self.adding = False, None, False
        self.filling = False  # whether scans leave bounds
        self.complete = False  # whether all rows have been added to what is coarse
        self.before = None  # the centres of the E-step before
        self.grouping = None  # centres, and groups of them
        self.probes, self.probed = None, None  # rows, and their bounds
        # Codes of two bytes, in eights.
        self.groups = min(math.ceil(k / GROUP_WIDTH), int(memory // rows.n) // 16 * 8, MAX_GROUPS)
        if algorithm == "lloyd":
            self.why = "asked for"
        elif k == 1 or self.groups == 0:
            self.why = "one cluster" if k == 1 else "no memory for bounds"
        elif not self.forced and (
            self._bounded_cost(0, 0, 0) > WORTHWHILE * self._dense_cost()
            or rows.n * self._dense_cost() < LEAST_NANOSECONDS
        ):
            self.why = "bounds could not pay"
        if self.why:
            self.groups = 0
            return
        room = (int(memory // rows.n) - RowCodes.row_bytes(rows.d)) // 16 * 8
        if rows.d >= CODED_COLUMNS and RowCodes.serves(rows) and room >= CODED_GROUPS * self.groups:
            self.coded, self.groups = True, min(self.groups, room)
        self.looks_ahead = not self.coded and rows.d >= LEADING_COLUMNS
        n_probes = max(1, min(MAX_PROBES, int(rows.n * self._dense_cost() / PROBE_NANOSECONDS)))
        size = max(1, int(min(rows.n * PROBED_PART, MOST_PROBED) / n_probes))
        middles = (2 * np.arange(n_probes) + 1) * rows.n // (2 * n_probes)
        self.probes = np.minimum(middles[:, np.newaxis] + np.arange(size), rows.n - 1).ravel()

    def _prepare(self, centers, labels, n_threads, spread):
        fresh = False
        if self.bounds is None and self.groups and spread > 0:
            pays = self.steps == 1 and self.looks_ahead and self._look_ahead(centers, labels)
            fresh = self.forced or pays or self._promising(centers, labels, n_threads, spread)
        if fresh:
            self.probed, groups = None, self._grouped(centers)
            if not self.complete:
                self.coarse = self._coarse(self.rows, centers, groups, spread, n_threads)
            self.bounds = GroupBounds(self.rows, groups, spread, self.coarse)
        self.adding = fresh and self.coarse is not None and not self.complete
        self.filling = fresh and self.coded and self.rows.short.serves(self.k)
        if self.bounds is not None:
            self._move(self.bounds, centers, n_threads)
            self.bounded_steps += 1
            if self.first_bounded is None:
                self.first_bounded = self.steps
        self.before = centers
        return fresh

    def _move(self, bounds, centers, n_threads):
        threads = useful_threads(n_threads, MOVE_NANOSECONDS * self.k * self.rows.d)
        bounds.move(centers, self.x_square, threads)
        bounds.products = bounds.rows_open = bounds.groups_open = bounds.groups_guessed = 0

    def _wanted(self, fresh, labels, n_threads):
        page = self.rows.page_rows
        if page and self.bounds is not None and not fresh:
            threads = useful_threads(n_threads, self.rows.n * self._bounded_cost(0, 0, 0))
            return self.bounds.open_pages(page, labels, threads), page
        return None, 0

    def _centers_met(self, fresh):
        # Calls of as many rows as shortlists, which may find too many centres near, or the cost of
        # the last E-step allow.
        if self.bounds is None or self.filling:
            return math.ceil(self.k / min(MOST_SPEEDUP, self.rows.short.speedup(self.k)))
        return math.ceil(self.k * self.share)

    def _assign(self, start, stop, centers, labels, threads, parts):
        if self.bounds is None:
            return self._scan(start, stop, centers, labels, threads, parts)
        n_changed = 0
        if self.filling:
            n_changed = self._scan(start, stop, centers, labels, threads, parts, bounds=self.bounds)
        if self.adding:
            self.coarse.add(start, stop, labels, threads)
        if not self.filling:
            n_changed = self.bounds.assign(start, stop, labels, threads, parts, self.weights)
        return n_changed

    def _grouped(self, centers):
        if self.grouping is None or self.grouping[0] is not centers:
            self.grouping = centers, group_centers(centers, self.groups)
        return self.grouping[1]

    def _coarse(self, rows, centers, groups, spread, n_threads):
        """Rows in few bits, or None; those in codes have yet to be added."""
        if self.coded:
            return RowCodes(rows, centers, groups, spread)
        return self.leading.prefix(rows, self.axes, n_threads) if self.axes else None

    def _promising(self, centers, labels, n_threads, spread):
        """Whether bounds promise to pay from this E-step on: those of some rows meet its centres
        before all rows do."""
        if self.before is None:
            return False
        found = labels[self.probes]
        n = len(found)
        threads = useful_threads(n_threads, n * self._dense_cost())
        if self.probed is None:
            rows, groups = self.rows.part(self.probes), self._grouped(centers)
            coarse = self._coarse(rows, centers, groups, spread, 1)
            self.probed = GroupBounds(rows, groups, spread, coarse)
            self._move(self.probed, self.before, n_threads)
            if coarse is not None:
                coarse.add(0, n, found, threads)
            self.probed.assign(0, n, found, threads)
        self._move(self.probed, centers, n_threads)
        self.probed.assign(0, n, found, threads)
        self.products += self.probed.products
        return self._cost_of(self.probed, n) < WORTHWHILE * self._dense_cost()

    # ------------------------------------------------------------ what pays

    def _plain_cost(self, speedup=1.0):
        """Nanoseconds of a row that meets every centre."""
        size = self.rows.d * self.rows.dtype.itemsize / 4
        return DENSE_COLUMN * size + (DENSE_CENTER + DENSE_PRODUCT * size) * self.k / speedup

    def _dense_cost(self):
        """The same, by shortlists where they serve."""
        return self._plain_cost(self.rows.short.speedup(self.k))

    def _bounded_cost(self, rows_open, groups_open, products, groups_guessed=0):
        """The same with bounds that leave open so many of each for a row, on average, and so many
        groups for its few bits."""
        size = self.rows.d * self.rows.dtype.itemsize / 4
        met = (
            BOUND_BYTE * 2 * math.ceil(self.groups / 8) * 8
            + (OPEN_ROW + OPEN_COLUMN * size) * rows_open
            + OPEN_GROUP * groups_open
            + OPEN_PRODUCT * size * products
        )
        guessed = self.k * groups_guessed / max(1, self.groups)  # centres
        if self.coded:
            few = CODED_GROUP * groups_guessed + CODED_PRODUCT * self.rows.d * guessed
        else:
            few = BOUNDED * (LEADING_GROUP * groups_guessed + LEADING_PRODUCT * self.axes * guessed)
        return BOUNDED * met + few

    def _cost_of(self, bounds, n):
        """The same of the E-step for which bounds served n rows."""
        return self._bounded_cost(
            bounds.rows_open / n,
            bounds.groups_open / n,
            bounds.products / n,
            bounds.groups_guessed / n,
        )

    def _look_ahead(self, centers, labels):
        """Chooses how many leading coordinates to use, and how many groups memory leaves them;
        returns whether they promise to pay at once."""
        n, k, whole, dense = self.rows.n, self.k, self.groups, self._dense_cost()
        row_bytes = int(self.memory // n)
        self.leading = Leading(self.rows, k, self.memory)
        best, choice = min(dense, self._bounded_cost(1, whole / LATER, k / LATER)), (whole, 0)
        pays = False
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
                pays = now < WORTHWHILE * dense
        self.groups, self.axes = choice
        return pays

    def _count(self, fresh):
        """Adds up what the E-step did, and decides whether the bounds stay."""
        n, bounds = self.rows.n, self.bounds
        if bounds is None or self.filling:
            self.products += n * self.k
            self.rows_scanned += n
        if bounds is None:
            return
        self.products += bounds.products
        self.rows_scanned += bounds.rows_open
        if fresh:
            self.share, self.complete = 1.0, True
            return
        cost = self._cost_of(bounds, n)
        self.share = min(1.0, max(0.2, 2 * cost / self._plain_cost()))
        if not self.forced and cost > self._dense_cost():
            self.bounds = None

    @property
    def algorithm(self):
        """What ran: "lloyd", or "yinyang" where bounds were used."""
        return "lloyd" if self.first_bounded is None else "yinyang"

    def reason(self):
        """Why these E-steps were computed as they were."""
        if self.first_bounded is None:
            return self.why or "bounds would not have paid"
        bits = ""
        if self.coarse is not None:
            bits = " and codes of 8 bits" if self.coded else f" and {self.axes} leading coordinates"
        return (
            f"bounds for {self.groups} groups of centres{bits} in {self.bounded_steps} of "
            f"{self.steps} E-steps, first in number {self.first_bounded + 1}"
        )
