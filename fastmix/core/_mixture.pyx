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
    FM_FEW_SIZE, FM_MOMENT_SCRATCH, FM_MOMENT_STRIDE, FM_SECOND_SIZE, address, find_isa, fm_block,
    fm_isa, fm_memory, fm_mixture_kernels,
)
from fastmix.core._threads cimport enter, leave
from fastmix.core._tiles cimport TileRows, padded

from fastmix.core._kernels import aligned_empty

__all__ = ["MixtureRows", "factor", "log"]

cdef enum:
    # Widest full covariances whose moments have rows in the lanes.
    FEW_COLUMNS = 4
    # A slot's own rows: enough that adding it up costs some hundredths of making it, which takes
    # more rows where there are few columns.
    SLOT_ROWS = 1024
    SLOT_ROWS_OF_FEW = 4096
    MAX_BLOCK_ROWS = 1024

# A block's tiles, responsibilities and float64 rows: near the first-level cache, which every
# component's moments read again (500k x 32, K=64, f64, 2 threads, Zen 4: 91 instead of 105 ms an
# iteration of tied components, 82 instead of 98 of spherical ones, with 512 KiB).
cdef Py_ssize_t BLOCK_BYTES = 65536

# Sums of the slots that are computed at a time; a slot for every thread where that is more.
cdef Py_ssize_t SUMS_BYTES = 2**26

cdef double HALF_LOG_2PI = 0.91893853320467274178

cdef enum Kind:
    FULL, TIED, DIAG, SPHERICAL

cdef enum Source:
    # Where the responsibilities of a pass come from.
    MIXTURE, LABELS, GIVEN

KINDS = {"full": FULL, "tied": TIED, "diag": DIAG, "spherical": SPHERICAL}


cdef struct Memory:
    # One thread's, for a block of rows.
    char *tiles
    char *white
    char *pack
    char *shares
    double *y
    double *squares
    double *log_prob
    double *entropy
    double *mass
    double *share
    double *scratch
    int32_t *list
    int32_t *everyone
    Py_ssize_t bytes


cdef struct Sums:
    # One slot's; lanes are FM_FEW_SIZE for every component, or three of 16.
    double *weight
    double *first
    double *second
    double *few
    double *log_prob
    double *entropy
    double *mass
    double *unused
    Py_ssize_t bytes


cdef struct Pass:
    # What one pass shares between the threads.
    int kind
    int source
    int moments
    Py_ssize_t k
    const char *panel
    Py_ssize_t panel_bytes
    const char *centers
    const void *constants
    double greatest
    const double *weights
    const int32_t *given_labels
    const double *given
    double *log_prob
    double *responsibilities
    int32_t *labels


cdef inline char *_take(char **at, Py_ssize_t bytes) noexcept nogil:
    cdef char *start = at[0]
    at[0] += padded(bytes)
    return start


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


def log(values):
    """Natural logarithm of positive normal numbers, with bits of our own."""
    given = np.ascontiguousarray(values, dtype=np.float64)
    out = np.empty(given.shape)
    find_isa(None).gaussian.log_all(<const double *>address(given), given.size,
                                    <double *>address(out))
    return out


