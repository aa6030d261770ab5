# SPDX-License-Identifier: BSD-3-Clause
"""E-steps over sparse rows that look only at the centres that may have become the nearest.

Scores move with the centres: s_j = x.c_j - |c_j|^2 / 2 by x.d_j - (|c_j + d_j|^2 - |c_j|^2) / 2.  A
row keeps a lower bound of its centre's score and an upper one of all others' (Hamerly's, in scores:
no root, and a centre that has not moved costs nothing).  Where they cross, the centres that moved
most are screened (src/kernels/sparse_screen.inc.h); the others only where the bound of theirs
reaches the best score found.  The labels are those of a plain scan.

Bounds are of the scores that sparse_scores computes, in float and in the unit of the screen, with
every operation's result moved outwards by 2^-22 of it.  A centre that has moved also pays for the
roundings of its scores before and after, (L + 1) 2^-53 (|bias| + |x| |c|) each for L entries, which
2^-30 covers for L <= 2^20.
"""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY, sqrt
from libc.stdint cimport int32_t

from fastmix.core._csr cimport Row
from fastmix.core._kernels cimport FM_SCREEN_WIDTH, address
from fastmix.core._screen cimport Screen
from fastmix.core._sparse cimport LEAST_SCREENED, Counts, SparseRows, Step
from fastmix.core._threads cimport Locks, enter, leave

__all__ = ["SparseBounds"]

# Bytes that the bounds take a row.
BYTES = 12

cdef float GREATEST = 3.0e38
cdef double ROUNDING = 2.0**-30

# What reading a row costs, in centres of the screen: 1.6 ns an entry beside 0.04 (Zen 4).
READ = 40

# A full scan makes bounds tight again: it is preferred to one that promises not much less.
WORTHWHILE = 0.9

# Rows whose bounds are looked at to choose the centres that are screened.
SAMPLE = 1024


cdef struct Drift:
    # How scores move: by at most |x| reach + shift, of all centres, of those that are not screened
    # first, and, in arrays, downwards of each.
    float all_reach, all_shift, other_reach, other_shift
    const float *reach
    const float *shift
    const int32_t *place  # of a centre among those that are screened first, or -1
    const int32_t *order  # the same from places to centres
    bint full  # screen all


cdef inline float up(double v) noexcept nogil:
    return <float>(v + 2.0**-22 * (v if v > 0 else -v) + 1e-37)


cdef inline float down(double v) noexcept nogil:
    return <float>(v - 2.0**-22 * (v if v > 0 else -v) - 1e-37)


cdef double distance(const double *a, const double *b, Py_ssize_t d,
                     unsigned char *any) noexcept nogil:
    """|a - b|, rounded, and whether a is not b: squares may be too small for a float64."""
    cdef double[4] sum = [0, 0, 0, 0]
    cdef double gap
    cdef Py_ssize_t t
    any[0] = 0
    for t in range(d):
        gap = a[t] - b[t]
        any[0] |= gap != 0
        sum[t & 3] += gap * gap
    return sqrt((sum[0] + sum[1]) + (sum[2] + sum[3])) + 1e-150 * any[0]


