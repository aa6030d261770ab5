# SPDX-License-Identifier: BSD-3-Clause
"""Tables of numbers from files: what is read, and which line is at fault where it is not."""

import sys

import numpy as np
import pytest

from fastmix._tables import read_table, write_labels

TABLE = np.array([[1.5, -2.0, 3e10], [0.1, 5.0, 1e-300]])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_csv(name, X, header="", mark=","):
    lines = (mark.join(f"{value:.17g}" for value in row) + "\n" for row in X)
    with open(name, "w", encoding="utf-8") as file:
        file.write(header + "".join(lines))


def write_parquet(name, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), name)


@pytest.mark.parametrize(
    ("header", "mark", "names"),
    [
        ("", ",", None),
        ("a,b,c\n", ",", ["a", "b", "c"]),
        ("a;b, in cm;c\n", ";", ["a", "b, in cm", "c"]),
        ("a\tb\tc\n", "\t", ["a", "b", "c"]),
        ('"a, in cm", b ,"c"\n', ",", ["a, in cm", "b", "c"]),
        ("\ufeffa,b,c\n", ",", ["a", "b", "c"]),
        ("# by hand\n\na,b,c\n\n", ",", ["a", "b", "c"]),
        ("# by hand\n", ",", None),
        ("é,ü,ñ\n", ",", ["é", "ü", "ñ"]),
    ],
    ids=["none", "plain", "semicolons", "tabs", "quotes", "bom", "comment", "no names", "utf-8"],
)
def test_csv_is_read_whatever_its_header_and_marks(folder, header, mark, names):
    write_csv("t.csv", TABLE, header, mark)
    X, found = read_table("t.csv")
    np.testing.assert_array_equal(X, TABLE)
    assert found == names


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=ascii)
def test_csv_is_read_whatever_its_line_ends(folder, end):
    (folder / "t.csv").write_bytes(end.join(["a,b", "1,2", "", "3,4"]).encode())
    np.testing.assert_array_equal(read_table("t.csv")[0], [[1, 2], [3, 4]])


def test_csv_of_one_column_has_two_axes(folder):
    (folder / "t.csv").write_text("a\n1\n2\n")
    np.testing.assert_array_equal(read_table("t.csv")[0], [[1], [2]])


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "u1"])
def test_npy_is_mapped_and_not_read(folder, dtype):
    np.save("t.npy", TABLE.clip(0, 200).astype(dtype))
    X, names = read_table("t.npy")
    assert isinstance(X, np.memmap)
    assert not X.flags.writeable
    assert (X.dtype, names) == (np.dtype(dtype), None)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_parquet_keeps_the_dtype_of_its_columns(folder, dtype):
    expected = np.array([[1, 2], [3, 4], [5, 6]], dtype)
    write_parquet("t.parquet", a=expected[:, 0], b=expected[:, 1])
    X, names = read_table("t.parquet")
    np.testing.assert_array_equal(X.take(range(3)), expected)
    assert (X.dtype, names) == (np.dtype(dtype), ["a", "b"])


@pytest.mark.parametrize("columns", [["c", "a"], ["b"]], ids=",".join)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_are_chosen_by_name_beside_text(folder, suffix, columns):
    if suffix == "csv":
        rows = (f"{a!r},{b!r},some text,{c!r}\n" for a, b, c in TABLE.tolist())
        (folder / "t.csv").write_text("a,b,text,c\n" + "".join(rows))
    else:
        a, b, c = TABLE.T
        write_parquet("t.parquet", a=a, b=b, text=["x", "y"], c=c)
    X, names = read_table(f"t.{suffix}", columns)
    X = X.take(range(len(TABLE))) if suffix == "parquet" else X
    np.testing.assert_array_equal(X, TABLE[:, ["abc".index(name) for name in columns]])
    assert names == columns


@pytest.mark.parametrize("suffix", ["csv", "npy"])
def test_columns_without_names_are_chosen_by_number(folder, suffix):
    write_csv("t.csv", TABLE) if suffix == "csv" else np.save("t.npy", TABLE)
    np.testing.assert_array_equal(read_table(f"t.{suffix}", ["2", "0"])[0], TABLE[:, [2, 0]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n3,x\n", "line 3, field 2: 'x' is not a number"),
        ("a,b\n1,2\n\n3,\n", "line 4, field 2: '' is not a number"),
        ("# c\na,b\n1,2#c\n", "line 3, field 2: '2#c' is not a number"),
        ("1,2\n3,4,5\n", "line 2 has 3 fields; expected 2"),
        ("1,,3\n1,2,3\n", "line 1, field 2: '' is not a number"),
        ("1,2\n3,4_0\n", "line 2, field 2: '4_0' is not a number"),
        ("a;b\n1,5;2\n", "line 2, field 1: '1,5' is not a number"),
        ("", "has no rows"),
        ("a,b\n\n", "has no rows"),
        ("a,b\n1,\xff", "is not UTF-8 text"),
        ("a\n" + "x" * 200_000, "field larger than field limit (131072)"),
    ],
    ids=lambda text: text[:30],
)
def test_csv_that_is_no_table_of_numbers_is_refused_by_line(folder, text, reason):
    (folder / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"^t.csv: ") as caught:
        read_table("t.csv")
    assert str(caught.value) == f"t.csv: {reason}"


@pytest.mark.parametrize("array", [None, np.array([[{}]])], ids=["empty file", "objects"])
def test_npy_that_cannot_be_mapped_is_refused(folder, array):
    (folder / "t.npy").touch() if array is None else np.save("t.npy", array)
    with pytest.raises(ValueError, match=r"^t.npy: "):
        read_table("t.npy")


