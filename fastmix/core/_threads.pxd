# SPDX-License-Identifier: BSD-3-Clause
"""For the drivers: brackets around parallel regions, and locks inside them."""

from cpython.pythread cimport PyThread_type_lock

cdef int enter() except -1
cdef int leave() except -1


cdef class Locks:
    cdef PyThread_type_lock *locks
    cdef int n_parts

    cdef int acquire(self, int thread) noexcept nogil
    cdef void release(self, int part) noexcept nogil
