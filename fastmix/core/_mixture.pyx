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
    DIAG, FEW_COLUMNS, FULL, GIVEN, LABELS, MIXTURE, PRUNES, SPHERICAL, TAKES_BOUNDS, TIED, Memory,
    PairCounts, Pass, Sums,
)
from fastmix.core._mixture_moments cimport MixtureMoments
from fastmix.core._threads cimport enter, leave

from fastmix.core._kernels import at_least
from fastmix.core._threads import useful_threads

__all__ = ["MixtureRows", "cholesky", "exp", "factors", "log"]

# Sums of the slots that are computed at a time; a slot for every thread where that is more.
cdef Py_ssize_t SUMS_BYTES = 2**26

# Of a factor, about, times d^3.
cdef double FACTOR_NANOSECONDS = 0.1

KINDS = {"full": FULL, "tied": TIED, "diag": DIAG, "spherical": SPHERICAL}


def factors(covariances, int n_threads=1):
    """P (m, d, d), ln det P (m,) and the failed pivots or -1 (m,) of covariances (m, d, d): P their
    inverse Cholesky factors."""
    cdef const double[:, :, ::1] c = np.ascontiguousarray(covariances, dtype=np.float64)
    cdef Py_ssize_t m = c.shape[0], d = c.shape[1], j
    n_threads = useful_threads(min(n_threads, m), FACTOR_NANOSECONDS * m * d * d * d)
    cdef double[:, :, ::1] p = np.zeros((m, d, d)), scratch = np.empty((n_threads, d, d))
    cdef double[::1] log_det = np.zeros(m)
    cdef Py_ssize_t[::1] failed = np.empty(m, dtype=np.intp)
    cdef const fm_isa *isa = find_isa(None)
    enter()
    for j in prange(m, nogil=True, num_threads=n_threads, schedule="dynamic"):
        failed[j] = isa.gaussian.factor(&c[j, 0, 0], d, &p[j, 0, 0], &log_det[j],
                                        &scratch[threadid(), 0, 0])
    leave()
    return np.asarray(p), np.asarray(log_det), np.asarray(failed)


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
cdef class MixtureRows(MixtureMoments):
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
        have no share are left out, to the same bits, for the moments without their entropy and
        ln p(x) only; with take, bounds of all pairs are taken.
        """
        cdef Pass p
        memset(&p, 0, sizeof(Pass))
        p.kind, p.source, p.k = KINDS[factors.covariance_type], MIXTURE, len(factors.means)
        p.entropy = moments is not None and entropy and bounds is None
        self._pack_factors(factors, &p)
        if bounds is not None:
            if (p.kind != FULL or self.d <= FEW_COLUMNS or log_joint is not None
                    or responsibilities is not None or labels is not None):
                raise ValueError("bounds serve moments and log_prob of full covariances only")
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
               weights=None, Py_ssize_t origin=0):
        """Moments of hard labels (n,) int32, added to ``moments``; -1 is in no component.

        labels are indexed by row less origin.
        """
        cdef Pass p
        memset(&p, 0, sizeof(Pass))
        p.kind, p.source = KINDS[moments.covariance_type], LABELS
        p.k = len(moments.weight)
        p.given_labels = <const int32_t *>address(labels) - origin
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
        cdef PairCounts *counts
        self._size_blocks(p)
        cdef Py_ssize_t bytes = self._memory(NULL, p).bytes
        p.moments = moments is not None
        if weights is not None:
            p.weights = <const double *>address(weights)
        cdef Py_ssize_t sums_bytes = self._sums(NULL, p).bytes if p.moments else 0
        cdef Py_ssize_t wave = n_slots
        if p.moments:
            wave = min(n_slots, max(n_threads, SUMS_BYTES // sums_bytes))
        self.thread_memory = at_least(self.thread_memory, n_threads * bytes)
        self.slot_memory = at_least(self.slot_memory, wave * sums_bytes)
        cdef char *memory = <char *>address(self.thread_memory)
        cdef char *sums = <char *>address(self.slot_memory)
        for t in range(n_threads):
            counts = self._memory(memory + t * bytes, p).counts
            counts.computed = counts.live = 0
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
            self.computed += counts.computed
            self.live += counts.live
        return 0

    cdef void _slot(self, Py_ssize_t start, Py_ssize_t stop, const Pass *p, char *memory,
                    char *slot_memory) noexcept nogil:
        cdef Memory m = self._memory(memory, p)
        cdef Sums s
        cdef Py_ssize_t rows = self.pass_rows, end = min(stop, start + self.slot_rows)
        cdef Py_ssize_t j, second
        cdef fm_block b
        if p.moments:
            s = self._sums(slot_memory, p)
            memset(slot_memory, 0, s.bytes)
        b.rows, b.start = NULL, start
        while b.start < end:
            b.count = min(rows, end - b.start)
            if p.bounded == TAKES_BOUNDS:
                m.bounded_at = (b.start - start) % self.bounded_rows
                b.count = min(b.count, self.bounded_rows - m.bounded_at)
                m.bounded_count = min(self.bounded_rows, end - b.start + m.bounded_at)
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
        if p.moments and p.kind == DIAG:
            for j in range(p.k):
                s.weight[j] = self.isa.moments.fold_lanes(s.shares + 16 * j)

    cdef void _expect(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil:
        """Responsibilities of a block, and what the caller wants of its rows."""
        cdef Py_ssize_t stride = self.share_stride
        m.paired = p.bounded == PRUNES and self._prune(b, p, m)
        if m.paired:
            m.counts.computed += m.pairs.computed
            m.counts.live += m.live
            self._write_log_prob(b, p, m)
            return
        self._distances(b, p, m)
        m.counts.computed += b.count * p.k + (m.pairs.computed if p.bounded == PRUNES else 0)
        if p.bounded == TAKES_BOUNDS:
            self.mixture.bounds_take(&p.bounds, b.start, b.count, m.bounded_at, m.bounded_count,
                                     m.shares, stride, m.bounds)
        if p.log_joint != NULL:
            self._write_joint(b, p, m)
        m.live = self.mixture.softmax(m.shares, b.count, p.k, stride, p.constants, p.greatest,
                                      m.live, m.log_prob, m.entropy if p.entropy else NULL)
        if m.live < 0:
            self._place_far(b, p, m)
        m.counts.live += m.live if m.live >= 0 else b.count * p.k
        self._write(b, p, m)

    cdef void _distances(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil:
        """Squared Mahalanobis distances of a block to all components, into the shares."""
        cdef Py_ssize_t stride = self.share_stride, size = self.kernels.itemsize, j
        cdef fm_memory upcoming = self._rows_memory(b.start + b.count, b.count), nothing
        nothing.start, nothing.bytes = NULL, 0
        # The next rows are fetched between groups of components where there are any: the few tiles
        # of a block are too few steps, and pack waits for them (500k x 32, K=64, diag, f64,
        # Sapphire Rapids: 4 instead of 8 % of an iteration are pack's).
        self.kernels.pack(&self.x, b, self.pack_offset, self.scale, m.tiles,
                          nothing if p.kind == DIAG or p.kind == SPHERICAL else upcoming, m.pack)
        if p.kind == FULL:
            for j in range(p.k):
                self.mixture.mahalanobis(m.tiles, b.count, self.d, p.panel + j * p.panel_bytes,
                                         m.shares + j * stride * size, m.pack)
        elif p.kind == TIED:
            self.mixture.whiten(m.tiles, b.count, self.d, p.panel, m.white)
            self.kernels.distances(m.white, b.count, self.d, p.centers, p.k, m.shares, stride)
        elif p.kind == DIAG:
            self.mixture.diagonal(m.tiles, b.count, self.d, p.panel, p.k, m.shares, stride,
                                  upcoming)
        else:
            self.mixture.spherical(m.tiles, b.count, self.d, p.panel, p.k, m.shares, stride,
                                   upcoming)
