# SPDX-License-Identifier: BSD-3-Clause
"""Hostile input: an error that names the argument and the first offending place.

Awkward but valid input is in test_hostile_values.py, faults of the machine (signals, forks, limits)
in test_hostile_faults.py.
"""

import datetime
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from fastmix import GaussianMixture, KMeans, MiniBatchKMeans, assign, kmeans, kmeans_plusplus

NAN = float("nan")
CENTERS = np.array([[0.0, 0.0], [10.0, 10.0], [0.0, 10.0]])


def blobs(n=60, dtype=np.float64):
    """Three blobs of integer-valued rows, which every dtype holds exactly, and their labels."""
    labels = np.arange(n) % len(CENTERS)
    noise = np.random.default_rng(0).integers(0, 4, size=(n, 2))
    return (CENTERS[labels] + noise).astype(dtype), labels


def fit_estimator(X, k=3, **options):
    return KMeans(k, init="random", random_state=0).fit(X, **options)


def fit_function(X, k=3, **options):
    return kmeans(X, k, random_state=0, **options)


def seed(X, k=3, **options):
    return kmeans_plusplus(X, k, random_state=0, **options)


def nearest(X, k=3):
    return assign(X, CENTERS[:k])


FITS = pytest.mark.parametrize("fit", [fit_estimator, fit_function, seed], ids=lambda f: f.__name__)
ALL = pytest.mark.parametrize(
    "fit", [fit_estimator, fit_function, seed, nearest], ids=lambda f: f.__name__
)


def bits(model):
    return model.cluster_centers_.tobytes(), model.labels_.tobytes(), model.inertia_


def fitted(X, **options):
    """A fit from one start, whatever the dtype of X."""
    return KMeans(3, init=CENTERS).fit(X, **options)


# X that raises.


def with_value(value, dtype=np.float64):
    X, _ = blobs(dtype=dtype)
    X[3, 1] = value
    X[7, 0] = value
    return X


NAN, INF = float("nan"), float("inf")
BAD_X = {
    "nan": (lambda: with_value(NAN), ValueError, r"X\b.*NaN.*X\[3, 1\] = nan"),
    "inf": (lambda: with_value(INF), ValueError, r"X\b.*infinity.*X\[3, 1\] = inf"),
    "minus_inf": (lambda: with_value(-INF), ValueError, r"X\b.*infinity.*X\[3, 1\] = -inf"),
    "float32_nan": (lambda: with_value(NAN).astype("f4"), ValueError, r"X\[3, 1\] = nan"),
    "float16_inf": (lambda: with_value(INF).astype("f2"), ValueError, r"X\[3, 1\] = inf"),
    "strided_nan": (lambda: np.asfortranarray(with_value(NAN)), ValueError, r"X\[3, 1\]"),
    "one_dimension": (lambda: np.arange(9.0), ValueError, "Expected 2D array, got 1D"),
    "three_dimensions": (lambda: np.zeros((9, 2, 2)), ValueError, "dim 3|3D array"),
    "scalar": (lambda: 3.0, ValueError, "Expected 2D array"),
    "no_rows": (lambda: np.zeros((0, 2)), ValueError, "0 sample"),
    "no_columns": (lambda: np.zeros((9, 0)), ValueError, "0 feature"),
    "uint64_beyond_2_53": (
        lambda: np.array([[2**63 + i, i] for i in range(9)], dtype=np.uint64),
        ValueError,
        r"X\b.*2\*\*53",
    ),
    "strings": (lambda: blobs()[0].astype(str), TypeError, r"X\b.*numeric"),
    "string_among_objects": (
        lambda: np.array([[1.0, 2.0], ["3", 4.0], [5.0, 6.0]], dtype=object),
        TypeError,
        r"X\b.*numeric.*str",
    ),
    "none_among_objects": (
        lambda: np.array([[1.0, 2.0], [None, 4.0], [5.0, 6.0]], dtype=object),
        (TypeError, ValueError),
        r"X\b",
    ),
    "complex": (lambda: blobs()[0] * 1j, ValueError, "Complex data not supported"),
    "masked": (lambda: np.ma.masked_less(blobs()[0], 1), TypeError, r"X\b.*masked.*fill"),
    "dates": (lambda: np.zeros((9, 2), dtype="M8[s]"), TypeError, r"X\b.*datetime64"),
    "beyond_float64": (
        lambda: with_value(np.longdouble("1e400"), np.longdouble),
        ValueError,
        r"X\[3, 1\] = inf",
    ),
    "sparse_beyond_float64": (
        lambda: sparse.csr_array(with_value(np.longdouble("1e400"), np.longdouble)),
        ValueError,
        r"X\[3, 1\] = inf",
    ),
    "none": (lambda: None, TypeError, "X is None"),
    "ragged": (lambda: [[1.0, 2.0], [3.0]], ValueError, "X is no matrix"),
    "lazy": (lambda: pl.LazyFrame({"a": [1.0], "b": [2.0]}), TypeError, r"X\.collect\(\)"),
    **{
        f"{kind}_of_{library}": (
            lambda columns=columns, make=make: make({"a": [1.0, 2.0, 3.0], "b": columns}),
            TypeError,
            rf"X must be numeric, got {what}.* in column 'b'",
        )
        for kind, columns, what in (
            ("strings", ["1", "2", "3"], "a string"),
            ("times", [datetime.datetime(2020, 1, i) for i in (1, 2, 3)], "datetime64"),
        )
        for library, make in (
            ("pandas", pd.DataFrame),
            ("polars", pl.DataFrame),
            ("arrow", pa.table),
        )
    },
}


