# SPDX-License-Identifier: BSD-3-Clause
"""Rows and centres of one fit in codes of 8 bits, for the bounds."""

from libc.stdint cimport int32_t

from fastmix.core._coarse cimport Coarse
from fastmix.core._kernels cimport fm_code_kernels, fm_row_codes


cdef class RowCodes(Coarse):
    cdef const fm_code_kernels *kernels
    cdef fm_row_codes p
    cdef readonly object codes, numbers, references, reference_of, points, squares
    cdef readonly object panels, starts, apart, group_numbers

    cdef void _add(self, Py_ssize_t start, Py_ssize_t stop, const int32_t *labels,
                   char *memory) noexcept nogil
