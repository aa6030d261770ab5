# SPDX-License-Identifier: BSD-3-Clause
"""E-steps that look only at the rows and the groups of centres that bounds cannot rule out.

The labels are those of a plain scan: what is skipped is proven (src/kernels/bounds.inc.h), and the
scores of what is not have the bits of the plain scan's.
"""

cimport cython
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t
from libc.string cimport memset

from fastmix.core._bound_state cimport MAX_PIECE_ROWS, BoundState
from fastmix.core._kernels cimport (
    FM_BOUND_ROWS, FM_GROUP_WIDTH, FM_SUM_ROWS, address, fm_block, fm_found, fm_open,
)
from fastmix.core._coarse cimport Coarse
from fastmix.core._threads cimport Locks, enter, leave
from fastmix.core._tiles cimport TileRows, take

from fastmix.core._kernels import at_least

__all__ = ["GroupBounds"]

# Rows of one piece of work, MAX_PIECE_ROWS at most: they are read as many times as there are groups
# open for them, and stay in the second-level cache meanwhile.
cdef Py_ssize_t PIECE_BYTES = 262144
cdef Py_ssize_t MIN_PIECE_ROWS = 256, CACHED_PIECE_ROWS = 1024
cdef Py_ssize_t THREAD_PIECES = 8

# A row is looked at without reading it first where few bits are to rule out so few groups that this
# costs less than to read it.
cdef double FEW = 7.0


cdef struct Counts:
    # Of a thread in one call, as the attributes of GroupBounds.
    Py_ssize_t products
    Py_ssize_t rows
    Py_ssize_t groups
    Py_ssize_t guessed


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
    Counts *counts
    Py_ssize_t bytes


