# SPDX-License-Identifier: BSD-3-Clause
"""Leading coordinates of the rows and centres of one fit, for the bounds."""

from libc.stdint cimport int16_t, int32_t

from fastmix.core._coarse cimport Coarse
from fastmix.core._kernels cimport fm_prefix


cdef class Prefix(Coarse):
    cdef readonly Py_ssize_t m, width
    cdef fm_prefix p
    cdef readonly object codes, half, panels, biases
    cdef object axes, offsets, shift
    cdef char *axis
    cdef char *bias
    cdef const void *offset
    cdef double *shift_at
    cdef int32_t *panel
    cdef int32_t *center_bias

    cdef Py_ssize_t _bytes(self) noexcept nogil
    cdef void _project(self, const double *x, const double *squares, Py_ssize_t count, double *y,
                       int16_t *to, int32_t *half) noexcept nogil
    cdef void _add_rows(self, Py_ssize_t start, Py_ssize_t stop, char *memory) noexcept nogil
    cdef void _add_centers(self, const double *centers, Py_ssize_t column, Py_ssize_t count,
                           char *memory) noexcept nogil
