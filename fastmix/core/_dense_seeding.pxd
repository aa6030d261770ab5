# SPDX-License-Identifier: BSD-3-Clause
"""The seeding passes over dense rows, which the rows of K-means inherit."""

from libc.stdint cimport int8_t, int32_t

from fastmix.core._kernels cimport fm_block
from fastmix.core._tiles cimport Scratch, TileRows


cdef class Sketch:
    cdef readonly Py_ssize_t n_rows, room
    cdef readonly double scale, error, reach, half_unit, factor
    cdef double[::1] steps, inverse
    cdef int8_t[::1] bytes
    cdef float[::1] half
    cdef int32_t[::1] notes
    cdef object noted
    cdef Py_ssize_t[::1] found


cdef struct Candidates:
    # What one pass over the candidates shares between the threads.
    const void *panel
    const int32_t *pairs
    const float *unit
    const float *bias
    char *closest
    const double *weights
    double *gains
    double *left
    Py_ssize_t k
    bint update


cdef class SeedingRows(TileRows):
    cdef void _distances_of(self, const fm_block *b, Scratch *s, const void *panel,
                            Py_ssize_t k) noexcept nogil
    cdef void _potentials(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                          Candidates *c) noexcept nogil
    cdef Py_ssize_t _gains(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t first,
                           Py_ssize_t last, char *memory, Py_ssize_t *lists, Candidates *c,
                           Sketch sketch, char *noted) noexcept nogil
    cdef void _note(self, const fm_block *b, Scratch *s, const Py_ssize_t *rows,
                    const Py_ssize_t *ends, Py_ssize_t n_slots, Candidates *c, Sketch sketch,
                    char *noted) noexcept nogil
    cdef void _accept(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                      Candidates *c, Sketch sketch, char *noted, int32_t best,
                      bint fill) noexcept nogil
