# SPDX-License-Identifier: BSD-3-Clause
"""Rows in blocks that an object gives one after the other."""

import zlib

import numpy as np
from scipy import sparse

from fastmix.core._kernels import element_type
from fastmix.core._source import Source, changed, check_kind

__all__ = ["BlockSource"]

# What next() gives at the end: a block may be anything, and is refused then.
_END = object()


class BlockSource(Source):
    """An object whose iteration gives blocks of rows, the same ones every time.

    Parameters
    ----------
    blocks : iterable of array-like of shape (n_i, n_features)
        Of one dtype, and of the same columns where these have names; a block may be empty.  It is
        gone through once here, to count the rows.
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
                block = next(blocks, _END)
            except Exception as error:
                raise RuntimeError(
                    f"block {index} of X could not be read: {type(error).__name__}: {error}"
                ) from error
            if block is _END:
                return
            yield self._checked(block, index)
            index += 1

    def _checked(self, block, index):
        name = f"block {index} of X"
        if sparse.issparse(block) or isinstance(block, np.ma.MaskedArray):
            raise TypeError(f"{name} is a {type(block).__name__}; expected a dense array")
        names = _names_of(block)
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
            self.names = names
        if block.shape[1] != self.n_features:
            raise ValueError(
                f"{name} has {block.shape[1]} features, but those before it have {self.n_features}"
            )
        if block.dtype != self.block_dtype:
            raise ValueError(
                f"{name} has dtype {block.dtype}, but those before it have {self.block_dtype}"
            )
        if names is not None and self.names is not None and names != self.names:
            raise ValueError(
                f"{name} has the columns {', '.join(names):.200}, but those before it have "
                f"{', '.join(self.names):.200}"
            )
        return block

    @property
    def original(self):
        return self.blocks

    def reader(self):
        return _BlockReader(self).read


def _names_of(block):
    """The names of the columns of a data frame or record batch, or None where not all are text."""
    names = getattr(block, "column_names", None)
    if names is None:
        names = getattr(block, "columns", None)
    names = [] if names is None else list(names)
    return names if names and all(isinstance(name, str) for name in names) else None


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
