# SPDX-License-Identifier: BSD-3-Clause
"""Rows and centres in few bits, from which groups of centres are ruled out."""

from libc.stdint cimport int32_t

from fastmix.core._kernels cimport fm_bounds, fm_open
from fastmix.core._tiles cimport TileRows


cdef class Coarse:
    cdef TileRows rows
    cdef readonly Py_ssize_t effort
    cdef readonly object column_of

    cdef Py_ssize_t scan(self, const fm_bounds *b, Py_ssize_t group, Py_ssize_t panel,
                         Py_ssize_t n_panels, Py_ssize_t start, const fm_open *open,
                         int32_t *list, Py_ssize_t count) noexcept nogil
