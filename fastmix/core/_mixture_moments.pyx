# SPDX-License-Identifier: BSD-3-Clause
"""The moments of a mixture: of the rows of a block, added to a slot, and of slots, added up."""

from cython.parallel cimport prange

from fastmix.core._kernels cimport (
    FM_FEW_SIZE, FM_MOMENT_STRIDE, FM_SECOND_ROW, FM_SECOND_SIZE, address, fm_block,
)
from fastmix.core._mixture_memory cimport (
    DIAG, FULL, GIVEN, LABELS, MIXTURE, SPHERICAL, TIED, TOGETHER, Memory, MixtureMemory,
    Pass, Sums,
)
from fastmix.core._threads cimport enter, leave

__all__ = ["MixtureMoments"]


cdef inline double _given(const Pass *p, Py_ssize_t row, Py_ssize_t j) noexcept nogil:
    """Share of component j in a row, before weighting, where it is not a mixture's."""
    if p.source == LABELS:
        return p.given_labels[row] == j
    return p.given[row * p.k + j]


cdef class MixtureMoments(MixtureMemory):
    """What a pass does for the M-step; parameters of TileRows."""

    cdef void _add(self, const fm_block *b, const Pass *p, Memory *m, Sums *s) noexcept nogil:
        """The moments of a block."""
        cdef Py_ssize_t d = self.d, stride = FM_MOMENT_STRIDE(d), rows = self.pass_rows
        cdef Py_ssize_t j, found
        cdef bint few = self._few(p)
        cdef const double *w = NULL if p.weights == NULL else p.weights + b.start
        self._weigh(b, p, w, m)
        self.isa.moments.add_lanes(m.mass, NULL, b.count, s.mass)
        if p.source == MIXTURE:
            self.isa.moments.add_lanes(m.log_prob, w, b.count, s.log_prob)
            if p.entropy:
                self.isa.moments.add_lanes(m.entropy, w, b.count, s.entropy)
        if few:
            self.isa.moments.frame_columns(&self.x, b, self.grid.offset, self.scale, m.y, rows)
        elif not m.paired or self.kernels.itemsize != sizeof(double):  # else they are there
            self.isa.moments.frame_rows(&self.x, b, self.grid.offset, self.scale, m.y)
        if p.kind == SPHERICAL:
            self.isa.moments.square_rows(m.y, d, b.count, m.squares)
        elif p.kind == TIED:
            found = 0
            for j in range(b.count):
                m.list[found] = j
                m.share[found] = m.mass[j]
                found += m.mass[j] > 0
            self.isa.moments.full(m.y, d, m.list, m.share, found, s.unused, s.unused + 1,
                                  s.second, m.scratch)
        if p.kind == DIAG and p.source == MIXTURE and 4 * m.live >= 3 * p.k * b.count:
            self._add_every(b, p, w, m, s)
            return
        for j in range(p.k):
            if p.kind == DIAG:
                self.isa.moments.add_lanes(self._shares_of_all(b, p, j, w, m), NULL, b.count,
                                           s.shares + 16 * j)
            found = 0 if few else self._select(b, p, j, w, m)
            if few:
                self.isa.moments.few(m.y, rows, d, self._shares_of_all(b, p, j, w, m), b.count,
                                     s.few + j * FM_FEW_SIZE(d))
            elif p.kind == FULL:
                self.isa.moments.full(m.y, d, m.visited, m.visited_share, found, s.weight + j,
                                      s.first + j * stride, s.second + j * FM_SECOND_SIZE(d),
                                      m.scratch)
            elif p.kind == DIAG:
                self.isa.moments.diagonal(m.y, d, m.visited, m.visited_share, found,
                                          s.first + j * stride, s.second + j * stride)
            else:
                self.isa.moments.spherical(m.y, d, m.visited, m.visited_share, found,
                                           NULL if p.kind == TIED else m.squares, s.weight + j,
                                           s.first + j * stride, s.second + j)

    cdef void _add_every(self, const fm_block *b, const Pass *p, const double *w, Memory *m,
                         Sums *s) noexcept nogil:
        """Diagonal moments of a block in which nearly every pair has a share: without lists, which
        change no bit."""
        cdef Py_ssize_t share_stride = self.share_stride, some, i, j = 0
        cdef Py_ssize_t stride = FM_MOMENT_STRIDE(self.d), wide_stride = self.wide_stride
        if w == NULL and self.kernels.itemsize == sizeof(double):
            self.isa.moments.diagonal_every(m.y, self.d, <const double *>m.shares, share_stride,
                                            p.k, b.count, s.shares, s.first, s.second)
            return
        while j < p.k:
            some = min(TOGETHER, p.k - j)
            for i in range(some):
                self.mixture.widen(m.shares + (j + i) * share_stride * self.kernels.itemsize, w,
                                   b.count, m.wide + i * wide_stride)
            self.isa.moments.diagonal_every(m.y, self.d, m.wide, wide_stride, some, b.count,
                                            s.shares + 16 * j, s.first + j * stride,
                                            s.second + j * stride)
            j += some

    cdef void _weigh(self, const fm_block *b, const Pass *p, const double *w,
                     Memory *m) noexcept nogil:
        """mass: the weight of every row of a block, times its responsibilities' sum where these are
        not a mixture's."""
        cdef Py_ssize_t i, j
        cdef double total
        for i in range(b.count):
            m.mass[i] = 1 if w == NULL else w[i]
        if p.source == LABELS:
            for i in range(b.count):
                if p.given_labels[b.start + i] < 0:
                    m.mass[i] = 0
        elif p.source == GIVEN:
            for i in range(b.count):
                total = 0
                for j in range(p.k):
                    total += p.given[(b.start + i) * p.k + j]
                m.mass[i] *= total

    cdef Py_ssize_t _select(self, const fm_block *b, const Pass *p, Py_ssize_t j, const double *w,
                            Memory *m) noexcept nogil:
        """visited: the rows with a positive weighted share of component j, and these; how many."""
        cdef const char *r = m.shares + j * self.share_stride * self.kernels.itemsize
        cdef Py_ssize_t i, found = 0
        if m.paired and w == NULL and self.kernels.itemsize == sizeof(double):
            m.visited, m.visited_share = m.pairs.rows + j * m.pairs.stride, <const double *>r
            return m.pairs.found[j]
        m.visited, m.visited_share = m.list, m.share
        if m.paired:
            return self.mixture.weigh_pairs(r, m.pairs.rows + j * m.pairs.stride,
                                            m.pairs.found[j], w, m.list, m.share)
        if p.source == MIXTURE:
            return self.mixture.select_rows(r, w, b.count, m.list, m.share)
        for i in range(b.count):
            m.list[found] = i
            m.share[found] = _given(p, b.start + i, j) * (1 if w == NULL else w[i])
            found += m.share[found] > 0
        return found

    cdef const double *_shares_of_all(self, const fm_block *b, const Pass *p, Py_ssize_t j,
                                      const double *w, Memory *m) noexcept nogil:
        """Weighted shares of component j in all rows, zero up to a multiple of 16."""
        cdef const char *r = m.shares + j * self.share_stride * self.kernels.itemsize
        cdef Py_ssize_t i
        if p.source == MIXTURE:
            if w == NULL and self.kernels.itemsize == sizeof(double):
                return <const double *>r
            self.mixture.widen(r, w, b.count, m.share)
            return m.share
        for i in range(b.count):
            m.share[i] = _given(p, b.start + i, j) * (1 if w == NULL else w[i])
        for i in range(b.count, (b.count + 15) // 16 * 16):
            m.share[i] = 0
        return m.share

    cdef int _fold(self, Py_ssize_t n_slots, char *sums, Py_ssize_t bytes, const Pass *p, moments,
                   int n_threads) except -1:
        """Slots, in the order of the rows, added to the moments."""
        cdef double *weight = <double *>address(moments.weight)
        cdef double *first = <double *>address(moments.first)
        cdef double *second = <double *>address(moments.second)
        cdef Py_ssize_t slot, part
        cdef Py_ssize_t parts = p.k + (p.kind == TIED)
        cdef double log_likelihood = moments.log_likelihood, entropy = moments.entropy
        cdef double total = moments.total
        cdef Sums s
        for slot in range(n_slots):
            s = self._sums(sums + slot * bytes, p)
            log_likelihood += self.isa.moments.fold_lanes(s.log_prob)
            entropy += self.isa.moments.fold_lanes(s.entropy)
            total += self.isa.moments.fold_lanes(s.mass)
        moments.log_likelihood, moments.entropy, moments.total = log_likelihood, entropy, total
        enter()
        for part in prange(parts, nogil=True, num_threads=min(n_threads, parts)):
            self._fold_part(n_slots, sums, bytes, p, part, weight, first, second)
        leave()
        return 0

    cdef void _fold_part(self, Py_ssize_t n_slots, char *sums, Py_ssize_t bytes, const Pass *p,
                         Py_ssize_t part, double *weight, double *first,
                         double *second) noexcept nogil:
        """One component, or part k: the second moments that tied components share."""
        cdef Py_ssize_t d = self.d, stride = FM_MOMENT_STRIDE(d), slot, i
        cdef Sums s
        for slot in range(n_slots):
            s = self._sums(sums + slot * bytes, p)
            if part == p.k:
                self._add_triangle(s.second, second)
                continue
            weight[part] += s.weight[part]
            for i in range(d):
                first[part * d + i] += s.first[part * stride + i]
            if p.kind == FULL:
                self._add_triangle(s.second + part * FM_SECOND_SIZE(d), second + part * d * d)
            elif p.kind == DIAG:
                for i in range(d):
                    second[part * d + i] += s.second[part * stride + i]
            elif p.kind == SPHERICAL:
                second[part] += s.second[part]

    cdef void _add_triangle(self, const double *packed, double *matrix) noexcept nogil:
        """A lower triangle as the kernels hold it (moments.inc.h), added to one of (d, d)."""
        cdef Py_ssize_t i, j
        cdef const double *row
        for i in range(self.d):
            row = packed + FM_SECOND_ROW(i)
            for j in range(i + 1):
                matrix[i * self.d + j] += row[j]
