# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a dense matrix as packed tiles: memory, frame, blocks, and the passes of the scan.

Every pass takes a range of rows and returns within what the caller chose that range for; nothing
is copied but the tiles of a block.  Any thread may take any block: what is added up is exact.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stdint cimport int32_t

from fastmix.core._grid cimport grid_of
from fastmix.core._kernels cimport FM_SUM_ROWS, address, find_isa, fm_block, fm_memory
from fastmix.core._shortlist cimport shortlist_of
from fastmix.core._threads cimport Locks, enter, leave

from fastmix.core._kernels import aligned_empty, at_least, element_type, sum_stride
from fastmix.core._source import windows

__all__ = ["TileRows"]

# A block's tiles: a quarter of a small second-level cache, and enough rows to amortise the call.
# Rows in multiples of 64, which every tile divides: the blocks are also the slots of the seeding's
# sums, whose bits must not depend on the ISA.
cdef Py_ssize_t BLOCK_BYTES = 131072
cdef Py_ssize_t MAX_BLOCK_ROWS = 2048
cdef Py_ssize_t BLOCK_MULTIPLE = 64

# With more columns the lanes of their extremes are not copied, which takes more than X.  With four,
# NumPy's reductions take 13 us, and all else of the extremes of 150 rows 7 (Emerald Rapids).
cdef Py_ssize_t MANY_COLUMNS = 1024

# Rows packed at a time, where a panel of at most so many bytes stays in the first caches and may be
# read again for each step: then the memory's latency hides behind the computing of the step before
# (2M x 16, K=64, 2 threads, Zen 3: 39 instead of 49 ms an iteration in one pair of runs, on a
# machine whose runs differ by 20 %).
cdef Py_ssize_t STEP_BYTES = 8192
cdef Py_ssize_t STEP_PANEL_BYTES = 262144


