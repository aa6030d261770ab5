# SPDX-License-Identifier: BSD-3-Clause
"""The same bits of a mixture: over threads, cuts into calls, layouts, and kernel tables."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fastmix import GaussianMixture
from fastmix.core import _frame, _passes
from fastmix.core._kernels import isa as isa_in_use
from test_reproducibility import FMA, digest, fortran, memory_map, strided, swapped

TYPES = ("full", "tied", "diag", "spherical")
K = 5
CASES = [(kind, dtype) for kind in TYPES for dtype in ("f4", "f8")]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def sample(dtype, weighted=False, n=15_000, d=6):
    """Overlapping blobs, and weights; the same in every process."""
    rng = np.random.default_rng(5)
    centers = rng.uniform(-3, 3, size=(K, d))
    X = (centers[rng.integers(K, size=n)] + rng.normal(size=(n, d))).astype(dtype)
    return X, (rng.random(n) if weighted else None)


def hash_of_fit(X, weights=None, n_threads=1, **options):
    """SHA-256 of all that a fit with its own start gives."""
    options = {"max_iter": 4, "tol": 0, "random_state": 3, **options}
    model = GaussianMixture(K, n_threads=n_threads, **options).fit(X, sample_weight=weights)
    return digest(
        model.weights_, model.means_, model.covariances_, model.precisions_cholesky_,
        model.log_likelihood_, model.lower_bounds_, model.predict_proba(X), model.predict(X),
        model.score_samples(X), model.score(X, sample_weight=weights),
        model.bic(X, sample_weight=weights), model.icl(X, sample_weight=weights),
    )  # fmt: skip


def cut_finely(monkeypatch):
    """Every driver call gets one slot of rows for each thread."""
    for module in (_frame, _passes):
        monkeypatch.setattr(module, "CALL_NANOSECONDS", 1.0)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind, dtype", CASES)
def test_threads_and_cuts_do_not_change_a_bit(monkeypatch, kind, dtype, weighted):
    X, weights = sample(dtype, weighted)
    expected = hash_of_fit(X, weights, covariance_type=kind)
    found = {hash_of_fit(X, weights, n, covariance_type=kind) for n in (2, 3, 7)}
    cut_finely(monkeypatch)
    found |= {hash_of_fit(X, weights, n, covariance_type=kind) for n in (1, 3)}
    assert found == {expected}


@pytest.mark.parametrize("d", [1, 2, 4, 17])
@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
def test_starts_and_columns_do_not_depend_on_threads_and_cuts(monkeypatch, init, d):
    X, weights = sample("f8", True, d=d)
    options = {"init_params": init, "reg_covar": "auto", "n_init": 2, "max_iter": 2}
    expected = hash_of_fit(X, weights, **options)
    cut_finely(monkeypatch)
    assert {hash_of_fit(X, weights, n, **options) for n in (2, 7)} == {expected}


def test_sample_is_large_enough_for_three_threads_and_many_calls(monkeypatch):
    X, _ = sample("f4")
    model = GaussianMixture(K, n_threads=3, max_iter=1).fit(X)
    assert model.fit_report_["n_threads"] == 3
    cut_finely(monkeypatch)
    rows = model.fit_report_["rows_scanned"]
    from fastmix.core._mixture import MixtureRows

    calls = list(_passes.slot_passes(MixtureRows(X, np.dtype("f4")), "full", K, 3))
    assert rows == len(X)
    assert len(calls) >= 5


@pytest.mark.parametrize(
    "layout", [fortran, strided, swapped, memory_map], ids=lambda function: function.__name__
)
@pytest.mark.parametrize("d", [2, 6])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_layout_does_not_change_a_bit(monkeypatch, tmp_path, dtype, d, layout):
    X, _ = sample(dtype, d=d)
    expected = hash_of_fit(X)
    cut_finely(monkeypatch)
    assert hash_of_fit(layout(X, tmp_path), n_threads=3) == expected


def test_concurrent_fits_have_the_bits_of_fits_alone():
    X, weights = sample("f8", True)
    alone = [hash_of_fit(X, weights, random_state=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: hash_of_fit(X, weights, 2, random_state=seed), range(4)))
    assert found == alone


CHILD = """
import sys
sys.path.append(sys.argv[1])
from test_mixture_reproducibility import hashes
print(*hashes(1), *hashes(3))
"""


def hashes(n_threads):
    """Hashes of a fit of every covariance type and dtype, weighted and not, wide and narrow."""
    return [
        hash_of_fit(*sample(dtype, d == 6, d=d), n_threads, covariance_type=kind)
        for kind, dtype in CASES
        for d in (2, 6, 19)
    ]


def hashes_of_table(name):
    """Those on one thread and on three, in a process that uses one kernel table."""
    command = [sys.executable, "-P", "-W", "ignore", "-c", CHILD, str(Path(__file__).parent)]
    environment = {**os.environ, "FASTMIX_ISA": name}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found = done.stdout.split()
    return found[: len(found) // 2], found[len(found) // 2 :]


@pytest.mark.skipif(isa_in_use() not in FMA, reason="this process runs a table without FMA")
@pytest.mark.parametrize("name", FMA)
def test_tables_with_fma_have_one_hash(name):
    here = hashes(1)
    assert hashes_of_table(name) == (here, here)
