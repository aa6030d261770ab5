# SPDX-License-Identifier: BSD-3-Clause
"""Rows that are not in memory: where they come from, read range by range, pass after pass.

A pass takes the rows in order, in windows cut where the driver wants them; the result is that of
the same rows in memory, to the bit.
"""

import mmap
import zlib

import numpy as np
from scipy import sparse

from fastmix.core._kernels import element_type

__all__ = ["ArraySource", "BlockSource", "MapSource", "Source", "as_source", "windows"]

# Bytes of a window that is read into memory, of which two or three are there at a time, and of one
# that only points into a memory map.
WINDOW_BYTES = 2**25
MAP_WINDOW_BYTES = 2**28

# Rows whose bytes have one checksum: about so many bytes.
CHECKED_BYTES = 2**18

# Least part of an array without chunks that is worth reading alone.
PAGE_BYTES = 2**16


class Source:
    """A matrix (n, d) of one numeric dtype whose rows can be read again and again, in order.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
    names : list of str or None
        Of the columns.
    page_rows : int
        Fewest rows that are worth reading alone.
    seekable : bool
        Whether rows can be reached without those before them.
    in_place : bool
        Whether X is in the address space, so that ranges are read by being looked at.
    """

    ndim = 2
    names = None
    page_rows = 1
    seekable = True
    in_place = False

    def __len__(self):
        return self.shape[0]

    @property
    def original(self):
        """What the user gave."""
        return self

    @property
    def row_bytes(self):
        """Bytes of a row as it is read."""
        return self.shape[1] * self.dtype.itemsize

    def reader(self):
        """A function (start, stop) -> ndarray for one pass, in which ranges come in order."""
        return self._read

    def _read(self, start, stop):
        raise NotImplementedError

    def check(self):
        """ValueError where the source has visibly changed since it was opened."""

    def take(self, rows):
        """Rows by their numbers (m,), which may be in any order: (m, d) in dtype."""
        rows = np.asarray(rows, dtype=np.intp)
        order, read = np.argsort(rows, kind="stable"), self.reader()
        out = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        most = max(self.page_rows, WINDOW_BYTES // self.row_bytes)
        first = 0
        while first < len(rows):
            start, last = rows[order[first]], first + 1
            while last < len(rows) and (
                rows[order[last]] - rows[order[last - 1]] < self.page_rows
                and rows[order[last]] - start < most
            ):
                last += 1
            part = order[first:last]
            out[part] = read(start, rows[part[-1]] + 1)[rows[part] - start]
            first = last
        return out


def changed(how):
    """The error for a source that is not what it was."""
    return ValueError(
        f"X changed between two passes: {how}; a fit reads its rows many times, and they must stay "
        "the same"
    )


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
            part = np.asarray(self.X[start:stop])
        except Exception as error:
            raise RuntimeError(
                f"{where} of X could not be read: {type(error).__name__}: {error}"
            ) from error
        if part.shape != (stop - start, self.shape[1]) or part.dtype != self.file_dtype:
            raise ValueError(
                f"{where} of X came as {part.dtype} of shape {part.shape}, expected "
                f"{self.file_dtype} of shape {(stop - start, self.shape[1])}"
            )
        self.checksums.check(start, part, where)
        return part.astype(self.dtype, copy=False)

    def check(self):
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
        self.map = _map_of(X)
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
        size = self.map.size()
        if size < self.stop:
            raise ValueError(
                f"X is a memory map of a file that has shrunk: it has {size} bytes, and the rows "
                f"reach to byte {self.stop}"
            )


def _map_of(X):
    """The memory map in which an array lies, or None."""
    while isinstance(X, np.ndarray):
        if isinstance(X.base, mmap.mmap):
            return X.base
        X = X.base
    return None


class BlockSource(Source):
    """An object whose iteration gives blocks of rows, the same ones every time.

    Parameters
    ----------
    blocks : iterable of array-like of shape (n_i, n_features)
        Of one dtype; a block may be empty.  It is gone through once here, to count the rows.
    """

    seekable = False

    def __init__(self, blocks):
        if iter(blocks) is blocks:
            raise TypeError(
                f"X is a {type(blocks).__name__}, which gives its rows once, but they are read "
                "many times: pass a list of the blocks, or an object whose __iter__ begins anew "
                "each time"
            )
        self.blocks, self.starts, self.sums = blocks, [0], []
        self.dtype = None
        for block in self._all():
            self.starts.append(self.starts[-1] + len(block))
            self.sums.append(zlib.crc32(np.ascontiguousarray(block)))
        if self.starts[-1] == 0:
            raise ValueError("X has 0 samples in its blocks; at least one is required")
        self.shape = (self.starts[-1], self.n_features)

    def _all(self):
        """The blocks as arrays of one width and dtype."""
        index, blocks = 0, None
        while True:
            try:
                blocks = iter(self.blocks) if blocks is None else blocks
                block = next(blocks, None)
            except Exception as error:
                raise RuntimeError(
                    f"block {index} of X could not be read: {type(error).__name__}: {error}"
                ) from error
            if block is None:
                return
            yield self._checked(block, index)
            index += 1

    def _checked(self, block, index):
        name = f"block {index} of X"
        if sparse.issparse(block) or isinstance(block, np.ma.MaskedArray):
            raise TypeError(f"{name} is a {type(block).__name__}; expected a dense array")
        block = np.asarray(block)
        check_kind(block.dtype, name)
        if block.ndim != 2:
            raise ValueError(f"{name} has shape {block.shape}; expected (n_i, n_features)")
        if self.dtype is None:
            if block.shape[1] == 0:
                raise ValueError(f"{name} has 0 features; at least one is required")
            self.n_features, self.block_dtype = block.shape[1], block.dtype
            known = element_type(block.dtype) is not None
            self.dtype = block.dtype if known else np.dtype(np.float64)
        if block.shape[1] != self.n_features:
            raise ValueError(
                f"{name} has {block.shape[1]} features, but those before it have {self.n_features}"
            )
        if block.dtype != self.block_dtype:
            raise ValueError(
                f"{name} has dtype {block.dtype}, but those before it have {self.block_dtype}"
            )
        return block

    @property
    def original(self):
        return self.blocks

    def reader(self):
        return _BlockReader(self).read


class _BlockReader:
    """One pass over a BlockSource, in which ranges of rows come in order."""

    def __init__(self, source):
        self.source, self.blocks, self.index = source, source._all(), -1
        self.block, self.start, self.stop = None, 0, 0

    def _next(self):
        source, self.index = self.source, self.index + 1
        self.block = next(self.blocks, None)
        if self.block is None:
            fault = f"it ended before block {self.index}"
        elif self.index >= len(source.sums):
            fault = f"it has a block {self.index}"
        elif len(self.block) != source.starts[self.index + 1] - source.starts[self.index]:
            fault = f"block {self.index} has {len(self.block)} rows"
        elif zlib.crc32(np.ascontiguousarray(self.block)) != source.sums[self.index]:
            fault = f"block {self.index} has other values"
        else:
            self.start, self.stop = self.stop, self.stop + len(self.block)
            return
        raise changed(fault)

    def read(self, start, stop):
        """Rows start .. stop, in memory of their own: a block may be written to once the next is
        asked for."""
        source = self.source
        out = np.empty((stop - start, source.shape[1]), dtype=source.dtype)
        at = start
        while at < stop:
            while self.stop <= at:
                self._next()
            end = min(stop, self.stop)
            out[at - start : end - start] = self.block[at - self.start : end - self.start]
            at = end
        if stop == source.shape[0]:
            while self.index + 1 < len(source.sums):  # blocks without rows
                self._next()
            if next(self.blocks, None) is not None:
                raise changed(f"it has a block {len(source.sums)}")
        return out


def check_kind(dtype, name):
    """TypeError or ValueError for a dtype that is not numeric."""
    if dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {dtype}")
    if dtype.kind not in "fiub":
        raise TypeError(f"{name} must be numeric, got dtype {dtype}")


def as_source(X):
    """X as a Source if its rows are not in memory, else None.

    A memory map, a two-dimensional object with a NumPy dtype that is no array, an Arrow dataset, a
    list of matrices, or an object that can only be iterated over.
    """
    if isinstance(X, Source):
        return X
    if isinstance(X, np.ndarray):
        known = X.ndim == 2 and X.size and element_type(X.dtype) is not None
        return MapSource(X) if known and _map_of(X) is not None else None
    if isinstance(X, list | tuple):
        blocks = len(X) > 0 and all(isinstance(x, np.ndarray) and x.ndim == 2 for x in X)
        return BlockSource(X) if blocks else None
    if sparse.issparse(X) or isinstance(X, str | bytes | dict | set | frozenset):
        return None
    if type(X).__module__.split(".")[0] == "pyarrow" and hasattr(X, "get_fragments"):
        from fastmix.core._arrow import ArrowSource

        return ArrowSource(X)
    if isinstance(getattr(X, "dtype", None), np.dtype):
        rows = len(getattr(X, "shape", ())) == 2 and 0 not in X.shape
        return ArraySource(X) if rows and hasattr(X, "__getitem__") else None
    frame = ("__array__", "__array_interface__", "__dataframe__", "__arrow_c_stream__")
    if hasattr(X, "__iter__") and not any(hasattr(X, name) for name in frame):
        return BlockSource(X)
    return None


# ---------------------------------------------------------------- windows


def _load(source, read, start, stop, pages, page):
    """Rows start .. stop, of which only those of pages (None: all) are read, and how many."""
    if pages is None:
        return read(start, stop), stop - start
    edges = np.flatnonzero(np.diff(pages.astype(np.int8), prepend=0, append=0))
    window, n_read = source.X[start:stop] if source.in_place else None, 0
    for first, last in edges.reshape(-1, 2):
        low, high = start + first * page, min(stop, start + last * page)
        part = read(low, high)
        n_read += high - low
        if source.in_place:
            continue
        if window is None:
            window = np.empty((stop - start, part.shape[1]), dtype=part.dtype)
        window[low - start : high - start] = part
    return window, n_read


def windows(source, multiple, wanted=None):
    """The rows of a source in order: yields start, rows, and how many of them were read.

    Windows begin at multiples of so many rows; the next is read while the caller has one.  wanted,
    where given, is a mask of the pages, of ``multiple`` rows each, that will be looked at: the
    others hold anything, and a window without a wanted one is left out.
    """
    source.check()
    n, read = source.shape[0], source.reader()
    size = MAP_WINDOW_BYTES if source.in_place else WINDOW_BYTES
    rows = max(1, size // source.row_bytes // multiple) * multiple
    spans = []
    for start in range(0, n, rows):
        stop = min(n, start + rows)
        pages = None if wanted is None else wanted[start // multiple : -(-stop // multiple)]
        if pages is None or pages.all() or (pages.any() and not source.seekable):
            spans.append((start, stop, None))
        elif pages.any():
            spans.append((start, stop, pages))
    if len(spans) < 2:
        for start, stop, pages in spans:
            yield start, *_load(source, read, start, stop, pages, multiple)
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1, thread_name_prefix="fastmix-reader")
    try:
        future = pool.submit(_load, source, read, *spans[0], multiple)
        for index, (start, _, _) in enumerate(spans):
            window, n_read = future.result()
            if index + 1 < len(spans):
                future = pool.submit(_load, source, read, *spans[index + 1], multiple)
            yield start, window, n_read
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
