# SPDX-License-Identifier: BSD-3-Clause
"""Rows and centres in few bits, from which groups of centres are ruled out."""

import numpy as np

__all__ = ["Coarse"]


cdef class Coarse:
    """What the bounds ask of rows and centres in few bits.

    ``effort`` is about what a row and a group cost, in coordinates of 16 bits.
    """

    def arrange(self, groups, const Py_ssize_t[::1] first, Py_ssize_t columns):
        """Groups of centres (a list of arrays), each with its first of so many columns."""
        cdef Py_ssize_t g
        self.column_of = np.empty(sum(len(members) for members in groups), dtype=np.int32)
        for g in range(len(groups)):
            self.column_of[groups[g]] = np.arange(first[g], first[g] + len(groups[g]))

    def add(self, Py_ssize_t start, Py_ssize_t stop, int n_threads):
        """Rows start .. stop, before bounds ask for them the first time."""

    def move(self, const double[:, ::1] centers, stirred, int n_threads):
        """The centres (k, d) of the next E-step; a mask (k,) of those that have moved."""
        raise NotImplementedError

    cdef Py_ssize_t scan(self, const fm_bounds *b, Py_ssize_t group, Py_ssize_t panel,
                         Py_ssize_t n_panels, Py_ssize_t start, const fm_open *open,
                         int32_t *list, Py_ssize_t count) noexcept nogil:
        """Of the listed open rows, those for which the group may still hold a nearer centre."""
        return count
