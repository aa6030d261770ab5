# SPDX-License-Identifier: BSD-3-Clause
"""The potential of k-means++: what its steps draw from it, and which candidate they choose.

Compiled, since on few rows a step is as many calls of NumPy as there are candidates, and they take
longer than the passes over the rows.
"""

import numpy as np

cimport cython

from fastmix.core._frame import passes

__all__ = ["Potential", "pick"]


cpdef Py_ssize_t pick(const double[:] cumulative, double target) except -1:
    """First index whose cumulative weight exceeds target; never one of weight zero.

    Rounding can leave target at or beyond the last sum: then the last index with a weight.
    """
    cdef Py_ssize_t low = 0, high = cumulative.shape[0], middle
    cdef double last = cumulative[high - 1]
    cdef bint beyond = not last > target
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > target or (beyond and cumulative[middle] == last):
            high = middle
        else:
            low = middle + 1
    return low


cdef double[::1] _cumulative(const double[:] values):
    """Running sums in order."""
    cdef double[::1] sums = np.empty(values.shape[0])
    cdef double sum = 0
    cdef Py_ssize_t i
    for i in range(values.shape[0]):
        sum += values[i]
        sums[i] = sum
    return sums


@cython.final
cdef class Potential:
    """Weighted squared distances to the nearest centre so far, as sums over fixed slots of rows.

    Parameters
    ----------
    rows : DenseRows or SparseRows, in their frame
    weights : ndarray (n,) float64 or None
    n_threads : int
    """

    cdef object rows, weights, closest, sketch
    cdef object last  # the centre that closest does not reflect yet, (1, d), or None
    cdef double[::1] cumulative  # of the slots' potentials after the last centre
    cdef Py_ssize_t n_slots
    cdef int n_threads
    cdef readonly Py_ssize_t computed  # rows whose distances the last choice computed

    def __init__(self, rows, weights, int n_threads):
        self.rows, self.weights, self.n_threads = rows, weights, n_threads
        self.closest = np.empty(rows.n, dtype=rows.dtype)
        self.closest[...] = np.inf
        self.n_slots = -(-rows.n // rows.block_rows)

    @property
    def total(self):
        """Potential of all rows."""
        return self.cumulative[self.n_slots - 1]

    def first(self, center):
        """Take the first centre, (1, d)."""
        slots = np.empty((self.n_slots, 1))
        for start, stop, threads in passes(self.rows, 1, self.n_threads):
            self.rows.potentials(
                start, stop, None, center, self.closest, slots, threads, self.weights
            )
        self.last, self.cumulative = center, _cumulative(slots[:, 0])

    def choose(self, candidates, bint pruned):
        """Index of the candidate that takes most off the potential, which becomes a centre."""
        cdef Py_ssize_t n = len(candidates)
        gains, left = np.empty((self.n_slots, n)), np.empty((self.n_slots, n))
        if pruned:
            self._catch_up()
        self.computed = self.rows.n
        if pruned and self.sketch is not None:
            self.computed = 0
            for start, stop, threads in passes(self.rows, n, self.n_threads):
                self.computed += self.rows.gains(
                    start, stop, candidates, self.closest, self.sketch, gains, threads,
                    self.weights,
                )
        else:
            pruned = False
            for start, stop, threads in passes(self.rows, n + 1, self.n_threads):
                self.rows.potentials(
                    start, stop, self.last, candidates, self.closest, left, threads,
                    self.weights, gains,
                )
        best = _largest(gains)
        self.last = candidates[best:best + 1]
        if pruned:
            self._accept(best)
        else:
            self.cumulative = _cumulative(left[:, best])
        return best

    def _catch_up(self):
        """Bring closest up to date, and make the sketch if there is none yet."""
        if self.last is None:
            return
        fill = self.sketch is None
        if fill:
            self.sketch = self.rows.sketch()
        if self.sketch is not None:
            self.sketch.forget()
            self._accept(0, fill)

    def _accept(self, best, fill=False):
        slots = np.empty(self.n_slots)
        look = fill or self.sketch.looks_at_rows()
        for start, stop, threads in passes(self.rows, 1, self.n_threads, look=look):
            self.rows.accept(
                start, stop, self.last, best, self.closest, self.sketch, slots, threads,
                self.weights, fill,
            )
        self.last, self.cumulative = None, _cumulative(slots)

    def draw(self, const double[::1] uniforms):
        """Rows drawn with probabilities proportional to w min |x - c|^2: their numbers (m,), and as
        centres (m, d)."""
        cdef Py_ssize_t i, slot, m = uniforms.shape[0], block = self.rows.block_rows
        cdef double target, total = self.cumulative[self.n_slots - 1]
        cdef double[::1] within
        slots, picks = np.empty(m, dtype=np.intp), np.empty(m, dtype=np.intp)
        cdef Py_ssize_t[::1] slot_of = slots, row = picks
        for i in range(m):
            slot_of[i] = pick(self.cumulative, uniforms[i] * total)
        centers = None if self.last is None else np.empty((m, self.rows.d))
        # In order, as rows of a source are read; where a slot is read, its rows are then taken, so
        # that one pass over blocks does both.
        for slot in sorted(set(slots.tolist())):
            within, own = self._within(slot), []
            for i in range(m):
                if slot_of[i] == slot:
                    target = uniforms[i] * total
                    if slot:
                        target -= self.cumulative[slot - 1]
                    row[i] = slot * block + pick(within, target)
                    own.append(i)
            if centers is not None:
                centers[own] = self.rows.take(picks[own])
        return picks, self.rows.take(picks) if centers is None else centers

    cdef _within(self, Py_ssize_t slot):
        """Running sums of w min |x - c|^2 over the rows of a slot."""
        start = slot * self.rows.block_rows
        stop = min(self.rows.n, start + self.rows.block_rows)
        if self.last is None:
            values = self.closest[start:stop].astype(np.float64)
        else:
            values = self.rows.slot_potentials(slot, self.last, self.closest)
        if self.weights is not None:
            values *= self.weights[start:stop]
        return _cumulative(values)


cdef Py_ssize_t _largest(const double[:, ::1] gains):
    """Column of the largest sum, added up in the order of the slots; the first of several."""
    cdef Py_ssize_t best = 0, slot, j
    cdef double sum, most = -1
    for j in range(gains.shape[1]):
        sum = 0
        for slot in range(gains.shape[0]):
            sum += gains[slot, j]
        if sum > most:
            best, most = j, sum
    return best
