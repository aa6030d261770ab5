# SPDX-License-Identifier: BSD-3-Clause
"""E-steps that look only at the rows and the groups of centres that bounds cannot rule out.

The labels are those of a plain scan: what is skipped is proven (src/kernels/bounds.inc.h), and the
scores of what is not have the bits of the plain scan's.
"""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.math cimport ceil, sqrt
from libc.stdint cimport int16_t, int32_t, uint8_t

from fastmix.core._kernels cimport (
    FM_BOUND_ROWS, FM_SUM_ROWS, address, fm_block, fm_bounds, fm_found, fm_open,
)
from fastmix.core._prefix cimport Prefix
from fastmix.core._threads cimport Locks, enter, leave
from fastmix.core._tiles cimport TileRows, padded

from fastmix.core._groups import PANEL_WIDTH, group_centers
from fastmix.core._kernels import aligned_empty

__all__ = ["PANEL_WIDTH", "GroupBounds", "group_centers"]

# Centres in the lanes of the kernel; groups are multiples of it, as far as K allows.
cdef Py_ssize_t PANEL_COLUMNS = PANEL_WIDTH

# Rows of one piece of work: they are read as many times as there are groups open for them, and
# stay in the second-level cache meanwhile.
cdef Py_ssize_t PIECE_BYTES = 262144
cdef Py_ssize_t MAX_PIECE_ROWS = 16384
cdef Py_ssize_t MIN_PIECE_ROWS = 1024

# A row is looked at without reading it first where leading coordinates are to rule out so few
# groups that this costs less than to read it.
cdef double FEW = 7.0

# Codes are 15 bits: this many times the spread of the distances is half of their range.
cdef double HALF_RANGE = 4.0
cdef int HALF_CODES = 16383


cdef struct Work:
    # A thread's memory, carved out of one allocation.
    fm_open open
    Py_ssize_t *ends
    Py_ssize_t *rows
    Py_ssize_t *changed
    int32_t *list
    int32_t *places
    int32_t *added
    int32_t *removed
    int32_t *labels
    char *scores
    char *seconds
    char *framed
    char *scratch
    double *sums
    Py_ssize_t *products
    Py_ssize_t bytes


cdef char *take(char **at, Py_ssize_t bytes) noexcept nogil:
    cdef char *start = at[0]
    at[0] += padded(bytes)
    return start


