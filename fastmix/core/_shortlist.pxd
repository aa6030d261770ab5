# SPDX-License-Identifier: BSD-3-Clause
"""Nearest centres by shortlists of 8-bit codes, where they pay."""

from libc.stdint cimport int32_t

from fastmix.core._kernels cimport (
    fm_bounds, fm_isa, fm_memory, fm_short_bounds, fm_shortlist, fm_shortlist_kernels,
    fm_tile_kernels,
)


cdef class Shortlist:
    cdef const fm_tile_kernels *tile
    cdef const fm_shortlist_kernels *kernels
    cdef fm_shortlist p
    cdef Py_ssize_t d
    cdef bint active, packed
    cdef fm_short_bounds to
    cdef object group_of
    cdef int pause
    cdef Py_ssize_t rows, near, undecided, served
    cdef object memory

    cdef double _scan(self, Py_ssize_t k) noexcept
    cdef double _listed(self, Py_ssize_t k) noexcept
    cdef bint _pays(self, Py_ssize_t k) noexcept
    cdef Py_ssize_t scratch(self, Py_ssize_t block_rows) noexcept nogil
    cdef int begin(self, const double *centers, const void *bias, Py_ssize_t k,
                   bint alone=*, bint again=*) except -1
    cdef int leave_bounds(self, const fm_bounds *b, Py_ssize_t groups) except -1
    cdef void end(self) noexcept
    cdef void assign(self, const void *tiles, Py_ssize_t count, const void *panel,
                     const void *bias, Py_ssize_t k, const int32_t *hint, int32_t *labels,
                     int32_t *second, Py_ssize_t row, fm_memory upcoming,
                     void *scratch) noexcept nogil


cdef Shortlist shortlist_of(const fm_isa *isa, const fm_tile_kernels *tile, Py_ssize_t d)
