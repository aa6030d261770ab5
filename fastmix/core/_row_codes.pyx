# SPDX-License-Identifier: BSD-3-Clause
"""Rows and centres of one fit in codes of 8 bits, of which a centre may have two, for the bounds.

What they prove is in src/kernels/row_codes.inc.h.  The codes are of what the kernels of the scores
see: framed rows and centres in the compute dtype.
"""

import numpy as np

cimport cython
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, uint8_t

from fastmix.core._coarse cimport Coarse
from fastmix.core._kernels cimport (
    FM_FAR_APART, FM_GROUP_WIDTH, FM_MOST_REFERENCES, FM_REFERENCE_WIDTH, address, fm_block,
    fm_bounds, fm_coded_row, fm_open,
)
from fastmix.core._threads cimport enter, leave
from fastmix.core._tiles cimport TileRows, whole_lines

from fastmix.core._kernels import aligned_empty

__all__ = ["RowCodes"]

# Sums of products fit 32 bits.
MAX_COLUMNS = 60_000

cdef Py_ssize_t PIECE = 64

# References bring rows so many times as near as zero, or zero is the only one.
NEARER = 1.5


def references(centers, groups, spread):
    """Points near rows, from groups of centres and the distance of a row to its own; and which of
    them is the one of each centre's rows."""
    together = (len(groups) + FM_MOST_REFERENCES - 1) // FM_MOST_REFERENCES
    starts = range(0, len(groups), together)
    parts = [np.concatenate(groups[start : start + together]) for start in starts]
    points = np.array([centers[members].mean(axis=0) for members in parts])
    of = np.empty(len(centers), dtype=np.int32)
    for g, members in enumerate(parts):
        of[members] = g
    far = np.square(centers).sum(axis=1).mean() + spread**2
    near = np.square(centers - points[of]).sum(axis=1).mean() + spread**2
    if len(points) > 1 and far > NEARER**2 * near:
        return points, of
    return np.zeros((1, centers.shape[1])), np.zeros_like(of)