@cython.final
cdef class GroupBounds(BoundState):
    """Bounds of the rows of one fit, and its E-step; parameters of BoundState."""

    cdef public Py_ssize_t products, rows_open, groups_open, groups_guessed
    cdef Py_ssize_t few, piece_rows
    cdef object memory

    def __init__(self, TileRows rows, groups, double spread, Coarse coarse=None):
        super().__init__(rows, groups, spread, coarse)
        cdef Py_ssize_t row_bytes = rows.d * rows.kernels.itemsize
        self.piece_rows = max(CACHED_PIECE_ROWS, min(MAX_PIECE_ROWS, PIECE_BYTES // row_bytes))
        if coarse is not None and not coarse.two_sided:
            self.few = max(1, int(FEW * rows.d / (60 + coarse.effort)))

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
        w.counts = <Counts *>take(&at, sizeof(Counts))
        w.bytes = at - memory
        return w

    def assign(self, Py_ssize_t start, Py_ssize_t stop, int32_t[::1] labels, int n_threads,
               double[:, :, :, ::1] sums=None, const double[::1] weights=None):
        """As DenseRows.assign for rows start .. stop, with the centres of the last move()."""
        cdef Py_ssize_t piece, size = self._piece(stop - start, n_threads)
        cdef Py_ssize_t n_pieces = (stop - start + size - 1) // size
        cdef Py_ssize_t bytes = self._work(NULL).bytes, n_changed = 0
        cdef Counts *counts
        self.memory = at_least(self.memory, bytes * n_threads)
        cdef char *memory = <char *>address(self.memory)
        cdef const double *w = NULL if weights is None else &weights[0]
        cdef double *to = NULL if sums is None else &sums[0, 0, 0, 0]
        cdef Locks locks = Locks(n_threads if sums is None else sums.shape[0], n_threads)
        cdef int t
        self.b.labels = self.old.labels = &labels[0]
        for t in range(n_threads):
            memset(self._work(memory + t * bytes).counts, 0, sizeof(Counts))
        enter()
        for piece in prange(n_pieces, nogil=True, num_threads=n_threads, schedule="dynamic"):
            n_changed += self._assign(start + piece * size, min(stop, start + (piece + 1) * size),
                                      memory, w, to, locks)
        leave()
        for t in range(n_threads):
            counts = self._work(memory + t * bytes).counts
            self.products += counts.products
            self.rows_open += counts.rows
            self.groups_open += counts.groups
            self.groups_guessed += counts.guessed
        return n_changed

    cdef Py_ssize_t _piece(self, Py_ssize_t n, int n_threads) noexcept:
        """Rows of a piece of a call: so few that the threads end at about the same time."""
        if n_threads > 1:
            n = max(MIN_PIECE_ROWS, n // (THREAD_PIECES * n_threads))
        return min(n, self.piece_rows)

    cdef Py_ssize_t _assign(self, Py_ssize_t start, Py_ssize_t stop, char *memory,
                            const double *weights, double *sums, Locks locks) noexcept nogil:
        cdef Work w = self._work(memory + threadid() * self._work(NULL).bytes)
        cdef Py_ssize_t n = stop - start, count, changed, g, at, end
        cdef fm_block block
        if self.renewing:
            self.rows.isa.exact.bounds_renew(&self.old, start, n)
        for g in range(self.n_groups):
            w.open.counts[g] = 0
        count = self.rows.isa.exact.bounds_open(&self.b, start, n, w.list)
        self._sort(&w, start, count)
        if self.coarse is not None and (self.loose or self.coarse.two_sided):
            self._rule_out(&w, start, count)
            count = self.rows.isa.exact.bounds_left(&self.b, start, count, w.list)
            self._sort(&w, start, count)
        block.rows, block.start, block.count = w.rows, 0, count
        self.rows.kernels.gather(&self.rows.x, &block, self.rows.pack_offset, self.rows.scale,
                                 w.places, w.framed, w.open.squares, w.scratch)
        for g in range(self.n_groups):
            self._own(&w, start, g)
        for g in range(self.n_groups):
            if not self._blank():
                self._other(&w, start, g)
            else:
                at = self._labels(&w, g, &end)
                self._every(&w, start, g, 0, at)
                self._every(&w, start, g, end, count)
        changed = self.rows.isa.exact.bounds_close(&self.b, &w.open, start, count, w.changed,
                                                   w.added, w.removed)
        w.counts.rows += count
        self.rows._move_rows(w.changed, changed, w.added, w.removed, weights, sums, self.k, locks,
                             w.sums)
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

    cdef bint _blank(self) noexcept nogil:
        """Whether nothing is known of any row yet, so that each is open for every group."""
        return not self.loose and self.coarse is None

    cdef Py_ssize_t _labels(self, Work *w, Py_ssize_t g, Py_ssize_t *end) noexcept nogil:
        """The open rows whose label is in a group: the first, and the end."""
        cdef Py_ssize_t position = self.position_of[self.center_at[self.first_column[g]]]
        end[0] = w.ends[position + self.group_size[g] - 1]
        return 0 if position == 0 else w.ends[position - 1]

    cdef void _rule_out(self, Work *w, Py_ssize_t start, Py_ssize_t count) noexcept nogil:
        """Raises the bounds of open rows to what rows in few bits prove, before any is read."""
        cdef Py_ssize_t g, at, piece, end
        if not self.coarse.two_sided:
            self.rows.isa.exact.bounds_few(&self.b, &w.open, start, count, self.few)
        else:
            for g in range(self.n_groups):
                at = self._labels(w, g, &end)
                w.counts.guessed += end - at
                self.coarse.scan_own(&self.b, g, self.first_column[g] // FM_GROUP_WIDTH,
                                     self._panels(g), start, &w.open, at, end - at)
                while at < end:
                    piece = min(FM_BOUND_ROWS, end - at)
                    self.rows.isa.exact.bounds_wanted(&self.b, &w.open, g, start, at, piece)
                    at += piece
        for g in range(self.n_groups):
            self._guess(w, start, g)
            w.open.counts[g] = 0

    cdef void _own(self, Work *w, Py_ssize_t start, Py_ssize_t g) noexcept nogil:
        """Open rows against the group of their label, which lists those open for other groups."""
        cdef fm_found f
        cdef Py_ssize_t count, end, at = self._labels(w, g, &end)
        f.list = NULL
        while at < end:
            count = min(FM_BOUND_ROWS, end - at)
            f.first = at
            self._scan(w, &f, g, count)
            self.rows.found.bounds_own(&self.b, &f, g, start, count, &w.open)
            if not self._blank():
                self.rows.isa.exact.bounds_wanted(&self.b, &w.open, g, start, at, count)
            at += count

    cdef Py_ssize_t _panels(self, Py_ssize_t g) noexcept nogil:
        """How many panels the centres of a group fill."""
        return (self.group_size[g] + FM_GROUP_WIDTH - 1) // FM_GROUP_WIDTH

    cdef void _guess(self, Work *w, Py_ssize_t start, Py_ssize_t g) noexcept nogil:
        """Takes off the list of a group the rows that rows in few bits rule out."""
        w.counts.guessed += w.open.counts[g]
        w.open.counts[g] = self.coarse.scan(
            &self.b, g, self.first_column[g] // FM_GROUP_WIDTH, self._panels(g), start, &w.open,
            w.open.lists + g * w.open.room, w.open.counts[g])

    cdef void _other(self, Work *w, Py_ssize_t start, Py_ssize_t g) noexcept nogil:
        """Open rows against a group that their lists name."""
        cdef fm_found f
        cdef Py_ssize_t count, at = 0
        if self.coarse is not None and not self.coarse.two_sided:
            self._guess(w, start, g)  # else nothing more can come of it
        f.first = 0
        while at < w.open.counts[g]:
            count = min(FM_BOUND_ROWS, w.open.counts[g] - at)
            f.list = w.open.lists + g * w.open.room + at
            self._meet(w, &f, start, g, count)
            at += count

    cdef void _every(self, Work *w, Py_ssize_t start, Py_ssize_t g, Py_ssize_t at,
                     Py_ssize_t end) noexcept nogil:
        """Open rows at .. end against a group that none of their labels is in."""
        cdef fm_found f
        f.list = NULL
        while at < end:
            f.first = at
            self._meet(w, &f, start, g, min(FM_BOUND_ROWS, end - at))
            at += FM_BOUND_ROWS

    cdef void _meet(self, Work *w, fm_found *f, Py_ssize_t start, Py_ssize_t g,
                    Py_ssize_t count) noexcept nogil:
        self._scan(w, f, g, count)
        self.rows.found.bounds_other(&self.b, f, g, start, count, &w.open)

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
        w.counts.products += count * self.group_size[g]
        w.counts.groups += count