@cython.final
cdef class SparseBounds:
    """Bounds of the rows of one fit.

    Parameters
    ----------
    rows : SparseRows

    Attributes
    ----------
    products, rows_open : int
        Scores screened, and rows read, since they were set to 0.
    useful : bool
        False when the rows have given up screening: the bounds do not hold any more.
    """

    cdef public Py_ssize_t products, rows_open
    cdef readonly bint useful
    cdef SparseRows rows
    cdef object own, rest, norm, centers, bias, labels, arrays
    cdef Screen first
    cdef double unit
    cdef Drift drift
    cdef int n_threads

    def __init__(self, SparseRows rows):
        self.rows, self.useful, self.n_threads = rows, True, 1
        self.own, self.rest, self.norm = np.empty((3, rows.n), dtype=np.float32)
        self._forget()

    @staticmethod
    def possible(rows, k):
        """Whether there may be bounds for these rows and k centres."""
        cdef SparseRows sparse = rows
        return k >= LEAST_SCREENED and sparse.screened and sparse.longest <= 2**20

    def _forget(self):
        self.own[...], self.rest[...], self.norm[...] = -np.inf, np.inf, 0
        self.centers = None

    def move(self, centers):
        """The centres of the next E-step, (k, d) float64 in the frame."""
        cdef SparseRows rows = self.rows
        cdef double largest = max(centers.max(), -centers.min()) * self.unit
        if self.centers is not None and not 2.0**-10 < largest < 2.0**10:
            self._forget()
        rows.prepare(centers, 0 if self.centers is None else self.unit, self.n_threads)
        self.unit = rows.screen.s.unit
        self.drift.full = True
        if self.centers is not None:
            self._follow(centers)
        if self.centers is None:
            self.centers = np.empty_like(centers)
        np.copyto(self.centers, centers)
        self.bias = rows.bias

    def _follow(self, centers):
        """Drift from the centres before, and the centres to be screened first."""
        cdef Py_ssize_t k = len(centers), size
        reach, moved = self._moved(centers)
        more = 1 + 1e-6
        bias = self.rows.bias[:k]
        rise = (bias - self.bias[:k]) * self.unit * self.unit
        # Roundings of the scores, see above.
        extent = np.sqrt(-2 * min(bias.min(), self.bias[:k].min())) * self.unit
        reach = np.where(moved, (reach * self.unit + ROUNDING * extent) * more, 0)
        noise = ROUNDING * extent * extent * moved
        rise, fall = rise + np.abs(rise) * 1e-6 + noise, -rise + np.abs(rise) * 1e-6 + noise
        fall = np.maximum(fall, 0)

        n_moved = int(moved.sum())
        typical = float(np.median(self.norm[self._sample()]))
        order = np.argsort(-(reach * typical + rise), kind="stable")
        order = np.concatenate([order[moved[order]], order[~moved[order]]]).astype(np.int32)
        sizes = [0] + [size for size in (16, 32, 64, 128, 256) if size < min(n_moved, k)]
        if 0 < n_moved < k:
            sizes.append(n_moved)
        size = self._best(sizes, order, reach, rise, fall)
        self.drift.full = size < 0
        if size < 0:
            return
        place = np.full(k, -1, dtype=np.int32)
        place[order[:size]] = np.arange(size)
        picked = np.sort(order[:size])  # ties go to the lowest
        place[picked] = np.arange(size)
        others = np.ones(k, dtype=bool)
        others[picked] = False
        floats = np.array([reach, fall]) * more
        floats = np.nextafter(floats.astype(np.float32), np.float32(np.inf))
        floats[:, ~moved] = 0
        self.arrays = place, picked, floats
        self.drift.place, self.drift.order = <int32_t *>address(place), <int32_t *>address(picked)
        self.drift.reach = <float *>address(floats)
        self.drift.shift = self.drift.reach + k
        self.drift.all_reach, self.drift.all_shift = up(reach.max()), up(max(0, rise.max()))
        self.drift.other_reach = up(reach[others].max()) if reach[others].any() else 0
        rises = rise[others & moved]
        self.drift.other_shift = up(max(0, rises.max())) if len(rises) else 0
        if not moved.any():
            self.drift.all_reach = self.drift.all_shift = 0
        self.first = None
        if size:
            part = np.ascontiguousarray(centers[picked])
            self.first = Screen()
            self.first.make(self.rows.kernels, part, self.rows.bias[picked], self.unit,
                            self.n_threads)

    def _moved(self, double[:, ::1] centers):
        """How far each centre has moved, and whether."""
        cdef double[:, ::1] before = self.centers
        cdef Py_ssize_t j, k = centers.shape[0], d = centers.shape[1]
        reach, moved = np.empty(k), np.empty(k, dtype=bool)
        cdef double[::1] far = reach
        cdef unsigned char[::1] any = moved.view(np.uint8)
        enter()
        for j in prange(k, nogil=True, num_threads=self.n_threads):
            far[j] = distance(&centers[j, 0], &before[j, 0], d, &any[j])
        leave()
        return reach, moved

    def _sample(self):
        return slice(None, None, max(1, self.rows.n // SAMPLE))

    def _best(self, sizes, order, reach, rise, fall):
        """How many centres to screen first, or -1 for all at once: the least work on a sample."""
        k = len(order)
        part = self._sample()
        own, rest, norm = (a[part].astype(np.float64) for a in (self.own, self.rest, self.norm))
        labels = self.labels[part]
        full = READ + k
        best, least = -1, WORTHWHILE * full
        lower = own - norm * reach[labels] - fall[labels]
        open_rows = lower <= rest + norm * reach.max() + max(0, rise.max())
        for size in sizes:
            left = order[size:]
            later = rest + norm * reach[left].max() + max(0, rise[left].max())
            first = np.zeros(k, dtype=bool)
            first[order[:size]] = True
            # About the same score will be found for its centre if that is screened.
            scanned = open_rows & (np.where(first[labels], own, lower) <= later)
            cost = open_rows.mean() * (READ + size) + scanned.mean() * k
            if size == 0:
                cost = open_rows.mean() * full
            if cost < least:
                best, least = size, cost
        return best

    def assign(self, Py_ssize_t start, Py_ssize_t stop, int32_t[::1] labels, int n_threads,
               double[:, :, :, ::1] sums=None, const double[::1] weights=None):
        """As SparseRows.assign, with the centres of the last move()."""
        cdef SparseRows rows = self.rows
        cdef double[:, ::1] centers = self.centers
        self.labels, self.n_threads = np.asarray(labels), n_threads
        if not self.useful:
            self.products += (stop - start) * centers.shape[0]
            self.rows_open += stop - start
            return rows.assign(start, stop, self.centers, labels, n_threads, sums, weights,
                               again=start > 0)
        cdef Step s = rows.step_of(centers, labels, sums, weights)
        counts = np.zeros(n_threads * sizeof(Counts), dtype=np.uint8)
        s.counts = <Counts *>address(counts)
        cdef char *memory = rows._reserve(n_threads, s.room)
        cdef Locks locks = Locks(n_threads if sums is None else sums.shape[0], n_threads)
        cdef Py_ssize_t i, n_changed = 0
        cdef float *own = <float *>address(self.own)
        cdef float *rest = <float *>address(self.rest)
        cdef float *norm = <float *>address(self.norm)
        enter()
        for i in prange(start, stop, nogil=True, num_threads=n_threads, schedule="dynamic",
                        chunksize=64):
            n_changed += self._assign(i, own + i, rest + i, norm + i, memory, &s, locks)
        leave()
        for i in range(n_threads):
            self.products += s.counts[i].products
            self.rows_open += s.counts[i].rows
        rows.consider(s.counts, n_threads, (stop - start) * s.k)
        self.useful = rows.screened
        return n_changed

    cdef Py_ssize_t _assign(self, Py_ssize_t row, float *own, float *rest, float *norm,
                            char *memory, Step *s, Locks locks) noexcept nogil:
        cdef Drift *drift = &self.drift
        cdef int32_t label = s.labels[row]
        cdef float later
        cdef Row r
        cdef Py_ssize_t best = -1
        if drift.full:
            r = self.rows._row(memory, s.room, row)
            norm[0] = self._norm(&r)
            best = self._full(&r, own, rest, s)
        else:
            if drift.reach[label] > 0 or drift.shift[label] > 0:
                own[0] = down(<double>own[0] - <double>norm[0] * drift.reach[label]
                              - drift.shift[label])
            later = rest[0]
            if drift.all_reach > 0 or drift.all_shift > 0:
                later = up(<double>rest[0] + <double>norm[0] * drift.all_reach + drift.all_shift)
            if own[0] > later:
                rest[0] = later
                return 0
            if drift.other_reach > 0 or drift.other_shift > 0:
                rest[0] = up(<double>rest[0] + <double>norm[0] * drift.other_reach
                             + drift.other_shift)
            r = self.rows._row(memory, s.room, row)
            if self.first is not None:
                best = self._first(&r, label, own, rest, s)
            if best < 0:
                best = self._full(&r, own, rest, s)
        s.counts[threadid()].rows += 1
        return self.rows.relabel(row, &r, best, s, locks)

    cdef float _norm(self, Row *r) noexcept nogil:
        cdef double norm = sqrt(self.rows.kernels.sparse_square(r.y, r.count)) * self.unit
        return up(norm * (1 + 1e-6)) if norm < GREATEST / 2 else GREATEST

    cdef Py_ssize_t _full(self, Row *r, float *own, float *rest, Step *s) noexcept nogil:
        """The nearest of all centres, and fresh bounds."""
        cdef float low = -INFINITY
        cdef float *scores = <float *>(<int32_t *>r.room + self.rows.screen.s.padded)
        cdef Py_ssize_t best, n = self.rows.screened_of(r, s, &low)
        cdef bint known = low > -INFINITY
        best = self.rows.nearest(r, s, n, &low)
        own[0], rest[0] = -INFINITY, INFINITY
        if known:
            own[0] = low
            rest[0] = self.rows.kernels.screen_rest(&self.rows.screen.s, scores, <int32_t>best)
        s.counts[threadid()].products += s.k
        return best

    cdef Py_ssize_t _first(self, Row *r, int32_t label, float *own, float *rest,
                           Step *s) noexcept nogil:
        """The nearest of the centres screened first and that of the label, or -1 if another may be
        nearer."""
        cdef int32_t *found = <int32_t *>r.room
        # One more centre is found than are screened.
        cdef float *scores = <float *>(found + self.first.s.padded + FM_SCREEN_WIDTH)
        cdef int32_t place = self.drift.place[label]
        cdef float least = own[0] if place < 0 else <float>-INFINITY
        cdef float low, most
        cdef Py_ssize_t i, n, best
        n = self.rows.kernels.screen(&self.first.s, r.column, r.y, r.count, &least, scores, found)
        s.counts[threadid()].products += self.first.s.padded
        if n < 0 or not least > rest[0]:
            return -1
        for i in range(n):
            found[i] = self.drift.order[found[i]]
        if place < 0:
            # The label's centre is one more candidate, in the order of the centres.
            i = n
            while i > 0 and found[i - 1] > label:
                found[i] = found[i - 1]
                i -= 1
            found[i] = label
            n += 1
        low = least
        best = self.rows.nearest(r, s, n, &low)
        own[0] = low
        # Of the others: those not screened are below rest.
        most = self.rows.kernels.screen_rest(&self.first.s, scores, self.drift.place[best])
        rest[0] = max(rest[0], most)
        if best != label and place < 0:
            # The old centre's score is below the new one's, but nothing else is known of it.
            rest[0] = max(rest[0], up(low + 2.0**-20 * (low if low > 0 else -low)))
        return best