cdef class TileRows:
    """A dense matrix in the user's memory, seen in a frame (pivot, scale) in a compute dtype.

    The drivers of the models are its subclasses.

    Parameters
    ----------
    X : ndarray of shape (n, d), any strides, byte order and numeric dtype, never copied or written;
        or a Source, of which a window at a time is in memory
    dtype : float32 or float64, in which tiles are computed
    isa : name of a kernel table; default: the one in use
    """

    def __init__(self, X, dtype, isa=None):
        cdef Py_ssize_t rows
        self.X, self.dtype = X, np.dtype(dtype)
        self.n, self.d = X.shape
        self.stride = sum_stride(self.d)
        self.x.n, self.x.d = self.n, self.d
        self.source = None if isinstance(X, np.ndarray) else X
        self.bytes_read = 0
        if self.source is None:
            self._hold(0, X)
        self.x.type = element_type(X.dtype)
        self.x.swapped = not X.dtype.isnative
        self.isa = find_isa(isa)
        small = self.dtype == np.float32
        self.kernels = self.isa.f32 if small else self.isa.f64
        self.found = &self.isa.found_f32 if small else &self.isa.found_f64
        self.short = shortlist_of(self.isa, self.kernels, self.d)
        rows = BLOCK_BYTES // (self.d * self.kernels.itemsize)
        rows = min(max(rows, BLOCK_MULTIPLE), MAX_BLOCK_ROWS)
        self.block_rows = rows // BLOCK_MULTIPLE * BLOCK_MULTIPLE
        self.set_frame(np.zeros(self.d), 1.0, np.zeros((2, self.stride)))

    def set_frame(self, offset, double scale, grids):
        """Rows become x * scale - offset; grids (2, stride) are those of their exact sums."""
        self.offset, self.scale, self.grids = offset, scale, grids
        self.real_offset = offset.astype(self.dtype)
        self.pack_offset = address(self.real_offset)
        self.grid = grid_of(offset, scale, grids)

    @property
    def centered(self):
        """Whether a pivot is subtracted."""
        return True

    def chunks(self):
        """All rows as the user has them, a million elements at a time: yields start, array."""
        step, read = max(1, 2**20 // self.d), None if self.source is None else self.source.reader()
        for start in range(0, self.n, step):
            stop = min(self.n, start + step)
            yield start, self.X[start:stop] if read is None else read(start, stop)

    def first_non_finite(self):
        """Row, column and value of the first element that is NaN or infinite."""
        for start, part in self.chunks():
            with np.errstate(over="ignore"):  # of wider types
                part = part.astype(np.float64, copy=False)
            bad = ~np.isfinite(part)
            if bad.any():
                row, column = np.argwhere(bad)[0]
                return start + row, column, part[row, column]

    def take_served(self):
        """Rows whose labels shortlists have found since the last call."""
        return self.short.take_served()

    def nanoseconds(self, Py_ssize_t k):
        """Rough cost of one row against k centres on one thread, within a factor of three: for
        cutting work into calls and choosing threads."""
        # Vectors of 64 bytes are no faster than those of 32 on Zen 4.
        cdef Py_ssize_t size = self.kernels.itemsize
        cdef double product = 0.025 * size / 4 * 64 / min(64, self.kernels.tile_rows * size)
        return k * (self.d + 3) * product + self.d * (1.0 if k else 0.5) + 8

    # ------------------------------------------------------------ rows of a source

    cdef int _hold(self, Py_ssize_t start, window) except -1:
        """Rows from number start on are those of an array, until the next call."""
        self.window, self.held_start, self.held_stop = window, start, start + len(window)
        self.x.row_stride, self.x.col_stride = window.strides
        # Rows outside the window have addresses where nothing is, and are not looked at.
        self.x.data = <const char *>address(window) - start * self.x.row_stride
        return 0

    cdef int _fetch(self, Py_ssize_t start, Py_ssize_t stop) except -1:
        """Rows start .. stop are in memory, outside a pass: without going back as long as calls
        come in order."""
        if not self.held_start <= start <= stop <= self.held_stop:
            if self.reader is None or start < self.read_to:
                self.reader = self.source.reader()
            self._hold(start, self.reader(start, stop))
            self.read_to = stop
            self.bytes_read += (stop - start) * self.source.row_bytes
        return 0

    def spans(self, Py_ssize_t multiple, wanted=None):
        """Ranges of rows (start, stop) that are in memory one after the other, all rows together.

        They are cut at multiples of ``multiple``; wanted is a mask of the pages of so many rows
        that will be looked at: of a source, others are not read.
        """
        if self.source is None or not self.page_rows:
            return ((0, self.n),)
        return self._windows(multiple, wanted)

    def _windows(self, Py_ssize_t multiple, wanted):
        self.reader = None
        for start, window, n_read in windows(self.source, multiple, wanted):
            self.bytes_read += n_read * self.source.row_bytes
            self._hold(start, window)
            try:
                yield start, start + len(window)
            finally:
                if n_read < len(window) and not self.source.in_place:
                    self.held_start = self.held_stop = 0  # not what it seems to other passes

    @property
    def page_rows(self):
        """Fewest rows, a multiple of 64, that a pass can leave out; 0 where all are in memory."""
        if self.source is None or self._whole() and not self.source.in_place:
            return 0
        return -(-self.source.page_rows // 64) * 64

    cdef bint _whole(self) noexcept:
        """Whether all rows are in memory."""
        return self.held_start == 0 and self.held_stop == self.n

    # ------------------------------------------------------------ memory and centres

    cdef Scratch _scratch(self, char *memory, Py_ssize_t k) noexcept nogil:
        cdef Scratch s
        cdef const fm_tile_kernels *kernels = self.kernels
        cdef Py_ssize_t rows = self.block_rows
        cdef char *at = memory
        s.tiles = take(&at, rows * self.d * kernels.itemsize)
        s.pack = take(&at, kernels.tile_rows * self.d * kernels.itemsize)
        s.assign = take(&at, max(kernels.assign_scratch(rows, self.d), self.short.scratch()))
        s.distances = take(&at, rows * k * kernels.itemsize)
        s.sums = <double *>take(&at, FM_SUM_ROWS * self.stride * sizeof(double))
        s.values = <double *>take(&at, rows * sizeof(double))
        s.changed = <Py_ssize_t *>take(&at, rows * sizeof(Py_ssize_t))
        s.labels = <int32_t *>take(&at, rows * sizeof(int32_t))
        s.added = <int32_t *>take(&at, rows * sizeof(int32_t))
        s.removed = <int32_t *>take(&at, rows * sizeof(int32_t))
        s.bytes = at - memory
        return s

    cdef Scratch _of_thread(self, char *memory, Py_ssize_t k) noexcept nogil:
        cdef Py_ssize_t bytes = self._scratch(NULL, k).bytes
        return self._scratch(memory + threadid() * bytes, k)

    cdef char *_reserve(self, int n_threads, Py_ssize_t k=0) except NULL:
        """Scratch for n_threads, with k distances for each row of a block."""
        cdef Py_ssize_t bytes = n_threads * self._scratch(NULL, k).bytes
        self.memory = at_least(self.memory, bytes)
        return <char *>address(self.memory)

    cdef fm_block _block(self, Py_ssize_t start, Py_ssize_t stop,
                         Py_ssize_t block) noexcept nogil:
        cdef fm_block b
        b.rows = NULL
        b.start = start + block * self.block_rows
        b.count = min(self.block_rows, stop - b.start)
        return b

    def step(self, Py_ssize_t k):
        """Rows of a block that are packed and used at a time, against k centres."""
        return self._step(k)

    cdef Py_ssize_t _step(self, Py_ssize_t k) noexcept nogil:
        cdef Py_ssize_t row_bytes = self.d * self.kernels.itemsize, rows
        if k * row_bytes > STEP_PANEL_BYTES:
            return self.block_rows
        rows = (STEP_BYTES // row_bytes // BLOCK_MULTIPLE + 1) * BLOCK_MULTIPLE
        return min(self.block_rows, rows)

    cdef Py_ssize_t _n_blocks(self, Py_ssize_t n) noexcept nogil:
        return (n + self.block_rows - 1) // self.block_rows

    cdef fm_memory _rows_memory(self, Py_ssize_t start, Py_ssize_t count) noexcept nogil:
        """Where rows start .. start + count lie, if they lie densely: for fetching them early."""
        cdef fm_memory memory
        count = min(count, self.held_stop - start)
        memory.start = self.x.data + start * self.x.row_stride
        memory.bytes = count * self.x.row_stride
        if count < 0 or not 0 < self.x.row_stride <= 2 * self.d * self.x.col_stride:
            memory.bytes = 0
        return memory

    cdef void _pack(self, const fm_block *b, Scratch *s) noexcept nogil:
        # Rows two wide tiles ahead are fetched meanwhile.
        cdef fm_memory upcoming = self._rows_memory(b.start + 128, b.count)
        if b.rows != NULL:
            upcoming.bytes = 0
        self.kernels.pack(&self.x, b, self.pack_offset, self.scale, s.tiles, upcoming, s.pack)

    cdef void _shortlist(self, const fm_block *b, Scratch *s, const void *panel, const void *bias,
                         Py_ssize_t k, const int32_t *hint, int32_t *labels) noexcept nogil:
        # Labels of a block's rows by shortlists, while short.active, and those of rows that these
        # leave by a scan.
        cdef Py_ssize_t i, left = 0
        cdef fm_block rest
        cdef fm_memory nothing
        self.kernels.gather(&self.x, b, self.pack_offset, self.scale, NULL, s.tiles, s.values,
                            s.pack)
        if self.short.assign(s.tiles, s.values, b.count, panel, bias, hint, labels, b.start,
                             s.assign) == 0:
            return
        for i in range(b.count):
            if labels[i] < 0:
                s.changed[left] = b.start + i if b.rows == NULL else b.rows[i]
                left += 1
        rest.rows, rest.start, rest.count = s.changed, 0, left
        nothing.start, nothing.bytes = NULL, 0
        self._pack(&rest, s)
        self.kernels.assign(s.tiles, left, self.d, panel, bias, k, s.removed, NULL, nothing,
                            s.assign)
        left = 0
        for i in range(b.count):
            if labels[i] < 0:
                labels[i] = s.removed[left]
                left += 1

    cdef void _move_rows(self, const Py_ssize_t *rows, Py_ssize_t count, const int32_t *added,
                         const int32_t *removed, const double *weights, double *sums,
                         Py_ssize_t k, Locks locks, double *scratch) noexcept nogil:
        # Rows added to their new clusters and removed from the old ones, in a part of the sums that
        # no other thread has; sums NULL: none are wanted.
        cdef fm_block b
        cdef int part
        if sums == NULL or count == 0:
            return
        b.rows, b.start, b.count = rows, 0, count
        part = locks.acquire(threadid())
        self.isa.exact.accumulate(&self.x, &b, weights, &self.grid, added, removed,
                                  sums + part * 2 * k * self.stride, scratch)
        locks.release(part)

    cdef void *_panel(self, const double[:, ::1] centers, Py_ssize_t width, void **bias,
                      bint again=False) except NULL:
        """Centres (k, d) of this frame, packed in groups of width; valid until the next call.

        again: as they are since the last one.
        """
        cdef Py_ssize_t k = centers.shape[0], columns = round_up(k, width), bias_at
        cdef Py_ssize_t bytes = panel_bytes(columns, self.d, self.kernels.itemsize, &bias_at)
        self.panel = at_least(self.panel, bytes)
        cdef char *panel = <char *>address(self.panel)
        if bias != NULL:
            bias[0] = panel + bias_at
        if not again:
            self.kernels.pack_centers(&centers[0, 0], k, self.d, width, panel,
                                      NULL if bias == NULL else bias[0])
        return panel

    def empty_sums(self, Py_ssize_t parts, Py_ssize_t k):
        """Zeroed statistics (parts, k, 2, stride)."""
        sums = aligned_empty((parts, k, 2, self.stride), np.float64)
        sums[...] = 0
        return sums

    cdef object _picked(self, rows):
        """Rows by their numbers, as they are."""
        rows = np.asarray(rows, dtype=np.intp)
        if self._whole():
            return self.window[rows]
        if len(rows) and self.held_start <= rows.min() and rows.max() < self.held_stop:
            return self.window[rows - self.held_start]  # as _fetch left them
        self.reader = None
        self.bytes_read += len(rows) * self.source.row_bytes
        return self.source.take(rows)

    def take(self, rows):
        """Rows as centres: (len(rows), d) float64 in this frame."""
        picked = self._picked(rows).astype(np.float64)
        return np.ascontiguousarray(picked * self.scale - self.offset)

    def part(self, rows):
        """Rows by their numbers, a copy, as rows of their own in the same frame."""
        part = type(self)(self._picked(rows), self.dtype, self.isa.name.decode())
        part.set_frame(self.offset, self.scale, self.grids)
        return part

    # ------------------------------------------------------------ the scan

    def extremes(self, Py_ssize_t start, Py_ssize_t stop, int n_threads):
        """Column minima and maxima (2, d) of the framed rows, and whether all are finite."""
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
        if self.d > MANY_COLUMNS:
            ends = np.stack([bounds[0].min(axis=(0, 2)), bounds[1].max(axis=(0, 2))])
            return ends.astype(np.float64), infinite == 0
        ends = np.empty((2, self.d))
        cdef double[:, ::1] end = ends
        cdef double[:, :, :, ::1] lanes = bounds.astype(np.float64, copy=False)
        cdef Py_ssize_t t, j, thread
        for j in range(self.d):
            end[0, j], end[1, j] = INFINITY, -INFINITY
            for thread in range(n_threads):
                for t in range(lanes.shape[3]):
                    end[0, j] = min(end[0, j], lanes[0, thread, j, t])
                    end[1, j] = max(end[1, j], lanes[1, thread, j, t])
        return ends, infinite == 0

    cdef Py_ssize_t _extremes(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block,
                              char *memory, char *low, char *high) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, 0)
        cdef fm_block b = self._block(start, stop, block)
        cdef Py_ssize_t own = threadid() * self.d * self.kernels.tile_rows * self.kernels.itemsize
        self._pack(&b, &s)
        return not self.kernels.extremes(s.tiles, b.count, self.d, low + own, high + own)

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
        cdef fm_block b = self._block(start, stop, block)
        cdef Py_ssize_t i
        for i in range(b.count):
            s.added[i] = 0
        self.isa.exact.accumulate(&self.x, &b, w, &self.grid, s.added, NULL,
                                  sums + threadid() * 2 * self.stride, s.sums)
