# SPDX-License-Identifier: BSD-3-Clause
"""Running means of clusters and the passes that move them: mini-batches on OpenMP threads, or row
by row (PRML 9.5), which is serial by definition."""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, uint8_t

from fastmix.core._csr cimport CsrRows, Row
from fastmix.core._kernels cimport (
    address, find_isa, fm_block, fm_exact_kernels, fm_means, fm_memory, fm_tile_kernels,
)
from fastmix.core._threads cimport enter, leave
from fastmix.core._tiles cimport Scratch, TileRows, round_up

from fastmix.core._kernels import aligned_empty

__all__ = ["Means"]

# Rows of a panel's piece are cut in multiples of it, which every tile divides.
cdef Py_ssize_t PIECE_ROWS = 64

# Rows that the sequential loop frames at a time.
cdef Py_ssize_t FRAMED_ROWS = 64


@cython.final
cdef class Means:
    """Running means of k clusters, in float64 relative to a frame.

    Parameters
    ----------
    frame : Frame
    centers : ndarray of shape (k, d), in the frame
    weights : ndarray of shape (k, 2), high and low parts
    sums : ndarray of shape (k, 2, d), or None: those of the centres

    The arrays become the object's own, which its methods write.
    """

    cdef readonly object centers, means, weights, sums, touched
    cdef readonly Py_ssize_t k, d
    cdef object offset, panel, bias
    cdef readonly object rows
    cdef fm_means m
    cdef const fm_exact_kernels *exact
    cdef const fm_tile_kernels *kernels
    cdef Py_ssize_t width

    def __init__(self, frame, centers, weights, sums=None):
        self.k, self.d = centers.shape
        self.exact = &find_isa(None).exact
        self.kernels = NULL
        self.offset = np.ascontiguousarray(frame.pivot * frame.scale)
        self.centers, self.weights = centers, weights
        self.means = np.empty((self.k, self.d))
        self.sums = np.empty((self.k, 2, self.d)) if sums is None else sums
        self.touched = np.zeros(self.k, dtype=np.uint8)
        self.m.d, self.m.scale = self.d, frame.scale
        self.m.offset = <const double *>address(self.offset)
        self.m.sums = <double *>address(self.sums)
        self.m.weights = <double *>address(self.weights)
        self.m.means = <double *>address(self.means)
        self.m.centers = <double *>address(self.centers)
        cdef Py_ssize_t j
        for j in range(self.k):
            if sums is None or not self.m.weights[2 * j] > 0:
                self.exact.means_restore(&self.m, j)
            else:
                self.exact.means_update(&self.m, j)

    # ------------------------------------------------------------ mini-batches

    def use(self, TileRows rows, bint serial=False):
        """Pack the centres for these rows: for ``assign``, or for ``learn`` where serial."""
        cdef Py_ssize_t padded
        self.kernels, self.rows = rows.kernels, rows
        self.width = self.kernels.nearest_width if serial else self.kernels.panel_width
        padded = round_up(self.k, self.width)
        self.panel = aligned_empty(padded * self.d * self.kernels.itemsize, np.uint8)
        self.bias = aligned_empty(padded * self.kernels.itemsize, np.uint8)
        self.kernels.pack_centers(self.m.centers, self.k, self.d, self.width, address(self.panel),
                                  address(self.bias))

    def assign(self, Py_ssize_t start, Py_ssize_t stop, int32_t[::1] labels, double[::1] values,
               int n_threads, const Py_ssize_t[::1] rows=None):
        """E-step (PRML 9.2) for rows start .. stop, or for rows[start .. stop].

        labels (stop - start,) and squared distances values (stop - start,) are written.
        """
        cdef TileRows x = self.rows
        cdef Py_ssize_t count = stop - start, piece
        cdef Py_ssize_t size = (count + n_threads - 1) // n_threads
        size = min(x.block_rows, (size + PIECE_ROWS - 1) // PIECE_ROWS * PIECE_ROWS)
        cdef const Py_ssize_t *chosen = NULL if rows is None else &rows[start]
        cdef char *panel = <char *>address(self.panel)
        cdef char *bias = <char *>address(self.bias)
        cdef Py_ssize_t n_pieces = (count + size - 1) // size
        x.short.begin(self.centers, bias, count)
        cdef char *memory = x._reserve(n_threads)
        enter()
        for piece in prange(n_pieces, nogil=True, num_threads=n_threads, schedule="dynamic"):
            self._assign(x, chosen, start, piece * size, min(size, count - piece * size), memory,
                         panel, bias, &labels[0], &values[0])
        leave()
        x.short.end()

    cdef void _assign(self, TileRows x, const Py_ssize_t *chosen, Py_ssize_t start, Py_ssize_t at,
                      Py_ssize_t count, char *memory, char *panel, char *bias, int32_t *labels,
                      double *values) noexcept nogil:
        cdef Scratch s = x._of_thread(memory, 0)
        cdef fm_memory nothing
        cdef fm_block b
        b.rows = NULL if chosen == NULL else chosen + at
        b.start, b.count = start + at, count
        if x.short.active:
            x._shortlist(&b, &s, panel, bias, self.k, NULL, labels + at)
        else:
            nothing.start, nothing.bytes = NULL, 0
            x.kernels.pack(&x.x, &b, x.pack_offset, x.scale, s.tiles, nothing, s.pack)
            x.kernels.assign(s.tiles, count, x.d, panel, bias, self.k, labels + at, NULL, nothing,
                             s.assign)
        self.exact.residuals(&x.x, &b, &x.grid, self.m.centers, labels + at, values + at, s.sums)

    def add(self, rows, Py_ssize_t start, Py_ssize_t stop, const int32_t[::1] labels, int n_threads,
            const double[::1] weights=None, const Py_ssize_t[::1] chosen=None):
        """Rows start .. stop, or chosen[start .. stop], added in order to the sums of their labels
        (stop - start,), and the means and centres of these clusters: each is one thread's."""
        cdef const double *w = NULL if weights is None else &weights[0]
        if not isinstance(rows, TileRows):
            self._add_sparse(rows, start, stop, labels, w)
            self._renew(n_threads, True)
            return
        cdef TileRows x = rows
        cdef Py_ssize_t count = stop - start, padded = (self.d + 15) // 8 * 8, i, j
        cdef char *panel = NULL if self.panel is None else <char *>address(self.panel)
        cdef char *bias = NULL if self.bias is None else <char *>address(self.bias)
        order, ends = np.empty(count, dtype=np.intp), np.zeros(self.k + 1, dtype=np.intp)
        cdef Py_ssize_t *by_cluster = <Py_ssize_t *>address(order)
        # Where the rows of a cluster begin; the next one's begin, and this one's end, thereafter.
        cdef Py_ssize_t *place = <Py_ssize_t *>address(ends)
        for i in range(count):
            place[labels[i] + 1] += 1
        for j in range(self.k):
            place[j + 1] += place[j]
        for i in range(count):
            j = labels[i]
            by_cluster[place[j]] = start + i if chosen is None else chosen[start + i]
            place[j] += 1
        cdef double[:, ::1] scratch = np.empty((n_threads, padded))
        enter()
        for j in prange(self.k, nogil=True, num_threads=n_threads, schedule="dynamic",
                        chunksize=8):
            i = 0 if j == 0 else place[j - 1]
            if i < place[j]:
                self.exact.means_add(&self.m, &x.x, by_cluster + i, place[j] - i, w, j,
                                     &scratch[threadid(), 0])
                self._renew_one(j, True, panel, bias)
        leave()

    def place(self, TileRows rows, const Py_ssize_t[::1] chosen, const Py_ssize_t[::1] clusters,
              int n_threads):
        """Centres of clusters become rows of the user's, and begin anew with the weights there are.
        """
        cdef Py_ssize_t i
        cdef char *panel = NULL if self.panel is None else <char *>address(self.panel)
        cdef char *bias = NULL if self.bias is None else <char *>address(self.bias)
        enter()
        for i in prange(clusters.shape[0], nogil=True, num_threads=n_threads):
            self.exact.means_place(&self.m, &rows.x, chosen[i], clusters[i])
            self._renew_one(clusters[i], False, panel, bias)
        leave()

    cdef _add_sparse(self, CsrRows x, Py_ssize_t start, Py_ssize_t stop, const int32_t[::1] labels,
                     const double *w):
        cdef char *memory = x._reserve(1, 0)
        cdef uint8_t *touched = <uint8_t *>address(self.touched)
        cdef Py_ssize_t i
        cdef Row r
        cdef double weight
        with nogil:
            for i in range(start, stop):
                touched[labels[i - start]] = 1
                weight = 1 if w == NULL else w[i]
                if weight != 0:
                    r = x._row(memory, 0, i)
                    self.exact.means_add_entries(&self.m, r.column, r.y, r.count, weight,
                                                 labels[i - start])

    def restore(self, int n_threads):
        """Sums and means of the touched clusters, whose centres were written."""
        self._renew(n_threads, False)

    cdef _renew(self, int n_threads, bint from_sums):
        cdef uint8_t *touched = <uint8_t *>address(self.touched)
        cdef char *panel = NULL if self.panel is None else <char *>address(self.panel)
        cdef char *bias = NULL if self.panel is None else <char *>address(self.bias)
        cdef Py_ssize_t j, most = (self.k + 15) // 16
        n_threads = max(1, min(n_threads, most))
        enter()
        for j in prange(self.k, nogil=True, num_threads=n_threads, schedule="dynamic",
                        chunksize=16):
            if touched[j]:
                touched[j] = 0
                self._renew_one(j, from_sums, panel, bias)
        leave()

    cdef void _renew_one(self, Py_ssize_t j, bint from_sums, char *panel,
                         char *bias) noexcept nogil:
        if from_sums:
            self.exact.means_update(&self.m, j)
        else:
            self.exact.means_restore(&self.m, j)
        if panel != NULL:
            self.kernels.pack_center(self.m.centers + j * self.d, j, self.d, self.width, panel,
                                     bias)

    # ------------------------------------------------------------ row by row

    def learn(self, Py_ssize_t start, Py_ssize_t stop, int32_t[::1] labels, double[::1] values,
              const double[::1] weights=None, const double[::1] steps=None):
        """Rows start .. stop one after another: each moves its nearest centre, of which it then is
        one of the rows (steps None), or by steps[row] of the way.

        labels and squared distances to the centres before, values, are indexed by row.
        """
        cdef TileRows x = self.rows
        cdef Py_ssize_t at, row, place, count, size = self.kernels.itemsize
        cdef int32_t j
        cdef double w, step
        cdef fm_block b
        framed = aligned_empty(((FRAMED_ROWS + 2) * self.d + FRAMED_ROWS) * size, np.uint8)
        scratch = np.empty(2 * self.d)
        cdef char *y = <char *>address(framed)
        cdef char *squares = y + FRAMED_ROWS * self.d * size
        cdef char *room = squares + FRAMED_ROWS * size
        cdef double *own = <double *>address(scratch)
        cdef void *panel = address(self.panel)
        cdef void *bias = address(self.bias)
        with nogil:
            at = start
            while at < stop:
                count = min(FRAMED_ROWS, stop - at)
                b.rows, b.start, b.count = NULL, at, count
                self.kernels.gather(&x.x, &b, x.pack_offset, x.scale, NULL, y, squares, room)
                for place in range(count):
                    row = at + place
                    j = self.kernels.nearest(y + place * self.d * size, self.d, panel, bias, self.k)
                    w = 1 if weights is None else weights[row]
                    step = -1 if steps is None else steps[row]
                    labels[row] = j
                    values[row] = self.exact.means_learn(&self.m, &x.x, row, w, step, j, own)
                    self.kernels.pack_center(self.m.centers + j * self.d, j, self.d, self.width,
                                             panel, bias)
                at += count

    def nearest(self, Py_ssize_t row):
        """Label of one row, for steps that only Python knows."""
        cdef TileRows x = self.rows
        cdef Py_ssize_t size = self.kernels.itemsize
        cdef fm_block b
        framed = aligned_empty((2 * self.d + 16) * size, np.uint8)
        cdef char *y = <char *>address(framed)
        b.rows, b.start, b.count = NULL, row, 1
        self.kernels.gather(&x.x, &b, x.pack_offset, x.scale, NULL, y, y + self.d * size,
                            y + (self.d + 1) * size)
        return self.kernels.nearest(y, self.d, address(self.panel), address(self.bias), self.k)
