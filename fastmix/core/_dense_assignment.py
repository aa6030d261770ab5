# SPDX-License-Identifier: BSD-3-Clause
"""E-steps over dense rows: group bounds, and rows in few bits, where they pay."""

import math

import numpy as np

from fastmix.core._assignment import Assignment
from fastmix.core._bounds import GroupBounds
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

# The probes: this part of the rows, in at most so many stretches, one for so much time of a plain
# scan; shorter stretches are not worth a second thread.
PROBED_PART, MAX_PROBES, PROBE_NANOSECONDS = 1 / 256, 8, 2e6

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
        self.everywhere = False  # bounds serve all rows, else the probes
        self.extend = False  # to all rows in the next E-step
        self.probes = []
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
        size = max(1, int(rows.n * PROBED_PART / n_probes))
        middles = [(2 * i + 1) * rows.n // (2 * n_probes) for i in range(n_probes)]
        self.probes = [(middle, min(rows.n, middle + size)) for middle in middles]

    def _prepare(self, centers, labels, n_threads, spread):
        if self.steps == 1 and spread > 0 and self.groups and self.looks_ahead:
            self._look_ahead(centers, labels)
        fresh = self.extend or (
            self.bounds is None and self.groups > 0 and (spread > 0 or not self.forced)
        )
        if fresh:
            # Before the first E-step a guess that is too large only makes the codes coarse.
            spread = spread or math.sqrt(self.x_square) / 4
            self.everywhere, self.extend = self.extend or self.forced, False
            if self.coded and not self.complete:
                self.coarse = RowCodes(self.rows, centers, spread)
            elif self.coarse is None and self.everywhere and self.axes:
                self.coarse = self.leading.prefix(self.axes, n_threads)
            self.bounds = GroupBounds(self.rows, centers, self.groups, spread, self.coarse)
        self.adding = fresh and self.coarse is not None and not self.complete
        self.filling = fresh and self.coded and self.rows.short.serves(self.k)
        if self.bounds is not None:
            threads = useful_threads(n_threads, MOVE_NANOSECONDS * self.k * self.rows.d)
            self.bounds.move(centers, self.x_square, threads)
            self.bounds.products = self.bounds.rows_open = self.bounds.groups_open = 0
            self.bounds.groups_guessed = 0
            self.bounded_steps += self.everywhere
            if self.everywhere and self.first_bounded is None:
                self.first_bounded = self.steps
        return fresh

    def _wanted(self, fresh, labels, n_threads):
        page = self.rows.page_rows
        if page and self.everywhere and not fresh:
            threads = useful_threads(n_threads, self.rows.n * self._bounded_cost(0, 0, 0))
            return self.bounds.open_pages(page, labels, threads), page
        return None, 0

    def _centers_met(self, fresh):
        # Calls of as many rows as shortlists, which may find too many centres near, or the cost of
        # the last E-step allow.
        if self.bounds is None or not self.everywhere or self.filling:
            return math.ceil(self.k / min(MOST_SPEEDUP, self.rows.short.speedup(self.k)))
        return math.ceil(self.k * self.share)

    def _assign(self, start, stop, centers, labels, threads, parts):
        n_changed = 0
        for first, last, bounded in self._stretches(start, stop):
            known = bounded and self.steps > 1 and not self.filling
            if not known:
                leaving = {"bounds": self.bounds} if bounded and self.filling else {}
                n_changed += self._scan(first, last, centers, labels, threads, parts, **leaving)
            if bounded and self.adding:
                self.coarse.add(first, last, labels, threads)
            if known:
                few = (last - first) * self._dense_cost() < PROBE_NANOSECONDS / 20
                n_changed += self.bounds.assign(
                    first, last, labels, 1 if few else threads, parts, self.weights
                )
            elif bounded and not self.filling:  # the first bounds, of rows that just got a label
                self.bounds.assign(first, last, labels, 1, None, self.weights)
        return n_changed

    def _stretches(self, start, stop):
        """Rows start .. stop as stretches (first, last, whether bounds serve them)."""
        if self.bounds is None or self.everywhere:
            yield start, stop, self.everywhere
            return
        for first, last in self.probes:
            first, last = max(first, start), min(last, stop)
            if first < last:
                if start < first:
                    yield start, first, False
                yield first, last, True
                start = last
        if start < stop:
            yield start, stop, False

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

    def _look_ahead(self, centers, labels):
        """Chooses how many leading coordinates to use, and how many groups memory leaves them."""
        n, k, whole, dense = self.rows.n, self.k, self.groups, self._dense_cost()
        row_bytes = int(self.memory // n)
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
                self.extend = now < WORTHWHILE * dense
        self.groups, self.axes = choice

    def _count(self, fresh):
        """Adds up what the E-step did, and decides how the next is to be done."""
        n, bounds = self.rows.n, self.bounds
        probed = sum(last - first for first, last in self.probes)
        served = 0 if bounds is None or self.filling else n if self.everywhere else probed
        self.products += (n - served) * self.k
        self.rows_scanned += n - served
        if bounds is None:
            return
        self.products += bounds.products
        self.rows_scanned += bounds.rows_open
        if fresh:
            self.share, self.complete = 1.0, self.complete or self.everywhere
            return
        cost = self._bounded_cost(
            bounds.rows_open / served,
            bounds.groups_open / served,
            bounds.products / served,
            bounds.groups_guessed / served,
        )
        self.share = min(1.0, max(0.2, 2 * cost / self._plain_cost()))
        if self.forced:
            return
        if not self.everywhere:
            self.extend = cost < WORTHWHILE * self._dense_cost()
        elif cost > self._dense_cost():
            self.bounds, self.everywhere = None, False

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