def test_npy_whose_header_promises_more_than_the_file_holds_is_refused(folder):
    with open("t.npy", "wb") as file:
        described = {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**3)}
        np.lib.format.write_array_header_1_0(file, described)
    with pytest.raises(
        ValueError, match=r"^t.npy: is cut short.*: mmap length is greater than file"
    ):
        read_table("t.npy")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"a": [1.0, 2], "s": ["x", "y"]}, "column 's' holds string; expected numbers"),
        ({"a": [1.0, None, None]}, "column 'a' has 2 nulls"),
        ({"a": [True, False]}, "column 'a' holds bool; expected numbers"),
        ({"a": [[1.0], [2.0]]}, "column 'a' holds list<element: double>; expected numbers"),
    ],
    ids=["text", "nulls", "truth values", "lists"],
)
def test_parquet_column_that_is_not_numbers_is_refused_by_name(folder, columns, reason):
    write_parquet("t.parquet", **columns)
    with pytest.raises(ValueError, match=r"^t.parquet: ") as caught:
        read_table("t.parquet")
    assert str(caught.value) == f"t.parquet: {reason}"


def test_parquet_that_is_not_one_is_refused(folder):
    (folder / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"^t.parquet: "):
        read_table("t.parquet")


def test_missing_pyarrow_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (folder / "t.parquet").touch()
    with pytest.raises(ImportError, match=r"pip install fastmix\[parquet\]$"):
        read_table("t.parquet")


@pytest.mark.parametrize("columns", [["d"], ["a", "d"], [""], ["A"]], ids=ascii)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_unknown_column_is_refused_with_the_known_ones(folder, suffix, columns):
    write_csv("t.csv", TABLE, "a,b,c\n")
    write_parquet("t.parquet", **dict(zip("abc", TABLE.T, strict=True)))
    with pytest.raises(ValueError, match=r"no columns are named '.*'; the columns are a, b, c$"):
        read_table(f"t.{suffix}", columns)


def test_column_name_that_is_there_twice_is_refused(folder):
    write_csv("t.csv", TABLE, "a,a,c\n")
    with pytest.raises(ValueError, match=r"t.csv: 2 columns are named 'a'"):
        read_table("t.csv", ["a"])


def test_column_number_out_of_range_is_refused(folder):
    np.save("t.npy", TABLE)
    with pytest.raises(
        ValueError, match=r"no columns are named '3'; the columns are numbers 0 to 2$"
    ):
        read_table("t.npy", ["3"])


@pytest.mark.parametrize("name", ["none.csv", "none.npy", "none.parquet"])
def test_missing_table_is_an_os_error_with_its_name(folder, name):
    with pytest.raises(FileNotFoundError) as caught:
        read_table(name)
    assert caught.value.filename == name


def test_unknown_suffix_is_refused(folder):
    with pytest.raises(ValueError, match=r"t.xls: expected a file named \*.csv, \*.npy, \*.parqu"):
        read_table("t.xls")


@pytest.mark.parametrize("n_rows", [0, 1, 65_536, 65_537])
@pytest.mark.parametrize("name", ["l.csv", "l.txt"])
def test_text_labels_have_one_line_for_each_row(folder, name, n_rows):
    labels = (np.arange(n_rows) % 300).astype(np.int32)
    write_labels(labels, name)
    lines = (folder / name).read_text().splitlines()
    if name == "l.csv":
        assert lines.pop(0) == "label"
    assert lines == [str(label) for label in labels]


def test_npy_labels_are_an_int32_array(folder):
    labels = np.arange(5, dtype=np.int32)
    write_labels(labels, "l.npy")
    found = np.load("l.npy")
    assert (found.dtype, found.tolist()) == (np.dtype(np.int32), labels.tolist())


def test_marks_within_quotes_are_no_delimiters(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('"price; USD","a\tb"\n1.5,2.5\n')
    X, names = read_table(str(path))
    np.testing.assert_array_equal(X, [[1.5, 2.5]])
    assert names == ["price; USD", "a\tb"]


@pytest.mark.parametrize("suffix", ["csv", "npy"])
def test_columns_are_distinct(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    if suffix == "csv":
        path.write_text("a,b\n1,2\n")
    else:
        np.save(path, np.ones((1, 2)))
    first = "a" if suffix == "csv" else "0"
    with pytest.raises(ValueError, match="columns must be distinct"):
        read_table(str(path), [first, first])


@pytest.mark.parametrize("columns", [None, ["a", "b"]])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b,c\n1,10,10,10\n2,0,0,0\n", "line 2 has 4 fields; expected 3"),
        ('"a","b","c"\n1,2\n3,4\n', "line 2 has 2 fields; expected 3"),
        ("a,b,c\n1,2,3\n4,5,6\n9,9\n", "line 4 has 2 fields; expected 3"),
        ("a,b\n1,2\n\n4,5,6\n", "line 4 has 3 fields; expected 2"),
    ],
    ids=["row names", "too few", "cut", "too many"],
)
def test_csv_of_lines_of_other_lengths_is_refused(folder, text, reason, columns):
    (folder / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=f"^t.csv: {reason}$"):
        read_table("t.csv", columns)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(5), r"has shape \(5,\); expected rows and columns"),
        (np.zeros((5, 2), complex), "has dtype complex128; expected numbers"),
    ],
)
@pytest.mark.parametrize("columns", [None, ["0"]])
def test_npy_that_is_no_matrix_of_numbers_is_refused(folder, array, reason, columns):
    np.save("t.npy", array)
    with pytest.raises(ValueError, match=f"^t.npy: {reason}$"):
        read_table("t.npy", columns)
