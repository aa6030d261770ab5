# SPDX-License-Identifier: BSD-3-Clause
"""What README.md promises of a whole fit of a mixture: its bits, and its memory."""

import tracemalloc

import numpy as np
import pytest

from fastmix import GaussianMixture
from fastmix.core import _passes

N, D, K = 60_000, 4, 6  # many slots of the fold, and work for seven threads
INITS = ["kmeans", "k-means++", "random", "random_from_data"]


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(3)
    return rng.normal(size=(N, D)) + rng.integers(0, 4, size=(N, 1)) * [1.0, 2.0, 0.0, 1.0]


def fitted(X, **options):
    options = {"tol": 1e-2, "n_threads": 1, "random_state": 0} | options
    return GaussianMixture(K, **options).fit(X)


def bits(model, X):
    arrays = [model.weights_, model.means_, model.covariances_, model.predict_proba(X[:999])]
    return [array.tobytes() for array in arrays], model.lower_bounds_, model.log_likelihood_


@pytest.mark.parametrize("init", INITS)
def test_threads_do_not_change_a_bit_of_a_fit(X, init):
    expected = bits(fitted(X, init_params=init), X)
    for n_threads in (2, 3, 7):
        model = fitted(X, init_params=init, n_threads=n_threads)
        assert model.fit_report_["n_threads"] == n_threads
        assert bits(model, X) == expected


def test_cuts_into_calls_do_not_change_a_bit_of_a_fit(X, monkeypatch):
    expected = bits(fitted(X), X)
    monkeypatch.setattr(_passes, "CALL_NANOSECONDS", 1)  # a call for every slot
    assert bits(fitted(X), X) == expected


def test_memory_map_gives_the_bits_of_memory(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert bits(fitted(mapped), X) == bits(fitted(X), X)


@pytest.mark.parametrize("init", INITS)
def test_fit_makes_no_array_of_all_rows_by_components_or_columns(init):
    n, d, k = 400_000, 16, 12
    X = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    options = {"init_params": init, "max_iter": 2, "tol": 10.0, "n_threads": 2, "random_state": 0}
    GaussianMixture(k, **options).fit(X[:1000])  # imports
    tracemalloc.start()
    try:
        GaussianMixture(k, **options).fit(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * n * k  # 38 MB, where float64 vectors of the rows and blocks come to 10 to 30
