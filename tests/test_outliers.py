# SPDX-License-Identifier: BSD-3-Clause
"""One row or centre far from all others, and values that stand for none: what is near keeps its
digits."""

import math

import numpy as np
import pytest

from fastmix import GaussianMixture, KMeans
from fastmix.core import assign


def squares(X, centers):
    """Squared distances (n, k), by differences in float64."""
    return np.square(X[:, np.newaxis].astype("f8") - centers).sum(axis=2)


@pytest.mark.parametrize("far", [1e3, 1e5, 1e9, 1e16, 1e30, 1e100, 1e140])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_far_center_does_not_blur_the_near_ones(rng, dtype, far):
    X = rng.normal(size=(1000, 8)).astype(dtype)
    centers = np.vstack([X[:8], np.full((1, 8), far)]).astype("f8")
    distances = squares(X, centers)
    labels, best, second = assign(X, centers, return_distances=True)
    # But for centres that are as near to rounding, of which there are some among 8,000 pairs.
    near = np.take_along_axis(distances, labels[:, np.newaxis], axis=1)[:, 0]
    np.testing.assert_allclose(near, distances.min(axis=1), rtol=1e-5)
    np.testing.assert_allclose(best, near, rtol=1e-5 if dtype == "f4" else 1e-12, atol=1e-12)
    np.testing.assert_allclose(second, np.partition(distances, 1)[:, 1], rtol=1e-4)
    np.testing.assert_array_equal(assign(X, centers), labels)


def test_rows_are_assigned_as_in_the_fit_that_had_an_outlier(rng):
    X = np.vstack([rng.normal(size=(5000, 8)), np.full((1, 8), 1e5)]).astype("f4")
    model = KMeans(17, random_state=0, n_init=1).fit(X)
    assert (assign(X, model.cluster_centers_) == model.labels_).mean() > 0.999


@pytest.mark.parametrize("far", [1e8, 1e10, 1e12, 1e14, 1e18])
def test_objective_has_all_digits_beside_an_outlier(rng, far):
    near = rng.normal(size=(1000, 4))
    X = np.vstack([near, np.full((1, 4), far)])
    model = KMeans(2, init=X[[0, -1]], n_init=1).fit(X)
    expected = math.fsum(squares(near, model.cluster_centers_[:1])[:, 0])
    assert expected == pytest.approx(len(near) * near.var(axis=0).sum(), rel=1e-6)
    assert model.inertia_ == pytest.approx(expected, rel=1e-11)
    assert model.score(X) == pytest.approx(-expected, rel=1e-11)
    assert model.score(near) == pytest.approx(-expected, rel=1e-11)


def test_objective_beside_an_outlier_does_not_depend_on_the_order(rng):
    X = np.vstack([rng.normal(size=(30_000, 3)), np.full((1, 3), 1e13)])
    order = rng.permutation(len(X))
    start = X[[0, -1]]
    one = KMeans(2, init=start, n_init=1, n_threads=1).fit(X)
    other = KMeans(2, init=start, n_init=1, n_threads=3).fit(X[order])
    assert one.inertia_ == other.inertia_ > 0


def weighted(rng, value, dtype="f8"):
    """Two clusters, and a row of weight zero that holds a fill value."""
    X = np.vstack([rng.normal(size=(250, 3)), 2 * rng.normal(size=(250, 3)) + 6])
    filled = np.vstack([X, np.full((1, 3), value)]).astype(dtype)
    return filled[:-1], filled, np.append(np.ones(500), 0.0)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("value", [1e20, 1e30, -9.96921e36])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_fill_values_of_weight_zero_do_not_move_a_mixture(rng, covariance_type, value, dtype):
    X, filled, weights = weighted(rng, value, dtype)
    options = {
        "covariance_type": covariance_type,
        "means_init": [[0.0] * 3, [6.0] * 3],
        "tol": 0,
        "max_iter": 10,
    }
    expected = GaussianMixture(2, **options).fit(X)
    found = GaussianMixture(2, **options).fit(filled, sample_weight=weights)
    close = {"rtol": 1e-8, "atol": 1e-8} if dtype == "f8" else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(found.means_, expected.means_, **close)
    np.testing.assert_allclose(found.covariances_, expected.covariances_, **close)
    np.testing.assert_allclose(found.log_likelihood_, expected.log_likelihood_, **close)


