# SPDX-License-Identifier: BSD-3-Clause
"""E-steps over dense rows of few columns: margins, where they pay."""

import math

import numpy as np

from fastmix.core._dense_assignment import LEAST_NANOSECONDS, DenseAssignment
from fastmix.core._margins import MOST_CENTERS, MOST_LENGTH, ScoreMargins

__all__ = ["MarginAssignment"]

# Least and most columns: of fewer, products are not what a scan takes; with more, bounds of groups
# and codes of 8 bits leave less.
LEAST_COLUMNS, MOST_COLUMNS = 8, 63

# Nanoseconds of a row on one thread, as in _dense_assignment: of every row, and of one whose label
# its margin does not prove, of each of its columns, each centre, and each product.  What goes by
# column doubles in float64.  More of a row that is scanned after that.
MARGIN_ROW, MET_ROW, MET_COLUMN, MET_CENTER, MET_PRODUCT = 2.0, 6.0, 0.3, 0.03, 0.0125
SCANNED_ROW = 20.0

# The same of a row that meets candidates or movers only, and of each of these (its columns are
# those of an open row); and more of an open row that gets candidates, and of each centre that it
# meets.
FEW_ROW, CANDIDATE, KEPT_ROW, KEPT_CENTER = 10.0, 1.6, 10.0, 0.05

# Candidates begin where at most this part of the labels changed, and are in use while they save
# time; after so many E-steps in which they do not, not for some, twice as many each time.
CHANGED, TRIES, WAIT = 0.08, 3, 8

# Margins begin where they promise to take no longer than plain scans when so many rows are open, on
# average of a fit, and are in doubt after that (blobs and noise of 16 and 32 columns: 0.4 to 0.56,
# and 0.01 to 0.02).
USUALLY_OPEN, USUALLY_DOUBTFUL = 0.6, 0.02

# E-steps that may take longer than plain scans, in the first of which all rows are open, before the
# margins are given up.
PATIENCE = 24

# Bytes that they take of a row, beyond a float.
ROW_BYTES = 8


