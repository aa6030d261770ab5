# SPDX-License-Identifier: BSD-3-Clause
"""E-steps by scores in whole numbers, of all rows or only of those whose label their margin does
not prove; and these may meet a few centres only: those near them, or those that move most.

The labels are those of a plain scan: what is skipped is proven (src/kernels/margins.inc.h), and
what scores in whole numbers leave in doubt is scanned.
"""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t

from fastmix.core._kernels cimport (
    FM_CANDIDATE_COLUMNS, FM_MARGIN_LENGTH, FM_MARGIN_SCRATCH,
    FM_MARGIN_WIDTH, FM_MOST_CANDIDATES, FM_MOVER_PLACES, address, fm_block, fm_margin_kernels,
    fm_margins, fm_matrix, fm_open_rows,
)
from fastmix.core._threads cimport Locks, enter, leave
from fastmix.core._tiles cimport Scratch, TileRows, panel_bytes, piece_of, round_up, take

from fastmix.core._kernels import aligned_empty, at_least

__all__ = ["MOST_CENTERS", "MOST_LENGTH", "ScoreMargins"]

# Codes of longer rows do not fit floats on the way; numbers of more centres take bits that scores
# need.
MOST_LENGTH, MOST_CENTERS = 2.0**100, 2**15

# Candidates of a row at least, and the part of all centres that they are at most.
LEAST_PLACES, MOST_PART = 6, 4
# Movers are at most this part of all centres.
MOVERS_PART = 4

# Rows of one piece of work: so many that the last tile of those that are scanned counts for little
# (1M x 32, K=256: 1,024 took 10 to 15 ns a row more), so few that the threads end at about the same
# time.
cdef Py_ssize_t MIN_PIECE_ROWS = 512, MAX_PIECE_ROWS = 4096, THREAD_PIECES = 8


# Kernels meet and scan.
ctypedef Py_ssize_t (*label_kernel)(const fm_margins *, const fm_matrix *, const fm_block *,
                                    const void *, double, int32_t *, int32_t *,
                                    void *) noexcept nogil


cdef struct Work:
    # A thread's memory, carved out of one allocation.
    fm_open_rows open
    int32_t *again
    int32_t *left
    int32_t *at
    int32_t *labels
    int32_t *found
    float *leads
    Py_ssize_t *rows
    Py_ssize_t *rows_met
    Py_ssize_t *rows_left
    Py_ssize_t *changed
    int32_t *added
    int32_t *removed
    char *codes
    Py_ssize_t bytes


cdef struct Counts:
    # Rows of a thread in one E-step, as the attributes of ScoreMargins; a cache line.
    Py_ssize_t open
    Py_ssize_t only
    Py_ssize_t only_met
    Py_ssize_t moving
    Py_ssize_t few
    Py_ssize_t met
    Py_ssize_t doubtful
    Py_ssize_t unused


