# SPDX-License-Identifier: BSD-3-Clause
"""Rows of Parquet files and other Arrow datasets."""

import bisect
import contextlib
import os
import zlib

import numpy as np

from fastmix.core._source import Source, changed

__all__ = ["ArrowSource"]


class ArrowSource(Source):
    """Numeric columns of a Parquet file, a folder of such files, or an Arrow dataset.

    A row group is what is read at a time; its rows are converted to the one dtype that holds all
    columns (float32 only where each of them is float32 or an integer of at most 16 bits).

    Parameters
    ----------
    dataset : str, path-like or pyarrow.dataset.Dataset
        A file or folder in Parquet, or what ``pyarrow.dataset.dataset`` made.
    columns : list of str, optional
        Columns to use, in this order; default: all of them.

    Raises
    ------
    ImportError
        Without pyarrow, with the extra that brings it.
    ValueError
        Where a column is not there, or does not hold numbers; or for a dataset without rows.

    Examples
    --------
    >>> import os, tempfile
    >>> import pyarrow, pyarrow.parquet
    >>> from fastmix import ArrowSource, KMeans
    >>> table = pyarrow.table({"name": ["a", "b", "c"], "x": [0.0, 1.0, 9.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "table.parquet")
    ...     pyarrow.parquet.write_table(table, path)
    ...     KMeans(2, random_state=0).fit(ArrowSource(path, columns=["x"])).cluster_centers_.max()
    np.float64(9.0)
    """

    def __init__(self, dataset, columns=None):
        try:
            import pyarrow
            import pyarrow.dataset
        except ImportError:
            raise ImportError(
                "reading Parquet needs pyarrow: pip install fastmix[parquet]"
            ) from None
        self.error = pyarrow.ArrowException
        if isinstance(dataset, str | os.PathLike):
            os.stat(dataset)  # names the file where there is none
            try:
                dataset = pyarrow.dataset.dataset(dataset, format="parquet")
            except self.error as error:
                raise ValueError(str(error)) from None
        names = dataset.schema.names
        self.names = list(names if columns is None else columns)
        for name in self.names:
            if names.count(name) != 1:
                raise ValueError(
                    f"has {names.count(name) or 'no'} columns {name!r}; its columns are "
                    f"{', '.join(names):.200}"
                )
        if not self.names:
            raise ValueError("columns is empty; at least one is required")
        types = [_dtype_of(dataset.schema.field(name)) for name in self.names]
        self.dtype = np.result_type(*types)
        self.pieces, self.starts, self.nulls = [], [0], {}
        for fragment in dataset.get_fragments():
            if hasattr(fragment, "split_by_row_group"):
                self._count_nulls(fragment.metadata)
                for piece in fragment.split_by_row_group():
                    self._add(piece, piece.row_groups[0].num_rows)
            else:
                self._add(fragment, fragment.count_rows())
        for name, count in self.nulls.items():
            raise ValueError(f"column {name!r} has {count} nulls")
        if self.starts[-1] == 0:
            raise ValueError("has 0 rows; at least one is required")
        self.shape = (self.starts[-1], len(self.names))
        self.page_rows = int(np.median(np.diff(self.starts)))
        self.sums, self.last = {}, (None, None)

    def _count_nulls(self, metadata):
        """Nulls that the statistics of a Parquet file tell of, found before any row is read."""
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                name, statistics = column.path_in_schema, column.statistics
                if name in self.names and statistics is not None and statistics.null_count:
                    self.nulls[name] = self.nulls.get(name, 0) + statistics.null_count

    def _add(self, piece, n_rows):
        self.pieces.append(piece)
        self.starts.append(self.starts[-1] + n_rows)

    def _read(self, start, stop):
        first = bisect.bisect_right(self.starts, start) - 1
        out = np.empty((stop - start, self.shape[1]), dtype=self.dtype)
        at = start
        for index in range(first, len(self.pieces)):
            if at >= stop:
                break
            low, end = self.starts[index], min(stop, self.starts[index + 1])
            if at < end:
                out[at - start : end - start] = self._piece(index)[at - low : end - low]
                at = end
        return out

    def _piece(self, index):
        """Rows of one piece; the last one stays, since windows end within pieces."""
        number, rows = self.last
        if number == index:
            return rows
        name, expected = f"row group {index} of X", self.starts[index + 1] - self.starts[index]
        try:
            table = self.pieces[index].to_table(columns=self.names)
        except (self.error, OSError) as error:
            raise RuntimeError(f"{name} could not be read: {error}") from error
        if len(table) != expected:
            raise changed(f"row group {index} had {expected} rows and has {len(table)}")
        rows = np.empty((expected, self.shape[1]), dtype=self.dtype)
        for column, values in enumerate(table.columns):
            if values.null_count:
                raise ValueError(
                    f"column {self.names[column]!r} has {values.null_count} nulls in {name}"
                )
            rows[:, column] = values.to_numpy()
        value = zlib.crc32(rows)
        if self.sums.setdefault(index, value) != value:
            raise changed(f"row group {index} has other values")
        self.last = index, rows
        return rows


def _dtype_of(field):
    with contextlib.suppress(NotImplementedError):
        dtype = np.dtype(field.type.to_pandas_dtype())
        if dtype.kind in "iuf":
            return dtype
    raise ValueError(f"column {field.name!r} holds {field.type}; expected numbers")