class MarginAssignment(DenseAssignment):
    """The E-steps of one run, with margins as long as they pay, and scans in whole numbers;
    parameters of DenseAssignment."""

    def __init__(self, rows, weights, k, algorithm, memory, reach):
        super().__init__(rows, weights, k, algorithm, memory, reach)
        self.length = math.sqrt(np.square(reach).sum()) * (1 + 1e-6)
        possible = (
            k > 1
            and LEAST_COLUMNS <= rows.d <= MOST_COLUMNS
            and ScoreMargins.serves(rows)
            and self.length < MOST_LENGTH
            and k <= MOST_CENTERS
            and rows.n * self._dense_cost() >= LEAST_NANOSECONDS
        )
        self.margins, self.margin_steps, self.mover_steps, self.lost = None, 0, 0, 0
        self.fresh = False
        self.scans, self.scan_steps, self.scans_lost = None, 0, 0
        self.places = ScoreMargins.places(k, int(memory // rows.n) - ROW_BYTES)
        if self._few_cost() > self._met_cost():
            self.places = 0
        self.few, self.few_steps, self.few_lost, self.wait, self.next_wait = False, 0, 0, 0, WAIT
        self.serving = (
            possible
            and algorithm == "auto"
            and not rows.page_rows  # bounds of groups leave more pages unread
            and memory // rows.n >= ROW_BYTES
            and self._margin_cost(USUALLY_OPEN, USUALLY_DOUBTFUL) < self._dense_cost()
        )
        self.in_whole = possible and self._margin_cost(1, USUALLY_DOUBTFUL) < self._dense_cost()

    def _prepare(self, centers, labels, n_threads, spread):
        if not self.serving:
            return super()._prepare(centers, labels, n_threads, spread)
        self.fresh = self.margins is None
        if self.fresh:
            movers = self._movers_cost(ScoreMargins.movers(self.k)) < self._met_cost()
            self.margins = ScoreMargins(self.rows, self.k, self.length, movers=movers)
        self.margins.move(centers)
        self.margin_steps += 1
        self.mover_steps += self.margins.n_movers > 0
        self.few_steps += self.few
        return self.fresh

    def _centers_met(self, fresh):
        if not self.serving:
            return super()._centers_met(fresh)
        return math.ceil(self.k * self.share)

    def _assign(self, start, stop, centers, labels, threads, parts):
        if not self.serving:
            return super()._assign(start, stop, centers, labels, threads, parts)
        return self.margins.assign(
            start, stop, labels, threads, parts, self.weights, fresh=self.fresh
        )

    def _scan(self, start, stop, centers, labels, threads, parts, **options):
        if not self.in_whole or options:  # bounds are taken of scores in floats
            return super()._scan(start, stop, centers, labels, threads, parts, **options)
        if not self.packed:
            if self.scans is None:
                self.scans = ScoreMargins(self.rows, self.k, self.length, keep=False)
            self.scans.move(centers)
            self.scan_steps += 1
            self.packed = True
        return self.scans.assign(start, stop, labels, threads, parts, self.weights)

    def _margin_cost(self, rows_met, rows_doubtful):
        """Nanoseconds of a row where these parts of all rows meet all centres, and are scanned."""
        scanned = SCANNED_ROW + self._plain_cost()
        return MARGIN_ROW + self._met_cost() * rows_met + scanned * rows_doubtful

    def _met_cost(self):
        """The same of a row that meets all centres."""
        center = MET_CENTER + MET_PRODUCT * self.rows.d
        return MET_ROW + self._columns_cost() + center * self.k

    def _few_cost(self):
        """The same of a row that meets its candidates."""
        return FEW_ROW + self._columns_cost() + CANDIDATE * self.places

    def _movers_cost(self, n_movers):
        """The same of a row that meets its own centre and movers."""
        center = MET_CENTER + MET_PRODUCT * self.rows.d
        return FEW_ROW + self._columns_cost() + CANDIDATE + center * n_movers

    def _columns_cost(self):
        return MET_COLUMN * self.rows.d * self.rows.dtype.itemsize / 4

    def _saved(self):
        """How much of a row candidates saved in this E-step."""
        margins = self.margins
        saved = self._met_cost() * (self._met_without() - margins.rows_met)
        kept = (KEPT_ROW + KEPT_CENTER * self.k) * margins.rows_met
        few = self._few_cost() * margins.rows_few
        again = self._movers_cost(margins.n_movers) * (margins.rows_moving - margins.rows_only)
        return (saved - kept - few - again) / self.rows.n

    def _met_without(self):
        """Rows that would have met all centres in this E-step, had they no candidates."""
        margins = self.margins
        return margins.rows_open - margins.rows_only + margins.rows_only_met

    def _decide_on_candidates(self):
        """Whether the next E-step uses candidates."""
        self.wait = max(0, self.wait - 1)
        if not self.few:
            if self.places and not self.wait and self.changed <= CHANGED * self.rows.n:
                self.few, self.few_lost = True, -1  # at first no row has any
                self.margins.keep_candidates(self.places)
            return
        self.few_lost = max(0, self.few_lost + (1 if self._saved() < 0 else -1))
        if self.few_lost > TRIES:
            self.few, self.wait, self.next_wait = False, self.next_wait, 2 * self.next_wait
            self.margins.keep_candidates(0)

    def _count(self, fresh):
        n = self.rows.n
        if self.in_whole and self.packed:
            met, doubtful = self.scans.rows_open, self.scans.rows_doubtful
            self.rows_shortlisted += met - doubtful
            dear = self._margin_cost(1, doubtful / met) > self._dense_cost()
            self.scans_lost += 1 if dear else -1
            self.in_whole = self.scans_lost <= PATIENCE
        if not self.serving:
            super()._count(fresh)
            return
        margins = self.margins
        self.products += margins.rows_met * self.k
        self.products += margins.rows_few * self.places
        self.products += margins.rows_moving * (1 + margins.n_movers)
        self.rows_scanned += margins.rows_open
        self.rows_shortlisted += margins.rows_open - margins.rows_doubtful
        cost = self._margin_cost(self._met_without() / n, margins.rows_doubtful / n)
        cost += self._movers_cost(margins.n_movers) * margins.rows_only / n
        if self.few:
            cost -= self._saved()
        self._decide_on_candidates()
        self.share = min(1.0, max(0.2, 2 * cost / self._plain_cost()))
        self.lost += 1 if cost > self._dense_cost() else -1
        if self.lost > PATIENCE:
            self.serving, self.few, self.margins = False, False, None

    @property
    def algorithm(self):
        """What ran: "hamerly" where margins were used, and else as of DenseAssignment."""
        return "hamerly" if self.margin_steps else super().algorithm

    def reason(self):
        """Why these E-steps were computed as they were."""
        why = super().reason()
        if self.margin_steps:
            margins = f"margins in {self.margin_steps} of {self.steps} E-steps"
            if self.few_steps:
                margins += f", candidates in {self.few_steps}"
            if self.mover_steps:
                margins += f", movers in {self.mover_steps}"
            why = margins if self.serving else f"{margins}; then {why}"
        if self.scan_steps:
            why += f"; scans in whole numbers in {self.scan_steps} of {self.steps} E-steps"
        return why
