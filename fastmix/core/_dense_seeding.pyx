# SPDX-License-Identifier: BSD-3-Clause
"""The passes of greedy k-means++ over dense rows: of all rows, and of those that may be nearer.

A slot is a block of rows.  What a candidate takes off a slot's potential is a sum in fixed lanes to
which a row that is no nearer adds zero, so that both kinds of pass have the same bits.
"""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t

from fastmix.core._kernels cimport address, fm_block
from fastmix.core._threads cimport enter, leave
from fastmix.core._tiles cimport Scratch, TileRows, piece_of

from fastmix.core._kernels import aligned_empty

__all__ = ["SeedingRows", "Sketch"]

# Of the 64 MB that a fit may take beyond 8 bytes a row, what a sketch may: see Sketch.
SKETCH_BYTES = 40_000_000
# Notes a block has room for, as a part of its rows: beyond, which happens only while there are few
# centres, the distances are computed again.
cdef Py_ssize_t ROWS_A_NOTE = 4
# Blocks whose lists are used together: at most 32.
cdef Py_ssize_t BLOCKS_A_TASK = 16
# Columns reach as far as a sample, at most this many of its standard deviations: rows with more are
# always computed.
cdef double REACH = 5.0
cdef Py_ssize_t SAMPLE_ROWS = 4096
# Twice eight roundings of float32, relative to what is rounded: see candidates().
cdef double MARGIN = 2.0**-20


