# SPDX-License-Identifier: BSD-3-Clause
"""Bounds of rows as the centres move, and which rows they leave open."""

from libc.stdint cimport int16_t, int32_t

from fastmix.core._kernels cimport fm_bounds
from fastmix.core._coarse cimport Coarse
from fastmix.core._tiles cimport TileRows

cdef enum:
    # Most rows whose open ones are listed at a time.
    MAX_PIECE_ROWS = 16384


cdef class BoundState:
    cdef readonly Py_ssize_t n_groups
    cdef TileRows rows
    cdef Coarse coarse
    cdef Py_ssize_t k
    cdef fm_bounds b, old
    cdef double epsilon  # of the compute dtype: half a unit in the last place of 1
    cdef bint started, loose
    cdef bint renewing  # whether the next E-step does, from old
    cdef readonly list groups
    cdef readonly object upper, codes, moved, group_reach
    cdef object group_of, position, order, first, sizes, group_moved, panel, before
    cdef Py_ssize_t[::1] first_column, group_size
    cdef int32_t[::1] center_at, position_of
    cdef Py_ssize_t[::1] member
    cdef double[:, ::1] grouped
    cdef float[::1] moves, group_moves
    cdef int16_t[::1] group_codes
    cdef char *panel_start
    cdef char *bias

    cdef double _move_group(self, Py_ssize_t g, const double[:, ::1] centers,
                            int thread) noexcept nogil
    cdef bint _is_open(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t piece,
                       int32_t *list) noexcept nogil
