# SPDX-License-Identifier: BSD-3-Clause
"""The passes of K-means over dense rows: pack -> tile -> fold on OpenMP threads."""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.math cimport sqrt, sqrtf
from libc.stdint cimport int32_t

from fastmix.core._bound_state cimport BoundState
from fastmix.core._kernels cimport address, fm_block, fm_memory
from fastmix.core._threads cimport Locks, enter, leave
from fastmix.core._dense_seeding cimport SeedingRows
from fastmix.core._shortlist cimport SHORT_VECTOR
from fastmix.core._tiles cimport Scratch, piece_of

cdef extern from *:
    """
    /* Fetches count labels, which are compared when the rows have been assigned. */
    static inline void fm_fetch_labels(const int32_t *labels, ptrdiff_t count) {
    #ifdef __GNUC__
        for (ptrdiff_t i = 0; i < count; i += 16)
            __builtin_prefetch(labels + i, 1, 2);
    #endif
    }
    """
    void fm_fetch_labels(const int32_t *labels, Py_ssize_t count) noexcept nogil

__all__ = ["DenseRows"]

# Centres whose distances to the rows of a block are held at a time: a multiple of the width.
cdef Py_ssize_t DISTANCE_CENTERS = 60


cdef struct Assignment:
    # What one E-step shares between the threads.
    void *panel
    void *bias
    const double *weights
    int32_t *labels
    int32_t *second
    double *sums
    Py_ssize_t k
    int n_threads


@cython.final
cdef class DenseRows(SeedingRows):
    """A dense matrix in the user's memory, with the passes of K-means; parameters of TileRows."""

    def assign(self, Py_ssize_t start, Py_ssize_t stop, centers, int32_t[::1] labels,
               int n_threads, double[:, :, :, ::1] sums=None, const double[::1] weights=None,
               int32_t[::1] second=None, BoundState bounds=None, bint again=False):
        """E-step (PRML 9.2) for rows start .. stop.

        labels (n,) are written in place, and the runner-up's to second.  Every row whose label
        changes is added to its new cluster's statistics in sums, and removed from the old one's
        (label -1: none).  Returns the number of rows whose label changed.

        sums (parts, k, 2, stride) has a part for every thread, or fewer, then shared under locks:
        any order of the additions gives the same bits.

        bounds, which begin with these labels, are taken of the rows where short.serves(k).  again:
        the centers are those of the last call, which are packed.
        """
        cdef Py_ssize_t block, n_blocks = self._n_blocks(stop - start)
        cdef Py_ssize_t n_changed = 0
        cdef Assignment a
        cdef char *memory
        a.k, a.n_threads = centers.shape[0], n_threads
        a.panel = self._panel(centers, self.kernels.panel_width, &a.bias, again)
        a.weights = NULL if weights is None else &weights[0]
        a.labels = &labels[0]
        a.second = NULL if second is None else &second[0]
        a.sums = NULL if sums is None else &sums[0, 0, 0, 0]
        cdef Locks locks = Locks(n_threads if sums is None else sums.shape[0], n_threads)
        self.short.begin(centers, a.bias, stop - start, second is None, sums is not None,
                         start < stop and labels[start] >= 0, again,
                         None if bounds is None else bounds.places(SHORT_VECTOR))
        if bounds is not None:
            self.short.leave_bounds(&bounds.b, bounds.first_places())
        memory = self._reserve(n_threads)
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            n_changed += self._assign(start, stop, block, memory, &a, locks)
        leave()
        self.short.end()
        return n_changed

    cdef Py_ssize_t _assign(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block,
                            char *memory, Assignment *a, Locks locks) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, 0)
        cdef fm_block b = self._block(start, stop, block)
        cdef Py_ssize_t i, changed, at = 0, step = self._step(a.k)
        cdef Py_ssize_t next_row
        cdef fm_block piece
        cdef fm_memory nothing
        nothing.start, nothing.bytes = NULL, 0
        if self.short.active:
            at = b.count
            self._shortlist(&b, &s, a.panel, a.bias, a.k, a.labels + b.start, s.labels)
        while at < b.count:
            piece = piece_of(&b, at, step)
            # The rest of this block, then the block that this thread will probably take next.
            next_row = piece.start + step if at + step < b.count else (
                b.start + a.n_threads * self.block_rows)
            fm_fetch_labels(a.labels + piece.start, piece.count)
            # The rows were fetched during the assignments before.
            self.kernels.pack(&self.x, &piece, self.pack_offset, self.scale, s.tiles, nothing,
                              s.pack)
            self.kernels.assign(s.tiles, piece.count, self.d, a.panel, a.bias, a.k, s.labels + at,
                                NULL if a.second == NULL else s.added + at,
                                self._rows_memory(next_row, step), s.assign)
            at += step
        if a.second != NULL:
            for i in range(b.count):
                a.second[b.start + i] = s.added[i]
        changed = self.isa.exact.changes(s.labels, &b, a.labels, s.changed, s.added, s.removed)
        self._move_rows(s.changed, changed, s.added, s.removed, a.weights, a.sums, a.k, locks,
                        s.sums)
        return changed

    def move(self, const Py_ssize_t[::1] rows, const int32_t[::1] added,
             const int32_t[::1] removed, double[:, :, ::1] sums, const double[::1] weights=None):
        """Statistics of rows[i] added to cluster added[i] and removed from removed[i], in sums
        (k, 2, stride)."""
        if not self._whole():
            picked = np.asarray(rows)
            of_picked = None if weights is None else np.asarray(weights)[picked]
            self.part(picked).move(np.arange(len(picked)), added, removed, sums, of_picked)
            return
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
        totals = np.zeros((n_threads, 8))  # a cache line each
        cdef double *to = <double *>address(totals)
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            self._inertia(start, stop, block, memory, c, label, w, coarse, fine, to)
        leave()
        return totals[:, :2].sum(axis=0)

    cdef void _inertia(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                       const double *c, const int32_t *labels, const double *w, double coarse,
                       double fine, double *totals) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, 0)
        cdef fm_block b = self._block(start, stop, block)
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
        cdef fm_block b = self._block(start, stop, block)
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
        cdef fm_block b = self._block(start, stop, block)
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
