# SPDX-License-Identifier: BSD-3-Clause
"""Rows and centres of one fit in codes of 8 bits, for the bounds."""

from fastmix.core._coarse cimport Coarse
from fastmix.core._kernels cimport fm_code_kernels, fm_row_codes


cdef class RowCodes(Coarse):
    cdef const fm_code_kernels *kernels
    cdef fm_row_codes p
    cdef readonly object codes, numbers, panels, starts, halves, group_numbers

    cdef void _add(self, Py_ssize_t start, Py_ssize_t stop, char *memory) noexcept nogil
