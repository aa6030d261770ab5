# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a dense matrix, and the passes over them: pack -> tile -> fold on OpenMP threads.

Every pass takes a range of rows and returns within what the caller chose that range for; nothing
is copied but the tiles of a block.  Any thread may take any block: what is added up is exact.
"""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.math cimport sqrt, sqrtf
from libc.stdint cimport int32_t

from fastmix.core._kernels cimport (
    FM_SUM_ROWS, address, find_isa, fm_block, fm_grid, fm_isa, fm_matrix, fm_tile_kernels,
)
from fastmix.core._threads cimport Locks, enter, leave

from fastmix.core._kernels import aligned_empty, element_type, sum_stride

__all__ = ["DenseRows"]

# A block's tiles: a quarter of a small second-level cache, and enough rows to amortise the call.
# Rows in multiples of 64, which every tile divides: the blocks are also the slots of the seeding's
# sums, whose bits must not depend on the ISA.
cdef Py_ssize_t BLOCK_BYTES = 131072
cdef Py_ssize_t MAX_BLOCK_ROWS = 2048
cdef Py_ssize_t BLOCK_MULTIPLE = 64

# Rows packed at a time, where a panel of at most so many bytes stays in the first caches and may be
# read again for each step: then the memory's latency hides behind the computing of the step before
# (2M x 16, K=64, 2 threads, Zen 3: 39 instead of 49 ms an iteration in one pair of runs, on a
# machine whose runs differ by 20 %).
cdef Py_ssize_t STEP_BYTES = 8192
cdef Py_ssize_t STEP_PANEL_BYTES = 262144

# Centres whose distances to the rows of a block are held at a time: a multiple of the width.
cdef Py_ssize_t DISTANCE_CENTERS = 60

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


cdef struct Assignment:
    # What one E-step shares between the threads.
    void *panel
    void *bias
    const double *weights
    const Py_ssize_t *rows
    int32_t *labels
    int32_t *second
    double *sums
    Py_ssize_t k


cdef inline Py_ssize_t _padded(Py_ssize_t size) noexcept nogil:
    return (size + 63) // 64 * 64


cdef inline fm_block _piece(const fm_block *b, Py_ssize_t at, Py_ssize_t step) noexcept nogil:
    cdef fm_block piece
    piece.rows = NULL if b.rows == NULL else b.rows + at
    piece.start = b.start + at
    piece.count = min(step, b.count - at)
    return piece


@cython.final
cdef class DenseRows:
    """A dense matrix in the user's memory, seen in a frame (pivot, scale) in a compute dtype.

    Parameters
    ----------
    X : ndarray of shape (n, d), any strides, byte order and numeric dtype; never copied or written
    dtype : float32 or float64, in which tiles are computed
    isa : name of a kernel table; default: the one in use
    """

    cdef readonly object X, dtype
    cdef readonly Py_ssize_t n, d, stride, block_rows
    cdef readonly object offset, grids
    cdef public object bounds
    cdef readonly double scale
    cdef fm_matrix x
    cdef fm_grid grid
    cdef const fm_isa *isa
    cdef const fm_tile_kernels *kernels
    cdef object real_offset, memory, panel
    cdef double[::1] offset_view
    cdef double[:, ::1] grid_view
    cdef const void *pack_offset

    def __init__(self, X, dtype, isa=None):
        cdef Py_ssize_t rows
        self.X, self.dtype = X, np.dtype(dtype)
        self.n, self.d = X.shape
        self.stride = sum_stride(self.d)
        self.x.data = <const char *>address(X)
        self.x.n, self.x.d = self.n, self.d
        self.x.row_stride, self.x.col_stride = X.strides
        self.x.type = element_type(X.dtype)
        self.x.swapped = not X.dtype.isnative
        self.isa = find_isa(isa)
        self.kernels = self.isa.f32 if self.dtype == np.float32 else self.isa.f64
        rows = BLOCK_BYTES // (self.d * self.kernels.itemsize)
        rows = min(max(rows, BLOCK_MULTIPLE), MAX_BLOCK_ROWS)
        self.block_rows = rows // BLOCK_MULTIPLE * BLOCK_MULTIPLE
        self.set_frame(np.zeros(self.d), 1.0, np.zeros((2, self.stride)))

    def set_frame(self, offset, double scale, grids):
        """Rows become x * scale - offset; grids (2, stride) are those of their exact sums."""
        self.offset, self.scale, self.grids = offset, scale, grids
        self.real_offset = offset.astype(self.dtype)
        self.pack_offset = address(self.real_offset)
        self.offset_view, self.grid_view = offset, grids
        self.grid.d, self.grid.stride, self.grid.scale = self.d, self.stride, scale
        self.grid.offset = &self.offset_view[0]
        self.grid.coarse = &self.grid_view[0, 0]
        self.grid.fine = &self.grid_view[1, 0]

    @property
    def centered(self):
        """Whether a pivot is subtracted."""
        return True

    def first_non_finite(self):
        """Row, column and value of the first element that is NaN or infinite."""
        step = max(1, 2**20 // self.d)
        for start in range(0, self.n, step):
            bad = ~np.isfinite(self.X[start : start + step])
            if bad.any():
                row, column = np.argwhere(bad)[0]
                return start + row, column, self.X[start + row, column]

    def nanoseconds(self, Py_ssize_t k):
        """Rough cost of one row against k centres on one thread, within a factor of three: for
        cutting work into calls and choosing threads."""
        cdef double slow = 64.0 / (self.kernels.tile_rows * self.kernels.itemsize)
        return k * (self.d + 3) * 0.025 * slow + self.d * (1.0 if k else 0.5) + 8

    # ------------------------------------------------------------ memory and centres

    cdef Scratch _scratch(self, char *memory, Py_ssize_t k) noexcept nogil:
        cdef Scratch s
        cdef const fm_tile_kernels *kernels = self.kernels
        cdef Py_ssize_t rows = self.block_rows
        cdef char *at = memory
        s.tiles = at
        at += _padded(rows * self.d * kernels.itemsize)
        s.pack = at
        at += _padded(kernels.tile_rows * self.d * kernels.itemsize)
        s.assign = at
        at += _padded(kernels.assign_scratch(rows, self.d))
        s.distances = at
        at += _padded(rows * k * kernels.itemsize)
        s.sums = <double *>at
        at += _padded(FM_SUM_ROWS * self.stride * sizeof(double))
        s.values = <double *>at
        at += _padded(rows * sizeof(double))
        s.changed = <Py_ssize_t *>at
        at += _padded(rows * sizeof(Py_ssize_t))
        s.labels = <int32_t *>at
        at += _padded(rows * sizeof(int32_t))
        s.added = <int32_t *>at
        at += _padded(rows * sizeof(int32_t))
        s.removed = <int32_t *>at
        at += _padded(rows * sizeof(int32_t))
        s.bytes = at - memory
        return s

    cdef Scratch _of_thread(self, char *memory, Py_ssize_t k) noexcept nogil:
        cdef Py_ssize_t bytes = self._scratch(NULL, k).bytes
        return self._scratch(memory + threadid() * bytes, k)

    cdef char *_reserve(self, int n_threads, Py_ssize_t k=0) except NULL:
        """Scratch for n_threads, with k distances for each row of a block."""
        cdef Py_ssize_t bytes = n_threads * self._scratch(NULL, k).bytes
        if self.memory is None or self.memory.size < bytes:
            self.memory = aligned_empty(bytes, np.uint8)
        return <char *>address(self.memory)

    cdef fm_block _block(self, const Py_ssize_t *rows, Py_ssize_t start, Py_ssize_t stop,
                         Py_ssize_t block) noexcept nogil:
        cdef fm_block b
        b.start = start + block * self.block_rows
        b.count = min(self.block_rows, stop - b.start)
        b.rows = NULL if rows == NULL else rows + b.start
        return b

    cpdef Py_ssize_t step(self, Py_ssize_t k) noexcept nogil:
        """Rows of a block that are packed and used at a time, against k centres."""
        cdef Py_ssize_t row_bytes = self.d * self.kernels.itemsize, rows
        if k * row_bytes > STEP_PANEL_BYTES:
            return self.block_rows
        rows = (STEP_BYTES // row_bytes // BLOCK_MULTIPLE + 1) * BLOCK_MULTIPLE
        return min(self.block_rows, rows)

    cdef Py_ssize_t _n_blocks(self, Py_ssize_t n) noexcept nogil:
        return (n + self.block_rows - 1) // self.block_rows

    cdef void _pack(self, const fm_block *b, Scratch *s) noexcept nogil:
        self.kernels.pack(&self.x, b, self.pack_offset, self.scale, s.tiles, s.pack)

    cdef void *_panel(self, const double[:, ::1] centers, Py_ssize_t width,
                      void **bias) except NULL:
        """Centres (k, d) of this frame, packed in groups of width; valid until the next call."""
        cdef Py_ssize_t k = centers.shape[0], size = self.kernels.itemsize
        cdef Py_ssize_t padded = (k + width - 1) // width * width
        cdef Py_ssize_t bytes = _padded(padded * self.d * size)
        if self.panel is None or self.panel.size < bytes + padded * size:
            self.panel = aligned_empty(bytes + padded * size, np.uint8)
        cdef char *panel = <char *>address(self.panel)
        if bias != NULL:
            bias[0] = panel + bytes
        self.kernels.pack_centers(&centers[0, 0], k, self.d, width, panel,
                                  NULL if bias == NULL else bias[0])
        return panel

    def empty_sums(self, Py_ssize_t parts, Py_ssize_t k):
        """Zeroed statistics (parts, k, 2, stride)."""
        sums = aligned_empty((parts, k, 2, self.stride), np.float64)
        sums[...] = 0
        return sums

    def take(self, rows):
        """Rows as centres: (len(rows), d) float64 in this frame."""
        picked = self.X[np.asarray(rows, dtype=np.intp)].astype(np.float64)
        return np.ascontiguousarray(picked * self.scale - self.offset)

    # ------------------------------------------------------------ passes over rows start .. stop

    def extremes(self, Py_ssize_t start, Py_ssize_t stop, int n_threads):
        """Column minima and maxima, two of (d,), of the framed rows, and whether all are finite."""
        cdef Py_ssize_t block, n_blocks = self._n_blocks(stop - start)
        cdef char *memory = self._reserve(n_threads)
        bounds = np.empty((2, n_threads, self.d, self.kernels.tile_rows), dtype=self.dtype)
        bounds[0], bounds[1] = np.inf, -np.inf
        cdef char *low = <char *>address(bounds)
        cdef char *high = low + <Py_ssize_t>bounds.nbytes // 2
        cdef Py_ssize_t infinite = 0
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            infinite += self._extremes(start, stop, block, memory, low, high)
        leave()
        return (bounds[0].min(axis=(0, 2)), bounds[1].max(axis=(0, 2))), infinite == 0

    cdef Py_ssize_t _extremes(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block,
                              char *memory, char *low, char *high) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, 0)
        cdef fm_block b = self._block(NULL, start, stop, block)
        cdef Py_ssize_t own = threadid() * self.d * self.kernels.tile_rows * self.kernels.itemsize
        self._pack(&b, &s)
        return not self.kernels.extremes(s.tiles, b.count, self.d, low + own, high + own)

    def assign(self, Py_ssize_t start, Py_ssize_t stop, centers, int32_t[::1] labels,
               int n_threads, double[:, :, :, ::1] sums=None, const double[::1] weights=None,
               const Py_ssize_t[::1] rows=None, int32_t[::1] second=None):
        """E-step (PRML 9.2) for rows start .. stop, or for rows[start .. stop].

        labels (n,) are written in place, and the runner-up's to second.  Every row whose label
        changes is added to its new cluster's statistics in sums, and removed from the old one's
        (label -1: none).  Returns the number of rows whose label changed.

        sums (parts, k, 2, stride) has a part for every thread, or fewer, then shared under locks:
        any order of the additions gives the same bits.
        """
        cdef Py_ssize_t block, n_blocks = self._n_blocks(stop - start)
        cdef Py_ssize_t n_changed = 0
        cdef Assignment a
        cdef char *memory = self._reserve(n_threads)
        a.k = centers.shape[0]
        a.panel = self._panel(centers, self.kernels.panel_width, &a.bias)
        a.weights = NULL if weights is None else &weights[0]
        a.rows = NULL if rows is None else &rows[0]
        a.labels = &labels[0]
        a.second = NULL if second is None else &second[0]
        a.sums = NULL if sums is None else &sums[0, 0, 0, 0]
        cdef Locks locks = Locks(n_threads if sums is None else sums.shape[0], n_threads)
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            n_changed += self._assign(start, stop, block, memory, &a, locks)
        leave()
        return n_changed

    cdef Py_ssize_t _assign(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block,
                            char *memory, Assignment *a, Locks locks) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, 0)
        cdef fm_block b = self._block(a.rows, start, stop, block)
        cdef Py_ssize_t i, changed, at = 0, step = self.step(a.k)
        cdef fm_block piece
        cdef int part
        while at < b.count:
            piece = _piece(&b, at, step)
            self._pack(&piece, &s)
            self.kernels.assign(s.tiles, piece.count, self.d, a.panel, a.bias, a.k,
                                s.labels + at, NULL if a.second == NULL else s.added + at,
                                s.assign)
            at += step
        if a.second != NULL:
            for i in range(b.count):
                a.second[b.start + i if b.rows == NULL else b.rows[i]] = s.added[i]
        changed = self.isa.exact.changes(s.labels, &b, a.labels, s.changed, s.added, s.removed)
        if a.sums != NULL and changed:
            b.rows = s.changed
            b.count = changed
            part = locks.acquire(threadid())
            self.isa.exact.accumulate(&self.x, &b, a.weights, &self.grid, s.added, s.removed,
                                      a.sums + part * 2 * a.k * self.stride, s.sums)
            locks.release(part)
        return changed

    def add_all(self, Py_ssize_t start, Py_ssize_t stop, int n_threads,
                double[:, :, :, ::1] sums, const double[::1] weights=None):
        """Statistics of all rows as one cluster, added to sums (n_threads, 1, 2, stride)."""
        cdef Py_ssize_t block, n_blocks = self._n_blocks(stop - start)
        cdef char *memory = self._reserve(n_threads)
        cdef double *to = &sums[0, 0, 0, 0]
        cdef const double *w = NULL if weights is None else &weights[0]
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            self._add_all(start, stop, block, memory, w, to)
        leave()

    cdef void _add_all(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                       const double *w, double *sums) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, 0)
        cdef fm_block b = self._block(NULL, start, stop, block)
        cdef Py_ssize_t i
        for i in range(b.count):
            s.added[i] = 0
        self.isa.exact.accumulate(&self.x, &b, w, &self.grid, s.added, NULL,
                                  sums + threadid() * 2 * self.stride, s.sums)

    def move(self, const Py_ssize_t[::1] rows, const int32_t[::1] added,
             const int32_t[::1] removed, double[:, :, ::1] sums, const double[::1] weights=None):
        """Statistics of rows[i] added to cluster added[i] and removed from removed[i], in sums
        (k, 2, stride)."""
        cdef fm_block b
        b.rows, b.start, b.count = &rows[0], 0, rows.shape[0]
        cdef Scratch s = self._scratch(self._reserve(1), 0)
        self.isa.exact.accumulate(&self.x, &b, NULL if weights is None else &weights[0],
                                  &self.grid, &added[0], &removed[0], &sums[0, 0, 0], s.sums)

    def inertia(self, Py_ssize_t start, Py_ssize_t stop, const double[:, ::1] centers,
                const int32_t[::1] labels, grid, int n_threads, const double[::1] weights=None):
        """Sum of the weighted residuals, exact on a column grid (coarse, fine): (2,)."""
        cdef Py_ssize_t block, n_blocks = self._n_blocks(stop - start)
        cdef char *memory = self._reserve(n_threads)
        cdef const double *c = &centers[0, 0]
        cdef const int32_t *label = &labels[0]
        cdef const double *w = NULL if weights is None else &weights[0]
        cdef double coarse = grid[0], fine = grid[1]
        cdef double[:, ::1] totals = np.zeros((n_threads, 8))  # a cache line each
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            self._inertia(start, stop, block, memory, c, label, w, coarse, fine, &totals[0, 0])
        leave()
        return np.asarray(totals)[:, :2].sum(axis=0)

    cdef void _inertia(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                       const double *c, const int32_t *labels, const double *w, double coarse,
                       double fine, double *totals) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, 0)
        cdef fm_block b = self._block(NULL, start, stop, block)
        self.isa.exact.residuals(&self.x, &b, &self.grid, c, labels + b.start, s.values, s.sums)
        self.isa.exact.add_exact(s.values, NULL if w == NULL else w + b.start, b.count, coarse,
                                 fine, totals + 8 * threadid())

    def residuals(self, Py_ssize_t start, Py_ssize_t stop, const double[:, ::1] centers,
                  const int32_t[::1] labels, double[::1] out, int n_threads):
        """out[i - start] = squared distance of framed row i to the centre of its label, by
        differences in float64."""
        cdef Py_ssize_t block, n_blocks = self._n_blocks(stop - start)
        cdef char *memory = self._reserve(n_threads)
        cdef const double *c = &centers[0, 0]
        cdef const int32_t *label = &labels[0]
        cdef double *to = &out[0] - start
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            self._residuals(start, stop, block, memory, c, label, to)
        leave()

    cdef void _residuals(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                         const double *c, const int32_t *labels, double *out) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, 0)
        cdef fm_block b = self._block(NULL, start, stop, block)
        self.isa.exact.residuals(&self.x, &b, &self.grid, c, labels + b.start, out + b.start,
                                 s.sums)

    def distances(self, Py_ssize_t start, Py_ssize_t stop, centers, out, int n_threads):
        """out[i - start, j] = distance of row i to centre j, in the user's units; out (stop -
        start, k) has the compute dtype."""
        cdef Py_ssize_t k = centers.shape[0]
        cdef Py_ssize_t block, n_blocks = self._n_blocks(stop - start)
        cdef char *memory = self._reserve(n_threads, DISTANCE_CENTERS)
        cdef char *c = <char *>self._panel(centers, self.kernels.distance_width, NULL)
        cdef char *to = <char *>address(out)
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            self._distances(start, stop, block, memory, c, k, to)
        leave()

    cdef void _distances(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                         char *panel, Py_ssize_t k, char *out) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, DISTANCE_CENTERS)
        cdef fm_block b = self._block(NULL, start, stop, block)
        cdef Py_ssize_t first = 0, count, i, j
        cdef double unit = 1 / self.scale  # both powers of two
        self._pack(&b, &s)
        while first < k:
            count = min(DISTANCE_CENTERS, k - first)
            self.kernels.distances(s.tiles, b.count, self.d,
                                   panel + first * self.d * self.kernels.itemsize, count,
                                   s.distances, self.block_rows)
            for i in range(b.count):
                for j in range(count):
                    if self.kernels.itemsize == 4:
                        (<float *>out)[(b.start - start + i) * k + first + j] = <float>(
                            sqrtf((<float *>s.distances)[j * self.block_rows + i]) * unit)
                    else:
                        (<double *>out)[(b.start - start + i) * k + first + j] = (
                            sqrt((<double *>s.distances)[j * self.block_rows + i]) * unit)
            first += count

    # ------------------------------------------------------------ seeding

    def potentials(self, Py_ssize_t start, Py_ssize_t stop, previous, candidates, closest,
                   double[:, ::1] out, int n_threads, const double[::1] weights=None):
        """One step of greedy k-means++ in one pass: out[slot, j] = sum over the slot's rows of
        w min(closest, |x - candidate_j|^2), after closest has been brought up to date with the
        centre that was chosen before (None: closest stands).  A slot is a block of rows.
        """
        cdef Py_ssize_t block, n_blocks = self._n_blocks(stop - start)
        cdef bint update = previous is not None
        cdef Py_ssize_t k = len(candidates) + update
        centers = np.concatenate([previous, candidates]) if update else candidates
        cdef char *memory = self._reserve(n_threads, k)
        cdef const void *c = self._panel(centers, self.kernels.distance_width, NULL)
        cdef char *nearest = <char *>address(closest)
        cdef const double *w = NULL if weights is None else &weights[0]
        cdef double *to = &out[0, 0]
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            self._potentials(start, stop, block, memory, c, k, update, nearest, w, to)
        leave()

    cdef void _potentials(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                          const void *panel, Py_ssize_t k, bint update, char *closest,
                          const double *w, double *out) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, k)
        cdef fm_block b = self._block(NULL, start, stop, block)
        cdef Py_ssize_t size = self.kernels.itemsize, j
        cdef char *nearest = closest + b.start * size
        cdef Py_ssize_t at = 0, step = self.step(k)
        cdef fm_block piece
        while at < b.count:
            piece = _piece(&b, at, step)
            self._pack(&piece, &s)
            self.kernels.distances(s.tiles, piece.count, self.d, panel, k,
                                   s.distances + at * size, self.block_rows)
            at += step
        out += b.start // self.block_rows * (k - update) - update
        for j in range(k):
            if update and j == 0:
                self._potential(&s, j, nearest, NULL, b.count, nearest)
            else:
                out[j] = self._potential(&s, j, nearest, NULL if w == NULL else w + b.start,
                                         b.count, NULL)

    cdef double _potential(self, Scratch *s, Py_ssize_t j, void *closest, const double *w,
                           Py_ssize_t count, void *keep) noexcept nogil:
        cdef const void *distance = s.distances + j * self.block_rows * self.kernels.itemsize
        if self.kernels.itemsize == 4:
            return self.isa.exact.potential_f32(distance, closest, w, count, keep)
        return self.isa.exact.potential_f64(distance, closest, w, count, keep)

    def slot_potentials(self, Py_ssize_t slot, center, closest):
        """min(closest, |x - center|^2) of the rows of one slot, as float64."""
        start = slot * self.block_rows
        stop = min(self.n, start + self.block_rows)
        cdef void *panel = self._panel(center, self.kernels.distance_width, NULL)
        cdef Scratch s = self._of_thread(self._reserve(1, 1), 1)
        cdef fm_block b = self._block(NULL, start, stop, 0)
        least = closest[start:stop].copy()
        self._pack(&b, &s)
        self.kernels.distances(s.tiles, b.count, self.d, panel, 1, s.distances,
                               self.block_rows)
        self._potential(&s, 0, address(least), NULL, b.count, address(least))
        return least.astype(np.float64)
