# SPDX-License-Identifier: BSD-3-Clause
"""The passes of a Gaussian mixture over dense rows: E-step and moments of a block in one go.

A slot is a fixed run of consecutive rows with sums of its own, and slots are added up in the order
of the rows: neither threads nor calls change a bit.  Within a slot the sums go on from block to
block, so that the size of a block does not either.
"""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t
from libc.string cimport memset

from fastmix.core._kernels cimport (
    FM_FEW_SIZE, FM_MOMENT_STRIDE, FM_SECOND_SIZE, address, find_isa, fm_block, fm_isa, fm_memory,
)
from fastmix.core._mixture_memory cimport (
    DIAG, FULL, GIVEN, LABELS, MIXTURE, PRUNES, SPHERICAL, TAKES_BOUNDS, TIED, TOGETHER, Memory,
    MixtureMemory, Pass, Sums,
)
from fastmix.core._threads cimport enter, leave

from fastmix.core._kernels import aligned_empty

__all__ = ["MixtureRows", "cholesky", "exp", "factor", "log"]

# Sums of the slots that are computed at a time; a slot for every thread where that is more.
cdef Py_ssize_t SUMS_BYTES = 2**26

KINDS = {"full": FULL, "tied": TIED, "diag": DIAG, "spherical": SPHERICAL}


def factor(covariance):
    """(P, ln det P, failed pivot or -1) of a covariance (d, d): P its inverse Cholesky factor."""
    cdef double[:, ::1] c = np.ascontiguousarray(covariance, dtype=np.float64)
    cdef Py_ssize_t d = c.shape[0], failed
    cdef double[:, ::1] p = np.zeros((d, d)), scratch = np.empty((d, d))
    cdef double log_det = 0
    cdef const fm_isa *isa = find_isa(None)
    with nogil:
        failed = isa.gaussian.factor(&c[0, 0], d, &p[0, 0], &log_det, &scratch[0, 0])
    return np.asarray(p), log_det, failed


def cholesky(matrix):
    """Lower Cholesky factor of a (d, d) matrix; all NaN if it is not positive definite."""
    cdef double[:, ::1] c = np.array(matrix, dtype=np.float64, order="C")
    cdef Py_ssize_t d = c.shape[0], failed
    cdef double[:, ::1] p = np.zeros((d, d)), upper = np.zeros((d, d))
    cdef double log_det = 0
    cdef const fm_isa *isa = find_isa(None)
    # By a power of four, so that its root is exact: the kernel wants normal pivots.
    half = int(np.frexp(np.abs(np.asarray(c).diagonal()).max())[1]) // 2
    scaled = np.asarray(c)
    np.ldexp(np.ldexp(scaled, -half, out=scaled), -half, out=scaled)
    with nogil:
        failed = isa.gaussian.factor(&c[0, 0], d, &p[0, 0], &log_det, &upper[0, 0])
    if failed >= 0:
        return np.full((d, d), np.nan)
    return np.ldexp(np.ascontiguousarray(np.asarray(upper).T), half)


def log(values):
    """Natural logarithm of positive normal numbers, with bits of our own."""
    given = np.ascontiguousarray(values, dtype=np.float64)
    out = np.empty(given.shape)
    find_isa(None).gaussian.log_all(<const double *>address(given), given.size,
                                    <double *>address(out))
    return out


def exp(values):
    """e to the power of values in [-700, 700], with bits of our own."""
    out = np.array(values, dtype=np.float64, order="C")
    find_isa(None).mixture_f64.exp_all(address(out), out.size)
    return out


