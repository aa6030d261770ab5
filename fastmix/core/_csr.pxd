# SPDX-License-Identifier: BSD-3-Clause
"""C declarations of _csr.pyx."""

from fastmix.core._kernels cimport fm_csr, fm_exact_kernels, fm_found_kernels, fm_grid


cdef struct Row:
    # The non-zero elements of one row, unpacked into one thread's memory, and the room beside it.
    Py_ssize_t *column
    double *y
    double *room
    Py_ssize_t count


cdef class CsrRows:
    cdef readonly object X, dtype
    cdef readonly Py_ssize_t n, d, stride, block_rows, bytes_read
    cdef readonly object offset, grids
    cdef readonly double scale
    cdef public object column_range  # minima and maxima (2, d), once they are known
    cdef fm_csr x
    cdef fm_grid grid
    cdef const fm_exact_kernels *kernels
    cdef const fm_found_kernels *found
    cdef object memory, data, indices, indptr
    cdef Py_ssize_t longest
    cdef bint ordered  # entries of a row by column, one for each

    cdef char *_reserve(self, int n_threads, Py_ssize_t room) except NULL
    cdef Py_ssize_t _bytes(self, Py_ssize_t room) noexcept nogil
    cdef Row _unpack(self, char *memory, Py_ssize_t room, Py_ssize_t row) noexcept nogil
    cdef Row _row(self, char *memory, Py_ssize_t room, Py_ssize_t row) noexcept nogil
