# SPDX-License-Identifier: BSD-3-Clause
"""Leading coordinates of the rows and centres of one fit in 16 bits, and how far they are off.

What they prove is in src/kernels/prefix.inc.h.  It needs, for every framed row or centre x with
|x| <= reach, |step q - (U x, r(x))| <= error, where U has exactly orthonormal rows and
r(x)^2 = |x|^2 - |U x|^2.  U is the factor of the polar decomposition V = S U of the axes V (m, d)
that are multiplied with: if V V^T = I + E, then |U - V| <= |E|.  With u = 2^-53:

* a product V_t . x of d fused multiply-adds is off by (d + 1) u |V_t| |x|, all m of them and U
  instead of V therefore by a reach, a = 1.01 sqrt(m) (d + 1) u + |E|;
* r^2 from the computed |x|^2, off by (d + 2) u |x|^2, and from squares of what is off by a reach,
  is off by b reach^2, b = (2 d + 2 m + 8) u + 3 a, and r by no more than the root of that;
* rounding to whole steps adds half a step a coordinate;
* a row is read in float64, while the scores are those of its values in the compute dtype: at most
  2^-24 (float64: u) of |x| before the shift, since the map brings no two points farther apart;
* the sum of offset and shift, and what is less it, are rounded: u of each of the norms.
"""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.math cimport sqrt
from libc.stdint cimport int16_t, int32_t
from libc.string cimport memcpy

from fastmix.core._coarse cimport Coarse
from fastmix.core._kernels cimport (
    FM_GROUP_WIDTH, FM_PROJECTED_ROWS, FM_SCORE_NONE, address, fm_block, fm_bounds, fm_open,
)
from fastmix.core._threads cimport enter, leave
from fastmix.core._tiles cimport TileRows, round_up, whole_lines

from fastmix.core._frame import passes
from fastmix.core._kernels import aligned_empty

__all__ = ["Prefix"]

# |q| of a point in range before rounding; with at most 2^9 coordinates it is below 32000 after it.
cdef double REACH_STEPS = 31950.0
MAX_AXES = 510


