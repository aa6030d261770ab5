# SPDX-License-Identifier: BSD-3-Clause
"""Nearest centres by shortlists of 8-bit codes (src/kernels/shortlist.inc.h), where they pay.

Labels are those of kernel assign, to the bit: what is decided here costs or saves time only.
"""

import numpy as np

cimport cython

from libc.stdint cimport int32_t

from fastmix.core._kernels cimport address, fm_bounds, shortlists_of

from fastmix.core._kernels import aligned_empty

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define fm_add_to(total, value) ((void)__atomic_fetch_add(total, value, __ATOMIC_RELAXED))
    #else
    #define fm_add_to(total, value) (*(total) += (value))
    #endif
    """
    void fm_add_to(Py_ssize_t *total, Py_ssize_t value) noexcept nogil

__all__ = ["use_shortlists"]

# 0: never, 1: where they pay, 2: always (tests).
cdef int _use = 1

# Nanoseconds on one thread (Zen 4; only the ratios matter), fitted to passes of 16 to 768 columns
# and 64 to 1000 centres in both dtypes: of a product in a scan of sixteen floats, and more of a
# centre; the same of codes; of a row and a column of a row; of a centre that is near, and a column
# of it.
cdef double SCAN_PRODUCT = 0.27, SCAN_CENTER = 0.8
cdef double CODE_PRODUCT = 0.073, CODE_CENTER = 1.6
cdef double ROW = 60.0, COLUMN = 0.27, NEAR = 9.5, NEAR_COLUMN = 0.18

# Lists are used where they promise this part of a scan's time at most, and left for so many passes
# where they took more than all of it.
cdef double WORTHWHILE = 0.8
cdef int PAUSE = 64


def use_shortlists(int mode):
    """0: never, 1: where they pay, 2: wherever the kernels have them.  Returns the mode before."""
    global _use
    before, _use = _use, mode
    return before


cdef Shortlist shortlist_of(const fm_isa *isa, const fm_tile_kernels *tile, Py_ssize_t d):
    """The shortlists of rows with d columns."""
    cdef Shortlist s = Shortlist.__new__(Shortlist)
    s.tile, s.d = tile, d
    s.kernels = NULL
    if _use and shortlists_of(isa) >= (2 if _use == 1 else 1):
        s.kernels = isa.shortlist_f32 if tile.itemsize == 4 else isa.shortlist_f64
        if s.kernels.assign == NULL:
            s.kernels = NULL
    return s


@cython.final
cdef class Shortlist:
    """The shortlists of rows in one compute dtype.

    ``begin`` decides for the passes to come whether they are used, ``end`` adds up what they did.
    """

    cdef Py_ssize_t scratch(self, Py_ssize_t block_rows) noexcept nogil:
        """Bytes of scratch for ``assign``."""
        cdef Py_ssize_t size = self.tile.assign_scratch(block_rows, self.d)
        if self.kernels == NULL:
            return size
        return max(size, self.kernels.scratch(self.d, self.to.groups))

    cdef double _scan(self, Py_ssize_t k) noexcept:
        """Nanoseconds of a row in kernel assign."""
        return k * (SCAN_PRODUCT * self.d + SCAN_CENTER) / 16 * self.tile.itemsize / 4

    cdef double _listed(self, Py_ssize_t k) noexcept:
        """The same by shortlists, but for what they leave."""
        return k * (CODE_PRODUCT * self.d + CODE_CENTER) / 16 + ROW + COLUMN * self.d

    cdef bint _pays(self, Py_ssize_t k) noexcept:
        return self.kernels != NULL and self._listed(k) < WORTHWHILE * self._scan(k)

    def serves(self, Py_ssize_t k):
        """Whether the next pass uses them."""
        return self.kernels != NULL and (_use == 2 or self.pause <= 1 and self._pays(k))

    def speedup(self, Py_ssize_t k):
        """How many times as fast as kernel assign a pass is expected to be, 1 where it is that."""
        return self._scan(k) / self._listed(k) if self.pause <= 1 and self._pays(k) else 1.0

    cdef int begin(self, const double *centers, const void *bias, Py_ssize_t k,
                   bint alone=True, bint again=False) except -1:
        # With runners-up, where labels are not wanted alone, rows are scanned.  again: the centres
        # are those of the last call.
        cdef Py_ssize_t size
        self.pause = max(0, self.pause - 1)
        self.active = alone and self.kernels != NULL and (
            _use == 2 or self.pause == 0 and self._pays(k)
        )
        self.rows = self.near = self.undecided = 0
        self.to.bounds, self.to.groups = NULL, 0
        self.packed = self.packed and again
        if self.active and not self.packed:
            self.packed = True
            size = self.kernels.memory(k, self.d)
            if self.memory is None or self.memory.size < size:
                self.memory = aligned_empty(size, np.uint8)
            self.p.k, self.p.d = k, self.d
            self.kernels.pack_centers(centers, bias, &self.p, address(self.memory))
        return 0

    cdef int leave_bounds(self, const fm_bounds *b, Py_ssize_t groups) except -1:
        """After ``begin``: until ``end`` rows also get bounds of so many groups."""
        cdef Py_ssize_t at
        if not self.active:
            return 0
        self.group_of = np.full(self.p.k + self.tile.panel_width, groups, dtype=np.int32)
        cdef int32_t[::1] group_of = self.group_of
        for at in range(self.p.k):
            group_of[at] = b.group_of[self.p.label[at]]
        self.to.group_of, self.to.groups = &group_of[0], groups
        self.to.bounds = b
        return 0

    cdef void end(self) noexcept:
        """No more of it for a while where lists have taken longer than scans."""
        cdef Py_ssize_t k = self.p.k
        self.to.bounds, self.to.groups = NULL, 0
        self.served += self.rows - self.undecided
        if self.active and self.rows and (
            self._listed(k) + (NEAR + NEAR_COLUMN * self.d) * self.near / self.rows
            + self._scan(k) * self.undecided / self.rows
        ) > self._scan(k):
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

    cdef void assign(self, const void *tiles, Py_ssize_t count, const void *panel,
                     const void *bias, Py_ssize_t k, const int32_t *hint, int32_t *labels,
                     int32_t *second, Py_ssize_t row, fm_memory upcoming,
                     void *scratch) noexcept nogil:
        """What kernel assign does; row is the number of the first, for the bounds."""
        cdef Py_ssize_t undecided
        if self.active:
            fm_add_to(&self.near, self.kernels.assign(
                tiles, count, &self.p, panel, bias, hint, labels,
                NULL if self.to.bounds == NULL else &self.to, row, upcoming, scratch,
                &undecided))
            fm_add_to(&self.rows, count)
            if undecided == 0:
                return
            fm_add_to(&self.undecided, count)
            upcoming.bytes = 0
        self.tile.assign(tiles, count, self.d, panel, bias, k, labels, second, upcoming, scratch)
