# SPDX-License-Identifier: BSD-3-Clause
"""Rows and centres in few bits, from which groups of centres are ruled out."""

import numpy as np

from libc.stdint cimport int32_t

from fastmix.core._kernels cimport address

from fastmix.core._kernels import at_least

__all__ = ["Coarse"]


cdef class Coarse:
    """What the bounds ask of rows and centres in few bits.

    ``two_sided`` tells whether distances are bounded from above as well; where they are not,
    ``effort`` is about what a row and a group cost, in coordinates of 16 bits.
    """

    def arrange(self, groups, const Py_ssize_t[::1] first, Py_ssize_t columns):
        """Groups of centres (a list of arrays), each with its first of so many columns."""
        cdef Py_ssize_t g
        self.first = np.array(first)
        self.column_of = np.empty(sum(len(members) for members in groups), dtype=np.int32)
        for g in range(len(groups)):
            self.column_of[groups[g]] = np.arange(first[g], first[g] + len(groups[g]))

    def add(self, Py_ssize_t start, Py_ssize_t stop, const int32_t[::1] labels, int n_threads):
        """Rows start .. stop, which have labels, before bounds ask for them the first time."""

    def move(self, Py_ssize_t g, const double[:, ::1] centers):
        """The centres (size, d) of a group in the next E-step."""
        self.prepare(1)
        self.move_group(g, &centers[0, 0], centers.shape[0], 0)

    cdef int _reserve(self, Py_ssize_t bytes, int n_threads) except -1:
        """So many bytes of scratch for each thread."""
        self.memory = at_least(self.memory, bytes * n_threads)
        self.scratch = <char *>address(self.memory)
        return 0

    cdef int prepare(self, int n_threads) except -1:
        """Before groups move on so many threads."""
        return 0

    cdef void move_group(self, Py_ssize_t g, const double *centers, Py_ssize_t size,
                         int thread) noexcept nogil:
        """As move, on one of the threads."""

    cdef Py_ssize_t scan(self, const fm_bounds *b, Py_ssize_t group, Py_ssize_t panel,
                         Py_ssize_t n_panels, Py_ssize_t start, const fm_open *open,
                         int32_t *list, Py_ssize_t count) noexcept nogil:
        """Of the listed open rows, those for which the group may still hold a nearer centre."""
        return count

    cdef void scan_own(self, const fm_bounds *b, Py_ssize_t group, Py_ssize_t panel,
                       Py_ssize_t n_panels, Py_ssize_t start, const fm_open *open,
                       Py_ssize_t first, Py_ssize_t count) noexcept nogil:
        """Bounds of open rows first .. first + count, whose labels are in the group: of distances
        to the label's centre from above, to the others from below.  Where two_sided only."""
