# SPDX-License-Identifier: BSD-3-Clause
"""Rows and centres of one fit in codes of 8 bits, for the bounds."""

from fastmix.core._coarse cimport Coarse
from fastmix.core._kernels cimport fm_row_codes, fm_shortlist_kernels


cdef class RowCodes(Coarse):
    cdef const fm_shortlist_kernels *kernels
    cdef fm_row_codes p
    cdef list groups
    cdef Py_ssize_t[::1] first
    cdef readonly object codes, numbers, panels, starts, halves, group_numbers
    cdef object memory

    cdef void _add(self, Py_ssize_t start, Py_ssize_t stop, char *memory) noexcept nogil
