# SPDX-License-Identifier: BSD-3-Clause
"""What the passes of a mixture keep in memory and give to the caller: blocks, slots, packed
parameters, rows of results; and rows that are too far off for the kernels."""

import numpy as np

from libc.float cimport DBL_MAX
from libc.math cimport INFINITY, fabs, frexp, ldexp
from libc.stdint cimport int32_t, uint8_t

from fastmix.core._kernels cimport (
    FM_BOUND_SCRATCH, FM_FEW_SIZE, FM_MOMENT_SCRATCH, FM_MOMENT_STRIDE, FM_SECOND_SIZE, address,
    fm_block,
)
from fastmix.core._tiles cimport TileRows, round_up, take, whole_lines

from fastmix.core._kernels import aligned_empty

__all__ = ["MixtureMemory"]

# A block's tiles, responsibilities and float64 rows: near the first-level cache, since every
# component's moments read the rows again (500k x 32, K=64, f64, 2 threads, Zen 4: 91 instead of 105
# ms an iteration of tied components, 82 instead of 98 of spherical ones, with 512 KiB).
cdef Py_ssize_t BLOCK_BYTES = 65536

# With full covariances every component's factor and second moments come from the second-level cache
# for each block: as many rows as that holds beside them, up to so many (200k x 64, K=32, f64, 2
# threads, Zen 4: 555 instead of 569 ms an iteration with 64 rows).
cdef Py_ssize_t FULL_ROWS = 256, FULL_ROW_BYTES = 524288

# With bounds, a component's open rows of a block are computed side by side, and fewer than a tile
# of them take as long as a tile: as many rows as the second-level cache holds.  Of the shares, room
# for all, few are used.
cdef Py_ssize_t BOUNDED_ROW_BYTES = 262144
cdef Py_ssize_t BOUNDED_SHARE_BYTES = 2097152


