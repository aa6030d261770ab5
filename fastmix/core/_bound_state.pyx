# SPDX-License-Identifier: BSD-3-Clause
"""Bounds of rows as the centres move, and which rows they leave open."""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport ceil, sqrt
from libc.stdint cimport int16_t, int32_t, uint8_t

from fastmix.core._kernels cimport FM_GROUP_WIDTH, FM_UPPER_NONE, address
from fastmix.core._coarse cimport Coarse
from fastmix.core._threads cimport enter, leave
from fastmix.core._tiles cimport TileRows, panel_bytes

from fastmix.core._kernels import aligned_empty

__all__ = ["BoundState"]


# Codes are 15 bits: this many times the spread of the distances is half of their range.
cdef double HALF_RANGE = 4.0
cdef int HALF_CODES = 16383

# Covers the rounding of what is computed here.
cdef double MORE = 1 + 1e-6


cdef inline double _rounded(double value, Py_ssize_t itemsize) noexcept nogil:
    """As the kernels see it."""
    return <double>(<float>value) if itemsize == 4 else value


cdef class BoundState:
    """Bounds of the rows of one fit; the E-step that uses and renews them is its subclass.

    Parameters
    ----------
    rows : TileRows
    groups : list of ndarray
        Centres, as from group_centers.
    spread : float
        About the distance of a row to its centre.
    coarse : Coarse or None
        Rows in few bits, from which groups are ruled out first.
    """

    def __init__(self, TileRows rows, groups, double spread, Coarse coarse=None):
        cdef Py_ssize_t size = rows.kernels.itemsize, n = rows.n, columns, bias_at
        self.rows, self.coarse, self.groups, self.n_groups = rows, coarse, groups, len(groups)
        self.sizes = np.array([len(members) for members in self.groups], dtype=np.intp)
        ends = np.cumsum((self.sizes + FM_GROUP_WIDTH - 1) // FM_GROUP_WIDTH * FM_GROUP_WIDTH)
        columns = ends[-1]
        self.k = self.sizes.sum()
        self.first = np.append(0, ends[:-1]).astype(np.intp)
        self.order = np.full(columns, -1, dtype=np.int32)
        self.group_of = np.empty(self.k, dtype=np.int32)
        self.position = np.empty(self.k, dtype=np.int32)
        self.position[np.concatenate(self.groups)] = np.arange(self.k)
        for g, members in enumerate(self.groups):
            self.order[self.first[g] : self.first[g] + len(members)] = members
            self.group_of[members] = g
        self.first_column, self.group_size = self.first, self.sizes
        self.center_at, self.position_of = self.order, self.position
        self.member = np.concatenate(self.groups)
        self.grouped = np.zeros((self.k, rows.d))

        stride = (self.n_groups + 7) // 8 * 8  # Cython divides as C does
        self.upper = np.full(n, FM_UPPER_NONE, dtype=np.float32)
        self.codes = np.zeros((n, stride), dtype=np.int16)
        self.moved = np.zeros(self.k, dtype=np.float32)
        self.group_reach = np.zeros(self.n_groups, dtype=np.float32)
        self.group_moved = np.zeros(stride, dtype=np.int16)
        self.group_moved[self.n_groups :] = -32768  # so that none of these is open
        self.moves, self.group_moves = self.moved, self.group_reach
        self.group_codes = self.group_moved
        self.panel = aligned_empty(panel_bytes(columns, rows.d, size, &bias_at), np.uint8)
        self.panel_start = <char *>address(self.panel)
        self.bias = self.panel_start + bias_at

        self.b.upper = <float *>address(self.upper)
        self.b.codes = <int16_t *>address(self.codes)
        self.b.stride, self.b.step = stride, HALF_RANGE / HALF_CODES * spread
        self.b.group_of = <int32_t *>address(self.group_of)
        self.b.moved = <float *>address(self.moved)
        self.b.group_reach = <float *>address(self.group_reach)
        self.b.group_moved = <int16_t *>address(self.group_moved)
        if coarse is not None:
            coarse.arrange(self.groups, self.first, columns)
        self.epsilon = 2.0**-24 if size == 4 else 2.0**-53
        self.b.unit = (2 if size == 4 else 3) * (rows.d + 8) * self.epsilon

    def places(self, Py_ssize_t multiple):
        """Labels by place in the groups, each of which begins at a multiple of 8, and -1 where
        there is none; as many as fill the multiple."""
        order = np.full((len(self.order) + multiple - 1) // multiple * multiple, -1, dtype=np.int32)
        order[: len(self.order)] = self.order
        return order

    def first_places(self):
        """Places where the groups begin, and where the last one ends."""
        return np.append(self.first, len(self.order)).astype(np.intp)

    @property
    def step(self):
        """Distance of one unit of the codes."""
        return self.b.step

    def move(self, const double[:, ::1] centers, double x_square, int n_threads=1):
        """The centres of the next E-step, (k, d) float64 in the frame; x_square bounds |x|^2."""
        cdef Py_ssize_t g
        cdef double[::1] squares = np.empty(self.n_groups)
        if self.coarse is not None:
            self.coarse.prepare(n_threads)
        enter()
        for g in prange(self.n_groups, nogil=True, num_threads=n_threads, schedule="static"):
            squares[g] = self._move_group(g, centers, threadid())
        leave()
        cdef double more = MORE, c_square = np.max(squares)
        cdef double reach = max(self.moved.max(), self.group_reach.max())
        cdef int most = self.group_moved[: self.n_groups].max()
        self.loose, self.started = self.started, True
        self.b.reach = reach
        self.b.c_square = c_square * more
        cdef double bias = self.b.c_square / (2 if self.rows.kernels.itemsize == 4 else 1)
        cdef double length = sqrt(x_square * self.b.c_square) + bias
        self.b.proof = 4 * (self.rows.d + 4) * self.epsilon * length * more + 1e-36
        self.b.root = sqrt(self.b.proof) * more
        self.renewing = most > HALF_CODES
        if self.renewing:
            # Beyond the range of the codes: the next E-step takes off what has been added.
            self.before = self.moved.copy(), self.group_moved.copy()
            self.old = self.b
            self.old.moved = <float *>address(self.before[0])
            self.old.group_moved = <int16_t *>address(self.before[1])
            self.moved[...] = self.group_reach[...] = self.group_moved[: self.n_groups] = 0
            self.b.reach = 0

    cdef double _move_group(self, Py_ssize_t g, const double[:, ::1] centers,
                            int thread) noexcept nogil:
        """Keeps the new centres of a group and how far they are from the old; returns the greatest
        square of a centre."""
        cdef Py_ssize_t size = self.rows.kernels.itemsize, d = self.rows.d, t, p, j
        cdef Py_ssize_t column = self.first_column[g]
        cdef Py_ssize_t first = self.position_of[self.center_at[column]]
        cdef double shift, square, now, before, farthest = 0, greatest = 0
        cdef bint stirred = not self.started
        cdef const double *center
        cdef double *kept
        for p in range(first, first + self.group_size[g]):
            shift = square = 0
            j = self.member[p]
            center, kept = &centers[j, 0], &self.grouped[p, 0]
            for t in range(d):
                now, before = _rounded(center[t], size), _rounded(kept[t], size)
                stirred |= now != before
                shift += (now - before) ** 2
                square += now * now
                kept[t] = center[t]
            shift = sqrt(shift) if self.started else 0
            farthest = max(farthest, shift)
            greatest = max(greatest, square)
            self.moves[j] = <float>((self.moves[j] + shift) * MORE)
        self.group_moves[g] = <float>((self.group_moves[g] + farthest) * MORE)
        now = ceil(self.group_moves[g] * MORE / self.b.step)
        self.group_codes[g] = <int16_t>min(now, 32767.0)
        if not stirred:
            return greatest
        self.rows.kernels.pack_centers(&self.grouped[first, 0], self.group_size[g], d,
                                       FM_GROUP_WIDTH, self.panel_start + column * d * size,
                                       self.bias + column * size)
        if self.coarse is not None:
            self.coarse.move_group(g, &self.grouped[first, 0], self.group_size[g], thread)
        return greatest

    def open_pages(self, Py_ssize_t size, int32_t[::1] labels, int n_threads):
        """Mask of the pages of so many rows, at least 64, some of whose labels are not proven for
        the centres of the last move(): assign() looks at rows of no other page."""
        cdef Py_ssize_t n = self.rows.n, page, n_pages = (n + size - 1) // size
        cdef Py_ssize_t piece = min(size, MAX_PIECE_ROWS)
        cdef int32_t[:, ::1] lists = np.empty((n_threads, piece + 1), dtype=np.int32)
        cdef uint8_t[::1] open_ = np.zeros(n_pages, dtype=np.uint8)
        self.b.labels = self.old.labels = &labels[0]
        enter()
        for page in prange(n_pages, nogil=True, num_threads=n_threads, schedule="dynamic",
                           chunksize=16):
            open_[page] = self._is_open(page * size, min(n, (page + 1) * size), piece,
                                        &lists[threadid(), 0])
        leave()
        self.renewing = False
        return np.asarray(open_).astype(bool)

    cdef bint _is_open(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t piece,
                       int32_t *list) noexcept nogil:
        cdef Py_ssize_t count
        if self.renewing:
            self.rows.isa.exact.bounds_renew(&self.old, start, stop - start)
        while start < stop:
            count = min(piece, stop - start)
            if self.rows.isa.exact.bounds_open(&self.b, start, count, list):
                return True
            start += count
        return False
