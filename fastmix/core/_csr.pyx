# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a CSR matrix in the user's memory: their frame, and one row at a time for the kernels.

Nothing is copied but that row, whose entries are sorted if X's are not: a row has the same bits in
whatever order its entries are stored.
"""

import numpy as np

from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport threadid

from fastmix.core._entries cimport sort_entries
from fastmix.core._grid cimport grid_of
from fastmix.core._kernels cimport address, find_isa

from fastmix.core._kernels import at_least, element_type, sum_stride

__all__ = ["CsrRows"]

# Rows of a block, and of a slot of the seeding's sums.
BLOCK_ROWS = 256

# Elements that the scan converts at a time.
PIECE = 2**16


cdef class CsrRows:
    """A CSR matrix in the user's memory, seen times a power of two.

    Parameters
    ----------
    X : validated CSR array of shape (n, d), any numeric dtype and index type, entries in any order;
        never written, and copied only if it holds several entries for one element: what they add up
        to depends on the dtype, and is SciPy's to say.  Indices of two types are copied
    dtype : ignored; float64 is the compute dtype
    isa : name of a kernel table; default: the one in use
    """

    def __init__(self, X, dtype=None, isa=None):
        self.kernels, self.found = &find_isa(isa).exact, &find_isa(isa).found_f64
        self._point_to(X)
        self.ordered = X.has_canonical_format
        if not self.ordered and self._repeats():
            X = X.copy()
            X.sum_duplicates()
            self._point_to(X)
            self.ordered = True
        self.dtype = np.dtype(np.float64)
        self.stride = sum_stride(self.d)
        self.block_rows = BLOCK_ROWS
        self.set_frame(np.zeros(self.d), 1.0, np.zeros((2, self.stride)))

    def _point_to(self, X):
        """Read X from now on."""
        self.X = X
        self.n, self.d = X.shape
        self.data = X.data
        if element_type(self.data.dtype) is None:
            self.data = self.data.astype(np.float64)
        both = X.indices.dtype == X.indptr.dtype == np.int32
        index = np.dtype(np.int32 if both else np.int64)
        self.indices = np.ascontiguousarray(X.indices, dtype=index)
        self.indptr = np.ascontiguousarray(X.indptr, dtype=index)
        self.data = np.ascontiguousarray(self.data)
        self.x.elements = <const char *>address(self.data)
        self.x.columns, self.x.starts = address(self.indices), address(self.indptr)
        self.x.n, self.x.d = self.n, self.d
        self.x.element_size, self.x.index_size = self.data.itemsize, self.indices.itemsize
        self.x.type = element_type(self.data.dtype)
        self.x.swapped = not self.data.dtype.isnative
        self.longest = int(np.diff(self.indptr).max())

    def _repeats(self):
        """Whether some row has several entries in one column."""
        cdef Py_ssize_t[::1] seen = np.full(self.d, -1, dtype=np.intp)
        cdef char *memory = self._reserve(1, 0)
        cdef Py_ssize_t row, i
        cdef Row r
        for row in range(self.n):
            if row % 4096 == 0:
                PyErr_CheckSignals()
            r = self._unpack(memory, 0, row)
            for i in range(r.count):
                if seen[r.column[i]] == row:
                    return True
                seen[r.column[i]] = row
        return False

    def set_frame(self, offset, double scale, grids):
        """Rows become x * scale; offset is zero, grids (2, stride) are those of their sums."""
        self.offset, self.scale, self.grids = offset, scale, grids
        self.grid = grid_of(offset, scale, grids)

    @property
    def centered(self):
        """Whether a pivot is subtracted."""
        return False

    @property
    def entries(self):
        """Of a row, on average."""
        return self.data.size / self.n

    def spans(self, Py_ssize_t multiple, wanted=None):
        """As TileRows.spans: all rows, which are in memory."""
        return ((0, self.n),)

    def first_non_finite(self):
        """Row, column and value of the first stored element that is NaN or infinite."""
        with np.errstate(over="ignore"):  # of wider types
            data = self.data.astype(np.float64, copy=False)
        at = int(np.argmax(~np.isfinite(data)))
        row = int(np.searchsorted(self.indptr, at, side="right")) - 1
        return row, int(self.indices[at]), data[at]

    def empty_sums(self, Py_ssize_t parts, Py_ssize_t k):
        """Zeroed statistics (parts, k, 2, stride)."""
        return np.zeros((parts, k, 2, self.stride))

    def take(self, rows):
        """Rows as centres: (len(rows), d) float64 in this frame."""
        return self.X[np.asarray(rows, dtype=np.intp)].toarray().astype(np.float64) * self.scale

    cdef char *_reserve(self, int n_threads, Py_ssize_t room) except NULL:
        """Memory of every thread for a row, and for as many doubles beyond it."""
        size = n_threads * self._bytes(room)
        self.memory = at_least(self.memory, size)
        return <char *>address(self.memory)

    cdef Py_ssize_t _bytes(self, Py_ssize_t room) noexcept nogil:
        cdef Py_ssize_t entries = self.longest if self.ordered else 2 * self.longest
        return (16 * entries + 8 * room + 191) // 64 * 64

    cdef Row _unpack(self, char *memory, Py_ssize_t room, Py_ssize_t row) noexcept nogil:
        """A row in the order of its entries."""
        cdef Row r
        memory += threadid() * self._bytes(room)
        r.room = <double *>memory
        r.y = r.room + (room + 7) // 8 * 8
        r.column = <Py_ssize_t *>(r.y + self.longest)
        self.kernels.sparse_unpack(&self.x, row, self.scale, r.column, r.y, &r.count)
        return r

    cdef Row _row(self, char *memory, Py_ssize_t room, Py_ssize_t row) noexcept nogil:
        """A row in the order of its columns."""
        cdef Row r = self._unpack(memory, room, row)
        cdef double *other
        if not self.ordered:
            other = <double *>(r.column + self.longest)
            sort_entries(r.column, r.y, r.count, self.d,
                         <Py_ssize_t *>(other + self.longest), other)
        return r

    def extremes(self, Py_ssize_t start, Py_ssize_t stop, int n_threads):
        """Column minima and maxima (2, d), zero included, and whether all are finite."""
        bounds = np.zeros((2, self.d))
        last = int(self.indptr[stop])
        for at in range(int(self.indptr[start]), last, PIECE):
            PyErr_CheckSignals()  # one thread does what the caller cut for n_threads
            end = min(at + PIECE, last)
            values = self.data[at:end].astype(np.float64) * self.scale
            if not np.isfinite(values).all():
                return bounds, False
            np.minimum.at(bounds[0], self.indices[at:end], values)
            np.maximum.at(bounds[1], self.indices[at:end], values)
        return bounds, True
