# SPDX-License-Identifier: BSD-3-Clause
"""Awkward but valid input: degenerate rows, layouts, dtypes, extreme weights and values, sizes.

Input that must raise is in test_hostile.py.
"""

import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastmix import KMeans, MiniBatchKMeans, assign
from fastmix.core import Moments

NAN = float("nan")
CENTERS = np.array([[0.0, 0.0], [10.0, 10.0], [0.0, 10.0]])


def blobs(n=60, dtype=np.float64):
    """Three blobs of integer-valued rows, which every dtype holds exactly, and their labels."""
    labels = np.arange(n) % len(CENTERS)
    noise = np.random.default_rng(0).integers(0, 4, size=(n, 2))
    return (CENTERS[labels] + noise).astype(dtype), labels


def same_partition(labels, truth):
    """Do two labellings agree up to the names of the clusters?"""
    return len(set(zip(labels, truth, strict=True))) == len(set(truth)) == len(set(labels))


def bits(model):
    return model.cluster_centers_.tobytes(), model.labels_.tobytes(), model.inertia_


def fitted(X, **options):
    """A fit from one start, whatever the dtype of X."""
    return KMeans(3, init=CENTERS).fit(X, **options)


# Degenerate rows and starts.


def test_as_many_clusters_as_rows_has_inertia_zero():
    X, _ = blobs(7)
    X[:, 0] += 0.1 * np.arange(7)
    model = KMeans(7, random_state=0).fit(X)
    assert model.inertia_ == 0
    assert len(set(model.labels_)) == 7


def test_one_cluster_has_the_mean_and_the_total_variance():
    X, _ = blobs()
    model = KMeans(1, random_state=0).fit(X)
    # Sums of small integers are exact; the quotient is rounded once, the inertia a few times.
    np.testing.assert_allclose(model.cluster_centers_[0], X.mean(axis=0), rtol=4e-16)
    np.testing.assert_allclose(model.inertia_, len(X) * X.var(axis=0).sum(), rtol=1e-14)


@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("value", [0.1, -1e30, 1e-300])
def test_identical_rows_give_that_row_and_a_warning(init, value):
    X = np.full((9, 3), value)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(1\).*n_clusters \(3\)"):
        model = KMeans(3, init=init, random_state=0).fit(X)
    assert model.inertia_ == 0
    np.testing.assert_array_equal(model.cluster_centers_, X[:3])


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_fewer_distinct_rows_than_clusters_give_inertia_zero(init):
    X = np.repeat([[0.1, 0.2], [0.7, 0.3]], 10, axis=0)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(2\)"):
        model = KMeans(4, init=init, random_state=0).fit(X)
    assert model.inertia_ == 0
    # Rows of X but for the rounding of x - pivot, which is below one unit of the greatest value.
    nearest = np.abs(model.cluster_centers_[:, None] - X[[0, 10]]).max(axis=2).min(axis=1)
    assert nearest.max() <= np.spacing(0.7)


def test_identical_rows_of_init_still_separate_the_blobs():
    X, _ = blobs()
    model = KMeans(3, init=np.zeros((3, 2))).fit(X)
    assert len(set(model.labels_)) == 3


# Layouts and dtypes of X.


def reversed_rows(X):
    return np.ascontiguousarray(X[::-1])[::-1]


def every_other(X):
    wide = np.full((2 * len(X), 2 * X.shape[1]), NAN).astype(X.dtype)
    wide[::2, ::2] = X
    return wide[::2, ::2]


def unaligned(X):
    memory = np.zeros(X.nbytes + 1, dtype=np.uint8)
    view = memory[1:].view(X.dtype).reshape(X.shape)
    view[...] = X
    return view


def swapped(X):
    return X.astype(X.dtype.newbyteorder())


LAYOUTS = [np.asfortranarray, reversed_rows, every_other, unaligned, swapped]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_layout_of_x_does_not_change_a_bit(layout, dtype):
    X = np.random.default_rng(0).normal(size=(203, 2)).astype(dtype)
    assert bits(fitted(layout(X))) == bits(fitted(X))


