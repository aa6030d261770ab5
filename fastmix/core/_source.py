# SPDX-License-Identifier: BSD-3-Clause
"""Rows that are not in memory, read range by range, pass after pass.

A pass takes the rows in order, in windows cut where the driver wants them; the result is that of
the same rows in memory, to the bit.
"""

import numpy as np

__all__ = ["Source", "changed", "check_kind", "windows"]

# Bytes of a window that is read into memory, of which two or three are there at a time, and of one
# that only points into a memory map.
WINDOW_BYTES = 2**25
MAP_WINDOW_BYTES = 2**28


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


def check_kind(dtype, name):
    """TypeError or ValueError for a dtype that is not numeric."""
    if dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {dtype}")
    if dtype.kind not in "fiub":
        raise TypeError(f"{name} must be numeric, got dtype {dtype}")


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