@cython.final
cdef class ScoreMargins:
    """Margins of the rows of one fit, and its E-step.

    Parameters
    ----------
    rows : TileRows
        With ``serves(rows)``.
    k : int
        At most MOST_CENTERS.
    length : float
        Bounds the length of a framed row; less than MOST_LENGTH.
    keep : bool
        Whether margins are kept; without, every E-step scans all rows.
    movers : bool
        Whether the centres that move most may have margins of their own.
    """

    # Rows of the E-step so far: whose label margins do not prove; of these, whose margin over
    # movers alone does not, and which of these met all centres nevertheless; that met movers; that
    # met their candidates; that met all centres, some of those among them; that scores in whole
    # numbers left in doubt, so that kernel assign scanned them.
    cdef readonly Py_ssize_t rows_open, rows_only, rows_only_met, rows_moving
    cdef readonly Py_ssize_t rows_few, rows_met, rows_doubtful
    cdef TileRows rows
    cdef const fm_margin_kernels *kernels
    cdef fm_margins p
    cdef Py_ssize_t k, piece_rows
    cdef char *panel
    cdef char *bias
    # Distances of the rows to their centres, and margins over the others and movers; what moves of
    # its own centre take off them, by label.
    cdef readonly object numbers, own_moved, moving
    # Candidates of the rows, and how far their labels are ahead of all others, as margins.
    cdef readonly object candidates, beyond
    cdef object memory, panel_memory, panels, codes, starts, kept

    def __init__(self, TileRows rows, Py_ssize_t k, double length, bint keep=True,
                 bint movers=True):
        cdef Py_ssize_t padded_k = round_up(k, FM_MARGIN_WIDTH), bias_at
        cdef Py_ssize_t columns = round_up(k, rows.kernels.panel_width)
        self.rows, self.k = rows, k
        self.kernels = rows.isa.margins_f32 if rows.kernels.itemsize == 4 else rows.isa.margins_f64
        self.numbers = np.empty((3, rows.n if keep else 0), dtype=np.float32)
        self.panels = np.zeros((padded_k + FM_MOVER_PLACES) * ((rows.d + 1) // 2), dtype=np.int32)
        self.codes = np.zeros((k + 1, FM_CANDIDATE_COLUMNS(rows.d)), dtype=np.int16)
        self.starts = np.zeros(padded_k + 1, dtype=np.int32)
        self.kept = np.zeros((rows.d + 3, k))
        self.own_moved = np.zeros(padded_k + 1, dtype=np.float32)
        self.moving = np.zeros(k, dtype=np.uint8)
        self.p.k, self.p.d = k, rows.d
        self.p.most_movers = ScoreMargins.movers(k) if movers else 0
        self.p.nears = self.p.margins = self.p.mover_margins = NULL
        if keep:
            self.p.nears = <float *>address(self.numbers)
            self.p.margins = self.p.nears + rows.n
            self.p.mover_margins = self.p.margins + rows.n
        self.p.numbers = 2 ** int(padded_k).bit_length() - 1
        self.p.unit = max(length, 1e-30) / FM_MARGIN_LENGTH
        self.p.panels = <int32_t *>address(self.panels)
        self.p.mover_panels = self.p.panels + padded_k * ((rows.d + 1) // 2)
        self.p.codes = <int16_t *>address(self.codes)
        self.p.starts = <int32_t *>address(self.starts)
        self.p.depths = <double *>address(self.kept)
        self.p.moved, self.p.steps = self.p.depths + k, self.p.depths + 2 * k
        self.p.centers = self.p.depths + 3 * k
        self.p.moving = <uint8_t *>address(self.moving)
        self.p.own_moved = <float *>address(self.own_moved)
        self.panel_memory = aligned_empty(
            panel_bytes(columns, rows.d, rows.kernels.itemsize, &bias_at), np.uint8
        )
        self.panel = <char *>address(self.panel_memory)
        self.bias = self.panel + bias_at

    @property
    def n_movers(self):
        """Centres that have margins of their own."""
        return self.p.n_movers

    @property
    def all_moved(self):
        """What moves of all others, and of all movers, take off the margins of a row."""
        return self.p.all_moved[0], self.p.all_moved[1]

    @staticmethod
    def serves(TileRows rows):
        """Whether kernels for such rows are in use."""
        return rows.short.kernels != NULL

    @staticmethod
    def movers(Py_ssize_t k):
        """How many centres may be movers."""
        return min(FM_MOVER_PLACES, k // MOVERS_PART)

    @staticmethod
    def places(Py_ssize_t k, Py_ssize_t row_bytes):
        """How many candidates of a row to keep in so much memory; 0 where they are of no use."""
        cdef Py_ssize_t fit = (row_bytes - sizeof(float)) // sizeof(uint16_t)
        cdef Py_ssize_t places = min(FM_MOST_CANDIDATES, fit)
        return places if places >= LEAST_PLACES and MOST_PART * places <= k else 0

    def keep_candidates(self, Py_ssize_t places):
        """From now on so many of every row that meets all centres; 0: no more."""
        self.p.places = places
        if not places:
            self.candidates = self.beyond = None
            self.p.candidates, self.p.beyond = NULL, NULL
            return
        self.candidates = aligned_empty((self.rows.n, places), np.uint16)
        self.beyond = np.full(self.rows.n, -np.inf, dtype=np.float32)
        self.p.candidates = <uint16_t *>address(self.candidates)
        self.p.beyond = <float *>address(self.beyond)

    cdef Work _work(self, char *memory) noexcept nogil:
        cdef Work w
        cdef Py_ssize_t n = self.piece_rows
        cdef char *at = memory
        w.open.list = <int32_t *>take(&at, 4 * (n + 16))
        w.open.few = <int32_t *>take(&at, 4 * (n + 16))
        w.open.only = <int32_t *>take(&at, 4 * (n + 16))
        w.again = <int32_t *>take(&at, 4 * n)
        w.left = <int32_t *>take(&at, 4 * (n + 1))
        w.at = <int32_t *>take(&at, 4 * n)
        w.labels = <int32_t *>take(&at, 4 * n)
        w.found = <int32_t *>take(&at, 4 * n)
        w.leads = <float *>take(&at, 4 * n)
        w.rows = <Py_ssize_t *>take(&at, sizeof(Py_ssize_t) * n)
        w.rows_met = <Py_ssize_t *>take(&at, sizeof(Py_ssize_t) * n)
        w.rows_left = <Py_ssize_t *>take(&at, sizeof(Py_ssize_t) * n)
        w.changed = <Py_ssize_t *>take(&at, sizeof(Py_ssize_t) * n)
        w.added = <int32_t *>take(&at, 4 * n)
        w.removed = <int32_t *>take(&at, 4 * n)
        w.codes = take(&at, FM_MARGIN_SCRATCH(self.rows.d))
        w.bytes = at - memory
        return w

    def move(self, const double[:, ::1] centers):
        """The centres of the next E-step, (k, d) float64 in the frame.

        Every row is assigned once after that: what is kept of it may have to be adapted.
        """
        self.rows.kernels.pack_centers(&centers[0, 0], self.k, self.rows.d,
                                       self.rows.kernels.panel_width, self.panel, self.bias)
        self.kernels.move(&centers[0, 0], self.bias, &self.p)
        self.rows_open = self.rows_only = self.rows_only_met = self.rows_moving = 0
        self.rows_few = self.rows_met = self.rows_doubtful = 0

    def assign(self, Py_ssize_t start, Py_ssize_t stop, int32_t[::1] labels, int n_threads,
               double[:, :, :, ::1] sums=None, const double[::1] weights=None, bint fresh=False):
        """As DenseRows.assign for rows start .. stop, with the centres of the last move(); fresh:
        rows of which nothing is known."""
        cdef Py_ssize_t most = max(MIN_PIECE_ROWS, (stop - start) // (THREAD_PIECES * n_threads))
        cdef Py_ssize_t size = min(MAX_PIECE_ROWS, most), piece
        self.piece_rows = size
        cdef Py_ssize_t n_pieces = (stop - start + size - 1) // size
        cdef Py_ssize_t bytes = self._work(NULL).bytes, n_changed = 0
        self.memory = at_least(self.memory, bytes * n_threads)
        cdef char *memory = <char *>address(self.memory)
        cdef char *shared = self.rows._reserve(n_threads)
        cdef const double *w = NULL if weights is None else &weights[0]
        cdef double *to = NULL if sums is None else &sums[0, 0, 0, 0]
        cdef Locks locks = Locks(n_threads if sums is None else sums.shape[0], n_threads)
        counts = aligned_empty(n_threads * sizeof(Counts), np.uint8)
        counts[...] = 0
        cdef Counts *count = <Counts *>address(counts)
        cdef int t
        enter()
        for piece in prange(n_pieces, nogil=True, num_threads=n_threads, schedule="dynamic"):
            n_changed += self._assign(start + piece * size, min(stop, start + (piece + 1) * size),
                                      &labels[0], memory, shared, w, to, locks, fresh, count)
        leave()
        for t in range(n_threads):
            self.rows_open += count[t].open
            self.rows_only += count[t].only
            self.rows_only_met += count[t].only_met
            self.rows_moving += count[t].moving
            self.rows_few += count[t].few
            self.rows_met += count[t].met
            self.rows_doubtful += count[t].doubtful
        return n_changed

    cdef Py_ssize_t _assign(self, Py_ssize_t start, Py_ssize_t stop, int32_t *labels, char *memory,
                            char *shared, const double *weights, double *sums, Locks locks,
                            bint fresh, Counts *counts) noexcept nogil:
        cdef Work w = self._work(memory + threadid() * self._work(NULL).bytes)
        cdef Scratch s = self.rows._of_thread(shared, 0)
        cdef Py_ssize_t few = 0, only = 0, i, left, changed
        cdef Counts *count = counts + threadid()
        cdef fm_block b
        b.rows, b.start, b.count = NULL, start, stop - start
        if not fresh and self.p.margins != NULL:
            self.kernels.open(&self.p, labels, start, b.count, &w.open)
            few, only = w.open.n_few, w.open.n_only
            for i in range(few):
                w.rows[i] = start + w.open.few[i]
            for i in range(only):
                w.rows[few + i] = start + w.open.only[i]
            for i in range(w.open.n_list):
                w.rows[few + only + i] = start + w.open.list[i]
            b.rows, b.count = w.rows, few + only + w.open.n_list
        if few or only:
            left = self._choose(&b, &w, labels, count)
        else:
            count.met += b.count
            left = self.kernels.scan(&self.p, &self.rows.x, &b, self.rows.pack_offset,
                                     self.rows.scale, w.labels, w.left, w.codes)
        self._scan(&b, &w, &s, left)
        count.open += b.count
        count.only += only
        count.few += few
        count.doubtful += left
        changed = self.rows.isa.exact.changes(w.labels, &b, labels, w.changed, w.added, w.removed)
        self.rows._move_rows(w.changed, changed, w.added, w.removed, weights, sums, self.k, locks,
                             s.sums)
        return changed

    cdef Py_ssize_t _choose(self, const fm_block *b, Work *w, const int32_t *labels,
                            Counts *count) noexcept nogil:
        """Labels of the block, whose first rows may meet their candidates only, and the next ones
        movers only: how many rows are in doubt, and w.left."""
        cdef Py_ssize_t few = w.open.n_few, some = few + w.open.n_only, again = 0, n = 0, i, left
        cdef fm_block part
        for i in range(some):
            w.labels[i] = labels[b.rows[i]]
        part.rows, part.start, part.count = b.rows, 0, few
        if few:
            n = self.kernels.choose(&self.p, &self.rows.x, &part, self.rows.pack_offset,
                                    self.rows.scale, w.labels, w.at, w.again, &again, w.codes)
        for i in range(few, some):
            w.again[again] = i
            again += 1
        left = self._label(self.kernels.meet, b, w, w.again, again)
        for i in range(left):
            w.at[n] = w.left[i]
            count.only_met += w.at[n] >= few
            n += 1
        for i in range(some, b.count):
            w.at[n] = i
            n += 1
        left = self._label(self.kernels.scan, b, w, w.at, n)
        count.moving += again
        count.met += n
        return left

    cdef Py_ssize_t _label(self, label_kernel kernel, const fm_block *b, Work *w,
                           const int32_t *at, Py_ssize_t n) noexcept nogil:
        """Labels of the block's rows at[0], ... at[n - 1]: how many are in doubt, and w.left."""
        cdef Py_ssize_t i, left
        cdef fm_block part
        for i in range(n):
            w.rows_met[i], w.found[i] = b.rows[at[i]], w.labels[at[i]]
        part.rows, part.start, part.count = w.rows_met, 0, n
        left = kernel(&self.p, &self.rows.x, &part, self.rows.pack_offset, self.rows.scale,
                      w.found, w.left, w.codes)
        for i in range(n):
            w.labels[at[i]] = w.found[i]
        for i in range(left):
            w.left[i] = at[w.left[i]]
        return left

    cdef void _scan(self, const fm_block *b, Work *w, Scratch *s, Py_ssize_t left) noexcept nogil:
        """Labels of the block's rows w.left, which are in doubt."""
        cdef Py_ssize_t at = 0, i
        cdef fm_block all, rest
        for i in range(left):
            w.rows_left[i] = b.start + w.left[i] if b.rows == NULL else b.rows[w.left[i]]
        all.rows, all.start, all.count = w.rows_left, 0, left
        while at < left:
            rest = piece_of(&all, at, self.rows.block_rows)
            self.rows._pack(&rest, s)
            self.rows.kernels.assign_leads(s.tiles, rest.count, self.rows.d, self.panel, self.bias,
                                           self.k, w.found + at, w.leads + at, s.assign)
            at += rest.count
        if self.p.margins != NULL:
            self.kernels.settle(&self.p, w.rows_left, left, w.found, w.leads)
        for i in range(left):
            w.labels[w.left[i]] = w.found[i]