cdef class Sketch:
    """Rows in one byte a column (src/kernels/sketch.inc.h), and notes of what candidates gained.

    Memory: a note of 4 + itemsize bytes for every fourth row, and d + 4 bytes for each of the first
    n_rows rows (d rounded up to even), which are as many as fit: together at most SKETCH_BYTES
    and, beside the distances to the nearest centre, 8 bytes a row.
    """

    def __init__(self, TileRows rows):
        cdef Py_ssize_t n = rows.n, d = rows.d, size = rows.kernels.itemsize
        cdef Py_ssize_t n_blocks = rows._n_blocks(n), even = (d + 1) // 2 * 2
        cdef double u = 2.0**-24 if size == 4 else 2.0**-53
        self.room = rows.block_rows // ROWS_A_NOTE
        budget = SKETCH_BYTES + (8 - size) * n - n_blocks * self.room * (4 + size)
        whole = budget // (rows.block_rows * (even + 4))
        self.n_rows = max(0, min(n, whole * rows.block_rows))
        sample = rows.take(np.arange(0, n, n // SAMPLE_ROWS + 1))
        steps = np.minimum(REACH * np.sqrt(np.mean(np.square(sample), axis=0)),
                           1.1 * np.abs(sample).max(axis=0)) / 127
        self.steps = steps
        # A column that is zero in the sample makes its other rows exceptions.
        self.inverse = np.divide(1.0, steps, out=np.full(d, 2.0**900), where=steps > 0)
        # A power of two brings the sketch to about 1, whose squares float32 holds.
        self.scale = 2.0 ** -np.frexp(steps.max())[1]
        squares = np.square(steps * self.scale)
        # The rounding of a column is even over its step: variance s^2 / 12 and, of its square,
        # s^4 / 180.  Four deviations, and never more than all columns at their worst.
        error = squares.sum() / 12 + 4 * np.sqrt(np.square(squares).sum() / 180)
        self.error = np.sqrt(min(error, squares.sum() / 4)) * (1 + 1e-6)
        self.reach = 128 * np.sqrt(squares.sum())
        self.half_unit = 0.5 * self.scale**2 * (1 - MARGIN)
        # |computed - exact| <= (d + 2) u |x - c|^2 (distances.inc.h): the computed distance of what
        # is skipped is at least closest, since |x - c|^2 >= closest (1 + 4 (d + 3) u).
        if (d + 3) * u > 0.05:
            self.n_rows = 0
        self.factor = 0.5 * self.scale**2 * (1 + 4 * (d + 3) * u) * (1 + MARGIN)
        padded = rows._n_blocks(self.n_rows) * rows.block_rows
        self.bytes = aligned_empty(max(1, padded * even), np.int8)
        self.half = aligned_empty(max(1, padded), np.float32)
        self.notes = aligned_empty(n_blocks * self.room, np.int32)
        self.noted = aligned_empty(n_blocks * self.room, rows.dtype)
        self.found = np.full(n_blocks, -1, dtype=np.intp)

    @property
    def nbytes(self):
        """Memory taken."""
        arrays = (self.bytes, self.half, self.notes, self.noted, self.found)
        return sum(np.asarray(array).nbytes for array in arrays)

    def forget(self):
        """Note that nothing is noted."""
        self.found[:] = -1

    def looks_at_rows(self):
        """Whether accept() has to, some block having had no room for its notes."""
        return bool((np.asarray(self.found) < 0).any())

    def candidates(self, centers):
        """Pairs (d / 2, k) of int16 as int32, and units and biases (k,) of centres (k, d)."""
        k, d = centers.shape
        c = centers * self.scale
        products = c * (np.asarray(self.steps) * self.scale)
        most = min(32767, (2**31 - 1) // (127 * d))
        unit = np.abs(products).max(axis=1) / most
        unit[unit == 0] = 1
        pairs = np.zeros((k, (d + 1) // 2 * 2), dtype=np.int16)
        pairs[:, :d] = np.rint(products / unit[:, None])
        length = np.sqrt(np.square(c).sum(axis=1))
        half, error = 0.5 * length**2, self.error * length
        # The products are off by half a unit each.  The conversion of the integer, the unit, their
        # product, the bias and the sum are rounded: 5 u of what is added up at most.
        bias = error - half + 64 * d * unit + MARGIN * (half + error + self.reach * length)
        turned = np.ascontiguousarray(pairs.view(np.int32).T)
        return turned, unit.astype(np.float32), bias.astype(np.float32)


cdef class SeedingRows(TileRows):
    """Dense rows with the passes of greedy k-means++; parameters of TileRows."""

    def sketch(self):
        """Memory for a sketch of the rows, which accept(fill=True) fills; None if it has none."""
        sketch = Sketch(self)
        return sketch if 2 * sketch.n_rows >= self.n else None

    cdef void _distances_of(self, const fm_block *b, Scratch *s, const void *panel,
                            Py_ssize_t k) noexcept nogil:
        """s.distances[j * block_rows + i], of the rows of a block."""
        cdef Py_ssize_t at = 0, step = self._step(k)
        cdef fm_block piece
        while at < b.count:
            piece = piece_of(b, at, step)
            self._pack(&piece, s)
            self.kernels.distances(s.tiles, piece.count, self.d, panel, k,
                                   s.distances + at * self.kernels.itemsize, self.block_rows)
            at += step

    # ------------------------------------------------------------ all rows

    def potentials(self, Py_ssize_t start, Py_ssize_t stop, previous, candidates, closest,
                   double[:, ::1] out, int n_threads, const double[::1] weights=None,
                   double[:, ::1] gains=None):
        """One step of greedy k-means++ in one pass: out[slot, j] = sum over the slot's rows of
        w min(closest, |x - candidate_j|^2), after closest has been brought up to date with the
        centre that was chosen before (None: closest stands); gains[slot, j], where not None, is the
        sum of w max(closest - |x - candidate_j|^2, 0).
        """
        cdef Py_ssize_t block, n_blocks = self._n_blocks(stop - start)
        cdef Candidates c
        c.update = previous is not None
        c.k = len(candidates) + c.update
        centers = np.concatenate([previous, candidates]) if c.update else candidates
        cdef char *memory = self._reserve(n_threads, c.k)
        c.panel = self._panel(centers, self.kernels.distance_width, NULL)
        c.closest = <char *>address(closest)
        c.weights = NULL if weights is None else &weights[0]
        c.left = &out[0, 0]
        c.gains = NULL if gains is None else &gains[0, 0]
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            self._potentials(start, stop, block, memory, &c)
        leave()

    cdef void _potentials(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                          Candidates *c) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, c.k)
        cdef fm_block b = self._block(start, stop, block)
        cdef Py_ssize_t size = self.kernels.itemsize, j
        cdef char *nearest = c.closest + b.start * size
        cdef const double *w = NULL if c.weights == NULL else c.weights + b.start
        cdef Py_ssize_t at = b.start // self.block_rows * (c.k - c.update) - c.update
        cdef char *distance
        self._distances_of(&b, &s, c.panel, c.k)
        for j in range(c.k):
            distance = s.distances + j * self.block_rows * size
            if c.update and j == 0:
                self.found.potential(distance, nearest, NULL, b.count, nearest)
            elif c.gains == NULL:
                c.left[at + j] = self.found.potential(distance, nearest, w, b.count, NULL)
            else:
                c.gains[at + j] = self.found.gain(distance, nearest, w, b.count, c.left + at + j)

    def slot_potentials(self, Py_ssize_t slot, center, closest):
        """min(closest, |x - center|^2) of the rows of one slot, as float64."""
        start = slot * self.block_rows
        stop = min(self.n, start + self.block_rows)
        self._fetch(start, stop)
        cdef void *panel = self._panel(center, self.kernels.distance_width, NULL)
        cdef Scratch s = self._of_thread(self._reserve(1, 1), 1)
        cdef fm_block b = self._block(start, stop, 0)
        least = closest[start:stop].copy()
        self._distances_of(&b, &s, panel, 1)
        self.found.potential(s.distances, address(least), NULL, b.count, address(least))
        return least.astype(np.float64)

    # ------------------------------------------------------------ rows that may be nearer

    def gains(self, Py_ssize_t start, Py_ssize_t stop, candidates, closest, Sketch sketch,
              double[:, ::1] out, int n_threads, const double[::1] weights=None):
        """The gains of potentials(), from rows that the sketch does not prove to be no nearer;
        returns how many.  closest must be up to date."""
        cdef Py_ssize_t n_blocks = self._n_blocks(stop - start), n_computed = 0, task
        cdef Py_ssize_t width = max(1, min(BLOCKS_A_TASK, n_blocks // (4 * n_threads)))
        cdef Py_ssize_t n_tasks = (n_blocks + width - 1) // width
        cdef Candidates c
        c.k = len(candidates)
        cdef char *memory = self._reserve(n_threads, c.k)
        cdef Py_ssize_t[::1] lists = np.empty(n_threads * 2 * self.block_rows, dtype=np.intp)
        c.panel = self._panel(candidates, self.kernels.distance_width, NULL)
        rounded = candidates.astype(self.dtype).astype(np.float64)
        cdef int32_t[:, ::1] pairs
        cdef float[::1] unit, bias
        pairs, unit, bias = sketch.candidates(rounded)
        c.pairs, c.unit, c.bias = &pairs[0, 0], &unit[0], &bias[0]
        c.closest = <char *>address(closest)
        c.weights = NULL if weights is None else &weights[0]
        c.gains = &out[0, 0]
        cdef char *noted = <char *>address(sketch.noted)
        enter()
        for task in prange(n_tasks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            n_computed += self._gains(start, stop, task * width, min((task + 1) * width, n_blocks),
                                      memory, &lists[0], &c, sketch, noted)
        leave()
        return n_computed

    @cython.boundscheck(False)
    @cython.wraparound(False)
    cdef Py_ssize_t _gains(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t first,
                           Py_ssize_t last, char *memory, Py_ssize_t *lists, Candidates *c,
                           Sketch sketch, char *noted) noexcept nogil:
        # Lists of adjacent blocks are used together, since a tile is a tile however few its rows.
        cdef Scratch s = self._of_thread(memory, c.k)
        cdef Py_ssize_t *rows = lists + threadid() * 2 * self.block_rows
        cdef Py_ssize_t[32] ends
        cdef fm_block b, listed
        cdef Py_ssize_t even = (self.d + 1) // 2 * 2, count, i, n_slots = 0, n_computed = 0
        listed.rows, listed.start, listed.count = rows, 0, 0
        for first in range(first, last):
            b = self._block(start, stop, first)
            count = b.count
            if b.start < sketch.n_rows:
                count = self.found.sketch_near(
                    &sketch.bytes[b.start * even], &sketch.half[b.start], self.d,
                    c.closest + b.start * self.kernels.itemsize, sketch.factor, &self.x, b.start,
                    b.count, c.pairs, c.k, c.unit, c.bias, rows + listed.count)
            # Adjacent rows are packed about twice as fast as listed ones.
            if 2 * count >= b.count:
                for i in range(b.count):
                    s.changed[i] = b.start + i
                self._note(&b, &s, s.changed, &b.count, 1, c, sketch, noted)
                n_computed += b.count
                continue
            n_computed += count
            if listed.count + count > self.block_rows:
                self._note(&listed, &s, rows, ends, n_slots, c, sketch, noted)
                for i in range(count):
                    rows[i] = rows[listed.count + i]
                n_slots = listed.count = 0
            listed.count += count
            if count:
                ends[n_slots] = listed.count
                n_slots += 1
            else:
                sketch.found[b.start // self.block_rows] = 0
                for i in range(c.k):
                    c.gains[b.start // self.block_rows * c.k + i] = 0
        self._note(&listed, &s, rows, ends, n_slots, c, sketch, noted)
        return n_computed

    @cython.boundscheck(False)
    @cython.wraparound(False)
    cdef void _note(self, const fm_block *b, Scratch *s, const Py_ssize_t *rows,
                    const Py_ssize_t *ends, Py_ssize_t n_slots, Candidates *c, Sketch sketch,
                    char *noted) noexcept nogil:
        """Gains of the rows of a block: rows[.. ends[0]) of one slot, and so on."""
        cdef Py_ssize_t size = self.kernels.itemsize, i, at = 0, slot, start, room = sketch.room
        if n_slots == 0:
            return
        self._distances_of(b, s, c.panel, c.k)
        for i in range(n_slots):
            slot = rows[at] // self.block_rows
            start = slot * self.block_rows
            sketch.found[slot] = self.found.gains_listed(
                s.distances + at * size, self.block_rows, c.k, rows + at, start, ends[i] - at,
                c.closest, c.weights, c.gains + slot * c.k, &sketch.notes[slot * room],
                noted + slot * room * size, room)
            at = ends[i]

    def accept(self, Py_ssize_t start, Py_ssize_t stop, center, int32_t best, closest,
               Sketch sketch, double[::1] out, int n_threads, const double[::1] weights=None,
               bint fill=False):
        """closest after candidate best, which is center (1, d), became a centre, from the notes or,
        where there are none, from distances; out[slot] = sum over the slot's rows of w closest.
        fill: also fill the sketch."""
        cdef Py_ssize_t block, n_blocks = self._n_blocks(stop - start)
        cdef Candidates c
        cdef char *memory = self._reserve(n_threads, 1)
        c.panel = self._panel(center, self.kernels.distance_width, NULL)
        c.closest = <char *>address(closest)
        c.weights = NULL if weights is None else &weights[0]
        c.left = &out[0]
        cdef char *noted = <char *>address(sketch.noted)
        enter()
        for block in prange(n_blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
            self._accept(start, stop, block, memory, &c, sketch, noted, best, fill)
        leave()

    @cython.boundscheck(False)
    @cython.wraparound(False)
    cdef void _accept(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t block, char *memory,
                      Candidates *c, Sketch sketch, char *noted, int32_t best,
                      bint fill) noexcept nogil:
        cdef Scratch s = self._of_thread(memory, 1)
        cdef fm_block b = self._block(start, stop, block)
        cdef Py_ssize_t size = self.kernels.itemsize, slot = b.start // self.block_rows
        cdef Py_ssize_t even = (self.d + 1) // 2 * 2, found = sketch.found[slot]
        cdef int32_t *note = &sketch.notes[slot * sketch.room]
        cdef char *nearest = c.closest + b.start * size
        # Of the squared error in the frame; its own rounding is in the factor that error has.
        cdef double error = (sketch.error / sketch.scale)**2 * (1 - 1e-6)
        noted += slot * sketch.room * size
        if found < 0:
            self._pack(&b, &s)
            self.kernels.distances(s.tiles, b.count, self.d, c.panel, 1, s.distances,
                                   self.block_rows)
            self.found.potential(s.distances, nearest, NULL, b.count, nearest)
            if fill and b.start < sketch.n_rows:
                self.found.sketch(s.tiles, self.kernels.tile_rows, b.count, self.d,
                                  &sketch.steps[0], &sketch.inverse[0], error, sketch.half_unit,
                                  &sketch.bytes[b.start * even], &sketch.half[b.start])
        else:
            self.found.accept(note, noted, found, best, nearest)
        c.left[slot] = self.found.potential(nearest, nearest,
                                            NULL if c.weights == NULL else c.weights + b.start,
                                            b.count, NULL)
