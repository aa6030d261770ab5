# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a CSR matrix, with the passes of DenseRows: same statistics, no pivot, float64.

A pivot would fill the rows.  Nothing is copied but one row at a time, whose entries are sorted if
X's are not: a row has the same bits in whatever order its entries are stored.
"""

import numpy as np

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int32_t

from fastmix.core._entries cimport sort_entries
from fastmix.core._grid cimport grid_of
from fastmix.core._kernels cimport address, find_isa, fm_csr, fm_exact_kernels, fm_grid
from fastmix.core._threads cimport Locks, enter, leave

from fastmix.core._kernels import aligned_empty, element_type, sum_stride

__all__ = ["SparseRows"]

# Rows of a block, and of a slot of the seeding's sums.
cdef Py_ssize_t BLOCK_ROWS = 256

# Bytes of centres beyond which reading them takes five times as long: 8 MB did not, 24 MB did, with
# 1 MB of second and 32 MB of third level (Zen 4).
cdef double CACHE_BYTES = 2.0**23

# Elements that the scan converts at a time.
PIECE = 2**16


cdef struct Row:
    # The non-zero elements of one row, unpacked into one thread's memory.
    Py_ssize_t *column
    double *y
    double *score
    Py_ssize_t count


cdef inline Py_ssize_t _padded(Py_ssize_t k) noexcept nogil:
    return (k + 3) // 4 * 4


@cython.final
cdef class SparseRows:
    """A CSR matrix in the user's memory, seen times a power of two.

    Parameters
    ----------
    X : validated CSR array of shape (n, d), any numeric dtype and index type, entries in any order;
        never written, and copied only if it holds several entries for one element: what they add up
        to depends on the dtype, and is SciPy's to say.  Indices of two types are copied
    dtype : ignored; float64 is the compute dtype
    isa : name of a kernel table; default: the one in use
    """

    cdef readonly object X, dtype
    cdef readonly Py_ssize_t n, d, stride, block_rows
    cdef readonly object offset, grids
    cdef readonly double scale
    cdef public object bounds
    cdef fm_csr x
    cdef fm_grid grid
    cdef const fm_exact_kernels *kernels
    cdef object memory, data, indices, indptr
    cdef object turned_from, turned  # centres of the pass, and what _transposed() made of them
    cdef Py_ssize_t longest
    cdef bint ordered  # entries of a row by column, one for each

    def __init__(self, X, dtype=None, isa=None):
        self.kernels = &find_isa(isa).exact
        self._point_to(X)
        self.ordered = X.has_canonical_format
        if not self.ordered and self._repeats():
            X = X.copy()
            X.sum_duplicates()
            self._point_to(X)
            self.ordered = True
        self.dtype = np.dtype(np.float64)
        self.stride = sum_stride(self.d)
        self.block_rows = BLOCK_ROWS
        self.set_frame(np.zeros(self.d), 1.0, np.zeros((2, self.stride)))

    def _point_to(self, X):
        """Read X from now on."""
        self.X = X
        self.n, self.d = X.shape
        self.data = X.data
        if element_type(self.data.dtype) is None:
            self.data = self.data.astype(np.float64)
        both = X.indices.dtype == X.indptr.dtype == np.int32
        index = np.dtype(np.int32 if both else np.int64)
        self.indices = np.ascontiguousarray(X.indices, dtype=index)
        self.indptr = np.ascontiguousarray(X.indptr, dtype=index)
        self.data = np.ascontiguousarray(self.data)
        self.x.elements = <const char *>address(self.data)
        self.x.columns, self.x.starts = address(self.indices), address(self.indptr)
        self.x.n, self.x.d = self.n, self.d
        self.x.element_size, self.x.index_size = self.data.itemsize, self.indices.itemsize
        self.x.type = element_type(self.data.dtype)
        self.x.swapped = not self.data.dtype.isnative
        self.longest = int(np.diff(self.indptr).max())

    def _repeats(self):
        """Whether some row has several entries in one column."""
        cdef Py_ssize_t[::1] seen = np.full(self.d, -1, dtype=np.intp)
        cdef char *memory = self._reserve(1, 0)
        cdef Py_ssize_t row, i
        cdef Row r
        for row in range(self.n):
            if row % 4096 == 0:
                PyErr_CheckSignals()
            r = self._unpack(memory, 0, row)
            for i in range(r.count):
                if seen[r.column[i]] == row:
                    return True
                seen[r.column[i]] = row
        return False

    def set_frame(self, offset, double scale, grids):
        """Rows become x * scale; offset is zero, grids (2, stride) are those of their sums."""
        self.offset, self.scale, self.grids = offset, scale, grids
        self.grid = grid_of(offset, scale, grids)

    @property
    def centered(self):
        """Whether a pivot is subtracted."""
        return False

    def first_non_finite(self):
        """Row, column and value of the first stored element that is NaN or infinite."""
        at = int(np.argmax(~np.isfinite(self.data)))
        row = int(np.searchsorted(self.indptr, at, side="right")) - 1
        return row, int(self.indices[at]), self.data[at]

    def nanoseconds(self, Py_ssize_t k):
        """Rough cost of one row against k centres on one thread, within a factor of three: for
        cutting work into calls and choosing threads.

        Few centres are those of the seeding, which takes a nanosecond for an entry and a centre;
        the E-step takes 0.2 where the centres are in a cache.
        """
        cdef double entry = 2 + (0.2 if 8.0 * k * self.d <= CACHE_BYTES else 1.0) * k
        cdef double row = 20 + 0.6 * k
        entry += 0.8 * min(k, 16)
        if not self.ordered:
            row, entry = row + 150, entry + 4
        return row + entry * self.data.size / self.n

    def empty_sums(self, Py_ssize_t parts, Py_ssize_t k):
        """Zeroed statistics (parts, k, 2, stride)."""
        return np.zeros((parts, k, 2, self.stride))

    def take(self, rows):
        """Rows as centres: (len(rows), d) float64 in this frame."""
        return self.X[np.asarray(rows, dtype=np.intp)].toarray().astype(np.float64) * self.scale

    def _transposed(self, centers, Py_ssize_t start):
        """Centres as (d, padded k), and biases -|c|^2 / 2 with -inf for the padding.

        Made by the call that begins a pass, at row 0, for all its calls: with 100 centres in
        100,000 columns that takes as long as a call should.
        """
        if start == 0 or self.turned_from is not centers:
            k = len(centers)
            self.turned_from = self.turned = None  # gives the memory back first
            turned = aligned_empty((self.d, _padded(k)), np.float64)
            turned[:, :k] = centers.T
            turned[:, k:] = 0
            bias = aligned_empty(_padded(k), np.float64)
            bias[:k] = -0.5 * self._norms(centers)
            bias[k:] = -np.inf
            self.turned_from, self.turned = centers, (turned, bias)
        return self.turned

    def _norms(self, double[:, ::1] centers):
        """|c|^2, added up in order."""
        norms = np.empty(centers.shape[0])
        for j in range(centers.shape[0]):
            norms[j] = self.kernels.sparse_square(&centers[j, 0], self.d)
        return norms

    cdef char *_reserve(self, int n_threads, Py_ssize_t k) except NULL:
        size = n_threads * self._bytes(k)
        if self.memory is None or self.memory.size < size:
            self.memory = aligned_empty(size, np.uint8)
        return <char *>address(self.memory)

    cdef Py_ssize_t _bytes(self, Py_ssize_t k) noexcept nogil:
        cdef Py_ssize_t entries = self.longest if self.ordered else 2 * self.longest
        return (16 * entries + 8 * _padded(k) + 128) // 64 * 64

    cdef inline Row _unpack(self, char *memory, Py_ssize_t k, Py_ssize_t row) noexcept nogil:
        """A row in the order of its entries."""
        cdef Row r
        memory += threadid() * self._bytes(k)
        r.score = <double *>memory
        r.y = r.score + _padded(k)
        r.column = <Py_ssize_t *>(r.y + self.longest)
        self.kernels.sparse_unpack(&self.x, row, self.scale, r.column, r.y, &r.count)
        return r

    cdef inline Row _row(self, char *memory, Py_ssize_t k, Py_ssize_t row) noexcept nogil:
        """A row in the order of its columns."""
        cdef Row r = self._unpack(memory, k, row)
        cdef double *room
        if not self.ordered:
            room = <double *>(r.column + self.longest)
            sort_entries(r.column, r.y, r.count, self.d,
                         <Py_ssize_t *>(room + self.longest), room)
        return r

    # ------------------------------------------------------------ passes over rows start .. stop

    def extremes(self, Py_ssize_t start, Py_ssize_t stop, int n_threads):
        """Column minima and maxima (2, d), zero included, and whether all are finite."""
        bounds = np.zeros((2, self.d))
        last = int(self.indptr[stop])
        for at in range(int(self.indptr[start]), last, PIECE):
            PyErr_CheckSignals()  # one thread does what the caller cut for n_threads
            end = min(at + PIECE, last)
            values = self.data[at:end].astype(np.float64) * self.scale
            if not np.isfinite(values).all():
                return bounds, False
            np.minimum.at(bounds[0], self.indices[at:end], values)
            np.maximum.at(bounds[1], self.indices[at:end], values)
        return bounds, True

    def assign(self, Py_ssize_t start, Py_ssize_t stop, centers, int32_t[::1] labels,
               int n_threads, double[:, :, :, ::1] sums=None, const double[::1] weights=None,
               const Py_ssize_t[::1] rows=None, int32_t[::1] second=None):
        """E-step, as DenseRows.assign."""
        turned, biases = self._transposed(centers, start)
        cdef Py_ssize_t k = len(centers), i, n_changed = 0
        cdef const double *ct = <const double *>address(turned)
        cdef const double *bias = <const double *>address(biases)
        cdef char *memory = self._reserve(n_threads, k)
        cdef const Py_ssize_t *chosen = NULL if rows is None else &rows[0]
        cdef const double *w = NULL if weights is None else &weights[0]
        cdef double *to = NULL if sums is None else &sums[0, 0, 0, 0]
        cdef Locks locks = Locks(n_threads if sums is None else sums.shape[0], n_threads)
        cdef int32_t *label = &labels[0]
        cdef int32_t *runner_up = NULL if second is None else &second[0]
        enter()
        for i in prange(start, stop, nogil=True, num_threads=n_threads, schedule="dynamic",
                        chunksize=64):
            n_changed += self._assign(i if chosen == NULL else chosen[i], memory, ct, bias, k,
                                      label, runner_up, to, w, locks)
        leave()
        return n_changed

    cdef Py_ssize_t _assign(self, Py_ssize_t row, char *memory, const double *ct,
                            const double *bias, Py_ssize_t k, int32_t *labels, int32_t *second,
                            double *sums, const double *w, Locks locks) noexcept nogil:
        cdef Row r = self._row(memory, k, row)
        cdef Py_ssize_t j, best = 0, next = 0
        cdef double top = -INFINITY, below = -INFINITY, weight = 1 if w == NULL else w[row]
        cdef int32_t old = labels[row]
        cdef int part
        self.kernels.sparse_scores(r.column, r.y, r.count, ct, bias, _padded(k), r.score)
        for j in range(k):
            if r.score[j] > top:
                below, next = top, best
                top, best = r.score[j], j
            elif r.score[j] > below:
                below, next = r.score[j], j
        labels[row] = <int32_t>best
        if second != NULL:
            second[row] = <int32_t>next
        if best == old:
            return 0
        if sums != NULL:
            part = locks.acquire(threadid())
            sums += part * 2 * k * self.stride
            self.kernels.sparse_accumulate(r.column, r.y, r.count, weight, &self.grid, 1,
                                           sums + 2 * self.stride * best)
            if old >= 0:
                self.kernels.sparse_accumulate(r.column, r.y, r.count, weight, &self.grid, -1,
                                               sums + 2 * self.stride * old)
            locks.release(part)
        return 1

    def move(self, const Py_ssize_t[::1] rows, const int32_t[::1] added,
             const int32_t[::1] removed, double[:, :, ::1] sums, const double[::1] weights=None):
        """Statistics of rows[i] added to cluster added[i] and removed from removed[i]."""
        cdef Py_ssize_t i
        cdef double weight
        cdef Row r
        for i in range(rows.shape[0]):
            r = self._row(self._reserve(1, 0), 0, rows[i])
            weight = 1 if weights is None else weights[rows[i]]
            self.kernels.sparse_accumulate(r.column, r.y, r.count, weight, &self.grid, 1,
                                           &sums[added[i], 0, 0])
            self.kernels.sparse_accumulate(r.column, r.y, r.count, weight, &self.grid, -1,
                                           &sums[removed[i], 0, 0])

    def residuals(self, Py_ssize_t start, Py_ssize_t stop, double[:, ::1] centers,
                  const int32_t[::1] labels, double[::1] out, int n_threads):
        """out[i - start] = squared distance of row i to the centre of its label."""
        cdef Py_ssize_t i
        cdef double[::1] norms = self._norms(centers)
        cdef char *memory = self._reserve(n_threads, 0)
        enter()
        for i in prange(start, stop, nogil=True, num_threads=n_threads, schedule="dynamic",
                        chunksize=64):
            out[i - start] = self._residual(i, memory, &centers[labels[i], 0], norms[labels[i]])
        leave()

    cdef double _residual(self, Py_ssize_t row, char *memory, const double *center,
                          double norm) noexcept nogil:
        cdef Row r = self._row(memory, 0, row)
        return self.kernels.sparse_residual(r.column, r.y, r.count, center, norm)

    def inertia(self, Py_ssize_t start, Py_ssize_t stop, double[:, ::1] centers,
                const int32_t[::1] labels, grid, int n_threads, const double[::1] weights=None):
        """Sum of the weighted residuals, exact on a column grid (coarse, fine): (2,)."""
        cdef double[::1] values = np.empty(stop - start)
        cdef double[::1] total = np.zeros(2)
        cdef const double *w = NULL if weights is None else &weights[start]
        self.residuals(start, stop, centers, labels, values, n_threads)
        self.kernels.add_exact(&values[0], w, stop - start, grid[0], grid[1], &total[0])
        return np.asarray(total)

    def distances(self, Py_ssize_t start, Py_ssize_t stop, double[:, ::1] centers,
                  double[:, ::1] out, int n_threads):
        """out[i - start, j] = distance of row i to centre j, in the user's units."""
        cdef Py_ssize_t i, k = centers.shape[0]
        cdef double[::1] norms = self._norms(centers)
        cdef char *memory = self._reserve(n_threads, 0)
        enter()
        for i in prange(start, stop, nogil=True, num_threads=n_threads, schedule="dynamic",
                        chunksize=64):
            self._distances(i, memory, &centers[0, 0], &norms[0], k, &out[i - start, 0])
        leave()

    cdef void _distances(self, Py_ssize_t row, char *memory, const double *centers,
                         const double *norms, Py_ssize_t k, double *out) noexcept nogil:
        cdef Row r = self._row(memory, 0, row)
        cdef Py_ssize_t j
        for j in range(k):
            out[j] = sqrt(self.kernels.sparse_residual(r.column, r.y, r.count,
                                                       centers + j * self.d, norms[j])) / self.scale

    # ------------------------------------------------------------ seeding

    def potentials(self, Py_ssize_t start, Py_ssize_t stop, previous, candidates, closest,
                   double[:, ::1] out, int n_threads, const double[::1] weights=None,
                   double[:, ::1] gains=None):
        """One step of greedy k-means++, as DenseRows.potentials."""
        cdef double[::1] nearest = closest
        cdef Py_ssize_t slot, first, last, j
        cdef double gain
        distance = np.empty((stop - start, len(candidates)))
        self.distances(start, stop, candidates, distance, n_threads)
        if previous is not None:
            last_distance = np.empty((stop - start, 1))
            self.distances(start, stop, previous, last_distance, n_threads)
            np.minimum(closest[start:stop], (last_distance[:, 0] * self.scale) ** 2,
                       out=closest[start:stop])
        cdef double[:, ::1] squares = np.ascontiguousarray((distance.T * self.scale) ** 2)
        cdef const double *w = NULL if weights is None else &weights[0]
        for slot in range(start // BLOCK_ROWS, (stop + BLOCK_ROWS - 1) // BLOCK_ROWS):
            first, last = slot * BLOCK_ROWS, min(stop, (slot + 1) * BLOCK_ROWS)
            for j in range(squares.shape[0]):
                gain = self.kernels.gain_f64(&squares[j, first - start], &nearest[first],
                                             NULL if w == NULL else w + first, last - first,
                                             &out[slot, j])
                if gains is not None:
                    gains[slot, j] = gain

    def sketch(self):
        """None: all rows are computed at every step."""
        return None

    def slot_potentials(self, Py_ssize_t slot, center, closest):
        """min(closest, |x - center|^2) of the rows of one slot."""
        start = slot * BLOCK_ROWS
        stop = min(self.n, start + BLOCK_ROWS)
        distance = np.empty((stop - start, 1))
        self.distances(start, stop, center, distance, 1)
        return np.minimum(closest[start:stop], (distance[:, 0] * self.scale) ** 2)
