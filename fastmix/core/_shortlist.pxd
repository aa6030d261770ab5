# SPDX-License-Identifier: BSD-3-Clause
"""Nearest centres by shortlists of 8-bit codes, where they pay."""

from libc.stdint cimport int32_t

from fastmix.core._kernels cimport (
    fm_bounds, fm_isa, fm_short_bounds, fm_shortlist, fm_shortlist_kernels, fm_tile_kernels,
)

cdef enum:
    SHORT_VECTOR = 16  # centres in the lanes of the kernels


cdef class Shortlist:
    cdef const fm_tile_kernels *tile
    cdef const fm_shortlist_kernels *kernels
    cdef fm_shortlist p
    cdef Py_ssize_t d
    cdef bint active, returning, labelled, crowded
    cdef bint packed, ordered  # whether centres have been, by the groups of bounds
    cdef fm_short_bounds to
    cdef object first, pivots, no_pivots, memory
    cdef int pause
    cdef Py_ssize_t rows, near, undecided, served

    cdef double _scan(self, Py_ssize_t k) noexcept
    cdef double _listed(self, Py_ssize_t k) noexcept
    cdef bint _pays(self, Py_ssize_t k) noexcept
    cdef Py_ssize_t scratch(self) noexcept nogil
    cdef double _saved(self, Py_ssize_t k, Py_ssize_t n) noexcept
    cdef int begin(self, const double[:, ::1] centers, const void *bias, Py_ssize_t n,
                   bint alone=*, bint returning=*, bint labelled=*, bint again=*, order=*) except -1
    cdef int leave_bounds(self, const fm_bounds *b, const Py_ssize_t[::1] first) except -1
    cdef void end(self) noexcept
    cdef Py_ssize_t assign(self, const void *rows, const void *squares, Py_ssize_t count,
                           const void *panel, const void *bias, const int32_t *hint,
                           int32_t *labels, Py_ssize_t row, void *scratch) noexcept nogil


cdef Shortlist shortlist_of(const fm_isa *isa, const fm_tile_kernels *tile, Py_ssize_t d)
