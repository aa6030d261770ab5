# SPDX-License-Identifier: BSD-3-Clause
"""Tables of numbers from .csv, .npy and .parquet files, and labels to .npy, .csv and .txt files."""

import csv
import os
import re

import numpy as np

from fastmix._atomic import replacing
from fastmix.core._arrow import ArrowSource, check_named

__all__ = ["LABEL_SUFFIXES", "read_table", "write_labels"]

LABEL_SUFFIXES = (".npy", ".csv", ".txt")


def read_table(path, columns=None):
    """Read the columns of a table of numbers.

    Parameters
    ----------
    path : str
        A .csv file (fields separated by commas, semicolons or tabs; a first line without a number
        in it is the header), a .npy file (memory-mapped), or a .parquet file; these two are not
        read into memory, but for wanted columns of a .npy file.
    columns : list of str or None
        The names of the columns wanted, or their numbers counted from 0 where the file has no
        names. None means all of them.

    Returns
    -------
    X : ndarray or Source of shape (n_samples, n_features)
        float64 from .csv; the file's own dtype otherwise.
    names : list of str or None
        The names of the columns of X, None if the file has none.

    Raises
    ------
    ValueError
        The file is not such a table, or a wanted column is not in it: one line that names the
        file and, where there is one, the line and the column at fault.
    OSError
        The file cannot be read.
    """
    readers = {".csv": _read_csv, ".npy": _read_npy, ".parquet": _read_parquet}
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in readers:
        raise ValueError(f"{path}: expected a file named *{', *'.join(readers)}")
    os.stat(path)  # a missing file is the same OSError for all three
    try:
        return readers[suffix](path, columns)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not UTF-8 text") from None
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from None


def write_labels(labels, path):
    """Write one label per row, whole or not at all: .npy, .csv with a header, or plain .txt."""
    with replacing(path) as file:
        if path.lower().endswith(".npy"):
            np.lib.format.write_array(file, labels, allow_pickle=False)
            return
        if path.lower().endswith(".csv"):
            file.write(b"label\n")
        # A tenth of the time of np.savetxt; blocks of 64 Ki rows keep the text's memory small.
        for start in range(0, len(labels), 1 << 16):
            rows = map(str, labels[start : start + (1 << 16)].tolist())
            file.write(("\n".join(rows) + "\n").encode())


def _read_npy(path, columns):
    try:
        X = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(f"is cut short, or no .npy file of numbers: {error}") from None
    if X.ndim != 2:
        raise ValueError(f"has shape {X.shape}; expected rows and columns")
    if X.dtype.kind not in "fiub":
        raise ValueError(f"has dtype {X.dtype}; expected numbers")
    if columns is None:
        return X, None
    return X[:, _column_numbers(columns, None, X.shape[1])], None


def _read_csv(path, columns):
    delimiter, names, skipped, n_fields = _csv_layout(path)
    wanted = list(range(n_fields))
    if columns is not None:
        wanted = _column_numbers(columns, names, n_fields)
    try:
        # NumPy's C parser: 0.9 s for 1,000,000 rows of 4 columns on one core of Zen 4.
        X = np.loadtxt(
            path,
            delimiter=delimiter,
            skiprows=skipped,
            usecols=None if columns is None else wanted,
            quotechar='"',
            comments=None,
            encoding="utf-8-sig",
            ndmin=2,
        )
    except ValueError:
        _raise_first_fault(path, delimiter, skipped, n_fields, wanted)
        raise
    # NumPy does not compare with the header, nor look at the width of lines beyond wanted columns.
    if columns is not None or X.shape[1] != n_fields:
        _raise_first_fault(path, delimiter, skipped, n_fields, ())
    return X, None if names is None else [names[number] for number in wanted]


def _csv_layout(path):
    """Find the delimiter, the column names (or None), the lines before the data, and the width.

    Only a first line in which no field is a number is a header: a first row with one missing or
    misspelt value is reported as such, and never dropped as if it were names.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        line, skipped = file.readline(), 0
        while line and (not line.strip() or line.startswith("#")):
            line, skipped = file.readline(), skipped + 1
        unquoted = re.sub(r'"[^"]*"', "", line)
        delimiter = next((mark for mark in ";\t," if mark in unquoted), ",")
        fields = next(csv.reader([line], delimiter=delimiter), [])
        names = None
        if not any(_is_number(field) for field in fields):
            names, line, skipped = [field.strip() for field in fields], file.readline(), skipped + 1
            while line and not line.strip():
                line = file.readline()
    if not line:
        raise ValueError("has no rows")
    return delimiter, names, skipped, len(fields)


def _raise_first_fault(path, delimiter, skipped, n_fields, wanted):
    """Name the line and column of the first field that is not a number, if there is one."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        for _ in range(skipped):
            file.readline()
        rows = csv.reader(file, delimiter=delimiter)
        for fields in rows:
            place = f"line {rows.line_num + skipped}"
            if fields and len(fields) != n_fields:
                raise ValueError(f"{place} has {len(fields)} fields; expected {n_fields}")
            for number in wanted if fields else ():
                if not _is_number(fields[number]):
                    shown = ascii(fields[number][:40])
                    raise ValueError(f"{place}, field {number + 1}: {shown} is not a number")


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # Python reads 1_000, NumPy does not


def _read_parquet(path, columns):
    source = ArrowSource(path, columns)
    return source, source.names


def _column_numbers(columns, names, n_columns):
    """Translate the wanted columns, names or (where there are none) numbers from 0, to numbers."""
    known = [str(i) for i in range(n_columns)] if names is None else names
    shown = f"numbers 0 to {n_columns - 1}" if names is None else ", ".join(names)
    check_named(columns, known, shown)
    return [known.index(column) for column in columns]
