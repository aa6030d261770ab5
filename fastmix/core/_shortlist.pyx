# SPDX-License-Identifier: BSD-3-Clause
"""Nearest centres by shortlists of 8-bit codes (src/kernels/shortlist.inc.h), where they pay.

Labels are those of kernel assign, to the bit: what is decided here costs or saves time only.
"""

import numpy as np

cimport cython

from libc.stdint cimport int32_t

from fastmix.core._kernels cimport address, fm_bounds, shortlists_of

from fastmix.core._kernels import at_least

cdef extern from "fm_atomic.h":
    void fm_add_to(Py_ssize_t *total, Py_ssize_t value) noexcept nogil

__all__ = ["use_shortlists"]

# 0: never, 1: where they pay, 2: always (tests).
cdef int _use = 1

# Nanoseconds on one thread (Xeon of family 6, model 207; only ratios matter), fitted to passes of
# 16 to 768 columns and 64 to 1000 centres in both dtypes: of a product in a scan of sixteen floats,
# and more of a centre; the same of codes; of a row and a column of a row; of a centre that is near,
# and a column of it.
cdef double SCAN_PRODUCT = 0.215, SCAN_CENTER = 2.0
cdef double CODE_PRODUCT = 0.0755, CODE_CENTER = 0.7
cdef double ROW = 68.0, COLUMN = 0.45, NEAR = 5.6, NEAR_COLUMN = 0.17

# Of a coordinate of a centre that is packed, for few rows: of those that come again it is little.
cdef double PACK_COLUMN = 6.0

# The row's columns in float64 take so many times these.
cdef double WIDE_COLUMN = 1.5

# Sums of products have 31 bits up to so many columns.
cdef Py_ssize_t MAX_COLUMNS = 131072

# Lists are used where they promise this part of a scan's time at most, and left for so many passes
# where they took more than all of it.
cdef double WORTHWHILE = 0.8
cdef int PAUSE = 64

# Rows are seen from pivots, some of the centres, where centres that are near took this part of what
# else lists take.
cdef double CROWDED = 0.25
cdef Py_ssize_t MAX_PIVOTS = 64


def use_shortlists(int mode):
    """0: never, 1: where they pay, 2: wherever the kernels have them.  Returns the mode before."""
    global _use
    before, _use = _use, mode
    return before


cdef Shortlist shortlist_of(const fm_isa *isa, const fm_tile_kernels *tile, Py_ssize_t d):
    """The shortlists of rows with d columns."""
    cdef Shortlist s = Shortlist.__new__(Shortlist)
    s.tile, s.d = tile, d
    s.no_pivots = np.zeros((1, d))
    s.kernels = NULL
    if _use and d <= MAX_COLUMNS and shortlists_of(isa) >= (2 if _use == 1 else 1):
        s.kernels = isa.shortlist_f32 if tile.itemsize == 4 else isa.shortlist_f64
        if s.kernels.assign == NULL:
            s.kernels = NULL
    return s