@cython.final
cdef class GroupBounds:
    """Bounds of the rows of one fit.

    Parameters
    ----------
    rows : TileRows
    centers : (k, d) float64 in the frame, by which the centres are grouped
    n_groups : int
    spread : float
        About the distance of a row to its centre.
    prefix : Prefix or None
        Leading coordinates, from which groups are ruled out first.
    """

    cdef readonly Py_ssize_t n_groups
    cdef public Py_ssize_t products, rows_open, groups_open, groups_guessed
    cdef Prefix prefix
    cdef Py_ssize_t few
    cdef TileRows rows
    cdef list groups
    cdef object upper, codes, group_of, position, order, first, sizes
    cdef object moved, group_reach, group_moved, panel, memory
    cdef fm_bounds b, old
    cdef bint renewing, loose
    cdef object before
    cdef Py_ssize_t k, piece_rows
    cdef Py_ssize_t[::1] first_column, group_size
    cdef int32_t[::1] center_at, position_of
    cdef Py_ssize_t[::1] member
    cdef double[:, ::1] grouped
    cdef float[::1] moves, group_moves
    cdef unsigned char[::1] stirred  # whether a centre is new
    cdef int16_t[::1] group_codes
    cdef bint started
    cdef char *panel_start
    cdef char *bias

    def __init__(self, TileRows rows, centers, Py_ssize_t n_groups, double spread,
                 Prefix prefix=None):
        cdef Py_ssize_t size = rows.kernels.itemsize, n = rows.n, columns
        self.rows, self.k, self.prefix = rows, len(centers), prefix
        self.groups = group_centers(centers, n_groups)
        self.n_groups = len(self.groups)
        self.sizes = np.array([len(members) for members in self.groups], dtype=np.intp)
        ends = np.cumsum(-(-self.sizes // PANEL_WIDTH) * PANEL_WIDTH)
        columns = ends[-1]
        self.first = np.append(0, ends[:-1]).astype(np.intp)
        self.order = np.full(columns, -1, dtype=np.int32)
        self.group_of = np.empty(self.k, dtype=np.int32)
        self.position = np.empty(self.k, dtype=np.int32)
        self.position[np.concatenate(self.groups)] = np.arange(self.k)
        for g, members in enumerate(self.groups):
            self.order[self.first[g] : self.first[g] + len(members)] = members
            self.group_of[members] = g
        self.first_column, self.group_size = self.first, self.sizes
        self.center_at, self.position_of = self.order, self.position
        self.member = np.concatenate(self.groups)
        self.grouped = np.zeros((self.k, rows.d))

        stride = (self.n_groups + 7) // 8 * 8  # Cython divides as C does
        self.upper = np.zeros(n, dtype=np.float32)
        self.codes = np.zeros((n, stride), dtype=np.int16)
        self.moved = np.zeros(self.k, dtype=np.float32)
        self.group_reach = np.zeros(self.n_groups, dtype=np.float32)
        self.group_moved = np.zeros(stride, dtype=np.int16)
        self.group_moved[self.n_groups :] = -32768  # so that none of these is open
        self.stirred = np.zeros(self.k, dtype=np.uint8)
        self.moves, self.group_moves = self.moved, self.group_reach
        self.group_codes = self.group_moved
        self.panel = aligned_empty(padded(columns * rows.d * size) + columns * size, np.uint8)
        self.panel_start = <char *>address(self.panel)
        self.bias = self.panel_start + padded(columns * rows.d * size)
        self.piece_rows = max(MIN_PIECE_ROWS, min(MAX_PIECE_ROWS, PIECE_BYTES // (rows.d * size)))

        self.b.upper = <float *>address(self.upper)
        self.b.codes = <int16_t *>address(self.codes)
        self.b.stride, self.b.step = stride, HALF_RANGE / HALF_CODES * spread
        self.b.group_of = <int32_t *>address(self.group_of)
        self.b.moved = <float *>address(self.moved)
        self.b.group_reach = <float *>address(self.group_reach)
        self.b.group_moved = <int16_t *>address(self.group_moved)
        if prefix is not None:
            prefix.arrange(self.order, self.k)
            self.few = max(1, int(FEW * rows.d / (60 + prefix.width)))
        self.b.unit = 2 * (rows.d + 8) * (2.0**-24 if size == 4 else 2.0**-53)

    def move(self, const double[:, ::1] centers, double x_square, int n_threads=1):
        """The centres of the next E-step, (k, d) float64 in the frame; x_square bounds |x|^2."""
        cdef Py_ssize_t g, p, t, size = self.rows.kernels.itemsize, d = self.rows.d, column
        cdef double shift, square, farthest, now, value, reach = 0, c_square = 0
        cdef double more = 1 + 1e-6  # covers the rounding of what is computed here
        cdef int most = 0
        p = 0
        for g in range(self.n_groups):
            farthest = 0
            first = p
            for p in range(p, p + self.group_size[g]):
                shift = square = 0
                for t in range(d):
                    value = centers[self.member[p], t]
                    now = self._real(value)
                    shift += (now - self._real(self.grouped[p, t])) ** 2
                    square += now * now
                    self.grouped[p, t] = value
                self.stirred[self.member[p]] = shift > 0 or not self.started
                shift = sqrt(shift) if self.started else 0
                farthest = max(farthest, shift)
                c_square = max(c_square, square)
                self.moves[self.member[p]] = (self.moves[self.member[p]] + shift) * more
                reach = max(reach, self.moves[self.member[p]])
            p += 1
            self.group_moves[g] = (self.group_moves[g] + farthest) * more
            reach = max(reach, self.group_moves[g])
            now = ceil(self.group_moves[g] * more / self.b.step)
            self.group_codes[g] = <int16_t>min(now, 32767.0)
            most = max(most, self.group_codes[g])
            column = self.first_column[g]
            self.rows.kernels.pack_centers(&self.grouped[first, 0], self.group_size[g], d,
                                           PANEL_COLUMNS, self.panel_start + column * d * size,
                                           self.bias + column * size)
        if self.prefix is not None:
            self.prefix.move(centers, np.flatnonzero(self.stirred), n_threads)
        self.loose, self.started = self.started, True
        self.b.reach = reach
        self.b.c_square = c_square * more
        self.b.proof = 2 * self.b.unit * (x_square + self.b.c_square) * more + 1e-36
        self.b.root = sqrt(self.b.proof) * more
        self.renewing = most > HALF_CODES
        if self.renewing:
            # Beyond the range of the codes: the next E-step takes off what has been added.
            self.before = self.moved.copy(), self.group_moved.copy()
            self.old = self.b
            self.old.moved = <float *>address(self.before[0])
            self.old.group_moved = <int16_t *>address(self.before[1])
            self.moved[...] = self.group_reach[...] = self.group_moved[: self.n_groups] = 0
            self.b.reach = 0

    cdef double _real(self, double value) noexcept nogil:
        """As the kernels see it."""
        return <double>(<float>value) if self.rows.kernels.itemsize == 4 else value

    cdef Work _work(self, char *memory) noexcept nogil:
        cdef Work w
        cdef Py_ssize_t size = self.rows.kernels.itemsize, n = self.piece_rows
        cdef char *at = memory
        w.open.rows = <int32_t *>take(&at, 4 * n)
        w.open.label = <int32_t *>take(&at, 4 * n)
        w.open.score = <double *>take(&at, 8 * n)
        w.open.near = <float *>take(&at, 4 * n)
        w.open.least = <float *>take(&at, 4 * n)
        w.open.squares = take(&at, size * n)
        w.open.room = n
        w.open.lists = <int32_t *>take(&at, 4 * n * self.n_groups)
        w.open.counts = <Py_ssize_t *>take(&at, sizeof(Py_ssize_t) * self.n_groups)
        w.ends = <Py_ssize_t *>take(&at, sizeof(Py_ssize_t) * (self.k + 1))
        w.rows = <Py_ssize_t *>take(&at, sizeof(Py_ssize_t) * n)
        w.changed = <Py_ssize_t *>take(&at, sizeof(Py_ssize_t) * (n + 1))
        w.list = <int32_t *>take(&at, 4 * (n + 1))
        w.places = <int32_t *>take(&at, 4 * n)
        w.added = <int32_t *>take(&at, 4 * (n + 1))
        w.removed = <int32_t *>take(&at, 4 * (n + 1))
        w.labels = <int32_t *>take(&at, 4 * FM_BOUND_ROWS)
        w.scores = take(&at, size * FM_BOUND_ROWS)
        w.seconds = take(&at, size * FM_BOUND_ROWS)
        w.framed = take(&at, size * n * self.rows.d)
        w.scratch = take(&at, size * self.rows.d)
        w.sums = <double *>take(&at, sizeof(double) * FM_SUM_ROWS * self.rows.stride)
        w.products = <Py_ssize_t *>take(&at, 4 * sizeof(Py_ssize_t))
        w.bytes = at - memory
        return w

    def open_pages(self, Py_ssize_t size, int32_t[::1] labels, int n_threads):
        """Mask of the pages of so many rows, at least 64, some of whose labels are not proven for
        the centres of the last move(): assign() looks at rows of no other page."""
        cdef Py_ssize_t n = self.rows.n, page, n_pages = (n + size - 1) // size
        cdef Py_ssize_t piece = min(size, MAX_PIECE_ROWS)
        cdef int32_t[:, ::1] lists = np.empty((n_threads, piece + 1), dtype=np.int32)
        cdef uint8_t[::1] open_ = np.zeros(n_pages, dtype=np.uint8)
        self.b.labels = self.old.labels = &labels[0]
        enter()
        for page in prange(n_pages, nogil=True, num_threads=n_threads, schedule="dynamic",
                           chunksize=16):
            open_[page] = self._is_open(page * size, min(n, (page + 1) * size), piece,
                                        &lists[threadid(), 0])
        leave()
        self.renewing = False
        return np.asarray(open_).astype(bool)

    cdef bint _is_open(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t piece,
                       int32_t *list) noexcept nogil:
        cdef Py_ssize_t count
        if self.renewing:
            self.rows.isa.exact.bounds_renew(&self.old, start, stop - start)
        while start < stop:
            count = min(piece, stop - start)
            if self.rows.isa.exact.bounds_open(&self.b, start, count, list):
                return True
            start += count
        return False

    def assign(self, Py_ssize_t start, Py_ssize_t stop, int32_t[::1] labels, int n_threads,
               double[:, :, :, ::1] sums=None, const double[::1] weights=None):
        """As DenseRows.assign for rows start .. stop, with the centres of the last move()."""
        cdef Py_ssize_t piece, n_pieces = (stop - start + self.piece_rows - 1) // self.piece_rows
        cdef Py_ssize_t bytes = self._work(NULL).bytes, n_changed = 0
        cdef Py_ssize_t *products
        if self.memory is None or self.memory.size < bytes * n_threads:
            self.memory = aligned_empty(bytes * n_threads, np.uint8)
        cdef char *memory = <char *>address(self.memory)
        cdef const double *w = NULL if weights is None else &weights[0]
        cdef double *to = NULL if sums is None else &sums[0, 0, 0, 0]
        cdef Locks locks = Locks(n_threads if sums is None else sums.shape[0], n_threads)
        cdef int t
        self.b.labels = self.old.labels = &labels[0]
        for t in range(n_threads):
            products = self._work(memory + t * bytes).products
            products[0] = products[1] = products[2] = products[3] = 0
        enter()
        for piece in prange(n_pieces, nogil=True, num_threads=n_threads, schedule="dynamic"):
            n_changed += self._assign(start + piece * self.piece_rows, stop, memory, w, to, locks)
        leave()
        for t in range(n_threads):
            products = self._work(memory + t * bytes).products
            self.products += products[0]
            self.rows_open += products[1]
            self.groups_open += products[2]
            self.groups_guessed += products[3]
        return n_changed

    cdef Py_ssize_t _assign(self, Py_ssize_t start, Py_ssize_t stop, char *memory,
                            const double *weights, double *sums, Locks locks) noexcept nogil:
        cdef Work w = self._work(memory + threadid() * self._work(NULL).bytes)
        cdef Py_ssize_t n = min(self.piece_rows, stop - start), count, changed, g
        cdef fm_block block
        cdef int part
        if self.renewing:
            self.rows.isa.exact.bounds_renew(&self.old, start, n)
        for g in range(self.n_groups):
            w.open.counts[g] = 0
        count = self.rows.isa.exact.bounds_open(&self.b, start, n, w.list)
        self._sort(&w, start, count)
        if self.loose and self.prefix is not None:
            self.rows.isa.exact.prefix_wanted(&self.b, &w.open, start, count, self.few)
            for g in range(self.n_groups):
                self._guess(&w, start, g)
                w.open.counts[g] = 0
            count = self.rows.isa.exact.bounds_open(&self.b, start, n, w.list)
            self._sort(&w, start, count)
        block.rows, block.start, block.count = w.rows, 0, count
        self.rows.kernels.gather(&self.rows.x, &block, self.rows.pack_offset, self.rows.scale,
                                 w.places, w.framed, w.open.squares, w.scratch)
        for g in range(self.n_groups):
            self._own(&w, start, g)
        for g in range(self.n_groups):
            self._other(&w, start, g)
        changed = self.rows.isa.exact.bounds_close(&self.b, &w.open, start, count, w.changed,
                                                   w.added, w.removed)
        w.products[1] += count
        if sums != NULL and changed:
            block.rows, block.start, block.count = w.changed, 0, changed
            part = locks.acquire(threadid())
            self.rows.isa.exact.accumulate(&self.rows.x, &block, weights, &self.rows.grid, w.added,
                                           w.removed, sums + part * 2 * self.k * self.rows.stride,
                                           w.sums)
            locks.release(part)
        return changed

    cdef void _sort(self, Work *w, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
        """Open rows w.list by their label, those of one group together: a counting sort.
        w.places tells where each went."""
        cdef const int32_t *label = self.b.labels + start
        cdef Py_ssize_t i, j, at
        for j in range(self.k + 1):
            w.ends[j] = 0
        for i in range(n):
            w.ends[self.position_of[label[w.list[i]]] + 1] += 1
        for j in range(self.k):
            w.ends[j + 1] += w.ends[j]
        for i in range(n):
            j = self.position_of[label[w.list[i]]]
            at = w.ends[j]
            w.ends[j] += 1
            w.open.rows[at] = w.list[i]
            w.rows[i] = start + w.list[i]
            w.places[i] = at

    cdef void _own(self, Work *w, Py_ssize_t start, Py_ssize_t g) noexcept nogil:
        """Open rows against the group of their label, which lists those open for other groups."""
        cdef fm_found f
        cdef Py_ssize_t count, position = self.position_of[self.center_at[self.first_column[g]]]
        cdef Py_ssize_t at = 0 if position == 0 else w.ends[position - 1]
        cdef Py_ssize_t end = w.ends[position + self.group_size[g] - 1]
        f.list = NULL
        while at < end:
            count = min(FM_BOUND_ROWS, end - at)
            f.first = at
            self._scan(w, &f, g, count)
            if self.rows.kernels.itemsize == 4:
                self.rows.isa.exact.bounds_own_f32(&self.b, &f, g, start, count, &w.open)
            else:
                self.rows.isa.exact.bounds_own_f64(&self.b, &f, g, start, count, &w.open)
            self.rows.isa.exact.bounds_wanted(&self.b, &w.open, g, start, at, count)
            at += count

    cdef void _guess(self, Work *w, Py_ssize_t start, Py_ssize_t g) noexcept nogil:
        """Takes off the list of a group the rows that leading coordinates rule out."""
        w.products[3] += w.open.counts[g]
        w.open.counts[g] = self.rows.isa.exact.prefix_scan(
            &self.b, &self.prefix.p, g, self.first_column[g] // PANEL_COLUMNS,
            (self.group_size[g] + PANEL_COLUMNS - 1) // PANEL_COLUMNS, start, &w.open,
            w.open.lists + g * w.open.room, w.open.counts[g])

    cdef void _other(self, Work *w, Py_ssize_t start, Py_ssize_t g) noexcept nogil:
        """Open rows against a group that their lists name."""
        cdef fm_found f
        cdef Py_ssize_t count, at = 0
        if self.prefix is not None:
            self._guess(w, start, g)
        f.first = 0
        while at < w.open.counts[g]:
            count = min(FM_BOUND_ROWS, w.open.counts[g] - at)
            f.list = w.open.lists + g * w.open.room + at
            self._scan(w, &f, g, count)
            if self.rows.kernels.itemsize == 4:
                self.rows.isa.exact.bounds_other_f32(&self.b, &f, g, start, count, &w.open)
            else:
                self.rows.isa.exact.bounds_other_f64(&self.b, &f, g, start, count, &w.open)
            at += count

    cdef void _scan(self, Work *w, fm_found *f, Py_ssize_t g, Py_ssize_t count) noexcept nogil:
        """Scores of the rows of f in group g."""
        cdef Py_ssize_t size = self.rows.kernels.itemsize, column = self.first_column[g]
        cdef Py_ssize_t d = self.rows.d
        self.rows.kernels.row_scores(w.framed + f.first * d * size, f.list, count, d,
                                     self.panel_start + column * d * size,
                                     self.bias + column * size, self.group_size[g], w.labels,
                                     w.scores, w.seconds)
        f.labels, f.order = w.labels, &self.center_at[column]
        f.scores, f.seconds = w.scores, w.seconds
        w.products[0] += count * self.group_size[g]
        w.products[2] += count