cdef Py_ssize_t _slot_rows(Py_ssize_t n) noexcept:
    """Rows of a slot, a multiple of 64, so that n are in nearly equal slots, and as many of these
    as the usual numbers of threads divide: the last of few slots is waited for."""
    cdef Py_ssize_t usual = LONG_SLOT_ROWS if n >= LONG_SLOTS * LONG_SLOT_ROWS else SLOT_ROWS
    cdef Py_ssize_t even = 16 if n >= 16 * usual else 2
    cdef Py_ssize_t slots = (n + even * usual // 2) // (even * usual) * even
    return usual if slots == 0 else (n + 64 * slots - 1) // (64 * slots) * 64


cdef Py_ssize_t usual_rows(int kind, Py_ssize_t k, Py_ssize_t d, Py_ssize_t size) noexcept:
    """Rows of a block in passes without bounds, of so many bytes a number: a multiple of 64."""
    cdef Py_ssize_t rows = BLOCK_BYTES // (k * size + d * (size + 8))
    if kind == FULL:
        rows = max(rows, min(FULL_ROWS, FULL_ROW_BYTES // (d * (size + 8))))
    return min(max(rows // 64 * 64, 64), MOST_PASS_ROWS)


cdef class MixtureMemory(TileRows):
    """A dense matrix in the user's memory, and what a pass of a mixture needs beside it.

    Parameters of TileRows.  The driver of the passes is its subclass.
    """

    def __init__(self, X, dtype, isa=None):
        super().__init__(X, dtype, isa)
        self.slot_rows = _slot_rows(self.n)
        self.mixture = self.isa.mixture_f32 if self.kernels.itemsize == 4 else self.isa.mixture_f64

    # ------------------------------------------------------------ memory

    cdef void _size_blocks(self, const Pass *p) noexcept:
        """Rows of a block: a multiple of 64, which every tile and the lanes divide."""
        cdef Py_ssize_t size = self.kernels.itemsize, rows
        rows = min(BOUNDED_ROW_BYTES // (self.d * (size + 8)), BOUNDED_SHARE_BYTES // (p.k * size))
        self.bounded_rows = min(max(rows // 64 * 64, 64), MOST_PASS_ROWS)
        self.pass_rows = usual_rows(p.kind, p.k, self.d, size)
        if p.bounded == PRUNES:
            self.pass_rows = self.bounded_rows
        # Rows between the shares of two components: an odd number of cache lines.
        self.share_stride = self.pass_rows + 64 // size
        self.wide_stride = self.pass_rows + 8

    cdef Memory _memory(self, char *memory, const Pass *p) noexcept nogil:
        cdef Memory m
        cdef Py_ssize_t rows = self.pass_rows, size = self.kernels.itemsize
        cdef char *at = memory
        m.tiles = take(&at, rows * self.d * size)
        m.white = take(&at, rows * self.d * size if p.kind == TIED else 0)
        m.pack = take(&at, self.kernels.tile_rows * self.d * size)
        m.shares = take(&at, p.k * self.share_stride * size)
        m.y = <double *>take(&at, rows * FM_MOMENT_STRIDE(self.d) * sizeof(double))
        m.squares = <double *>take(&at, rows * sizeof(double))
        m.log_prob = <double *>take(&at, rows * sizeof(double))
        m.entropy = <double *>take(&at, rows * sizeof(double))
        m.mass = <double *>take(&at, rows * sizeof(double))
        m.share = <double *>take(&at, (rows + 8) * sizeof(double))
        m.wide = <double *>take(&at, TOGETHER * self.wide_stride * sizeof(double)
                                if p.kind == DIAG else 0)
        m.scratch = <double *>take(&at, FM_MOMENT_SCRATCH * sizeof(double))
        m.list = <int32_t *>take(&at, (rows + 8) * sizeof(int32_t))
        m.counts = <PairCounts *>take(&at, sizeof(PairCounts))
        m.bounds = m.framed = NULL
        if p.bounded != UNBOUNDED:
            m.bounds = take(&at, FM_BOUND_SCRATCH(rows, self.d))
            m.framed = take(&at, rows * self.d * size)
            m.pairs.rows = <int32_t *>take(&at, p.k * self.share_stride * sizeof(int32_t))
            m.pairs.found = <Py_ssize_t *>take(&at, p.k * sizeof(Py_ssize_t))
            m.pairs.shares, m.pairs.stride = m.shares, self.share_stride
        m.bytes = at - memory
        m.live = m.paired = 0
        return m

    cdef Sums _sums(self, char *memory, const Pass *p) noexcept nogil:
        cdef Sums s
        cdef Py_ssize_t stride = FM_MOMENT_STRIDE(self.d), second = p.k
        cdef char *at = memory
        if p.kind == FULL:
            second = p.k * FM_SECOND_SIZE(self.d)
        elif p.kind == TIED:
            second = FM_SECOND_SIZE(self.d)
        elif p.kind == DIAG:
            second = p.k * stride
        s.weight = <double *>take(&at, p.k * sizeof(double))
        s.first = <double *>take(&at, p.k * stride * sizeof(double))
        s.second = <double *>take(&at, second * sizeof(double))
        s.few = <double *>take(&at, p.k * FM_FEW_SIZE(self.d) * sizeof(double)
                               if self._few(p) else 0)
        s.shares = <double *>take(&at, p.k * 16 * sizeof(double) if p.kind == DIAG else 0)
        s.log_prob = <double *>take(&at, 16 * sizeof(double))
        s.entropy = <double *>take(&at, 16 * sizeof(double))
        s.mass = <double *>take(&at, 16 * sizeof(double))
        s.unused = <double *>take(&at, (stride + 1) * sizeof(double))
        s.bytes = at - memory
        return s

    cdef bint _few(self, const Pass *p) noexcept nogil:
        return p.kind == FULL and self.d <= FEW_COLUMNS

    cdef int _pack_factors(self, factors, Pass *p) except -1:
        """The parameters as the kernels read them, valid until the next call."""
        cdef Py_ssize_t k = p.k, d = self.d, size = self.kernels.itemsize, j
        cdef Py_ssize_t width = self.mixture.diagonal_width, narrow = self.kernels.distance_width
        cdef const double[:, ::1] means = factors.means
        cdef double[:, ::1] zeta
        cdef const double *P = <const double *>address(factors.P)
        self.log_factors = factors.constants
        cdef const double *constants = <const double *>address(self.log_factors)
        cdef Py_ssize_t centers_bytes = 0
        if p.kind == FULL or p.kind == TIED:
            p.panel_bytes = whole_lines(d * (d + 3) // 2 * size)
            centers_bytes = whole_lines(round_up(k, narrow) * d * size)
        else:
            p.panel_bytes = whole_lines(round_up(k, width) * 2 * d * size)
        n_panels = k if p.kind == FULL else 1
        self.panels = aligned_empty(
            n_panels * p.panel_bytes + centers_bytes + whole_lines(k * size), np.uint8)
        cdef char *panel = <char *>address(self.panels)
        cdef char *centers = panel + <Py_ssize_t>n_panels * p.panel_bytes
        cdef char *packed = centers + centers_bytes
        p.panel, p.centers, p.constants = panel, centers, packed
        p.P, p.means, p.log_factors = P, &means[0, 0], constants
        p.farthest = np.abs(factors.means).max()
        p.greatest = self.mixture.pack_constants(constants, k, packed)
        if p.kind == FULL:
            for j in range(k):
                self.mixture.pack_factor(P + j * d * d, &means[j, 0], d,
                                         panel + j * p.panel_bytes)
        elif p.kind == TIED:
            zeta = np.empty((k, d))
            for j in range(k):
                self.isa.gaussian.triangular_product(P, &means[j, 0], d, &zeta[j, 0])
            self.mixture.pack_factor(P, NULL, d, panel)
            self.kernels.pack_centers(&zeta[0, 0], k, d, narrow, centers, NULL)
        else:
            self.mixture.pack_diagonal(&means[0, 0], P, k, d, p.kind == SPHERICAL, panel)
        return 0

    # ------------------------------------------------------------ bounds

    cdef int _set_bounds(self, bounds, bint takes, Pass *p) except -1:
        """The bounds of a pass, valid as long as they are."""
        p.bounded = TAKES_BOUNDS if takes else PRUNES
        p.bounds.codes = <uint8_t *>address(bounds.codes)
        p.bounds.best = <int32_t *>address(bounds.best)
        p.bounds.upper = <float *>address(bounds.upper)
        p.bounds.k = p.k
        tables = bounds.tables
        p.bounds.low_scale = <const float *>address(tables["low_scale"])
        p.bounds.low_shift = <const float *>address(tables["low_shift"])
        p.bounds.code_scale = <const float *>address(tables["code_scale"])
        p.bounds.code_shift = <const float *>address(tables["code_shift"])
        p.bounds.up_scale = <const float *>address(tables["up_scale"])
        p.bounds.up_shift = <const float *>address(tables["up_shift"])
        p.bounds.upper_scale = <const float *>address(tables["upper_scale"])
        p.bounds.upper_shift = <const float *>address(tables["upper_shift"])
        p.bounds.twice = <const float *>address(tables["twice"])
        p.bounds.renewed = NULL
        if bounds.renewal is not None:
            renewed, scale, shift, up_scale, up_shift = bounds.renewal
            p.bounds.renewed = <const uint8_t *>address(renewed)
            p.bounds.renew_scale = <const float *>address(scale)
            p.bounds.renew_shift = <const float *>address(shift)
            p.bounds.renew_up_scale = <const float *>address(up_scale)
            p.bounds.renew_up_shift = <const float *>address(up_shift)
        return 0

    cdef bint _prune(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil:
        """E-step of the pairs of a block that its bounds leave open; false where a row's ln p is
        not finite."""
        cdef Py_ssize_t stride = self.d
        cdef const char *rows = m.framed
        if self.kernels.itemsize == sizeof(double):
            # Rows are rounded once, so that those of the moments are those of the tiles.
            self.isa.moments.frame_rows(&self.x, b, self.grid.offset, self.scale, m.y)
            rows, stride = <const char *>m.y, FM_MOMENT_STRIDE(self.d)
        else:
            self.kernels.gather(&self.x, b, self.pack_offset, self.scale, NULL, m.framed,
                                m.squares, m.pack)
        m.live = self.mixture.bounds_expect(
            &p.bounds, b.start, b.count, rows, stride, self.d, p.panel, p.panel_bytes,
            p.constants, p.greatest, &m.pairs, m.log_prob,
            self._rows_memory(b.start + b.count, b.count), m.bounds)
        return m.live >= 0

    # ------------------------------------------------------------ what the caller wants of a row

    cdef double _share(self, const Memory *m, Py_ssize_t at) noexcept nogil:
        if self.kernels.itemsize == 4:
            return (<float *>m.shares)[at]
        return (<double *>m.shares)[at]

    cdef void _write_log_prob(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil:
        cdef Py_ssize_t i
        if p.log_prob != NULL:
            for i in range(b.count):
                p.log_prob[b.start + i] = m.log_prob[i]

    cdef void _write(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil:
        """What the caller wants of every row of a block."""
        cdef Py_ssize_t stride = self.share_stride, i, j
        cdef double most, value
        self._write_log_prob(b, p, m)
        if p.responsibilities != NULL:
            for i in range(b.count):
                for j in range(p.k):
                    p.responsibilities[(b.start + i) * p.k + j] = self._share(m, j * stride + i)
        if p.labels != NULL:
            for i in range(b.count):
                most = -1
                for j in range(p.k):
                    value = self._share(m, j * stride + i)
                    if value > most:
                        most = value
                        p.labels[b.start + i] = j

    cdef void _write_joint(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil:
        """ln p(x, z_k = 1) of a block, whose shares are squared distances yet."""
        cdef Py_ssize_t stride = self.share_stride, i, j
        cdef double square, value
        cdef int exponent
        for i in range(b.count):
            for j in range(p.k):
                value = p.log_factors[j] - self._share(m, j * stride + i) / 2
                if p.log_factors[j] == -INFINITY:
                    value = -INFINITY
                elif not value >= -DBL_MAX:  # NaN too, as in _place_far
                    exponent = self._sized(b.start + i, p, m)
                    square = self._distance(m.y, p, j, exponent)
                    value = p.log_factors[j] - ldexp(square, 2 * exponent) / 2
                p.log_joint[(b.start + i) * p.k + j] = value

    # ------------------------------------------------------------ rows whose squares overflow

    cdef void _place_far(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil:
        """Responsibilities and ln p of the rows for which softmax found no finite term.

        In float64, and in units of the row's own size.  The nearest component takes the whole row:
        of numbers that overflow, one is larger than another by more than the cut-off, or by its
        rounding.
        """
        cdef Py_ssize_t i
        for i in range(b.count):
            if not m.log_prob[i] >= -DBL_MAX:  # NaN too: infinity minus infinity in a chain
                self._place(b.start + i, i, p, m)

    cdef void _place(self, Py_ssize_t row, Py_ssize_t i, const Pass *p, Memory *m) noexcept nogil:
        cdef Py_ssize_t stride = self.share_stride, j, best = -1
        cdef double least = INFINITY, square
        cdef int exponent = self._sized(row, p, m)
        for j in range(p.k):
            if p.log_factors[j] == -INFINITY:
                continue
            square = self._distance(m.y, p, j, exponent)
            if best < 0 or square < least or (
                    square == least and p.log_factors[j] > p.log_factors[best]):
                best, least = j, square
        m.log_prob[i] = p.log_factors[best] - ldexp(least, 2 * exponent) / 2
        m.entropy[i] = 0
        for j in range(p.k):
            if self.kernels.itemsize == 4:
                (<float *>m.shares)[j * stride + i] = j == best
            else:
                (<double *>m.shares)[j * stride + i] = j == best

    cdef int _sized(self, Py_ssize_t row, const Pass *p, Memory *m) noexcept nogil:
        """A row over 2^exponent, the size of its and the means' largest entry, into y; returns the
        exponent."""
        cdef fm_block b
        cdef Py_ssize_t t
        cdef double most = p.farthest
        cdef int exponent = 0
        b.rows, b.start, b.count = NULL, row, 1
        self.isa.moments.frame_rows(&self.x, &b, self.grid.offset, self.scale, m.y)
        for t in range(self.d):
            m.y[t] = max(-DBL_MAX, min(DBL_MAX, m.y[t]))
            most = max(most, fabs(m.y[t]))
        frexp(most, &exponent)
        for t in range(self.d):
            m.y[t] = ldexp(m.y[t], -exponent)
        return exponent

    cdef double _distance(self, const double *y, const Pass *p, Py_ssize_t j,
                          int exponent) noexcept nogil:
        """Squared Mahalanobis distance, over 4^exponent, of a row that is over 2^exponent."""
        cdef Py_ssize_t d = self.d, t, r
        cdef const double *mean = p.means + j * d
        cdef const double *P = p.P
        cdef double square = 0, part
        if p.kind == FULL:
            P += j * d * d
        elif p.kind != TIED:
            P += j * (d if p.kind == DIAG else 1)
        for r in range(d):
            if p.kind == FULL or p.kind == TIED:
                part = 0
                for t in range(r + 1):
                    part += P[r * d + t] * (y[t] - ldexp(mean[t], -exponent))
            else:
                part = P[r if p.kind == DIAG else 0] * (y[r] - ldexp(mean[r], -exponent))
            square += part * part
        return square