@cython.final
cdef class Shortlist:
    """The shortlists of rows in one compute dtype.

    ``begin`` decides for the passes to come whether they are used, ``end`` adds up what they did.
    """

    cdef Py_ssize_t scratch(self) noexcept nogil:
        """Bytes of scratch for ``assign`` after ``begin``."""
        return self.kernels.scratch(&self.p, self.to.groups) if self.active else 0

    cdef double _scan(self, Py_ssize_t k) noexcept:
        """Nanoseconds of a row in kernel assign."""
        return k * (SCAN_PRODUCT * self.d + SCAN_CENTER) / 16 * self.tile.itemsize / 4

    cdef double _listed(self, Py_ssize_t k) noexcept:
        """The same by shortlists, but for what they leave."""
        cdef double column = COLUMN if self.tile.itemsize == 4 else WIDE_COLUMN * COLUMN
        return k * (CODE_PRODUCT * self.d + CODE_CENTER) / 16 + ROW + column * self.d

    cdef bint _pays(self, Py_ssize_t k) noexcept:
        return self.kernels != NULL and self._listed(k) < WORTHWHILE * self._scan(k)

    cdef double _saved(self, Py_ssize_t k, Py_ssize_t n) noexcept:
        """Nanoseconds that they save at least of n rows, but for packing the centres."""
        return n * (WORTHWHILE * self._scan(k) - self._listed(k))

    def serves(self, Py_ssize_t k):
        """Whether the next pass uses them."""
        return self.kernels != NULL and (_use == 2 or self.pause <= 1 and self._pays(k))

    def speedup(self, Py_ssize_t k):
        """How many times as fast as kernel assign a pass is expected to be, 1 where it is that."""
        return self._scan(k) / self._listed(k) if self.pause <= 1 and self._pays(k) else 1.0

    cdef int begin(self, const double[:, ::1] centers, const void *bias, Py_ssize_t n,
                   bint alone=True, bint returning=False, bint labelled=False, bint again=False,
                   order=None) except -1:
        """The centres of the passes over n rows until ``end``, with the biases of their panel.

        Without ``alone``, where runners-up are wanted as well, rows are scanned.  labelled: they
        have labels; returning: they will have.  again: the centres are those of the last call.
        order: labels by place, as many as fill vectors, -1 where there is none.
        """
        cdef Py_ssize_t k = centers.shape[0]
        cdef const int32_t[::1] labels = order
        self.pause = max(0, self.pause - 1)
        self.active = alone and self.kernels != NULL and (
            _use == 2 or self.pause == 0 and self._pays(k)
            and (returning or self._saved(k, n) > PACK_COLUMN * k * self.d)
        )
        self.rows = self.near = self.undecided = 0
        self.returning, self.labelled = returning, labelled
        self.to.bounds, self.to.groups = NULL, 0
        if not self.active:
            self.packed = False
            return 0
        if self.packed and again and (order is None or self.ordered):
            return 0
        if self.crowded and labelled and self.pivots is None:
            self.pivots = np.vstack([np.zeros(self.d), centers[:: (k - 1) // MAX_PIVOTS + 1]])
        self.packed, self.ordered = False, order is not None
        self.p.k, self.p.d = k, self.d
        cdef Py_ssize_t places = k if order is None else len(order)
        self.p.vectors = (places + SHORT_VECTOR - 1) // SHORT_VECTOR
        cdef const double[:, ::1] pivots = self.no_pivots if self.pivots is None else self.pivots
        self.p.pivots = pivots.shape[0]
        cdef Py_ssize_t size = self.kernels.memory(&self.p)
        self.memory = at_least(self.memory, size)
        self.kernels.pack_centers(&centers[0, 0], bias, NULL if order is None else &labels[0],
                                  &pivots[0, 0], &self.p, address(self.memory))
        self.packed = True
        return 0

    cdef int leave_bounds(self, const fm_bounds *b, const Py_ssize_t[::1] first) except -1:
        """After ``begin`` with an order: until ``end`` rows also get bounds of groups, number g of
        which has places first[g] .. first[g + 1]."""
        if self.active:
            self.first = first
            self.to.bounds, self.to.first, self.to.groups = b, &first[0], first.shape[0] - 1
        return 0

    cdef void end(self) noexcept:
        """Rows are seen from pivots where many centres were near; no more of it for a while where
        lists have taken longer than scans."""
        cdef Py_ssize_t k = self.p.k
        cdef double listed, left
        self.to.bounds, self.to.groups = NULL, 0
        self.served += self.rows - self.undecided
        if not self.active or self.rows == 0:
            return
        listed = self._listed(k)
        left = ((NEAR + NEAR_COLUMN * self.d) * self.near + self._scan(k) * self.undecided
                ) / self.rows
        self.crowded = left > CROWDED * listed
        if self.crowded and self.returning and not (self.labelled and self.p.pivots > 1):
            return
        if listed + left > self._scan(k):
            self.pause = PAUSE

    def take_served(self):
        """Rows whose labels were found by them since the last call."""
        cdef Py_ssize_t served = self.served
        self.served = 0
        return served

    def counts(self):
        """Rows, centres near those that had more than one, and rows with too many, of the last
        pass."""
        return self.rows, self.near, self.undecided

    cdef Py_ssize_t assign(self, const void *rows, const void *squares, Py_ssize_t count,
                           const void *panel, const void *bias, const int32_t *hint,
                           int32_t *labels, Py_ssize_t row, void *scratch) noexcept nogil:
        """Labels of framed rows, and -1 of those that are to be scanned: returns how many these
        are.  row is the number of the first, for the bounds."""
        cdef Py_ssize_t undecided
        fm_add_to(&self.near, self.kernels.assign(
            rows, squares, count, &self.p, panel, bias, hint, labels,
            NULL if self.to.bounds == NULL else &self.to, row, scratch, &undecided))
        fm_add_to(&self.rows, count)
        fm_add_to(&self.undecided, undecided)
        return undecided
