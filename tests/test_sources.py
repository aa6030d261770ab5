# SPDX-License-Identifier: BSD-3-Clause
"""Rows that are not in memory: the bits of a fit in memory, and what is refused."""

import mmap
import threading

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
import pytest
from sklearn.base import clone

from fastmix import ArrowSource, GaussianMixture, KMeans, MiniBatchKMeans
from fastmix.core import _source, _sources, assign, kmeans, kmeans_plusplus, log_prob
from fastmix.core._moments import Moments
from fastmix.core._parameters import Parameters, factors_of, precision_factors
from fastmix.core._sources import as_source
from source_cases import Blocks, D, N, Sliced, bits, rows, source_of

KINDS = ["memory map", "array", "blocks", "parquet"]


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of at most 2,000 rows, of which a pass needs several."""
    monkeypatch.setattr(_source, "WINDOW_BYTES", 40_000)
    monkeypatch.setattr(_source, "MAP_WINDOW_BYTES", 40_000)
    monkeypatch.setattr(_sources, "CHECKED_BYTES", 2_000)


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_kmeans_of_a_source_has_the_bits_of_memory(kind, init, dtype, tmp_path):
    X = rows(dtype)
    weights = np.random.default_rng(1).random(N)
    wanted = KMeans(9, init=init, n_init=2, random_state=0).fit(X, sample_weight=weights)
    source = source_of(kind, X, tmp_path)
    for n_threads in (1, 2, 3):
        model = KMeans(9, init=init, n_init=2, random_state=0, n_threads=n_threads)
        model.fit(source, sample_weight=weights)
        assert bits(model.cluster_centers_, model.labels_, model.inertia_) == bits(
            wanted.cluster_centers_, wanted.labels_, wanted.inertia_
        )
        assert model.n_iter_ == wanted.n_iter_
    assert bits(model.predict(source), model.transform(source), model.score(source)) == bits(
        wanted.predict(X), wanted.transform(X), wanted.score(X)
    )


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("init", ["kmeans", "random"])
def test_mixture_of_a_source_has_the_bits_of_memory(kind, init, covariance_type, tmp_path):
    X = rows("float32")
    options = {
        "covariance_type": covariance_type,
        "init_params": init,
        "max_iter": 6,
        "tol": 0,
        "random_state": 0,
    }
    weights = np.random.default_rng(1).random(N)
    wanted = GaussianMixture(4, **options).fit(X, sample_weight=weights)
    source = source_of(kind, X, tmp_path)
    for n_threads in (1, 3):
        model = GaussianMixture(4, **options, n_threads=n_threads)
        model.fit(source, sample_weight=weights)
        assert bits(model.means_, model.covariances_, model.log_likelihood_) == bits(
            wanted.means_, wanted.covariances_, wanted.log_likelihood_
        )
    found, expected = (
        bits(*(getattr(wanted, name)(Y) for name in (
            "predict", "predict_proba", "score_samples", "score", "bic", "aic", "icl",
        )))
        for Y in (source, X)
    )  # fmt: skip
    assert found == expected


@pytest.mark.parametrize("algorithm", ["lloyd", "elkan"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_algorithm_has_the_bits_of_memory(kind, algorithm, tmp_path):
    X = rows("float32", n=4_000, d=40)
    wanted = kmeans(X, 40, random_state=0, algorithm="lloyd")
    found = kmeans(source_of(kind, X, tmp_path), 40, random_state=0, algorithm=algorithm)
    assert bits(found.centers, found.labels, found.inertia) == bits(
        wanted.centers, wanted.labels, wanted.inertia
    )
    assert (found.report["algorithm"] == "lloyd") == (algorithm == "lloyd")


@pytest.mark.parametrize("kind", KINDS)
def test_empty_clusters_are_repaired_alike(kind, tmp_path):
    X = rows("float32")
    start = np.vstack([X[:3], np.full((4, D), 1e4, dtype=np.float32)])
    weights = 1 + np.random.default_rng(1).random(N)
    wanted = kmeans(X, 7, init=start, sample_weight=weights)
    found = kmeans(source_of(kind, X, tmp_path), 7, init=start, sample_weight=weights)
    assert wanted.report["repairs"]
    assert found.report["repairs"] == wanted.report["repairs"]
    assert bits(found.centers, found.labels) == bits(wanted.centers, wanted.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_functions_take_sources(kind, tmp_path):
    X = rows("float64")
    source = source_of(kind, X, tmp_path)
    assert bits(*kmeans_plusplus(source, 5, random_state=3)) == bits(
        *kmeans_plusplus(X, 5, random_state=3)
    )
    assert bits(*assign(source, X[:4], return_distances=True)) == bits(
        *assign(X, X[:4], return_distances=True)
    )
    given = [0.5, 0.5], X[:2], np.ones((2, D)), "diag"
    assert bits(*log_prob(source, *given, return_components=True)) == bits(
        *log_prob(X, *given, return_components=True)
    )
    covariances, P, log_det = precision_factors("diag", np.ones((2, D)), D)
    factors = factors_of(Parameters("diag", np.array([0.5, 0.5]), X[:2], covariances), P, log_det)
    found, wanted = (Moments("diag", 2, D, factors=factors).accumulate(Y) for Y in (source, X))
    assert bits(found.weight, found.first, found.second) == bits(
        wanted.weight, wanted.first, wanted.second
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", [KMeans, GaussianMixture], ids=lambda e: e.__name__)
def test_a_checkpoint_of_memory_goes_on_from_a_source(estimator, kind, tmp_path):
    X = rows("float32")
    options = {"random_state": 0, "tol": 0}
    wanted = estimator(7, max_iter=6, **options).fit(X)
    options |= {"checkpoint": tmp_path / "state", "resume": True}
    estimator(7, max_iter=2, **options).fit(X)
    found = estimator(7, max_iter=6, **options).fit(source_of(kind, X, tmp_path))
    assert found.fit_report_["resumed"] == 2
    assert bits(found.predict(X), found.objective_trace_) == bits(
        wanted.predict(X), wanted.objective_trace_
    )
    other = X.copy()
    other[0, 0] += 1
    with pytest.raises(ValueError, match="other data"):
        estimator(7, max_iter=6, **options).fit(source_of(kind, other, tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_stepwise_em_of_a_source_has_the_bits_of_memory(kind, tmp_path):
    X = rows("float32")
    source, wanted = source_of(kind, X, tmp_path), GaussianMixture(3, random_state=0)
    found = GaussianMixture(3, random_state=0, n_threads=3)
    for _ in range(2):
        wanted.partial_fit(X)
        found.partial_fit(source)
    assert bits(found.means_, found.covariances_) == bits(wanted.means_, wanted.covariances_)


@pytest.mark.parametrize("layout", ["columns", "every other", "backwards", "swapped"])
def test_memory_maps_of_any_layout_are_used_where_they_lie(layout, tmp_path):
    X = rows("float32")
    stored = np.asfortranarray(X) if layout == "columns" else X
    np.save(tmp_path / "x.npy", stored.astype(">f4") if layout == "swapped" else stored)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    if layout == "every other":
        X, mapped = X[::2, 1:], mapped[::2, 1:]
    elif layout == "backwards":
        X, mapped = X[::-1], mapped[::-1]
    assert as_source(mapped).in_place
    found, wanted = kmeans(mapped, 6, random_state=0), kmeans(X, 6, random_state=0)
    assert bits(found.centers, found.labels) == bits(wanted.centers, wanted.labels)


def test_a_list_of_matrices_and_a_dataset_are_sources(tmp_path):
    X = rows("float32")
    source = source_of("parquet", X, tmp_path)
    wanted = kmeans(X, 5, random_state=0)
    dataset = pyarrow.dataset.dataset(tmp_path / "x.parquet")
    for Y in ([X[:11], X[11:4_000], X[4_000:]], dataset, source):
        assert bits(kmeans(Y, 5, random_state=0).centers) == bits(wanted.centers)


def test_a_folder_of_parquet_files_is_one_table_in_the_order_of_the_names(tmp_path):
    X = rows("float32", n=900)
    for index, part in enumerate(np.split(X, 3)):
        table = pyarrow.table({f"c{j}": part[:, j] for j in range(D)})
        pyarrow.parquet.write_table(table, tmp_path / f"{index}.parquet", row_group_size=77)
    source = ArrowSource(tmp_path, columns=["c3", "c0"])
    assert source.names == ["c3", "c0"]
    np.testing.assert_array_equal(source.take(np.arange(900)[::-1]), X[::-1, [3, 0]])


def test_rows_are_taken_in_any_order_and_more_than_once(tmp_path):
    X = rows("float32", n=2_000)
    chosen = np.random.default_rng(0).integers(0, 2_000, size=300)
    for kind in KINDS:
        source = as_source(source_of(kind, X, tmp_path))
        np.testing.assert_array_equal(source.take(chosen), X[chosen])


def test_names_of_columns_are_kept_and_compared(tmp_path):
    X = rows("float32")
    source = source_of("parquet", X, tmp_path)
    model = KMeans(3, random_state=0).fit(source)
    assert model.feature_names_in_.tolist() == source.names
    other = ArrowSource(tmp_path / "x.parquet", columns=source.names[::-1])
    with pytest.raises(ValueError, match=r"columns of X are c4, c3, c2, c1, c0, but KMeans was"):
        model.predict(other)


def test_a_callable_start_gets_what_the_user_gave(tmp_path):
    X = rows("float32")
    for kind in ("array", "blocks"):
        source, seen = source_of(kind, X, tmp_path), []

        def start(given, k, random_state, seen=seen):
            seen.append(given)
            return X[:k]

        KMeans(4, init=start, n_init=1).fit(source)
        assert seen == [source]


# ---------------------------------------------------------------- results go where they are wanted


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_written_to_out(kind, tmp_path):
    X = rows("float32")
    source = source_of(kind, X, tmp_path)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.int32, shape=(N,))
    model = KMeans(4, random_state=0).fit(X)
    assert model.predict(source, out=out) is out
    np.testing.assert_array_equal(out, model.labels_)
    mixture = GaussianMixture(3, random_state=0).fit(X)
    assert mixture.predict(source, out=out) is out
    np.testing.assert_array_equal(out, mixture.predict(X))
    densities = np.empty(N, dtype=np.float64)
    assert mixture.score_samples(source, out=densities) is densities
    np.testing.assert_array_equal(densities.astype(np.float32), mixture.score_samples(X))


@pytest.mark.parametrize(
    "out",
    [np.zeros(N, np.int64), np.zeros(N - 1, np.int32), np.zeros(2 * N, np.int32)[::2], [0] * N],
    ids=["dtype", "shape", "stride", "list"],
)
@pytest.mark.parametrize(
    "estimator", [KMeans(2), GaussianMixture(2)], ids=lambda e: type(e).__name__
)
def test_out_that_does_not_fit_is_refused(estimator, out):
    X = rows("float32")
    estimator.fit(X)
    with pytest.raises(
        ValueError, match=r"out must be an ndarray of int32 and of shape \(5003,\), got"
    ):
        estimator.predict(X, out=out)


# ---------------------------------------------------------------- what is not read again


@pytest.mark.parametrize("kind", ["memory map", "array", "hdf5", "zarr", "parquet"])
def test_blocks_whose_bounds_hold_are_not_read_again(kind, tmp_path, monkeypatch):
    # 16 separated clusters in the order of the rows, of which the start splits two badly: the rest
    # is settled early.
    rng = np.random.default_rng(0)
    n, d = 40_000, 16
    centers = 40 * rng.normal(size=(16, d))
    X = np.repeat(centers, n // 16, axis=0) + rng.normal(size=(n, d))
    X = X.astype(np.float32)
    X[: n // 8] = rng.normal(size=(n // 8, d)) * 20
    monkeypatch.setattr(_source, "WINDOW_BYTES", 2**18)
    start = np.vstack([X[np.arange(8)], centers[2:].astype(np.float32)])
    read = []
    model = KMeans(
        len(start), init=start, algorithm="elkan", tol=0,
        callbacks=lambda state: read.append(state.bytes_read),
    )  # fmt: skip
    model.fit(source_of(kind, X, tmp_path))
    wanted = KMeans(len(start), init=start, algorithm="lloyd", tol=0).fit(X)
    assert bits(model.cluster_centers_, model.labels_) == bits(
        wanted.cluster_centers_, wanted.labels_
    )
    steps = np.diff(read)
    assert len(steps) >= 8
    later = steps[len(steps) // 2 :]
    assert later.sum() < 0.5 * X.nbytes * len(later)
    assert model.fit_report_["bytes_read"] >= read[-1] > X.nbytes


def test_bytes_read_are_counted(tmp_path):
    X = rows("float32")
    report = kmeans(Sliced(X), 4, init=X[:4], algorithm="lloyd", max_iter=2, tol=0).report
    # Two passes of the scan, two iterations, the last E-step and the inertia.
    assert report["bytes_read"] == (2 + 2 + 1 + 1) * X.nbytes
    assert kmeans(X, 4, init=X[:4]).report["bytes_read"] == 0


def test_the_next_window_is_read_while_the_caller_has_one():
    second = threading.Event()

    class Waiting(Sliced):
        def __getitem__(self, rows):
            if rows.start:
                second.set()
            return super().__getitem__(rows)

    found = _source.windows(as_source(Waiting(rows("float32"))), 1)
    assert next(found)[0] == 0
    assert second.wait(timeout=60)
    found.close()


def test_a_step_of_k_means_plus_plus_goes_through_blocks_few_times():
    X = rows("float32")

    class Counting(Blocks):
        passes = 0

        def __iter__(self):
            type(self).passes += 1
            return super().__iter__()

    kmeans_plusplus(Counting(X), 9, n_local_trials=8, random_state=0)
    # One to see that it is no iterator, one to count, two of the scan, one to take the first row,
    # one of all rows, and one to take the centres in the end; then for each step one of all rows,
    # and one for the slots that are drawn from, and with them the candidates.
    assert Counting.passes <= 7 + 2 * 8


# ---------------------------------------------------------------- what is refused


def test_a_generator_is_refused_with_what_to_do():
    X = rows("float32")
    with pytest.raises(
        TypeError, match=r"X is a generator, which gives its rows once.*pass a list"
    ):
        KMeans(2).fit(block for block in [X])


@pytest.mark.parametrize(
    ("blocks", "error", "match"),
    [
        ([np.ones((3, 2)), np.ones((3, 3))], ValueError, "block 1 of X has 3 features"),
        ([np.ones((3, 2)), np.ones((3, 2), "f4")], ValueError, "block 1 of X has dtype float32"),
        ([np.ones((0, 2))], ValueError, "X has 0 samples"),
        ([np.array([["a", "b"]])], TypeError, "block 0 of X must be numeric"),
        ([np.ones((3, 2)), np.ones((3, 2)) * 1j], ValueError, "Complex data not supported"),
    ],
    ids=["columns", "dtype", "empty", "text", "complex"],
)
@pytest.mark.parametrize(
    "estimator", [KMeans(2), GaussianMixture(2)], ids=lambda e: type(e).__name__
)
def test_blocks_that_differ_are_refused_by_number(estimator, blocks, error, match):
    with pytest.raises(error, match=match):
        estimator.fit(blocks)
    assert not hasattr(estimator, "n_features_in_")


def test_the_first_value_that_is_not_finite_is_named(tmp_path):
    X = rows("float32")
    X[3_333, 2] = np.nan
    for kind in KINDS:
        with pytest.raises(ValueError, match=r"contains NaN: X\[3333, 2\]"):
            KMeans(2).fit(source_of(kind, X, tmp_path))


class Failing(Blocks):
    """Blocks of 500 rows of which number 7 can be read in so many passes."""

    def __init__(self, X, good):
        self.X, self.good, self.passes = X, good, 0

    def __iter__(self):
        self.passes += 1
        for index in range(10):
            if index == 7 and self.passes > self.good:
                raise OSError("the tape is torn")
            yield self.X[500 * index : 500 * (index + 1)]


@pytest.mark.parametrize("estimator", [KMeans, GaussianMixture], ids=lambda e: e.__name__)
def test_a_reader_that_fails_is_named_by_block_and_leaves_the_estimator(estimator):
    X = rows("float32")
    model = estimator(3, random_state=0).fit(X)
    before = model.__dict__.copy()
    with pytest.raises(RuntimeError, match=r"block 7 of X could not be read: OSError: the tape"):
        model.fit(Failing(X, good=2))
    assert model.__dict__ == before
    with pytest.raises(RuntimeError, match=r"block 7 of X could not be read"):
        model.predict(Failing(X, good=1))


class Changing(Blocks):
    """Blocks that are others in a later pass."""

    def __init__(self, X, change):
        self.X, self.change, self.passes = X, change, 0

    def __iter__(self):
        self.passes += 1
        blocks = list(np.split(self.X, [500, 1_000, 1_500]))
        return iter(self.change(blocks) if self.passes == 3 else blocks)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda b: b[:-1], "it ended before block 3"),
        (lambda b: [*b, b[0]], "it has a block 4"),
        (lambda b: [b[0], b[1][:-1], *b[2:]], "block 1 has 499 rows"),
        (lambda b: [b[0], b[1] + 1, *b[2:]], "block 1 has other values"),
        (lambda b: [b[1], b[0], *b[2:]], "block 0 has other values"),
    ],
    ids=["fewer", "more", "shorter", "values", "order"],
)
def test_blocks_that_change_between_passes_are_refused(change, match):
    with pytest.raises(ValueError, match=f"X changed between two passes: {match}"):
        KMeans(3, random_state=0).fit(Changing(rows("float32"), change))


def test_an_array_that_changes_between_passes_is_refused():
    class Flipping(Sliced):
        def __getitem__(self, rows):
            part = super().__getitem__(rows).copy()
            if self.reads > 20:
                part[0, 0] += 1
            return part

    X = rows("float32", n=40_000)
    with pytest.raises(
        ValueError, match=r"X changed between two passes: rows \d+ to \d+ have other"
    ):
        KMeans(3, random_state=0, tol=0).fit(Flipping(X))


def test_a_file_that_shrinks_under_its_map_is_refused(tmp_path):
    X = source_of("memory map", rows("float32"), tmp_path)
    path = tmp_path / "x.npy"

    def shrink(state):
        if state.iteration == 1:
            with open(path, "r+b") as file:
                file.truncate(mmap.PAGESIZE)

    with pytest.raises(
        ValueError, match=r"memory map of a file that has shrunk: it has 4096 bytes"
    ):
        KMeans(9, init=rows("float32")[:9], tol=0, callbacks=shrink).fit(X)


def test_nulls_are_refused_by_column(tmp_path):
    table = pyarrow.table({"a": [1.0, 2.0, None], "b": [1.0, 2.0, 3.0]})
    for statistics in (True, False):
        path = tmp_path / f"{statistics}.parquet"
        pyarrow.parquet.write_table(table, path, write_statistics=statistics)
        with pytest.raises(ValueError, match="column 'a' has 1 nulls"):
            KMeans(2).fit(ArrowSource(path))


def test_files_of_a_list_come_in_its_order(tmp_path):
    paths = [tmp_path / f"{name}.parquet" for name in "ab"]
    for at, path in enumerate(paths):
        pyarrow.parquet.write_table(pyarrow.table({"x": [10.0 * at, 10.0 * at + 1]}), path)
    assert ArrowSource(paths[::-1]).take([0, 1, 2, 3])[:, 0].tolist() == [10, 11, 0, 1]


@pytest.mark.parametrize(
    "dataset, columns, error, message",
    [
        (5, None, TypeError, "dataset must be a path, a list of paths or .*, got 5"),
        ([], None, TypeError, r"dataset must be a path, .*, got \[\]"),
        ("x.parquet", "price", TypeError, "columns must be a list of names, got 'price'"),
        ("x.parquet", ["a", "a"], ValueError, r"columns must be distinct, got \['a', 'a'\]"),
        ("x.parquet", ["z"], ValueError, "no columns are named 'z'; the columns are a, b"),
        ("x.parquet", [], ValueError, "columns is empty"),
        (".", None, ValueError, "no column is named 'b' in .*y.parquet"),
        ("empty", None, ValueError, "there are no Parquet files, or no columns in them"),
    ],
)
def test_arguments_of_arrow_sources_are_checked(
    tmp_path, monkeypatch, dataset, columns, error, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name, column in ("x", "b"), ("y", "c"):
        table = pyarrow.table({"a": [1.0, 2.0], column: [1.0, 2.0]})
        pyarrow.parquet.write_table(table, f"{name}.parquet")
    with pytest.raises(error, match=message):
        ArrowSource(dataset, columns)


def test_filtered_datasets_are_refused():
    table = pyarrow.dataset.dataset(pyarrow.table({"a": [1.0, 2.0]}))
    with pytest.raises(ValueError, match="dataset has a filter, which is not supported"):
        ArrowSource(table.filter(pyarrow.dataset.field("a") > 1))


def test_masked_rows_of_a_source_are_refused():
    class Masked(Sliced):
        def __getitem__(self, which):
            return np.ma.masked_greater(super().__getitem__(which), self.limit)

    source = Masked(rows("float64"))
    source.limit = np.inf
    KMeans(2, random_state=0).fit(source)  # a mask of nothing
    source.limit = 0.0
    with pytest.raises(ValueError, match=r"rows 0 to .* of X have masked values"):
        KMeans(2, random_state=0).fit(source)


def test_a_list_of_frames_is_a_source():
    frames = pytest.importorskip("pandas").DataFrame
    X = rows("float64")
    found = kmeans([frames(X[:11]), frames(X[11:])], 5, random_state=0)
    assert bits(found.centers) == bits(kmeans(X, 5, random_state=0).centers)


def test_another_number_of_columns_is_refused(tmp_path):
    X = rows("float32")
    model = KMeans(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="X has 4 features, but KMeans is expecting 5"):
        model.predict(Sliced(X[:, :4]))


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@pytest.mark.parametrize(
    "types, dtype", [("i4 f8", "f8"), ("u1 i8", "i8"), ("f4 f8", "f8"), ("i2 f4", "f4")]
)
def test_files_may_differ_in_the_type_of_a_column(types, dtype, order, tmp_path):
    first, second = types.split()
    parts = [np.array([0, 1, 2], dtype=first), np.array([5, 8, -9], dtype=second)]
    if parts[1].dtype.kind == "f":
        parts[1] += parts[1].dtype.type(0.7)
    for name, part in zip("ab", parts, strict=True):
        pyarrow.parquet.write_table(pyarrow.table({"x": part}), tmp_path / f"{name}.parquet")
    source = ArrowSource([tmp_path / f"{'ab'[i]}.parquet" for i in order])
    expected = np.concatenate([parts[i] for i in order])
    assert source.dtype == dtype
    np.testing.assert_array_equal(source.take(np.arange(6))[:, 0], expected.astype(dtype))


def test_a_column_that_is_no_number_in_a_later_file_is_named_with_it(tmp_path):
    for name, values in ("a", [1.0, 2.0]), ("b", ["x", "y"]):
        pyarrow.parquet.write_table(pyarrow.table({"x": values}), tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"column 'x' holds string in .*b\.parquet; expected num"):
        ArrowSource([tmp_path / "a.parquet", tmp_path / "b.parquet"])


def test_a_block_that_is_none_is_refused_and_does_not_end_the_rows():
    class Blocks:
        def __iter__(self):
            yield from (rows("float32", n=10), None, rows("float32", n=10))

    with pytest.raises(TypeError, match="block 1 of X"):
        KMeans(1, n_init=1).fit(Blocks())


def test_a_file_that_shrinks_under_a_map_of_its_later_part_is_refused(tmp_path):
    path, X = tmp_path / "x.bin", rows("float32")
    path.write_bytes(bytes(2**20 + 1000) + X.tobytes())
    mapped = np.memmap(path, "float32", "r", offset=2**20 + 1000, shape=X.shape)
    expected = KMeans(3, init=X[:3], n_init=1).fit(X)
    for Y in mapped, np.asarray(mapped), mapped[5:][::-1]:
        as_source(Y).check()
    assert bits(KMeans(3, init=X[:3], n_init=1).fit(mapped).labels_) == bits(expected.labels_)
    with open(path, "r+b") as file:
        file.truncate(2**20 + X.nbytes // 2)
    for Y in mapped, np.asarray(mapped), mapped[5:][::-1]:
        with pytest.raises(ValueError, match="memory map of a file that has shrunk"):
            KMeans(2).fit(Y)


@pytest.mark.parametrize("estimator", [KMeans(2), GaussianMixture(2)], ids=["KMeans", "mixture"])
def test_row_groups_may_be_empty(tmp_path, rng, estimator):
    table = pyarrow.table({name: rng.normal(size=300) for name in "ab"})
    with pyarrow.parquet.ParquetWriter(tmp_path / "x.parquet", table.schema) as writer:
        for rows in (0, 300, 0, 0):
            writer.write_table(table.slice(0, rows))
    estimator = clone(estimator).set_params(random_state=0)
    expected = estimator.fit(np.stack([table["a"], table["b"]], axis=1)).predict(
        np.stack([table["a"], table["b"]], axis=1)
    )
    found = estimator.fit(ArrowSource(tmp_path / "x.parquet")).predict(
        ArrowSource(tmp_path / "x.parquet")
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", [KMeans, GaussianMixture, MiniBatchKMeans])
def test_masks_over_memory_maps_are_refused(tmp_path, rng, kind, method):
    np.save(tmp_path / "x.npy", rng.normal(size=(50, 3)))
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(TypeError, match="whose mask would be ignored"):
        getattr(kind(2), method)(np.ma.array(X, mask=X > 1, copy=False))


def test_blocks_of_data_frames_have_the_same_columns(rng):
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    model = KMeans(2, random_state=0).fit([frame[:30], frame[30:]])
    assert model.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(model.labels_, model.predict(frame))
    other = frame[["b", "a"]]
    with pytest.raises(ValueError, match="block 1 of X has the columns b, a, but those before it"):
        model.fit([frame[:30], other[30:]])
    with pytest.raises(ValueError, match="The columns of X are b, a, but KMeans was fitted with a"):
        model.predict([other[:30], other[30:]])
    model.predict([frame[:30], frame[30:].to_numpy()])  # no names, nothing to compare
    batches = pyarrow.Table.from_pandas(frame).to_batches(max_chunksize=20)
    np.testing.assert_array_equal(model.predict(batches), model.labels_)
