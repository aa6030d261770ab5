# SPDX-License-Identifier: BSD-3-Clause
"""The moments of a mixture: of the rows of a block, added to a slot, and of slots, added up."""

from fastmix.core._kernels cimport fm_block
from fastmix.core._mixture_memory cimport Memory, MixtureMemory, Pass, Sums


cdef class MixtureMoments(MixtureMemory):
    cdef void _add(self, const fm_block *b, const Pass *p, Memory *m, Sums *s) noexcept nogil
    cdef void _add_every(self, const fm_block *b, const Pass *p, const double *w, Memory *m,
                         Sums *s) noexcept nogil
    cdef void _weigh(self, const fm_block *b, const Pass *p, const double *w,
                     Memory *m) noexcept nogil
    cdef Py_ssize_t _select(self, const fm_block *b, const Pass *p, Py_ssize_t j, const double *w,
                            Memory *m) noexcept nogil
    cdef const double *_shares_of_all(self, const fm_block *b, const Pass *p, Py_ssize_t j,
                                      const double *w, Memory *m) noexcept nogil
    cdef int _fold(self, Py_ssize_t n_slots, char *sums, Py_ssize_t bytes, const Pass *p, moments,
                   int n_threads) except -1
    cdef void _fold_part(self, Py_ssize_t n_slots, char *sums, Py_ssize_t bytes, const Pass *p,
                         Py_ssize_t part, double *weight, double *first,
                         double *second) noexcept nogil
    cdef void _add_triangle(self, const double *packed, double *matrix) noexcept nogil
