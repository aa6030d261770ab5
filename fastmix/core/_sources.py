# SPDX-License-Identifier: BSD-3-Clause
"""Arrays that are sliced, memory maps, and what is taken for a source of rows."""

import mmap
import zlib

import numpy as np
from scipy import sparse

from fastmix.core._blocks import BlockSource
from fastmix.core._kernels import element_type
from fastmix.core._source import Source, changed, check_kind

__all__ = ["ArraySource", "MapSource", "array_of", "as_source", "refuse_sources"]

# Rows whose bytes have one checksum: about so many bytes.
CHECKED_BYTES = 2**18

# Least part of an array without chunks that is worth reading alone.
PAGE_BYTES = 2**16


class _Checksums:
    """Whether rows are those that were read before: a CRC-32 of every few, as far as whole ones of
    these come by."""

    def __init__(self, source):
        self.rows = max(1, CHECKED_BYTES // source.row_bytes)
        self.known = {}

    def check(self, start, rows, where):
        """ValueError if rows from number start on differ from those of an earlier pass."""
        first, last = -(-start // self.rows), (start + len(rows)) // self.rows
        for piece in range(first, last):
            at = piece * self.rows - start
            value = zlib.crc32(np.ascontiguousarray(rows[at : at + self.rows]))
            if self.known.setdefault(piece, value) != value:
                raise changed(f"{where} have other values")


class ArraySource(Source):
    """Anything with a shape, a NumPy dtype and row slicing: an HDF5 dataset, a Zarr array.

    Parameters
    ----------
    X : object
        ``X[start:stop]`` gives rows that NumPy can read.
    """

    def __init__(self, X):
        self.X, self.shape = X, tuple(int(size) for size in X.shape)
        self.file_dtype = np.dtype(X.dtype)
        check_kind(self.file_dtype, "X")
        known = element_type(self.file_dtype) is not None
        self.dtype = self.file_dtype if known else np.dtype(np.float64)
        chunks = getattr(X, "chunks", None)
        self.page_rows = max(1, PAGE_BYTES // self.row_bytes)
        if isinstance(chunks, tuple) and chunks and isinstance(chunks[0], int):
            self.page_rows = max(1, chunks[0])
        self.checksums = _Checksums(self)

    @property
    def original(self):
        return self.X

    def _read(self, start, stop):
        where = f"rows {start} to {stop - 1}"
        try:
            part = self.X[start:stop]
            masked = np.ma.is_masked(part)
            part = np.asarray(part)
        except Exception as error:
            _refuse_closed(self.X)
            raise RuntimeError(
                f"{where} of X could not be read: {type(error).__name__}: {error}"
            ) from error
        if masked:
            raise ValueError(f"{where} of X have masked values; every value must be there")
        if part.shape != (stop - start, self.shape[1]) or part.dtype != self.file_dtype:
            raise ValueError(
                f"{where} of X came as {part.dtype} of shape {part.shape}, expected "
                f"{self.file_dtype} of shape {(stop - start, self.shape[1])}"
            )
        self.checksums.check(start, part, where)
        return part.astype(self.dtype, copy=False)

    def check(self):
        _refuse_closed(self.X)
        shape = tuple(int(size) for size in self.X.shape)
        if shape != self.shape:
            raise changed(f"its shape was {self.shape} and is {shape}")


class MapSource(Source):
    """A NumPy array in a memory map, used where it lies.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Of any strides, byte order and dtype that the kernels read.
    """

    in_place = True

    def __init__(self, X):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype
        self.page_rows = max(1, mmap.PAGESIZE // self.row_bytes)
        self.map, self.offset = _map_of(X)
        begin = np.frombuffer(self.map, np.uint8).ctypes.data
        ends = [(size - 1) * step for size, step in zip(X.shape, X.strides, strict=True)]
        self.start = X.ctypes.data - begin + sum(min(0, end) for end in ends)
        self.stop = X.ctypes.data - begin + sum(max(0, end) for end in ends) + X.itemsize

    @property
    def original(self):
        return self.X

    def _read(self, start, stop):
        step = self.X.strides[0]
        if step > 0 and hasattr(self.map, "madvise"):
            first = (self.start + start * step) // mmap.PAGESIZE * mmap.PAGESIZE
            self.map.madvise(mmap.MADV_WILLNEED, first, self.start + stop * step - first)
        return self.X[start:stop]

    def take(self, rows):
        return self.X[np.asarray(rows, dtype=np.intp)]

    def check(self):
        # Reading beyond the end of the file would end the process.
        size, stop = self.map.size(), self.offset + self.stop
        if size < stop:
            raise ValueError(
                f"X is a memory map of a file that has shrunk: it has {size} bytes, and the rows "
                f"reach to byte {stop}"
            )


def _refuse_closed(X):
    """ValueError for an HDF5 dataset whose file is closed: all that h5py says of it is that an
    identifier is not of the specified type."""
    if type(X).__module__.split(".")[0] == "h5py" and not getattr(X, "id", True):
        raise ValueError(
            "X is an HDF5 dataset whose file is closed: open the file again, and leave it open "
            "while its rows are read"
        )


def _map_of(X):
    """The memory map in which an array lies, and where in its file that begins, as far as NumPy
    tells; or None."""
    while isinstance(X, np.ndarray):
        if isinstance(X.base, mmap.mmap):
            offset = X.offset if isinstance(X, np.memmap) else 0
            return X.base, offset - offset % mmap.ALLOCATIONGRANULARITY
        X = X.base
    return None


def as_source(X):
    """X as a Source if its rows are not in memory, else None.

    A memory map, a two-dimensional object with a NumPy dtype that is no array, an Arrow dataset, a
    list of matrices, or an object that can only be iterated over.
    """
    if isinstance(X, Source):
        return X
    kind = _kind_of(X)
    return None if kind is None else kind(X)


def _kind_of(X):
    """The class of the source that X is to be, or None."""
    if isinstance(X, np.ndarray):
        if isinstance(X, np.ma.MaskedArray):
            return None  # as_matrix refuses it
        known = X.ndim == 2 and X.size and element_type(X.dtype) is not None
        return MapSource if known and _map_of(X) is not None else None
    if isinstance(X, list | tuple):
        blocks = len(X) > 0 and all(len(getattr(x, "shape", ())) == 2 for x in X)
        return BlockSource if blocks else None
    if sparse.issparse(X) or isinstance(X, str | bytes | dict | set | frozenset):
        return None
    if type(X).__module__.split(".")[0] == "pyarrow" and hasattr(X, "get_fragments"):
        from fastmix.core._arrow import ArrowSource

        return ArrowSource
    _refuse_closed(X)
    if isinstance(getattr(X, "dtype", None), np.dtype):
        rows = len(getattr(X, "shape", ())) == 2 and 0 not in X.shape
        return ArraySource if rows and hasattr(X, "__getitem__") else None
    frame = ("__array__", "__array_interface__", "__dataframe__", "__arrow_c_stream__")
    if hasattr(X, "__iter__") and not any(hasattr(X, name) for name in frame):
        return BlockSource
    return None


# What of a source partial_fit can be called with.
_PARTS = {
    "ArraySource": "slices of its rows, X[start:stop]",
    "ArrowSource": "the batches of its dataset, pyarrow's to_batches()",
    "BlockSource": "its blocks",
}


def refuse_sources(X, who):
    """TypeError for a source that is no memory map, before anything of it is read."""
    kind = type(X) if isinstance(X, Source) else _kind_of(X)
    if kind is not None and kind is not MapSource:
        parts = _PARTS.get(kind.__name__, "its rows in arrays")
        raise TypeError(
            f"{who} takes rows in memory or in a memory map, got a {type(X).__name__}: call "
            f"partial_fit with {parts}, one after the other"
        )


def array_of(X):
    """Validated rows as an array: of a memory map the array in it."""
    if isinstance(X, MapSource):
        X.check()
        return X.X
    return X
