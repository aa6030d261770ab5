# SPDX-License-Identifier: BSD-3-Clause
"""What the passes of a mixture keep in memory."""

from libc.stdint cimport int32_t

from fastmix.core._kernels cimport fm_block, fm_mixture_bounds, fm_mixture_kernels, fm_open_pairs
from fastmix.core._tiles cimport TileRows

cdef enum:
    # Widest full covariances whose moments have rows in the lanes.
    FEW_COLUMNS = 4
    # Rows of a slot, about.  Clearing its sums and adding them up costs as much as the sums of some
    # 60 rows without a share: longer slots, where there are enough of them for all threads.
    SLOT_ROWS = 1024
    LONG_SLOT_ROWS = 4096
    LONG_SLOTS = 64
    MOST_PASS_ROWS = 1024
    # Components whose shares are widened side by side, for diagonal_every.
    TOGETHER = 12

cdef enum Kind:
    FULL, TIED, DIAG, SPHERICAL

cdef enum SharesFrom:
    # Where the responsibilities of a pass come from.
    MIXTURE, LABELS, GIVEN

cdef enum Bounded:
    # What a pass does with the bounds of its rows.
    UNBOUNDED, TAKES_BOUNDS, PRUNES

cdef struct PairCounts:
    # Pairs of a row and a component that were computed, and those with a share.
    Py_ssize_t computed
    Py_ssize_t live


cdef struct Memory:
    # One thread's, for a block of rows.
    char *tiles
    char *white
    char *pack
    char *shares
    double *y
    double *squares
    double *log_prob
    double *entropy
    double *mass
    double *share
    double *wide
    double *scratch
    int32_t *list
    const int32_t *visited  # rows that the sums of a component visit
    const double *visited_share
    Py_ssize_t live  # responsibilities that are not zero, in the block before
    Py_ssize_t bounded_at, bounded_count  # where the block is in one of bounds, and that one's rows
    bint paired  # whether the block's are in pairs, which takes the place of shares
    fm_open_pairs pairs
    char *framed
    char *bounds
    PairCounts *counts  # of the thread
    Py_ssize_t bytes


cdef struct Sums:
    # One slot's; few has FM_FEW_SIZE lanes for every component, shares 16 for every diagonal one,
    # and three sums 16 each.
    double *weight
    double *first
    double *second
    double *few
    double *shares
    double *log_prob
    double *entropy
    double *mass
    double *unused
    Py_ssize_t bytes


cdef struct Pass:
    # What one pass shares between the threads.  P, means and log_factors (ln pi_k + ln det P_k
    # - d/2 ln 2 pi) are float64, as given.
    int kind
    int source
    int moments
    int entropy  # wanted of the moments
    Py_ssize_t k
    const char *panel
    Py_ssize_t panel_bytes
    const char *centers
    const void *constants
    double greatest
    const double *P
    const double *means
    double farthest  # the means' largest entry
    const double *log_factors
    const double *weights
    int bounded
    fm_mixture_bounds bounds
    const int32_t *given_labels
    const double *given
    double *log_prob
    double *log_joint
    double *responsibilities
    int32_t *labels


cdef Py_ssize_t usual_rows(int kind, Py_ssize_t k, Py_ssize_t d, Py_ssize_t size) noexcept


cdef class MixtureMemory(TileRows):
    cdef readonly Py_ssize_t slot_rows
    # Rows of a block of the present pass, of one of bounds, and between the shares of components.
    cdef Py_ssize_t pass_rows, bounded_rows, share_stride, wide_stride
    cdef const fm_mixture_kernels *mixture
    cdef object panels, log_factors

    cdef Memory _memory(self, char *memory, const Pass *p) noexcept nogil
    cdef Sums _sums(self, char *memory, const Pass *p) noexcept nogil
    cdef bint _few(self, const Pass *p) noexcept nogil
    cdef int _pack_factors(self, factors, Pass *p) except -1
    cdef void _size_blocks(self, const Pass *p) noexcept
    cdef int _set_bounds(self, bounds, bint takes, Pass *p) except -1
    cdef bint _prune(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil
    cdef void _place_far(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil
    cdef double _share(self, const Memory *m, Py_ssize_t at) noexcept nogil
    cdef void _write_log_prob(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil
    cdef void _write(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil
    cdef int _sized(self, Py_ssize_t row, const Pass *p, Memory *m) noexcept nogil
    cdef void _write_joint(self, const fm_block *b, const Pass *p, Memory *m) noexcept nogil
    cdef void _place(self, Py_ssize_t row, Py_ssize_t i, const Pass *p,
                     Memory *m) noexcept nogil
    cdef double _distance(self, const double *y, const Pass *p, Py_ssize_t j,
                          int exponent) noexcept nogil
