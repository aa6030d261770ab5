# SPDX-License-Identifier: BSD-3-Clause
"""What README.md promises of a whole fit of a mixture: its bits, and its memory."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fastmix import GaussianMixture
from fastmix.core import _passes
from fastmix.core._kernels import supported_isas
from fastmix.core._mixture_scan import scan_columns
from fastmix.core._parameters import COVARIANCE_TYPES

N, D, K = 60_000, 4, 6  # many slots of the fold, and work for seven threads
INITS = ["kmeans", "k-means++", "random", "random_from_data"]


# Run in a process that uses another kernel table.
CHILD = (
    "import sys; sys.path.append(sys.argv[1]); import test_mixture_promises as t; print(t.hashes())"
)


def sample():
    rng = np.random.default_rng(3)
    return rng.normal(size=(N, D)) + rng.integers(0, 4, size=(N, 1)) * [1.0, 2.0, 0.0, 1.0]


@pytest.fixture(scope="module")
def X():
    return sample()


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


def test_fits_at_once_in_several_threads_give_the_same_bits(X):
    expected = bits(fitted(X), X)
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: fitted(X, n_threads=2), range(8)))
    assert all(bits(model, X) == expected for model in models)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_fits(X):
    expected = bits(fitted(X, n_threads=2), X)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(bits_of_fit, (X,)).get(timeout=60) == expected


def bits_of_fit(X):
    return bits(fitted(X, n_threads=2), X)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_rows_alone_have_the_bits_of_rows_together(X, dtype, kind):
    X = X.astype(dtype)
    model, some = fitted(X[:2000], covariance_type=kind), X[:200]
    for method in (model.score_samples, model.predict_proba, model.predict):
        alone = [method(some[at : at + 7]) for at in range(0, 200, 7)]
        np.testing.assert_array_equal(np.concatenate(alone), method(some))


def hashes():
    """Hash of a weighted fit of each covariance type in each dtype."""
    X = sample()[:5000]
    weights = np.arange(len(X)) % 3
    digests = {}
    for kind in COVARIANCE_TYPES:
        for dtype in ("f4", "f8"):
            model = GaussianMixture(K, covariance_type=kind, tol=1e-2, random_state=0)
            found = bits(model.fit(X.astype(dtype), sample_weight=weights), X)
            digests[f"{kind} {dtype}"] = hashlib.sha256(repr(found).encode()).hexdigest()
    return digests


def hashes_of_table(name):
    command = [sys.executable, "-P", "-c", CHILD, str(Path(__file__).parent)]
    environment = {**os.environ, "FASTMIX_ISA": name}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def test_tables_with_fma_have_the_same_bits_of_a_fit():
    tables = [name for name in supported_isas() if name in ("x86_v3", "x86_v4", "neon")]
    if not tables:
        pytest.skip("this processor has no fused multiply-add")
    found = {hashes_of_table(name) for name in tables}
    assert len(found) == 1
    assert found.pop().count("'") == 4 * len(COVARIANCE_TYPES) * 2


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
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
    assert peak < 8 * n * k  # 38 MB; vectors of the rows, and blocks, come to 13 to 20


def test_scan_makes_no_array_of_all_rows():
    X = np.arange(4e6, dtype=np.float32)[:, np.newaxis] % 7
    tracemalloc.start()
    try:
        scan_columns(X, 1e-6, None, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(X)  # the labels of one call, and scratch