@cython.final
cdef class Prefix(Coarse):
    """Leading coordinates of rows, and of the centres of an E-step.

    Parameters
    ----------
    rows : TileRows
    axes : ndarray of shape (m, d), float64
        About orthonormal; m <= MAX_AXES.
    reach : float
        Rows farther from the shift have no coordinates.
    shift : ndarray of shape (d,), float64
        Of the coordinates' origin, in the frame.
    n_threads : int
    """

    def __init__(self, TileRows rows, axes, double reach, shift, int n_threads):
        cdef Py_ssize_t start, stop, piece, d = rows.d, m = len(axes)
        cdef int threads
        cdef double unit = 2.0**-53, wrong, square_wrong
        norm = np.linalg.norm
        cdef double[:, ::1] vectors = np.ascontiguousarray(axes)
        self.rows, self.m = rows, m
        self.p.pairs = (m + 2) // 2
        self.width = self.effort = 2 * self.p.pairs
        self.p.step, self.p.reach_square = reach / REACH_STEPS, reach * reach

        gram = axes @ axes.T - np.eye(m)
        off = sqrt(np.square(gram).sum()) + 2 * m * (d + 2) * unit
        wrong = 1.01 * sqrt(m) * (d + 1) * unit + off
        square_wrong = (2 * d + 2 * m + 8) * unit + 3 * wrong
        self.p.error = (
            0.5 * sqrt(self.width) * self.p.step
            + reach * (wrong + sqrt(square_wrong))
            + (2.0**-24 if rows.kernels.itemsize == 4 else unit) * (reach + norm(shift))
            + 2 * unit * (reach + norm(rows.offset) + norm(shift))
        ) * (1 + 1e-5)

        columns = round_up(m, FM_GROUP_WIDTH)
        self.axes = aligned_empty(whole_lines(8 * columns * d) + 8 * columns, np.uint8)
        self.axis = <char *>address(self.axes)
        self.bias = self.axis + whole_lines(8 * columns * d)
        # Rows less the shift are read at once, which is then what the sum is off by.
        self.offsets = rows.offset + shift
        self.offset = address(self.offsets)
        self.shift = np.ascontiguousarray(shift, dtype=np.float64)
        self.shift_at = <double *>address(self.shift)
        rows.isa.f64.pack_centers(&vectors[0, 0], m, d, FM_GROUP_WIDTH, self.axis, NULL)
        self.axes[whole_lines(8 * columns * d) :] = 0

        self.codes = aligned_empty((rows.n, self.width), np.int16)
        self.half = np.empty(rows.n, dtype=np.int32)
        self.p.rows = <int16_t *>address(self.codes)
        self.p.half = <int32_t *>address(self.half)
        self._reserve(self._bytes(), n_threads)
        # In double precision a product takes four times as long as one of the scan.
        for start, stop, threads in passes(rows, 4 * m, n_threads):
            enter()
            for piece in prange((stop - start + FM_PROJECTED_ROWS - 1) // FM_PROJECTED_ROWS,
                                nogil=True, num_threads=threads, schedule="dynamic"):
                self._add_rows(start + piece * FM_PROJECTED_ROWS, stop,
                               self.scratch + threadid() * self._bytes())
            leave()

    @property
    def step(self):
        """Distance of one unit of the codes."""
        return self.p.step

    @property
    def error(self):
        """How far the code of a row or centre may be off, as a distance."""
        return self.p.error

    @staticmethod
    def row_bytes(Py_ssize_t m):
        """Memory that m axes take for a row."""
        return 4 * ((m + 2) // 2) + 4

    cdef Py_ssize_t _bytes(self) noexcept nogil:
        """Scratch of a thread: rows, their squares, a row, their coordinates, these in codes."""
        cdef Py_ssize_t d = self.rows.d
        return (whole_lines(8 * FM_PROJECTED_ROWS * (d + 1)) + whole_lines(8 * d)
                + whole_lines((8 + 2) * FM_PROJECTED_ROWS * (self.m + FM_GROUP_WIDTH)))

    cdef void _project(self, const double *x, const double *squares, Py_ssize_t count, double *y,
                       int16_t *to, int32_t *half) noexcept nogil:
        self.rows.isa.f64.project(x, count, self.rows.d, self.axis, self.bias, self.m, y)
        self.rows.isa.exact.prefix_quantise(y, squares, count, self.m, &self.p, to, half)

    cdef void _add_rows(self, Py_ssize_t start, Py_ssize_t stop, char *memory) noexcept nogil:
        cdef Py_ssize_t count = min(FM_PROJECTED_ROWS, stop - start), d = self.rows.d
        cdef double *x = <double *>memory
        cdef double *squares = x + FM_PROJECTED_ROWS * d
        cdef char *row = memory + whole_lines(8 * FM_PROJECTED_ROWS * (d + 1))
        cdef fm_block block
        block.rows, block.start, block.count = NULL, start, count
        self.rows.isa.f64.gather(&self.rows.x, &block, self.offset, self.rows.scale, NULL, x,
                                 squares, row)
        self._project(x, squares, count, <double *>(row + whole_lines(8 * d)),
                      self.p.rows + start * self.width, self.p.half + start)

    def arrange(self, groups, const Py_ssize_t[::1] first, Py_ssize_t columns):
        Coarse.arrange(self, groups, first, columns)
        self.panels = aligned_empty((columns, self.width), np.int16)
        self.panels[...] = 0
        self.biases = np.full(columns, -FM_SCORE_NONE, dtype=np.int32)
        self.p.panels = self.panel = <int32_t *>address(self.panels)
        self.p.biases = self.center_bias = <int32_t *>address(self.biases)
        self.p.column_of = <int32_t *>address(self.column_of)

    cdef int prepare(self, int n_threads) except -1:
        self._reserve(self._bytes(), n_threads)
        return 0

    cdef void move_group(self, Py_ssize_t g, const double *centers, Py_ssize_t size,
                         int thread) noexcept nogil:
        cdef char *memory = self.scratch + thread * self._bytes()
        cdef Py_ssize_t start = 0, count
        while start < size:
            count = min(FM_PROJECTED_ROWS, size - start)
            self._add_centers(centers + start * self.rows.d, self.first[g] + start, count, memory)
            start += count

    cdef void _add_centers(self, const double *centers, Py_ssize_t column, Py_ssize_t count,
                           char *memory) noexcept nogil:
        cdef Py_ssize_t i, t, d = self.rows.d
        cdef double *x = <double *>memory
        cdef double *squares = x + FM_PROJECTED_ROWS * d
        cdef double *y = <double *>(memory + whole_lines(8 * FM_PROJECTED_ROWS * (d + 1))
                                    + whole_lines(8 * d))
        cdef double square, value
        cdef int16_t *codes = <int16_t *>(y + FM_PROJECTED_ROWS * (self.m + FM_GROUP_WIDTH))
        cdef int32_t *to
        cdef int32_t[FM_PROJECTED_ROWS] half
        for i in range(count):
            square = 0
            for t in range(d):
                value = centers[i * d + t]
                if self.rows.kernels.itemsize == 4:  # as the kernels of the scores see it
                    value = <float>value
                value -= self.shift_at[t]
                x[i * d + t] = value
                square += value * value
            squares[i] = square
        self._project(x, squares, count, y, codes, half)
        for i in range(count):
            # Rounded towards zero, so that no half is underestimated.
            self.center_bias[column + i] = -half[i] if half[i] >= 0 else FM_SCORE_NONE
            to = self.panel + (column + i) // FM_GROUP_WIDTH * self.p.pairs * FM_GROUP_WIDTH
            for t in range(self.p.pairs):
                memcpy(&to[t * FM_GROUP_WIDTH + (column + i) % FM_GROUP_WIDTH],
                       codes + i * self.width + 2 * t, sizeof(int32_t))

    cdef Py_ssize_t scan(self, const fm_bounds *b, Py_ssize_t group, Py_ssize_t panel,
                         Py_ssize_t n_panels, Py_ssize_t start, const fm_open *open,
                         int32_t *list, Py_ssize_t count) noexcept nogil:
        return self.rows.isa.exact.prefix_scan(b, &self.p, group, panel, n_panels, start, open,
                                               list, count)