@cython.final
cdef class MixtureRows(MixtureMemory):
    """A dense matrix in the user's memory, with the passes of a mixture; parameters of TileRows."""

    cdef object thread_memory, slot_memory
    # Pairs of a row and a component that the last call of expect computed, and those with a share.
    cdef readonly Py_ssize_t computed, live

    # ------------------------------------------------------------ passes over rows start .. stop

    def expect(self, Py_ssize_t start, Py_ssize_t stop, factors, int n_threads, *, weights=None,
               moments=None, log_prob=None, log_joint=None, responsibilities=None,
               labels=None, bint entropy=True, bounds=None, bint take=False,
               Py_ssize_t origin=0):
        """E-step (PRML 9.13) of framed rows start .. stop; start is a multiple of slot_rows.

        Adds the moments of the range to ``moments``, and writes ln p(x) (n,), ln p(x, z_k = 1) and
        responsibilities (n, k) and labels (n,) int32 where given: C-contiguous, indexed by row less
        origin.
        The M-step needs no entropy, which the moments can go without.  Pairs that bounds prove to
        have no share are left out, to the same bits; with take, bounds of all pairs are taken.
        """
        cdef Pass p
        memset(&p, 0, sizeof(Pass))
        p.kind, p.source, p.k = KINDS[factors.covariance_type], MIXTURE, len(factors.means)
        p.entropy = moments is not None and entropy
        self._pack_factors(factors, &p)
        if bounds is not None:
            self._set_bounds(bounds, take, &p)
        if log_prob is not None:
            p.log_prob = <double *>address(log_prob) - origin
        if log_joint is not None:
            p.log_joint = <double *>address(log_joint) - origin * p.k
        if responsibilities is not None:
            p.responsibilities = <double *>address(responsibilities) - origin * p.k
        if labels is not None:
            p.labels = <int32_t *>address(labels) - origin
        self._run(start, stop, n_threads, &p, weights, moments)

    def gather(self, Py_ssize_t start, Py_ssize_t stop, labels, int n_threads, *, moments,
               weights=None):
        """Moments of hard labels (n,) int32, added to ``moments``; -1 is in no component."""
        cdef Pass p
        memset(&p, 0, sizeof(Pass))
        p.kind, p.source = KINDS[moments.covariance_type], LABELS
        p.k = len(moments.weight)
        p.given_labels = <const int32_t *>address(labels)
        self._run(start, stop, n_threads, &p, weights, moments)

    def absorb(self, Py_ssize_t start, Py_ssize_t stop, responsibilities, int n_threads, *,
               moments, weights=None):
        """Moments of given responsibilities (stop - start, k) float64, added to ``moments``."""
        cdef Pass p
        memset(&p, 0, sizeof(Pass))
        p.kind, p.source = KINDS[moments.covariance_type], GIVEN
        p.k = len(moments.weight)
        given = np.ascontiguousarray(responsibilities, dtype=np.float64)
        p.given = <const double *>address(given) - start * p.k
        self._run(start, stop, n_threads, &p, weights, moments)

    cdef int _run(self, Py_ssize_t start, Py_ssize_t stop, int n_threads, Pass *p, weights,
                  moments) except -1:
        """The pass, as many slots at a time as there is memory for their sums."""
        cdef Py_ssize_t n_slots = (stop - start + self.slot_rows - 1) // self.slot_rows
        cdef Py_ssize_t first = 0, slot
        cdef int t
        cdef Py_ssize_t *counts
        self._size_blocks(p)
        cdef Py_ssize_t bytes = self._memory(NULL, p).bytes
        p.moments = moments is not None
        if weights is not None:
            p.weights = <const double *>address(weights)
        cdef Py_ssize_t sums_bytes = self._sums(NULL, p).bytes if p.moments else 0
        cdef Py_ssize_t wave = n_slots
        if p.moments:
            wave = min(n_slots, max(n_threads, SUMS_BYTES // sums_bytes))
        if self.thread_memory is None or self.thread_memory.size < n_threads * bytes:
            self.thread_memory = aligned_empty(n_threads * bytes, np.uint8)
        if self.slot_memory is None or self.slot_memory.size < wave * sums_bytes:
            self.slot_memory = aligned_empty(wave * sums_bytes, np.uint8)
        cdef char *memory = <char *>address(self.thread_memory)
        cdef char *sums = <char *>address(self.slot_memory)
        for t in range(n_threads):
            counts = self._memory(memory + t * bytes, p).counts
            counts[0] = counts[1] = 0
        while first < n_slots:
            wave = min(wave, n_slots - first)
            enter()
            for slot in prange(wave, nogil=True, num_threads=n_threads, schedule="dynamic"):
                self._slot(start + (first + slot) * self.slot_rows, stop, p,
                           memory + threadid() * bytes, sums + slot * sums_bytes)
            leave()
            if p.moments:
                self._fold(wave, sums, sums_bytes, p, moments, n_threads)
            first += wave
        self.computed = self.live = 0
        for t in range(n_threads):
            counts = self._memory(memory + t * bytes, p).counts
            self.computed += counts[0]
            self.live += counts[1]
        return 0

    cdef void _slot(self, Py_ssize_t start, Py_ssize_t stop, const Pass *p, char *memory,
                    char *slot_memory) noexcept nogil:
        cdef Memory m = self._memory(memory, p)
        cdef Sums s
        cdef Py_ssize_t rows = self._block_rows(p.k), end = min(stop, start + self.slot_rows)
        cdef Py_ssize_t j, second
        cdef fm_block b
        if p.moments:
            s = self._sums(slot_memory, p)
            memset(slot_memory, 0, s.bytes)
        b.rows, b.start = NULL, start
        while b.start < end:
            b.count = min(rows, end - b.start)
            if p.source == MIXTURE:
                self._expect(&b, p, &m)
            if p.moments:
                self._add(&b, p, &m, &s)
            b.start += b.count
        if p.moments and self._few(p):
            second = FM_SECOND_SIZE(self.d)
            for j in range(p.k):
                self.isa.moments.fold_few(s.few + j * FM_FEW_SIZE(self.d), self.d, s.weight + j,
                                          s.first + j * FM_MOMENT_STRIDE(self.d),
                                          s.second + j * second)

    cdef void _expect(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil:
        """Responsibilities of a block, and what the caller wants of its rows."""
        cdef Py_ssize_t stride = self._share_stride(p.k)
        cdef fm_memory upcoming
        if p.bounded == PRUNES:
            m.counts[0] += self._prune(b, p, m)
        else:
            upcoming = self._rows_memory(b.start + b.count, b.count)
            self.kernels.pack(&self.x, b, self.pack_offset, self.scale, m.tiles, upcoming, m.pack)
            self._distances(b, p, m)
            m.counts[0] += b.count * p.k
            if p.bounded == TAKES_BOUNDS:
                self.mixture.bounds_take(&p.bounds, b.start, b.count, m.shares, stride, m.bounds)
        if p.log_joint != NULL:
            self._write_joint(b, p, m)
        m.live = self.mixture.softmax(m.shares, b.count, p.k, stride, p.constants, p.greatest,
                                      m.live, m.log_prob, m.entropy if p.entropy else NULL)
        if m.live < 0:
            self._place_far(b, p, m)
        m.counts[1] += m.live if m.live >= 0 else b.count * p.k
        if p.bounded == PRUNES:
            self.mixture.bounds_relabel(&p.bounds, b.start, b.count, m.shares, stride, m.log_prob,
                                        p.greatest)
        self._write(b, p, m)

    cdef void _distances(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil:
        """Squared Mahalanobis distances of a packed block to all components, into the shares."""
        cdef Py_ssize_t stride = self._share_stride(p.k), size = self.kernels.itemsize, j
        if p.kind == FULL:
            for j in range(p.k):
                self.mixture.mahalanobis(m.tiles, b.count, self.d, p.panel + j * p.panel_bytes,
                                         m.shares + j * stride * size, m.pack)
        elif p.kind == TIED:
            self.mixture.whiten(m.tiles, b.count, self.d, p.panel, m.white)
            self.kernels.distances(m.white, b.count, self.d, p.centers, p.k, m.shares, stride)
        elif p.kind == DIAG:
            self.mixture.diagonal(m.tiles, b.count, self.d, p.panel, p.k, m.shares, stride)
        else:
            self.mixture.spherical(m.tiles, b.count, self.d, p.panel, p.k, m.shares, stride)

    cdef void _add(self, const fm_block *b, const Pass *p, Memory *m, Sums *s) noexcept nogil:
        """The moments of a block."""
        cdef Py_ssize_t d = self.d, stride = FM_MOMENT_STRIDE(d), rows = self._block_rows(p.k)
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
        elif p.bounded != PRUNES or self.kernels.itemsize != sizeof(double):  # else they are there
            self.isa.moments.frame_rows(&self.x, b, self.grid.offset, self.scale, m.y)
        if p.kind == SPHERICAL:
            self.isa.moments.square_rows(m.y, d, b.count, m.squares)
        elif p.kind == TIED:
            found = 0
            for j in range(b.count):
                m.everyone[found] = j
                m.share[found] = m.mass[j]
                found += m.mass[j] > 0
            self.isa.moments.full(m.y, d, m.everyone, m.share, found, s.unused, s.unused + 1,
                                  s.second, m.scratch)
        if p.kind == DIAG and p.source == MIXTURE and 4 * m.live >= 3 * p.k * b.count:
            self._add_every(b, p, w, m, s)
            return
        for j in range(p.k):
            found = 0 if few else self._select(b, p, j, w, m)
            if few:
                self.isa.moments.few(m.y, rows, d, self._shares_of_all(b, p, j, w, m), b.count,
                                     s.few + j * FM_FEW_SIZE(d))
            elif p.kind == FULL:
                self.isa.moments.full(m.y, d, m.list, m.share, found, s.weight + j,
                                      s.first + j * stride, s.second + j * FM_SECOND_SIZE(d),
                                      m.scratch)
            elif p.kind == DIAG:
                self.isa.moments.diagonal(m.y, d, m.list, m.share, found, s.weight + j,
                                          s.first + j * stride, s.second + j * stride)
            else:
                self.isa.moments.spherical(m.y, d, m.list, m.share, found,
                                           NULL if p.kind == TIED else m.squares, s.weight + j,
                                           s.first + j * stride, s.second + j)

    cdef void _add_every(self, const fm_block *b, const Pass *p, const double *w, Memory *m,
                         Sums *s) noexcept nogil:
        """Diagonal moments of a block in which nearly every pair has a share: without lists, which
        change no bit."""
        cdef Py_ssize_t share_stride = self._share_stride(p.k), some, i, j = 0
        cdef Py_ssize_t stride = FM_MOMENT_STRIDE(self.d), wide_stride = self._wide_stride(p.k)
        if w == NULL and self.kernels.itemsize == sizeof(double):
            self.isa.moments.diagonal_every(m.y, self.d, <const double *>m.shares, share_stride,
                                            p.k, b.count, s.weight, s.first, s.second)
            return
        while j < p.k:
            some = min(TOGETHER, p.k - j)
            for i in range(some):
                self.mixture.widen(m.shares + (j + i) * share_stride * self.kernels.itemsize, w,
                                   b.count, m.wide + i * wide_stride)
            self.isa.moments.diagonal_every(m.y, self.d, m.wide, wide_stride, some, b.count,
                                            s.weight + j, s.first + j * stride,
                                            s.second + j * stride)
            j += some

    cdef void _weigh(self, const fm_block *b, const Pass *p, const double *w,
                     Memory *m) noexcept nogil:
        """mass: the weight of every row of a block, times its responsibilities' sum where these are
        not a mixture's."""
        cdef Py_ssize_t i, j
        for i in range(b.count):
            m.mass[i] = 1 if w == NULL else w[i]
        if p.source == LABELS:
            for i in range(b.count):
                if p.given_labels[b.start + i] < 0:
                    m.mass[i] = 0
        elif p.source == GIVEN:
            for i in range(b.count):
                m.entropy[i] = 0
                for j in range(p.k):
                    m.entropy[i] += p.given[(b.start + i) * p.k + j]
                m.mass[i] *= m.entropy[i]

    cdef inline double _given(self, const Pass *p, Py_ssize_t row, Py_ssize_t j) noexcept nogil:
        """Share of component j in a row, before weighting, where it is not a mixture's."""
        if p.source == LABELS:
            return p.given_labels[row] == j
        return p.given[row * p.k + j]

    cdef Py_ssize_t _select(self, const fm_block *b, const Pass *p, Py_ssize_t j, const double *w,
                            Memory *m) noexcept nogil:
        """The rows with a positive weighted share of component j, these, and how many."""
        cdef const char *r = m.shares + j * self._share_stride(p.k) * self.kernels.itemsize
        cdef Py_ssize_t i, found = 0
        if p.source == MIXTURE:
            return self.mixture.select_rows(r, w, b.count, m.list, m.share)
        for i in range(b.count):
            m.list[found] = i
            m.share[found] = self._given(p, b.start + i, j) * (1 if w == NULL else w[i])
            found += m.share[found] > 0
        return found

    cdef const double *_shares_of_all(self, const fm_block *b, const Pass *p, Py_ssize_t j,
                                      const double *w, Memory *m) noexcept nogil:
        """Weighted shares of component j in all rows, zero up to a multiple of 16."""
        cdef const char *r = m.shares + j * self._share_stride(p.k) * self.kernels.itemsize
        cdef Py_ssize_t i
        if p.source == MIXTURE:
            if w == NULL and self.kernels.itemsize == sizeof(double):
                return <const double *>r
            self.mixture.widen(r, w, b.count, m.share)
            return m.share
        for i in range(b.count):
            m.share[i] = self._given(p, b.start + i, j) * (1 if w == NULL else w[i])
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
        cdef Py_ssize_t i, j, b
        cdef const double *row
        for i in range(self.d):
            b = i // 8
            row = packed + 32 * b * (b + 1) + i % 8 * 8 * (b + 1)
            for j in range(i + 1):
                matrix[i * self.d + j] += row[j]
