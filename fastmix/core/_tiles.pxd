# SPDX-License-Identifier: BSD-3-Clause
"""What the drivers of the passes share: the rows, a thread's scratch, and cuts of blocks."""

from libc.stdint cimport int32_t

from fastmix.core._kernels cimport (
    fm_block, fm_found_kernels, fm_grid, fm_isa, fm_matrix, fm_memory, fm_tile_kernels,
)
from fastmix.core._shortlist cimport Shortlist
from fastmix.core._threads cimport Locks


cdef struct Scratch:
    # One thread's memory, carved out of one allocation.
    char *tiles
    char *pack
    char *assign
    char *distances
    double *values
    double *sums
    int32_t *labels
    int32_t *added
    int32_t *removed
    Py_ssize_t *changed
    Py_ssize_t bytes


cdef inline Py_ssize_t round_up(Py_ssize_t k, Py_ssize_t width) noexcept nogil:
    """k, rounded up to a multiple of width."""
    return (k + width - 1) // width * width


cdef inline Py_ssize_t whole_lines(Py_ssize_t size) noexcept nogil:
    """Bytes, rounded up to cache lines."""
    return round_up(size, 64)


cdef inline Py_ssize_t panel_bytes(Py_ssize_t columns, Py_ssize_t d, Py_ssize_t itemsize,
                                   Py_ssize_t *bias) noexcept nogil:
    """Bytes of a panel of so many centres of d numbers, and where in it their biases begin."""
    bias[0] = whole_lines(columns * d * itemsize)
    return bias[0] + columns * itemsize


cdef inline char *take(char **at, Py_ssize_t bytes) noexcept nogil:
    """The next bytes of an allocation that is carved up."""
    cdef char *start = at[0]
    at[0] += whole_lines(bytes)
    return start


cdef inline fm_block piece_of(const fm_block *b, Py_ssize_t at, Py_ssize_t step) noexcept nogil:
    cdef fm_block piece
    piece.rows = NULL if b.rows == NULL else b.rows + at
    piece.start = b.start + at
    piece.count = min(step, b.count - at)
    return piece


cdef class TileRows:
    cdef readonly object X, source, dtype
    # Rows held_start .. held_stop are those of an array in memory.
    cdef object window, reader
    cdef Py_ssize_t held_start, held_stop, read_to
    cdef readonly Py_ssize_t bytes_read
    cdef readonly Py_ssize_t n, d, stride, block_rows
    cdef readonly object offset, grids
    cdef public object column_range  # minima and maxima (2, d), once they are known
    cdef readonly double scale
    cdef fm_matrix x
    cdef fm_grid grid
    cdef const fm_isa *isa
    cdef const fm_tile_kernels *kernels
    cdef const fm_found_kernels *found
    cdef readonly Shortlist short
    cdef object real_offset, memory, panel
    cdef const void *pack_offset

    cdef int _hold(self, Py_ssize_t start, window) except -1
    cdef int _fetch(self, Py_ssize_t start, Py_ssize_t stop) except -1
    cdef bint _whole(self) noexcept
    cdef object _picked(self, rows)
    cdef Scratch _scratch(self, char *memory, Py_ssize_t k) noexcept nogil
    cdef Scratch _of_thread(self, char *memory, Py_ssize_t k) noexcept nogil
    cdef char *_reserve(self, int n_threads, Py_ssize_t k=*) except NULL
    cdef fm_block _block(self, Py_ssize_t start, Py_ssize_t stop,
                         Py_ssize_t block) noexcept nogil
    cdef Py_ssize_t _step(self, Py_ssize_t k) noexcept nogil
    cdef Py_ssize_t _n_blocks(self, Py_ssize_t n) noexcept nogil
    cdef fm_memory _rows_memory(self, Py_ssize_t start, Py_ssize_t count) noexcept nogil
    cdef void _pack(self, const fm_block *b, Scratch *s) noexcept nogil
    cdef void _shortlist(self, const fm_block *b, Scratch *s, const void *panel, const void *bias,
                         Py_ssize_t k, const int32_t *hint, int32_t *labels) noexcept nogil
    cdef void _move_rows(self, const Py_ssize_t *rows, Py_ssize_t count, const int32_t *added,
                         const int32_t *removed, const double *weights, double *sums,
                         Py_ssize_t k, Locks locks, double *scratch) noexcept nogil
    cdef void *_panel(self, const double[:, ::1] centers, Py_ssize_t width, void **bias,
                      bint again=*) except NULL
    cdef Py_ssize_t _extremes(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block,
                              char *memory, char *low, char *high) noexcept nogil
    cdef void _add_all(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                       const double *w, double *sums) noexcept nogil