@ALL
@pytest.mark.parametrize("case", BAD_X)
def test_bad_x_raises_naming_the_first_place(fit, case):
    make, error, message = BAD_X[case]
    with pytest.raises(error, match=message):
        fit(make())


@pytest.mark.parametrize("case", BAD_X)
def test_bad_x_leaves_a_fitted_estimator_as_it_was(case):
    model = fitted(blobs()[0])
    before = dict(vars(model))
    with pytest.raises((ValueError, TypeError)):
        model.fit(BAD_X[case][0]())
    assert {name: id(value) for name, value in vars(model).items()} == {
        name: id(value) for name, value in before.items()
    }


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_nan_in_new_rows_raises_naming_the_first_place(method):
    with pytest.raises(ValueError, match=r"X\[3, 1\] = nan"):
        getattr(fitted(blobs()[0]), method)(with_value(NAN))


def test_bad_input_raises_before_the_start_is_computed():
    def never(X, n_clusters, random_state):
        raise AssertionError("init was called")

    with pytest.raises(ValueError, match=r"X\[3, 1\] = nan"):
        KMeans(3, init=never).fit(with_value(NAN))


# N_clusters.


@FITS
def test_more_clusters_than_rows_raises(fit):
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        fit(np.zeros((2, 2)))


@FITS
@pytest.mark.parametrize("k", [0, -1, 2.0, "3", True, None], ids=repr)
def test_n_clusters_that_is_no_positive_integer_raises(fit, k):
    with pytest.raises((ValueError, TypeError), match=rf"n_clusters.*{re.escape(repr(k))}"):
        fit(blobs()[0], k)


# Weights.


def weights_with(value, n=60):
    weights = np.ones(n)
    weights[[3, 7]] = value
    return weights


BAD_WEIGHTS = {
    "one_negative": (weights_with(-1), ValueError, r"sample_weight\[3\] = -1.0 is negative"),
    "all_negative": (-np.ones(60), ValueError, r"sample_weight\[0\] = -1.0 is negative"),
    "all_zero": (np.zeros(60), ValueError, "sample_weight.*zero"),
    "nan": (weights_with(NAN), ValueError, r"sample_weight.*NaN.*sample_weight\[3\] = nan"),
    "inf": (weights_with(INF), ValueError, r"sample_weight.*infinity.*sample_weight\[3\] = inf"),
    "too_short": (np.ones(59), ValueError, r"sample_weight.shape == \(59,\), expected \(60,\)"),
    "two_dimensions": (np.ones((60, 1)), ValueError, "Sample weights must be 1D"),
    "strings": (np.full(60, "1"), TypeError, "sample_weight must be numeric"),
    "complex": (np.ones(60, dtype=complex), TypeError, "sample_weight must be numeric"),
    "masked": (np.ma.masked_equal(weights_with(2), 2), TypeError, "sample_weight.*masked"),
    "objects": (np.array([None] * 60), (TypeError, ValueError), "sample_weight"),
    "negative_scalar": (-1.0, ValueError, "sample_weight.*negative"),
}


@FITS
@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights_raise_naming_the_first_place(fit, case):
    weights, error, message = BAD_WEIGHTS[case]
    with pytest.raises(error, match=message):
        fit(blobs()[0], sample_weight=weights)


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights_leave_a_fitted_estimator_as_it_was(case):
    model = fitted(blobs()[0])
    before = bits(model)
    with pytest.raises((ValueError, TypeError)):
        model.fit(blobs()[0] + 1, sample_weight=BAD_WEIGHTS[case][0])
    assert bits(model) == before


# Init.

BAD_INIT = {
    "nan": (np.where(CENTERS == 10, NAN, CENTERS), r"init.*NaN.*init\[1, 0\] = nan"),
    "wrong_columns": (np.zeros((3, 5)), r"shape of the initial centers \(3, 5\).*features"),
    "wrong_rows": (np.zeros((2, 2)), r"shape of the initial centers \(2, 2\).*clusters 3"),
    "one_dimension": (np.zeros(3), "init|2D array"),
    "name": ("kmeans++", "init"),
}


@pytest.mark.parametrize(
    "case, returned",
    [(case, False) for case in BAD_INIT] + [(case, True) for case in BAD_INIT if case != "name"],
    ids=lambda value: {True: "returned", False: "given"}.get(value, value),
)
def test_bad_init_raises_naming_it(case, returned):
    init, message = BAD_INIT[case]
    given = (lambda X, n_clusters, random_state: init) if returned else init
    model = KMeans(3, init=given)
    with pytest.raises(ValueError, match=message):
        model.fit(blobs()[0])
    assert not hasattr(model, "labels_")


