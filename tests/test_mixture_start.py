# SPDX-License-Identifier: BSD-3-Clause
"""How a mixture starts: samples of many rows, weights, and what the user gives."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastmix import GaussianMixture
from fastmix.core import _mixture_start

INITS = ("kmeans", "k-means++", "random", "random_from_data")


@pytest.fixture
def truth(rng):
    """Three overlapping components in columns of very different units: rows and parameters."""
    weights, means = np.array([0.5, 0.3, 0.2]), np.array([[0.0, 0.0], [4.0, 3000.0], [8.0, 0.0]])
    covariances = np.array([np.diag(v) for v in ([1.0, 1e6], [2.0, 5e5], [0.5, 2e6])])
    model = GaussianMixture.from_parameters(weights, means, covariances, random_state=0)
    return model.sample(9000)[0], model


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("short_runs", [1, 10])
def test_fit_of_many_rows_starts_from_a_sample_of_them(truth, weighted, short_runs, monkeypatch):
    X, model = truth
    monkeypatch.setattr(_mixture_start, "LEAST_SAMPLE", 500)
    monkeypatch.setattr(_mixture_start, "SHORT_RUNS", short_runs)
    weights = None
    if weighted:  # twice the rows, of which every other one does not count
        X = np.repeat(X, 2, axis=0)
        X[1::2] = 1e4
        weights = np.tile([1.0, 0.0], 9000)
    found = GaussianMixture(3, random_state=1, tol=1e-6, max_iter=500).fit(X, None, weights)
    if short_runs > 1:
        assert "on 500 rows" in found.fit_report_["reason"]
    # The optimum is above the truth, by half the number of parameters on average.
    assert 0 < found.log_likelihood_ - model.score(X, None, weights) * 9000 < 30
    assert_allclose(np.sort(found.means_[:, 0]), [0, 4, 8], atol=0.2)


def test_sample_takes_one_row_from_each_share_of_the_weight(truth, monkeypatch):
    X, _ = truth
    seen = []
    monkeypatch.setattr(_mixture_start, "LEAST_SAMPLE", 100)
    sample = _mixture_start.Starter._sample

    def record(self):
        seen.append(sample(self))
        return seen[-1]

    monkeypatch.setattr(_mixture_start.Starter, "_sample", record)
    weights = np.zeros(9000)
    weights[:2000] = 1.0
    weights[2000:3000] = 2.0
    for w in (None, weights):
        GaussianMixture(2, random_state=0, max_iter=1, reg_covar="auto").fit(X, None, w)
    plain, weighted = (rows for rows, _ in seen)
    assert_array_equal(plain // 90, np.arange(100))
    shares = np.where(weighted < 2000, weighted // 40, 50 + (weighted - 2000) // 20)
    assert_array_equal(shares, np.arange(100))


@pytest.mark.parametrize("init", INITS)
def test_every_start_fits(truth, init):
    X, model = truth
    found = GaussianMixture(
        3, init_params=init, n_init=4, random_state=0, tol=1e-5, max_iter=600
    ).fit(X)
    assert found.log_likelihood_ > model.score(X) * 9000


@pytest.mark.parametrize("init", ["k-means++", "random_from_data"])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_start_from_rows_has_them_as_means(truth, init, kind):
    X, _ = truth
    model = GaussianMixture(
        3, covariance_type=kind, init_params=init, max_iter=0, random_state=0
    ).fit(X)
    distances = np.abs(model.means_[:, np.newaxis] - X).max(axis=2)
    # A row leaves the frame as it came, but for the rounding of the pivot.
    assert (distances.min(axis=1) < 1e-9).all()
    assert len(set(distances.argmin(axis=1))) == 3


def test_rows_without_weight_are_never_drawn(truth):
    X, _ = truth
    weights = np.zeros(9000)
    weights[::100] = 1
    for init in ("k-means++", "random_from_data"):
        model = GaussianMixture(5, init_params=init, max_iter=0, random_state=0)
        means = model.fit(X, sample_weight=weights).means_
        distances = np.abs(means[:, np.newaxis] - X).max(axis=2)
        assert (distances.argmin(axis=1) % 100 == 0).all()


def test_random_start_is_near_the_mean_of_all(truth):
    X, _ = truth
    model = GaussianMixture(3, init_params="random", max_iter=0, random_state=0).fit(X)
    # Means of 3000 rows' worth of weight: five standard errors.
    assert np.abs((model.means_ - X.mean(axis=0)) / X.std(axis=0)).max() < 5 / 50
    assert_allclose(model.weights_, 1 / 3, atol=0.02)


@pytest.mark.parametrize("name", ["weights_init", "means_init", "precisions_init"])
@pytest.mark.parametrize("init", INITS)
def test_what_is_given_is_started_from(truth, name, init):
    X, model = truth
    value = getattr(model, name.replace("_init", "_"))
    found = GaussianMixture(3, init_params=init, max_iter=0, random_state=0, **{name: value}).fit(X)
    assert_allclose(getattr(found, name.replace("_init", "_")), value, rtol=1e-12, atol=1e-12)


def test_all_given_is_one_start(truth):
    X, model = truth
    given = {
        "weights_init": model.weights_,
        "means_init": model.means_,
        "precisions_init": model.precisions_,
    }
    found = GaussianMixture(3, n_init=5, random_state=0, **given).fit(X)
    assert len(found.fit_report_["starts"]) == 1
    assert_allclose(found.lower_bounds_[0], model.score(X), rtol=1e-12)
    assert found.fit_report_["reason"] == "all parameters given"