@cython.final
cdef class RowCodes(Coarse):
    """Codes of rows, and of the centres of an E-step.

    Parameters
    ----------
    rows : TileRows
        With ``serves(rows)``.
    centers : (k, d) float64 in the frame
    groups : list of ndarray
        As from group_centers: means of them are the references, where rows are much nearer to these
        than to zero.
    spread : float
        About the distance of a row to its centre.
    """

    def __init__(self, TileRows rows, centers, groups, double spread):
        self.rows = rows
        self.kernels = rows.isa.codes_f32 if rows.kernels.itemsize == 4 else rows.isa.codes_f64
        self.p.pairs = (rows.d + 7) // 8
        self.two_sided = True
        # Untouched before rows are added.
        self.codes = aligned_empty((rows.n, 8 * self.p.pairs), np.uint8)
        self.numbers = np.empty((rows.n, 4), dtype=np.float32)  # and numbers of references
        self.p.codes = <uint8_t *>address(self.codes)
        self.p.rows = <fm_coded_row *>address(self.numbers)
        points, self.reference_of = references(centers, groups, spread)
        self.p.n_references, self.p.width = len(points), FM_REFERENCE_WIDTH(rows.d)
        self.p.parts = 1 if len(points) == 1 else 2  # as fine as the codes of rows
        self.references = np.zeros((len(points), self.p.width), dtype=rows.dtype)
        self.references[:, : rows.d] = points
        with np.errstate(over="ignore"):  # of rows so far away nothing is proven
            squares = np.square(self.references, dtype=np.float64).sum(axis=1)
            self.squares = squares.astype(np.float32)
        eights = self.references.reshape(len(points), -1, 8).transpose(1, 0, 2)
        self.points = np.ascontiguousarray(eights, dtype=np.float64)
        self.p.references = address(self.references)
        self.p.reference_of = <int32_t *>address(self.reference_of)
        self.p.points = <double *>address(self.points)
        self.p.reference_squares = <float *>address(self.squares)

    @staticmethod
    def serves(TileRows rows):
        """Whether kernels for such rows are in use."""
        return rows.short.kernels != NULL and rows.d <= MAX_COLUMNS

    @staticmethod
    def row_bytes(Py_ssize_t d):
        """Memory that a row takes."""
        return (d + 7) // 8 * 8 + 16

    def add(self, Py_ssize_t start, Py_ssize_t stop, const int32_t[::1] labels, int n_threads):
        cdef Py_ssize_t piece, size = self.rows.kernels.itemsize, d = self.rows.d
        # Framed rows, their squares, and one row.
        cdef Py_ssize_t bytes = whole_lines(size * PIECE * (d + 1)) + whole_lines(size * d)
        self._reserve(bytes, n_threads)
        enter()
        for piece in prange((stop - start + PIECE - 1) // PIECE, nogil=True,
                            num_threads=n_threads, schedule="dynamic", chunksize=4):
            self._add(start + piece * PIECE, stop, &labels[0], self.scratch + threadid() * bytes)
        leave()

    cdef void _add(self, Py_ssize_t start, Py_ssize_t stop, const int32_t *labels,
                   char *memory) noexcept nogil:
        cdef Py_ssize_t size = self.rows.kernels.itemsize, d = self.rows.d
        cdef Py_ssize_t count = min(PIECE, stop - start)
        cdef fm_block block
        block.rows, block.start, block.count = NULL, start, count
        self.rows.kernels.gather(&self.rows.x, &block, self.rows.pack_offset, self.rows.scale,
                                 NULL, memory, memory + size * PIECE * d,
                                 memory + whole_lines(size * PIECE * (d + 1)))
        self.kernels.code_rows(memory, count, d, labels, &self.p, start)

    def arrange(self, groups, const Py_ssize_t[::1] first, Py_ssize_t columns):
        Coarse.arrange(self, groups, first, columns)
        self.panels = aligned_empty((columns, self.p.parts, 8 * self.p.pairs), np.int8)
        self.panels[...] = 0
        self.starts = np.zeros(2 * self.p.parts * columns, dtype=np.int32)
        self.apart = np.full(columns * self.p.n_references, FM_FAR_APART, dtype=np.float32)
        self.group_numbers = np.zeros((3, len(groups)), dtype=np.float32)
        self.p.panels = <int32_t *>address(self.panels)
        self.p.starts = <int32_t *>address(self.starts)
        self.p.apart = <float *>address(self.apart)
        self.p.group_unit = <float *>address(self.group_numbers[0])
        self.p.group_square = <float *>address(self.group_numbers[1])
        self.p.group_rest = <float *>address(self.group_numbers[2])
        self.p.column_of = <int32_t *>address(self.column_of)

    cdef void move_group(self, Py_ssize_t g, const double *centers, Py_ssize_t size,
                         int thread) noexcept nogil:
        # Centres of a group share its unit.
        self.kernels.code_group(centers, size, self.rows.d, &self.p, g,
                                self.first[g] // FM_GROUP_WIDTH)

    cdef Py_ssize_t scan(self, const fm_bounds *b, Py_ssize_t group, Py_ssize_t panel,
                         Py_ssize_t n_panels, Py_ssize_t start, const fm_open *open,
                         int32_t *list, Py_ssize_t count) noexcept nogil:
        return self.kernels.codes_scan(b, &self.p, group, panel, n_panels, start, open, list,
                                       count)

    cdef void scan_own(self, const fm_bounds *b, Py_ssize_t group, Py_ssize_t panel,
                       Py_ssize_t n_panels, Py_ssize_t start, const fm_open *open,
                       Py_ssize_t first, Py_ssize_t count) noexcept nogil:
        self.kernels.codes_own(b, &self.p, group, panel, n_panels, start, open, first, count)
