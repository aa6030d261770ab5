# SPDX-License-Identifier: BSD-3-Clause
"""Brackets for parallel regions, so that a fork knows whether one is open."""

cdef int enter() except -1
cdef int leave() except -1