@cython.final
cdef class MixtureRows(TileRows):
    """A dense matrix in the user's memory, with the passes of a mixture; parameters of TileRows."""

    cdef readonly Py_ssize_t slot_rows
    cdef const fm_mixture_kernels *mixture
    cdef object panels, thread_memory, slot_memory

    def __init__(self, X, dtype, isa=None):
        super().__init__(X, dtype, isa)
        self.slot_rows = SLOT_ROWS_OF_FEW if self.d <= FEW_COLUMNS else SLOT_ROWS
        self.mixture = self.isa.mixture_f32 if self.kernels.itemsize == 4 else self.isa.mixture_f64

    # ------------------------------------------------------------ memory

    cdef Py_ssize_t _block_rows(self, Py_ssize_t k) noexcept nogil:
        """Rows of a block: a multiple of 64, which every tile and the lanes divide."""
        cdef Py_ssize_t size = self.kernels.itemsize
        cdef Py_ssize_t rows = BLOCK_BYTES // (k * size + self.d * (size + 8)) // 64 * 64
        return min(max(rows, 64), MAX_BLOCK_ROWS)

    cdef Py_ssize_t _share_stride(self, Py_ssize_t k) noexcept nogil:
        """Rows between the shares of two components: an odd number of cache lines."""
        return self._block_rows(k) + 64 // self.kernels.itemsize

    cdef Memory _memory(self, char *memory, const Pass *p) noexcept nogil:
        cdef Memory m
        cdef Py_ssize_t rows = self._block_rows(p.k), size = self.kernels.itemsize
        cdef char *at = memory
        m.tiles = _take(&at, rows * self.d * size)
        m.white = _take(&at, rows * self.d * size if p.kind == TIED else 0)
        m.pack = _take(&at, self.kernels.tile_rows * self.d * size)
        m.shares = _take(&at, p.k * self._share_stride(p.k) * size)
        m.y = <double *>_take(&at, rows * max(FM_MOMENT_STRIDE(self.d), 0) * sizeof(double))
        m.squares = <double *>_take(&at, rows * sizeof(double))
        m.log_prob = <double *>_take(&at, rows * sizeof(double))
        m.entropy = <double *>_take(&at, rows * sizeof(double))
        m.mass = <double *>_take(&at, rows * sizeof(double))
        m.share = <double *>_take(&at, (rows + 8) * sizeof(double))
        m.scratch = <double *>_take(&at, FM_MOMENT_SCRATCH * sizeof(double))
        m.list = <int32_t *>_take(&at, (rows + 8) * sizeof(int32_t))
        m.everyone = <int32_t *>_take(&at, (rows + 8) * sizeof(int32_t))
        m.bytes = at - memory
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
        s.weight = <double *>_take(&at, p.k * sizeof(double))
        s.first = <double *>_take(&at, p.k * stride * sizeof(double))
        s.second = <double *>_take(&at, second * sizeof(double))
        s.few = <double *>_take(&at, p.k * FM_FEW_SIZE(self.d) * sizeof(double)
                                if self._few(p) else 0)
        s.log_prob = <double *>_take(&at, 16 * sizeof(double))
        s.entropy = <double *>_take(&at, 16 * sizeof(double))
        s.mass = <double *>_take(&at, 16 * sizeof(double))
        s.unused = <double *>_take(&at, (stride + 1) * sizeof(double))
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
        cdef const double[::1] constants = (
            factors.log_weights + factors.log_det - self.d * HALF_LOG_2PI)
        cdef Py_ssize_t centers_bytes = 0
        if p.kind == FULL or p.kind == TIED:
            p.panel_bytes = padded(d * (d + 3) // 2 * size)
            centers_bytes = padded((k + narrow - 1) // narrow * narrow * d * size)
        else:
            p.panel_bytes = padded((k + width - 1) // width * width * 2 * d * size)
        n_panels = k if p.kind == FULL else 1
        self.panels = aligned_empty(n_panels * p.panel_bytes + centers_bytes + padded(k * size),
                                    np.uint8)
        cdef char *panel = <char *>address(self.panels)
        cdef char *centers = panel + <Py_ssize_t>n_panels * p.panel_bytes
        cdef char *packed = centers + centers_bytes
        p.panel, p.centers, p.constants = panel, centers, packed
        p.greatest = self.mixture.pack_constants(&constants[0], k, packed)
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

    # ------------------------------------------------------------ passes over rows start .. stop

    def expect(self, Py_ssize_t start, Py_ssize_t stop, factors, int n_threads, *, weights=None,
               moments=None, log_prob=None, responsibilities=None, labels=None):
        """E-step (PRML 9.13) of framed rows start .. stop; start is a multiple of slot_rows.

        Adds the moments of the range to ``moments``, and writes ln p(x) (n,), responsibilities
        (n, k) and labels (n,) int32 where given: C-contiguous, indexed by row.
        """
        cdef Pass p
        memset(&p, 0, sizeof(Pass))
        p.kind, p.source, p.k = KINDS[factors.covariance_type], MIXTURE, len(factors.means)
        self._pack_factors(factors, &p)
        if log_prob is not None:
            p.log_prob = <double *>address(log_prob)
        if responsibilities is not None:
            p.responsibilities = <double *>address(responsibilities)
        if labels is not None:
            p.labels = <int32_t *>address(labels)
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
        return 0

    cdef void _slot(self, Py_ssize_t start, Py_ssize_t stop, const Pass *p, char *memory,
                    char *slot_memory) noexcept nogil:
        cdef Memory m = self._memory(memory, p)
        cdef Sums s
        cdef Py_ssize_t rows = self._block_rows(p.k), end = min(stop, start + self.slot_rows)
        cdef Py_ssize_t j
        cdef Py_ssize_t second
        cdef fm_block b
        cdef fm_memory upcoming
        if p.moments:
            s = self._sums(slot_memory, p)
            memset(slot_memory, 0, s.bytes)
        b.rows, b.start = NULL, start
        while b.start < end:
            b.count = min(rows, end - b.start)
            if p.source == MIXTURE:
                upcoming = self._rows_memory(b.start + b.count, b.count)
                self.kernels.pack(&self.x, &b, self.pack_offset, self.scale, m.tiles, upcoming,
                                  m.pack)
                self._distances(&b, p, &m)
                self.mixture.softmax(m.shares, b.count, p.k, self._share_stride(p.k), p.constants,
                                     p.greatest, m.log_prob, m.entropy if p.moments else NULL)
                self._write(&b, p, &m)
            if p.moments:
                self._add(&b, p, &m, &s)
            b.start += b.count
        if p.moments and self._few(p):
            second = FM_SECOND_SIZE(self.d)
            for j in range(p.k):
                self.isa.moments.fold_few(s.few + j * FM_FEW_SIZE(self.d), self.d, s.weight + j,
                                          s.first + j * FM_MOMENT_STRIDE(self.d),
                                          s.second + j * second)

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

    cdef inline double _share(self, const Memory *m, Py_ssize_t at) noexcept nogil:
        if self.kernels.itemsize == 4:
            return (<float *>m.shares)[at]
        return (<double *>m.shares)[at]

    cdef void _write(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil:
        """What the caller wants of every row of a block."""
        cdef Py_ssize_t stride = self._share_stride(p.k), i, j
        cdef double most, value
        if p.log_prob != NULL:
            for i in range(b.count):
                p.log_prob[b.start + i] = m.log_prob[i]
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
            self.isa.moments.add_lanes(m.entropy, w, b.count, s.entropy)
        if few:
            self.isa.moments.frame_columns(&self.x, b, self.grid.offset, self.scale, m.y, rows)
        else:
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