@pytest.mark.parametrize("value", [1e155, 1e300])
def test_fill_values_beyond_all_squares_are_of_no_weight_either(rng, value):
    _, filled, weights = weighted(rng, value)
    options = {"means_init": [[0.0] * 3, [6.0] * 3], "random_state": 0}
    found = GaussianMixture(2, **options).fit(filled, sample_weight=weights)
    assert np.isfinite(found.means_).all()
    assert np.isfinite(found.log_likelihood_)


@pytest.mark.parametrize("value, dtype", [(1e20, "f8"), (-1e80, "f8"), (9.96921e36, "f4")])
@pytest.mark.parametrize("algorithm", ["auto", "lloyd", "elkan"])
def test_fill_values_of_weight_zero_do_not_move_centers(rng, algorithm, value, dtype):
    X, filled, weights = weighted(rng, value, dtype)
    options = {"init": X[[0, 300]], "n_init": 1, "algorithm": algorithm}
    expected = KMeans(2, **options).fit(X)
    found = KMeans(2, **options).fit(filled, sample_weight=weights)
    np.testing.assert_array_equal(found.labels_[:-1], expected.labels_)
    np.testing.assert_allclose(found.cluster_centers_, expected.cluster_centers_, rtol=1e-6)
    assert found.cluster_centers_.dtype == dtype
    assert found.inertia_ == pytest.approx(expected.inertia_, rel=1e-9)
    np.testing.assert_array_equal(found.predict(filled), found.labels_)


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_rows_that_span_all_of_float64_have_finite_centers(rng, init):
    X = rng.normal(size=(1000, 2)) * 1e306 + 1e308
    X[0] = -1e308
    model = KMeans(2, init=init, n_init=1, random_state=0).fit(X)
    assert np.isfinite(model.cluster_centers_).all()
    signs = np.where(rng.random((60, 3)) < 0.5, -1.7e308, 1.7e308)
    labels = KMeans(8, n_init=1, random_state=0).fit(signs).labels_
    np.testing.assert_array_equal(equal_rows(signs), equal_rows(labels[:, np.newaxis]))


def equal_rows(rows):
    """Which rows are equal, (n, n)."""
    return (rows[:, np.newaxis] == rows).all(axis=2)


def test_a_mixture_of_rows_that_span_all_of_float64_is_finite(rng):
    X = np.where(rng.random((60, 3)) < 0.5, -1.7e308, 1.7e308)
    for init in "random", "kmeans":
        model = GaussianMixture(2, random_state=0, init_params=init, reg_covar="auto").fit(X)
        assert np.isfinite(model.means_).all()
        assert np.isfinite(model.log_likelihood_)


@pytest.mark.parametrize("seed", range(20))
def test_the_sign_of_zero_makes_no_row_another(seed):
    X = np.round(np.random.default_rng(seed).normal(size=(150, 1)))
    assert np.signbit(X[X == 0]).any()
    options = {"covariance_type": "spherical", "random_state": seed, "reg_covar": "auto"}
    one, other = (GaussianMixture(3, **options).fit(Y) for Y in (X, X + 0.0))
    np.testing.assert_array_equal(one.means_, other.means_)
    assert one.log_likelihood_ == other.log_likelihood_


def test_repair_takes_no_two_rows_that_differ_in_the_sign_of_zero():
    X = np.array([[0.0], [-0.0], [5], [5.5], [6], [6.5], [7]])
    fits = [KMeans(3, init=[[6.0], [50], [60]], n_init=1, max_iter=1).fit(Y) for Y in (X, X + 0.0)]
    for fit in fits:
        np.testing.assert_array_equal(fit.cluster_centers_, fits[1].cluster_centers_)
    assert len(set(fits[0].cluster_centers_.ravel())) == 3
