# SPDX-License-Identifier: BSD-3-Clause
"""C declarations of _sparse.pyx."""

from libc.stdint cimport int32_t

from fastmix.core._csr cimport CsrRows, Row
from fastmix.core._screen cimport Screen
from fastmix.core._threads cimport Locks

cdef enum:
    # Fewer centres are not screened: their scores take as long.
    LEAST_SCREENED = 8


cdef struct Counts:
    # Of a thread in one E-step: scores that the screen left to be computed; and with bounds the
    # products, and the rows that were read.  A cache line.
    Py_ssize_t candidates
    Py_ssize_t products
    Py_ssize_t rows
    Py_ssize_t[5] unused


cdef struct Step:
    # What one E-step shares between the threads.
    const double *centers
    const double *bias
    const double *turned  # for all scores; NULL: screened
    const double *weights
    int32_t *labels
    int32_t *second
    double *sums
    Counts *counts  # by thread
    Py_ssize_t k, room


cdef class SparseRows(CsrRows):
    cdef public bint screened
    # Of the centres of this pass: biases, the screen, centres for all scores, and for distances.
    cdef Screen screen
    cdef object bias, turned, panels_of, panels

    cdef void prepare(self, centers, double unit, int n_threads)
    cdef Step step_of(self, const double[:, ::1] centers, int32_t[::1] labels,
                      double[:, :, :, ::1] sums, const double[::1] weights) noexcept
    cdef void consider(self, const Counts *counts, int n_threads, Py_ssize_t products) noexcept
    cdef Py_ssize_t _assign(self, Py_ssize_t row, char *memory, Step *s,
                            Locks locks) noexcept nogil
    cdef Py_ssize_t relabel(self, Py_ssize_t row, Row *r, Py_ssize_t best, Step *s,
                            Locks locks) noexcept nogil
    cdef Py_ssize_t _scores(self, Row *r, Step *s, Py_ssize_t *second) noexcept nogil
    cdef Py_ssize_t screened_of(self, Row *r, Step *s, float *least) noexcept nogil
    cdef Py_ssize_t nearest(self, Row *r, Step *s, Py_ssize_t n, float *low) noexcept nogil
    cdef void _squares(self, Py_ssize_t row, char *memory, Py_ssize_t room, const double *panels,
                       const double *norms, Py_ssize_t groups, double *out) noexcept nogil
    cdef double _residual(self, Py_ssize_t row, char *memory, const double *center,
                          double norm) noexcept nogil
    cdef void _distances(self, Py_ssize_t row, char *memory, const double *panels,
                         const double *norms, Py_ssize_t k, double *out) noexcept nogil
    cdef Py_ssize_t _slot_room(self, Py_ssize_t n) noexcept nogil
    cdef void _potentials(self, Py_ssize_t slot, Py_ssize_t stop, char *memory,
                          const double *panels, const double *norms, Py_ssize_t k, bint previous,
                          double *closest, const double *w, double *out,
                          double *gains) noexcept nogil