def test_init_callable_cannot_write_x():
    def scribble(X, n_clusters, random_state):
        X[...] = 0
        return X[:n_clusters]

    X, _ = blobs()
    before = X.copy()
    with pytest.raises(ValueError, match="read-only"):
        KMeans(3, init=scribble).fit(X)
    np.testing.assert_array_equal(X, before)
    assert X.flags.writeable


def test_init_callable_cannot_write_a_sparse_x():
    X = sparse.csr_array(blobs()[0])

    def write(X, n_clusters, random_state):
        X.data[0] = 99

    with pytest.raises(ValueError, match="read-only"):
        KMeans(3, init=write).fit(X)


@pytest.mark.parametrize("fit", [fit_estimator, fit_function, seed, nearest])
@pytest.mark.parametrize(
    "indices, indptr, name",
    [([0, -1, 1], [0, 1, 2, 3], "indices"), ([0, 2, 1], [0, 1, 2, 3], "indices"),
     ([0, 1, 1], [0, 3, 2, 3], "indptr"), ([0, 1, 1], [0, 1, 3], "indptr"),
     ([0, 1, 1], [0, 1, 2, 4], "indptr"), ([0, 1, 1], [1, 1, 2, 3], "indptr")],
)  # fmt: skip
@pytest.mark.parametrize("index", ["i4", "u4"])
def test_sparse_x_with_indices_outside_raises(fit, indices, indptr, name, index):
    X = sparse.csr_array(np.eye(3, 2) + 1)
    X.data, X.indices = np.ones(3), np.array(indices).astype(index)
    X.indptr = np.array(indptr, dtype=index)
    with pytest.raises(ValueError, match=rf"X\.{name}"):
        fit(X, 2)


def test_sparse_centers_with_indices_outside_raise():
    centers = sparse.csr_array(np.eye(3, 2) + 1)
    centers.indices = centers.indices + 1
    with pytest.raises(ValueError, match=r"centers\.indices\[1\] = 2"):
        assign(np.eye(3, 2), centers)


@pytest.mark.parametrize("dtype", [object, "str"])
def test_data_frame_with_strings_raises_naming_the_column(dtype):
    frame = pd.DataFrame({"a": [1.0, 2, 3], "b": pd.Series(["1", "2", "3"], dtype=dtype)})
    with pytest.raises(TypeError, match="'b'"):
        KMeans(2).fit(frame)


def test_weights_that_are_strings_in_an_object_array_raise():
    X, _ = blobs()
    with pytest.raises(TypeError, match="sample_weight"):
        KMeans(3).fit(X, sample_weight=np.full(len(X), "1", dtype=object))


def test_centers_of_another_width_raise_naming_them():
    with pytest.raises(ValueError, match=r"centers has shape \(3, 2\), expected \(n_clusters, 4\)"):
        assign(np.ones((5, 4)), CENTERS)


@pytest.mark.parametrize("tol", ["a", None, -1, NAN, True], ids=repr)
def test_tol_that_is_no_number_raises_naming_it(tol):
    with pytest.raises((TypeError, ValueError), match="tol"):
        kmeans(blobs()[0], 3, tol=tol)


@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans, GaussianMixture])
@pytest.mark.parametrize("name", ["tol", "max_iter"])
def test_integers_beyond_float64_are_refused_by_name(make, name):
    with pytest.raises(ValueError, match=f"{name} is beyond float64"):
        make(2, **{name: 10**400}).fit(blobs()[0])


# Warnings.


def far_rows():
    return np.random.default_rng(0).normal(size=(60, 2)) * 1e-9


WARNED = {
    "copies": lambda: KMeans(3, random_state=0).fit(np.ones((9, 2))),
    "given_start": lambda: KMeans(3, init=CENTERS, n_init=2).fit(blobs()[0]),
    "elkan": lambda: KMeans(1, algorithm="elkan", random_state=0).fit(blobs()[0]),
    "inertia": lambda: KMeans(2, random_state=0).fit(blobs()[0] * 1e160),
    "function": lambda: kmeans(blobs()[0] * 1e160, 2, random_state=0),
    "batches_given_start": lambda: MiniBatchKMeans(3, init=CENTERS, n_init=2).fit(blobs()[0]),
    "batches_start": lambda: MiniBatchKMeans(3, init_size=2, random_state=0).fit(blobs()[0]),
    "batches_start_part": lambda: MiniBatchKMeans(3, init_size=2).partial_fit(blobs()[0]),
    "mixture_ends": lambda: GaussianMixture(2, max_iter=1, tol=0).fit(blobs()[0]),
    "mixture_predicts": lambda: GaussianMixture(2, max_iter=1, tol=0).fit_predict(blobs()[0]),
    "mixture_few": lambda: GaussianMixture(1).fit(np.eye(3)),
    "mixture_drowns": lambda: GaussianMixture(1).fit(far_rows()),
    "mixture_drowns_part": lambda: GaussianMixture(1).partial_fit(far_rows()),
}


@pytest.mark.parametrize("case", WARNED)
def test_warnings_name_the_line_of_the_user(case):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        WARNED[case]()
    assert caught
    assert {warning.filename for warning in caught} == {__file__}