def test_read_only_memory_map_is_neither_copied_nor_written(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "X.npy"
    np.save(path, rng.normal(size=(30_000, 100)))
    X = np.load(path, mmap_mode="r")
    before = path.read_bytes()
    tracemalloc.start()
    model = KMeans(3, random_state=0, max_iter=5, tol=0).fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bits(model) == bits(KMeans(3, random_state=0, max_iter=5, tol=0).fit(np.array(X)))
    assert path.read_bytes() == before
    assert peak < X.nbytes / 4


@pytest.mark.parametrize("dtype", "i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 g O".split())
def test_numeric_dtype_gives_the_float64_fit(dtype):
    X, truth = blobs()
    model, wide = fitted(X.astype(dtype)), fitted(X)
    np.testing.assert_array_equal(model.labels_, wide.labels_)
    # float32 centres are rounded once; all others are float64.
    assert model.cluster_centers_.dtype == (np.float32 if dtype == "f4" else np.float64)
    np.testing.assert_allclose(model.cluster_centers_, wide.cluster_centers_, rtol=6e-8)
    assert same_partition(model.labels_, truth)


def test_bool_gives_the_float64_fit():
    X = np.random.default_rng(0).random((50, 6)) < 0.5
    start = X[:3].astype(float)
    model, wide = (KMeans(3, init=start).fit(data) for data in (X, X.astype(float)))
    np.testing.assert_array_equal(model.labels_, wide.labels_)
    np.testing.assert_allclose(model.cluster_centers_, wide.cluster_centers_, rtol=1e-15)


@pytest.mark.parametrize("weight", [1e308, 1e-320, 5e-324, 1e-200, 1e200])
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_extreme_equal_weights_give_the_unweighted_clusters(weight, init):
    X, truth = blobs()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = KMeans(3, init=init, n_init=5, random_state=0).fit(X, sample_weight=[weight] * 60)
    assert same_partition(model.labels_, truth)
    assert np.isfinite(model.cluster_centers_).all()
    assert not np.isnan(model.inertia_)


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_rows_of_weight_zero_never_become_centers(init):
    X, _ = blobs()
    X += 0.01 * np.arange(60)[:, None]  # no two rows alike
    weights = np.zeros(60)
    weights[[4, 11]] = 1
    with pytest.warns(ConvergenceWarning):
        model = KMeans(5, init=init, random_state=0).fit(X, sample_weight=weights)
    heavy = {tuple(row) for row in X[[4, 11]]}
    assert {tuple(center) for center in model.cluster_centers_} == heavy
    assert model.inertia_ == 0


# Range of the values.

SCALES = {
    "squares_overflow": (1e160, "f8"),
    "largest": (8e306, "f8"),
    "squares_underflow": (1e-170, "f8"),
    "subnormal": (1e-310, "f8"),
    "float32_overflow": (1e25, "f4"),
    "float32_largest": (2e37, "f4"),
    "float32_underflow": (1e-30, "f4"),
    "float32_subnormal": (1e-42, "f4"),
}


@pytest.mark.parametrize("case", SCALES)
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_scale_of_x_does_not_change_the_clusters(case, init):
    scale, dtype = SCALES[case]
    X, truth = blobs()
    X = (X * scale).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an inertia that is not representable
        model = KMeans(3, init=init, n_init=5, random_state=0).fit(X)
    assert same_partition(model.labels_, truth)
    assert np.isfinite(model.cluster_centers_).all()
    assert not np.isnan(model.inertia_)
    np.testing.assert_array_equal(model.predict(X), model.labels_)


@pytest.mark.parametrize(
    "scale, constant, dtype",
    [(1e-20, 1e20, "f4"), (1e-20, 3e38, "f4"), (1e-200, 1e120, "f8"), (1e-150, 1e250, "f8")],
)
@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
@pytest.mark.filterwarnings("ignore:overflow encountered")  # of the means below
def test_a_large_constant_column_does_not_change_the_clusters(make, scale, constant, dtype):
    X, truth = blobs()
    X = np.column_stack([X * scale, np.full(len(X), constant)]).astype(dtype)
    model = make(3, n_init=5, random_state=0).fit(X)
    assert same_partition(model.labels_, truth)
    np.testing.assert_array_equal(model.cluster_centers_[:, -1], X[:3, -1])
    means = [X[model.labels_ == j].mean(axis=0, dtype=float)[:2] / scale for j in range(3)]
    if make is KMeans:
        np.testing.assert_allclose(model.cluster_centers_[:, :2] / scale, means, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(assign(X, model.cluster_centers_), model.labels_)


def test_largest_values_of_either_sign_have_the_right_clusters():
    X = np.array([[1.7e308], [1.6e308], [-1.7e308], [-1.6e308]])
    model = KMeans(2, random_state=0).fit(X)
    assert same_partition(model.labels_, [0, 0, 1, 1])
    np.testing.assert_allclose(sorted(model.cluster_centers_.ravel()), [-1.65e308, 1.65e308])


@pytest.mark.parametrize("offset, dtype", [(1e8, "f8"), (1e15, "f8"), (1e6, "f4")])
def test_offset_of_x_does_not_change_the_clusters(offset, dtype):
    X, truth = blobs()
    model = KMeans(3, n_init=5, random_state=0).fit((X + offset).astype(dtype))
    assert same_partition(model.labels_, truth)
    # Integer-valued rows: exact but for the rounding of the residuals to float64.
    np.testing.assert_allclose(model.inertia_, fitted(X).inertia_, rtol=1e-12)


# Size.


def test_twenty_thousand_columns_are_clustered():
    X, truth = blobs()
    wide = np.tile(X, (1, 10_000))
    assert same_partition(KMeans(3, n_init=5, random_state=0).fit(wide).labels_, truth)


def test_more_than_2_31_distances_are_indexed_right():
    rows = np.arange(70_000.0)[:, None]
    labels = assign(rows, rows[:31_000])
    np.testing.assert_array_equal(labels, np.minimum(np.arange(70_000), 30_999))


def test_rows_beyond_4_gib_are_addressed_right(tmp_path):
    X, _ = blobs(100)
    apart = 1 << 26  # bytes from row to row
    file = np.memmap(tmp_path / "sparse", dtype=np.uint8, mode="w+", shape=100 * apart)
    far = np.ndarray((100, 2), np.float64, file, strides=(apart, 8))
    far[...] = X  # a page a row: the rest of the file is holes
    assert bits(fitted(far)) == bits(fitted(X))


def test_inertia_beyond_float64_is_infinite_with_a_warning():
    X, truth = blobs()
    with pytest.warns(RuntimeWarning, match="inertia is infinite"):
        model = KMeans(3, init=CENTERS * 1e160).fit(X * 1e160)
    assert model.inertia_ == np.inf
    assert same_partition(model.labels_, truth)


@pytest.mark.parametrize("weight", [1.7e308, 2.0**1023, 5e-324])
def test_weights_at_the_ends_of_float64_are_counted_whole(weight):
    X = np.array([[0.0], [1e-5]])
    model = KMeans(1, init=[[0.0]]).fit(X, sample_weight=[weight, 0.0])
    assert model.counts_[0] == weight
    moments = Moments.under([1.0], [[0.0]], [1.0], "spherical").accumulate(X[:1], [weight])
    assert moments.total == weight


def test_partial_fit_goes_on_from_a_fit_with_weights_beyond_the_middle_of_float64(rng):
    X = rng.normal(size=(600, 2))
    weights = np.full(600, 1e300)
    once = KMeans(2, random_state=0).fit(X, sample_weight=weights)
    once.partial_fit(X, sample_weight=weights)
    np.testing.assert_allclose(once.counts_.sum(), 2 * 600 * 1e300, rtol=1e-12)
