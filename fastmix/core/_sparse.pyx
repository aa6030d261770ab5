# SPDX-License-Identifier: BSD-3-Clause
"""The passes of DenseRows over rows of a CSR matrix: same statistics, no pivot, float64.

A pivot would fill the rows.
"""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int32_t

from fastmix.core._csr cimport CsrRows, Row
from fastmix.core._kernels cimport address
from fastmix.core._screen cimport Screen
from fastmix.core._threads cimport Locks, enter, leave
from fastmix.core._tiles cimport round_up

from fastmix.core._kernels import aligned_empty

__all__ = ["SparseRows"]

# Bytes of centres beyond which reading them takes five times as long: 8 MB did not, 24 MB did, with
# 1 MB of second and 32 MB of third level (Zen 4).
cdef double CACHE_BYTES = 2.0**23

# Centres in the lanes of the kernel of distances.
cdef enum:
    LANES = 8


# More candidates than this part of the centres on average: all scores are faster.
cdef Py_ssize_t MOST_CANDIDATES = 8


@cython.final
cdef class SparseRows(CsrRows):
    """A CSR matrix in the user's memory, with the passes of K-means; parameters of CsrRows.

    Attributes
    ----------
    screened : bool
        Whether E-steps look for the centres that may be nearest first, and compute only their
        scores; set to False where that leaves many.  The labels are the same.
    """

    def __init__(self, X, dtype=None, isa=None):
        super().__init__(X, dtype, isa)
        self.screened = True

    def take_served(self):
        """No row is served by shortlists."""
        return 0

    def nanoseconds(self, Py_ssize_t k):
        """Rough cost of one row against k centres on one thread, within a factor of three: for
        cutting work into calls and choosing threads.

        It is that of the scores, 0.2 for an entry and a centre where the centres are in a cache;
        distances take as long, a screen a third.
        """
        cdef double entry = 2 + (0.2 if 8.0 * k * self.d <= CACHE_BYTES else 1.0) * k
        cdef double row = 20 + 0.6 * k
        if not self.ordered:
            row, entry = row + 150, entry + 4
        return row + entry * self.entries

    def _norms(self, double[:, ::1] centers, int n_threads=1):
        """|c|^2, added up in order."""
        norms = np.empty(centers.shape[0])
        cdef double[::1] norm = norms
        cdef Py_ssize_t j
        enter()
        for j in prange(centers.shape[0], nogil=True, num_threads=n_threads):
            norm[j] = self.kernels.sparse_square(&centers[j, 0], self.d)
        leave()
        return norms

    def _transposed(self, centers):
        """Centres as (d, padded k)."""
        if self.turned is None:
            k = len(centers)
            turned = aligned_empty((self.d, round_up(k, 4)), np.float64)
            turned[:, :k] = centers.T
            turned[:, k:] = 0
            self.turned = turned
        return self.turned

    cdef void prepare(self, centers, double unit, int n_threads):
        """What the E-step reads, made by the call that begins a pass, at row 0, for all its calls:
        with 100 centres in 100,000 columns that takes as long as a call should."""
        k = len(centers)
        self.bias = self.screen = self.turned = None  # gives the memory back first
        self.bias = aligned_empty(round_up(k, 4), np.float64)
        self.bias[:k] = -0.5 * self._norms(centers, n_threads)
        self.bias[k:] = -np.inf  # never chosen
        if k >= LEAST_SCREENED and self.screened:
            self.screen = Screen()
            self.screen.make(self.kernels, centers, self.bias, unit, n_threads)

    # ------------------------------------------------------------ passes over rows start .. stop

    cdef Step step_of(self, const double[:, ::1] centers, int32_t[::1] labels,
                      double[:, :, :, ::1] sums, const double[::1] weights) noexcept:
        """Arguments of an E-step, prepared."""
        cdef Step s
        s.k = centers.shape[0]
        s.centers, s.bias, s.turned = &centers[0, 0], <double *>address(self.bias), NULL
        s.weights = NULL if weights is None else &weights[0]
        s.labels, s.second = &labels[0], NULL
        s.sums = NULL if sums is None else &sums[0, 0, 0, 0]
        s.room = round_up(s.k, 4) + (0 if self.screen is None else self.screen.s.padded)
        return s

    def assign(self, Py_ssize_t start, Py_ssize_t stop, double[:, ::1] centers,
               int32_t[::1] labels, int n_threads, double[:, :, :, ::1] sums=None,
               const double[::1] weights=None, int32_t[::1] second=None, bint again=False):
        """E-step, as DenseRows.assign."""
        cdef Step s
        cdef Py_ssize_t i, n_changed = 0
        if not again or self.bias is None:
            self.prepare(np.asarray(centers), 0, n_threads)
        s = self.step_of(centers, labels, sums, weights)
        if second is not None:
            s.second = &second[0]
        if second is not None or self.screen is None or not self.screened:
            s.turned = <double *>address(self._transposed(np.asarray(centers)))
        counts = np.zeros(n_threads * sizeof(Counts), dtype=np.uint8)
        s.counts = <Counts *>address(counts)
        cdef char *memory = self._reserve(n_threads, s.room)
        cdef Locks locks = Locks(n_threads if sums is None else sums.shape[0], n_threads)
        enter()
        for i in prange(start, stop, nogil=True, num_threads=n_threads, schedule="dynamic",
                        chunksize=64):
            n_changed += self._assign(i, memory, &s, locks)
        leave()
        self.consider(s.counts, n_threads, (stop - start) * s.k)
        return n_changed

    cdef void consider(self, const Counts *counts, int n_threads, Py_ssize_t products) noexcept:
        """Give the screen up if it left too many scores of so many products to be computed."""
        cdef Py_ssize_t candidates = 0
        cdef int t
        for t in range(n_threads):
            candidates += counts[t].candidates
        if candidates * MOST_CANDIDATES > products:
            self.screened = False

    cdef Py_ssize_t _assign(self, Py_ssize_t row, char *memory, Step *s,
                            Locks locks) noexcept nogil:
        cdef Row r = self._row(memory, s.room, row)
        cdef float least = -INFINITY, low
        cdef Py_ssize_t best, second = 0
        if s.turned == NULL:
            best = self.nearest(&r, s, self.screened_of(&r, s, &least), &low)
        else:
            best = self._scores(&r, s, &second)
        if s.second != NULL:
            s.second[row] = <int32_t>second
        return self.relabel(row, &r, best, s, locks)

    cdef Py_ssize_t relabel(self, Py_ssize_t row, Row *r, Py_ssize_t best, Step *s,
                            Locks locks) noexcept nogil:
        """Give a row its label; whether it has changed."""
        cdef double weight = 1 if s.weights == NULL else s.weights[row]
        cdef double *sums
        cdef int32_t old = s.labels[row]
        cdef int part
        s.labels[row] = <int32_t>best
        if best == old:
            return 0
        if s.sums != NULL:
            part = locks.acquire(threadid())
            sums = s.sums + part * 2 * s.k * self.stride
            self.kernels.sparse_accumulate(r.column, r.y, r.count, weight, &self.grid, 1,
                                           sums + 2 * self.stride * best)
            if old >= 0:
                self.kernels.sparse_accumulate(r.column, r.y, r.count, weight, &self.grid, -1,
                                               sums + 2 * self.stride * old)
            locks.release(part)
        return 1

    cdef Py_ssize_t _scores(self, Row *r, Step *s, Py_ssize_t *second) noexcept nogil:
        """Nearest centre by all scores."""
        cdef Py_ssize_t j, best = 0, next = 0
        cdef double top = -INFINITY, below = -INFINITY
        self.kernels.sparse_scores(r.column, r.y, r.count, s.turned, s.bias, round_up(s.k, 4),
                                   r.room)
        for j in range(s.k):
            if r.room[j] > top:
                below, next = top, best
                top, best = r.room[j], j
            elif r.room[j] > below:
                below, next = r.room[j], j
        second[0] = next
        return best

    cdef Py_ssize_t screened_of(self, Row *r, Step *s, float *least) noexcept nogil:
        """Centres that may be nearest, listed in r.room, of all; least <= the greatest score."""
        cdef int32_t *found = <int32_t *>r.room
        cdef Py_ssize_t j, n
        n = self.kernels.screen(&self.screen.s, r.column, r.y, r.count, least,
                                <float *>(found + self.screen.s.padded), found)
        if n >= 0:
            return n
        for j in range(s.k):  # beyond the range of floats
            found[j] = <int32_t>j
        return s.k

    cdef Py_ssize_t nearest(self, Row *r, Step *s, Py_ssize_t n, float *low) noexcept nogil:
        """The nearest of n centres in r.room, ascending; by their scores, if there are several, of
        which low is then the greatest in the unit of the screen, rounded down."""
        cdef int32_t *found = <int32_t *>r.room
        cdef Py_ssize_t i, j, best = 0
        cdef double score, top = -INFINITY
        if n == 1:
            return found[0]
        s.counts[threadid()].candidates += n
        for i in range(n):
            j = found[i]
            score = self.kernels.sparse_score(r.column, r.y, r.count, s.centers + j * self.d,
                                              s.bias[j])
            if score > top:
                top, best = score, j
        top = top * self.screen.s.unit * self.screen.s.unit
        low[0] = <float>(top - 2.0**-22 * (top if top > 0 else -top))
        return best

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

    # ------------------------------------------------------------ distances to several centres

    def _panels(self, Py_ssize_t start, *centers):
        """Centres as (groups, d, LANES) and their norms, made as in prepare()."""
        same = self.panels_of is not None and len(self.panels_of) == len(centers) and all(
            a is b for a, b in zip(self.panels_of, centers, strict=True)
        )
        if start == 0 or not same:
            self.panels_of = self.panels = None
            all_of = np.concatenate(centers) if len(centers) > 1 else centers[0]
            k = len(all_of)
            groups = round_up(k, LANES) // LANES
            panels = aligned_empty((groups, self.d, LANES), np.float64)
            norms = aligned_empty(groups * LANES, np.float64)
            norms[:k], norms[k:] = self._norms(all_of), 0
            for g in range(groups):
                part = all_of[g * LANES : (g + 1) * LANES]
                panels[g, :, : len(part)] = part.T
                panels[g, :, len(part) :] = 0
            self.panels_of, self.panels = centers, (panels, norms)
        return self.panels

    cdef void _squares(self, Py_ssize_t row, char *memory, Py_ssize_t room, const double *panels,
                       const double *norms, Py_ssize_t groups, double *out) noexcept nogil:
        """out[j] = |x - c_j|^2 of LANES centres for every group."""
        cdef Row r = self._row(memory, room, row)
        cdef Py_ssize_t g
        for g in range(groups):
            self.kernels.sparse_residuals(r.column, r.y, r.count, panels + g * LANES * self.d,
                                          norms + g * LANES, out + g * LANES)

    def distances(self, Py_ssize_t start, Py_ssize_t stop, centers, double[:, ::1] out,
                  int n_threads):
        """out[i - start, j] = distance of row i to centre j, in the user's units."""
        cdef Py_ssize_t i, k = centers.shape[0], groups = round_up(k, LANES) // LANES
        panels, norms = self._panels(start, centers)
        cdef const double *panel = <double *>address(panels)
        cdef const double *norm = <double *>address(norms)
        cdef char *memory = self._reserve(n_threads, LANES * groups)
        enter()
        for i in prange(start, stop, nogil=True, num_threads=n_threads, schedule="dynamic",
                        chunksize=64):
            self._distances(i, memory, panel, norm, k, &out[i - start, 0])
        leave()

    cdef void _distances(self, Py_ssize_t row, char *memory, const double *panels,
                         const double *norms, Py_ssize_t k, double *out) noexcept nogil:
        cdef Py_ssize_t groups = round_up(k, LANES) // LANES, j
        cdef double *squares = <double *>(memory + threadid() * self._bytes(LANES * groups))
        self._squares(row, memory, LANES * groups, panels, norms, groups, squares)
        for j in range(k):
            out[j] = sqrt(squares[j]) / self.scale

    # ------------------------------------------------------------ seeding

    def potentials(self, Py_ssize_t start, Py_ssize_t stop, previous, candidates,
                   double[::1] closest, double[:, ::1] out, int n_threads,
                   const double[::1] weights=None, double[:, ::1] gains=None):
        """One step of greedy k-means++, as DenseRows.potentials."""
        cdef Py_ssize_t k = len(candidates), slot, first = start // self.block_rows
        cdef Py_ssize_t n = k + (previous is not None)
        panels, norms = self._panels(start, candidates, *(() if previous is None else (previous,)))
        cdef const double *panel = <double *>address(panels)
        cdef const double *norm = <double *>address(norms)
        cdef const double *w = NULL if weights is None else &weights[0]
        cdef double *gain = NULL if gains is None else &gains[0, 0]
        cdef char *memory = self._reserve(n_threads, self._slot_room(n))
        cdef Py_ssize_t n_slots = (stop - start + self.block_rows - 1) // self.block_rows
        enter()
        for slot in prange(first, first + n_slots, nogil=True, num_threads=n_threads,
                           schedule="dynamic"):
            self._potentials(slot, stop, memory, panel, norm, k, n > k, &closest[0], w,
                             &out[0, 0], gain)
        leave()

    cdef Py_ssize_t _slot_room(self, Py_ssize_t n) noexcept nogil:
        return round_up(n, LANES) + n * self.block_rows

    cdef void _potentials(self, Py_ssize_t slot, Py_ssize_t stop, char *memory,
                          const double *panels, const double *norms, Py_ssize_t k, bint previous,
                          double *closest, const double *w, double *out,
                          double *gains) noexcept nogil:
        cdef Py_ssize_t n = k + previous, groups = round_up(n, LANES) // LANES, i, j
        cdef Py_ssize_t first = slot * self.block_rows, room = self._slot_room(n)
        cdef Py_ssize_t last = min(stop, first + self.block_rows)
        cdef double *row = <double *>(memory + threadid() * self._bytes(room))
        cdef double *squares = row + groups * LANES
        cdef double gain
        for i in range(first, last):
            self._squares(i, memory, room, panels, norms, groups, row)
            for j in range(k):
                squares[j * self.block_rows + i - first] = row[j]
            if previous and row[k] < closest[i]:
                closest[i] = row[k]
        for j in range(k):
            gain = self.found.gain(squares + j * self.block_rows, closest + first,
                                   NULL if w == NULL else w + first, last - first,
                                   &out[slot * k + j])
            if gains != NULL:
                gains[slot * k + j] = gain

    def sketch(self):
        """None: all rows are computed at every step."""
        return None

    def slot_potentials(self, Py_ssize_t slot, double[:, ::1] center, closest):
        """min(closest, |x - center|^2) of the rows of one slot."""
        cdef Py_ssize_t i, start = slot * self.block_rows
        cdef Py_ssize_t stop = min(self.n, start + self.block_rows)
        cdef double norm = self._norms(center)[0]
        cdef char *memory = self._reserve(1, 0)
        squares = np.empty(stop - start)
        cdef double[::1] square = squares
        for i in range(start, stop):
            square[i - start] = self._residual(i, memory, &center[0, 0], norm)
        return np.minimum(closest[start:stop], squares)
