# SPDX-License-Identifier: BSD-3-Clause
"""Rows of Parquet files and other Arrow datasets."""

import bisect
import contextlib
import os
import zlib

import numpy as np

from fastmix.core._source import Source, changed

__all__ = ["ArrowSource", "check_named"]


class ArrowSource(Source):
    """Numeric columns of a Parquet file, a folder of such files, or an Arrow dataset.

    A row group is what is read at a time; its rows are converted to the one dtype that holds all
    columns of all files (float32 only where each of them is float32 or an integer of at most 16
    bits).

    Parameters
    ----------
    dataset : str, path-like, list of these, or pyarrow.dataset.Dataset
        A file or folder in Parquet, some files in this order, or what ``pyarrow.dataset.dataset``
        made, without a filter.
    columns : list of str, optional
        Columns to use, in this order; default: all of them.

    Raises
    ------
    ImportError
        Without pyarrow, with the extra that brings it.
    TypeError
        For a dataset or columns of another type.
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
        paths = dataset if isinstance(dataset, list) else [dataset]
        if paths and all(isinstance(path, str | os.PathLike) for path in paths):
            for path in paths:
                os.stat(path)  # names the file where there is none
            whole = list(map(os.fspath, dataset)) if paths is dataset else dataset
            try:
                dataset = pyarrow.dataset.dataset(whole, format="parquet")
            except self.error as error:
                raise ValueError(str(error)) from None
        if not isinstance(dataset, pyarrow.dataset.Dataset):
            raise TypeError(
                "dataset must be a path, a list of paths or a pyarrow.dataset.Dataset, got "
                f"{dataset!r:.100}"
            )
        self.names = _checked_names(dataset.schema.names, columns)
        types = {_dtype_of(dataset.schema.field(name)) for name in self.names}
        self.pieces, self.starts, self.nulls = [], [0], {}
        try:
            fragments = list(dataset.get_fragments())
        except ValueError as error:
            raise ValueError(f"dataset has a filter, which is not supported: {error}") from None
        for fragment in fragments:
            for name in self.names:
                if name not in fragment.physical_schema.names:
                    raise ValueError(f"no column is named {name!r} in {_name_of(fragment)}")
                # Pieces are read in the types of their own file, which may differ from the first's.
                types.add(_dtype_of(fragment.physical_schema.field(name), _name_of(fragment)))
            if hasattr(fragment, "split_by_row_group"):
                self._count_nulls(fragment.metadata)
                for piece in fragment.split_by_row_group():
                    self._add(piece, piece.row_groups[0].num_rows)
            else:
                self._add(fragment, fragment.count_rows())
        self.dtype = np.result_type(*types)
        for name, count in self.nulls.items():
            raise ValueError(f"column {name!r} has {count} nulls")
        if self.starts[-1] == 0:
            raise ValueError("there are 0 rows; at least one is required")
        self.shape = (self.starts[-1], len(self.names))
        counts = np.diff(self.starts)
        self.page_rows = int(np.median(counts[counts > 0]))  # some pieces may be empty
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
        name, piece = f"row group {index} of X", self.pieces[index]
        expected = self.starts[index + 1] - self.starts[index]
        try:
            table = piece.to_table(columns=self.names)
        except (self.error, OSError) as error:
            raise RuntimeError(
                f"{name}, in {_name_of(piece)}, could not be read: {error}"
            ) from error
        if len(table) != expected:
            raise changed(f"row group {index} had {expected} rows and has {len(table)}")
        rows = np.empty((expected, self.shape[1]), dtype=self.dtype)
        for column, values in enumerate(table.columns):
            if values.null_count:
                raise ValueError(
                    f"column {self.names[column]!r} has {values.null_count} nulls in {name}"
                )
            values = values.to_numpy()
            if not np.can_cast(values.dtype, self.dtype):
                raise changed(f"column {self.names[column]!r} of {name} holds {values.dtype}")
            rows[:, column] = values
        value = zlib.crc32(rows)
        if self.sums.setdefault(index, value) != value:
            raise changed(f"row group {index} has other values")
        self.last = index, rows
        return rows


def _checked_names(names, columns):
    """The columns to use."""
    if columns is None:
        columns = names
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise TypeError(f"columns must be a list of names, got {columns!r:.100}")
    if not names:
        raise ValueError("there are no Parquet files, or no columns in them")
    columns = list(columns)
    if not columns:
        raise ValueError("columns is empty; at least one is required")
    check_named(columns, names, ", ".join(names))
    return columns


def check_named(columns, names, shown):
    """ValueError for columns that are not one of the names each, which are shown, or the same."""
    if len(set(columns)) < len(columns):
        raise ValueError(f"columns must be distinct, got {columns!r:.200}")
    for column in columns:
        if names.count(column) != 1:
            raise ValueError(
                f"{names.count(column) or 'no'} columns are named {column!r}; the columns are "
                f"{shown:.200}"
            )


def _name_of(fragment):
    """The file of a fragment, or what there is instead."""
    return getattr(fragment, "path", "a table in memory")


def _dtype_of(field, where=None):
    with contextlib.suppress(NotImplementedError):
        dtype = np.dtype(field.type.to_pandas_dtype())
        if dtype.kind in "iuf":
            return dtype
    where = f" in {where}" if where else ""
    raise ValueError(f"column {field.name!r} holds {field.type}{where}; expected numbers")
