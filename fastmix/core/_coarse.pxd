# SPDX-License-Identifier: BSD-3-Clause
"""Rows and centres in few bits, from which groups of centres are ruled out."""

from libc.stdint cimport int32_t

from fastmix.core._kernels cimport fm_bounds, fm_open
from fastmix.core._tiles cimport TileRows


cdef class Coarse:
    cdef TileRows rows
    cdef readonly Py_ssize_t effort
    cdef readonly bint two_sided
    cdef readonly object column_of
    cdef Py_ssize_t[::1] first
    cdef object memory
    cdef char *scratch  # of the threads

    cdef int _reserve(self, Py_ssize_t bytes, int n_threads) except -1
    cdef int prepare(self, int n_threads) except -1
    cdef void move_group(self, Py_ssize_t g, const double *centers, Py_ssize_t size,
                         int thread) noexcept nogil
    cdef Py_ssize_t scan(self, const fm_bounds *b, Py_ssize_t group, Py_ssize_t panel,
                         Py_ssize_t n_panels, Py_ssize_t start, const fm_open *open,
                         int32_t *list, Py_ssize_t count) noexcept nogil
    cdef void scan_own(self, const fm_bounds *b, Py_ssize_t group, Py_ssize_t panel,
                       Py_ssize_t n_panels, Py_ssize_t start, const fm_open *open,
                       Py_ssize_t first, Py_ssize_t count) noexcept nogil
