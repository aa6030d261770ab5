# SPDX-License-Identifier: BSD-3-Clause
"""The same bits: over threads, cuts, layouts, kernel tables, and orders of the rows."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fastmix import (
    GaussianMixture,
    HalfLife,
    KMeans,
    MiniBatchKMeans,
    PowerLaw,
    assign,
    kmeans_plusplus,
)
from fastmix.core import _frame
from fastmix.core._kernels import isa as isa_in_use
from fastmix.core._kernels import supported_isas

N, D, K = 45_000, 6, 12


def sample(dtype="f8", kind="dense", n=N):
    """Overlapping blobs, and weights; the same in every process."""
    rng = np.random.default_rng(5)
    centers = rng.uniform(-2, 2, size=(K, D))
    X = (centers[rng.integers(K, size=n)] + rng.normal(size=(n, D))).astype(dtype)
    if kind == "sparse":
        X = sparse.csr_array(np.where(np.abs(X) > 1, X, 0))
    return X, (rng.random(n) if kind == "weighted" else None)


def digest(*arrays):
    """One SHA-256 of arrays and numbers."""
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()


def hash_of_fit(X, weights=None, n_threads=1, **options):
    """SHA-256 of (centres, labels, inertia) of a fit that starts with k-means++."""
    options = {"max_iter": 12, "tol": 0, "random_state": 3, **options}
    model = KMeans(K, n_threads=n_threads, **options).fit(X, sample_weight=weights)
    return digest(model.cluster_centers_, model.labels_, model.inertia_)


def cut_finely(monkeypatch):
    """Every driver call gets one block of rows."""
    calls = []
    passes = _frame.passes

    def counted(*arguments):
        for piece in passes(*arguments):
            calls.append(piece)
            yield piece

    monkeypatch.setattr(_frame, "CALL_NANOSECONDS", 1.0)
    for module in ("_assignment", "_frame", "_kmeans", "_lloyd", "_potential"):
        monkeypatch.setattr(f"fastmix.core.{module}.passes", counted)
    return calls


KINDS = pytest.mark.parametrize("kind", ["dense", "weighted", "sparse"])
DTYPES = pytest.mark.parametrize("dtype", ["f4", "f8"])


# Threads and cuts.


@KINDS
@DTYPES
@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_threads_do_not_change_a_bit(dtype, kind, n_threads):
    X, weights = sample(dtype, kind)
    assert hash_of_fit(X, weights, n_threads) == hash_of_fit(X, weights)


@KINDS
def test_sample_is_large_enough_for_three_threads(kind):
    X, weights = sample("f4", kind)
    model = KMeans(K, n_threads=3, max_iter=1).fit(X, sample_weight=weights)
    assert model.fit_report_["n_threads"] == 3


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_threads_that_share_sums_do_not_change_a_bit(monkeypatch, n_threads):
    X, weights = sample(kind="weighted")
    expected = hash_of_fit(X, weights)
    monkeypatch.setattr("fastmix.core._assignment.SUMS_BYTES", 1)
    assert hash_of_fit(X, weights, n_threads) == expected


@KINDS
@DTYPES
@pytest.mark.parametrize("n_threads", [1, 3])
def test_cuts_into_calls_do_not_change_a_bit(monkeypatch, dtype, kind, n_threads):
    X, weights = sample(dtype, kind, n=6000)
    expected = hash_of_fit(X, weights)
    calls = cut_finely(monkeypatch)
    found = hash_of_fit(X, weights, n_threads)
    assert any(start > 0 for start, _, _ in calls)
    assert found == expected


@KINDS
@DTYPES
@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_threads_and_cuts_do_not_change_a_draw(monkeypatch, dtype, kind, n_threads):
    X, weights = sample(dtype, kind, n=5000)
    options = {"sample_weight": weights, "random_state": 1}
    expected = digest(*kmeans_plusplus(X, 8, n_threads=1, **options))
    cut_finely(monkeypatch)
    assert digest(*kmeans_plusplus(X, 8, n_threads=n_threads, **options)) == expected


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_threads_and_cuts_do_not_change_predictions(monkeypatch, n_threads):
    X, _ = sample()
    model = KMeans(K, random_state=0, n_threads=1).fit(X[:5000])
    expected = digest(model.predict(X), model.transform(X), model.score(X))
    cut_finely(monkeypatch)
    model.set_params(n_threads=n_threads)
    assert digest(model.predict(X), model.transform(X), model.score(X)) == expected


@DTYPES
@pytest.mark.parametrize("size", [1, 10, 97])
def test_predictions_of_some_rows_are_those_of_all(dtype, size):
    X, _ = sample(dtype, n=300)
    model = KMeans(K, random_state=0).fit(X)
    parts = [model.predict(X[i : i + size]) for i in range(0, 300, size)]
    np.testing.assert_array_equal(np.concatenate(parts), model.predict(X))


# Memory.


def fortran(X, folder):
    return np.asfortranarray(X)


def strided(X, folder):
    wide = np.zeros((2 * len(X), 3 * X.shape[1]), dtype=X.dtype)
    wide[::-2, ::3] = X
    return wide[::-2, ::3]


def swapped(X, folder):
    return X.astype(X.dtype.newbyteorder())


def memory_map(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def fortran_memory_map(X, folder):
    return memory_map(np.asfortranarray(X), folder)


@DTYPES
@pytest.mark.parametrize(
    "layout", [fortran, strided, swapped, memory_map, fortran_memory_map], ids=lambda f: f.__name__
)
def test_layout_and_cuts_do_not_change_a_bit(monkeypatch, tmp_path, dtype, layout):
    X, _ = sample(dtype, n=6000)
    expected = hash_of_fit(X)
    cut_finely(monkeypatch)
    assert hash_of_fit(layout(X, tmp_path), n_threads=3) == expected


@pytest.mark.parametrize("index", ["i4", "i8"])
def test_index_type_of_sparse_rows_does_not_change_a_bit(index):
    X, _ = sample(kind="sparse")
    expected = hash_of_fit(X)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    assert hash_of_fit(X, n_threads=2) == expected


@pytest.mark.parametrize("narrow", ["f2", "u1", "i1", "i2", "u2"])
def test_narrow_types_have_the_centers_of_float32(narrow):
    X = np.clip(np.rint(10 * sample()[0] + 60), 0, 120)
    model, wide = (
        KMeans(K, random_state=0, max_iter=5).fit(X.astype(dtype)) for dtype in (narrow, "f4")
    )
    centers = model.cluster_centers_.astype(np.float32)
    assert digest(centers, model.labels_, model.inertia_) == digest(
        wide.cluster_centers_, wide.labels_, wide.inertia_
    )


# Kernel tables.

FMA = [name for name in supported_isas() if name in ("x86_v3", "x86_v4", "neon")]
CHILD = """
import sys
sys.path.append(sys.argv[1])
from test_reproducibility import hashes
print(*hashes(1), *hashes(3))
"""


def hash_of_stream(dtype, n_threads):
    """Hash of what rows do that arrive one after the other: by every rate, in batches and alone."""
    X, _ = sample(dtype)
    found = []
    for rate in ("mean", 0.1, PowerLaw(0.7), HalfLife(100)):
        for batch_size in (1, 50, None):
            model = KMeans(
                K, random_state=0, learning_rate=rate, batch_size=batch_size, n_threads=n_threads
            )
            for part in np.split(X[:700], [300, 500]):
                model.partial_fit(part)
            found += [model.cluster_centers_, model.labels_]
        mixture = GaussianMixture(3, random_state=0, learning_rate=rate, n_threads=n_threads)
        for part in np.split(X[:700], [300, 500]):
            mixture.partial_fit(part)
        found += [mixture.means_, mixture.covariances_]
    batches = MiniBatchKMeans(K, random_state=0, batch_size=64, max_iter=3, n_threads=n_threads)
    return digest(*found, batches.fit(X[:700]).cluster_centers_)


def hashes(n_threads):
    """Hashes of six fits and of two streams."""
    kinds = [(dtype, kind) for dtype in ("f4", "f8") for kind in ("dense", "weighted", "sparse")]
    return [
        *(hash_of_fit(*sample(dtype, kind), n_threads, max_iter=5) for dtype, kind in kinds),
        *(hash_of_stream(dtype, n_threads) for dtype in ("f4", "f8")),
    ]


def hashes_of_table(name):
    """The hashes on one thread and on three, in a process that uses one kernel table."""
    command = [sys.executable, "-P", "-c", CHILD, str(Path(__file__).parent)]
    environment = {**os.environ, "FASTMIX_ISA": name}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found = done.stdout.split()
    return found[:8], found[8:]


@pytest.mark.skipif(isa_in_use() not in FMA, reason="this process runs a table without FMA")
@pytest.mark.parametrize("name", FMA)
def test_tables_with_fma_have_one_hash(name):
    here = hashes(1)
    assert hashes_of_table(name) == (here, here)


@pytest.mark.parametrize("name", [name for name in supported_isas() if name not in FMA])
def test_threads_do_not_change_a_bit_on_tables_without_fma(name):
    one, three = hashes_of_table(name)
    assert len(one) == 8
    assert three == one


# Orders of the rows.


@DTYPES
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("seed", range(5))
def test_order_of_rows_does_not_change_a_bit_from_one_start(dtype, weighted, seed):
    X, weights = sample(dtype, "weighted" if weighted else "dense")
    order = np.random.default_rng(seed).permutation(N)
    start = X[:K].copy()
    one = KMeans(K, init=start, tol=0, max_iter=12).fit(X, sample_weight=weights)
    turned = None if weights is None else weights[order]
    two = KMeans(K, init=start, tol=0, max_iter=12).fit(X[order], sample_weight=turned)
    assert digest(two.cluster_centers_, two.labels_, two.inertia_) == digest(
        one.cluster_centers_, one.labels_[order], one.inertia_
    )


@pytest.mark.parametrize("seed", range(5))
def test_order_of_starting_centers_does_not_change_the_sorted_centers(seed):
    X, _ = sample()
    order = np.random.default_rng(seed).permutation(K)
    one = KMeans(K, init=X[:K], tol=0, max_iter=12).fit(X).cluster_centers_
    two = KMeans(K, init=X[:K][order], tol=0, max_iter=12).fit(X).cluster_centers_
    np.testing.assert_array_equal(np.sort(two, axis=0), np.sort(one, axis=0))


@pytest.mark.parametrize("seed", range(5))
def test_order_of_rows_does_not_change_the_repair_of_empty_clusters(seed):
    X, _ = sample(n=2000)
    start = np.concatenate([X[:3], np.full((K - 3, D), 1e3)])
    order = np.random.default_rng(seed).permutation(2000)
    one, two = (KMeans(K, init=start, max_iter=9, tol=0).fit(data) for data in (X, X[order]))
    assert len(one.fit_report_["repairs"]) >= K - 3
    assert digest(two.cluster_centers_, two.inertia_) == digest(one.cluster_centers_, one.inertia_)


# Concurrent fits, and other functions.


@KINDS
def test_concurrent_fits_in_four_python_threads_have_the_bits_of_fits_alone(kind):
    X, weights = sample("f4", kind)
    seeds = [{"random_state": seed} for seed in range(8)]
    alone = [hash_of_fit(X, weights, **seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: hash_of_fit(X, weights, 2, **seed), seeds))
    assert found == alone


@KINDS
@pytest.mark.parametrize("n_threads", [2, 7])
def test_threads_and_cuts_do_not_change_assigned_distances(monkeypatch, kind, n_threads):
    X, _ = sample(kind=kind)
    centers = np.random.default_rng(0).normal(size=(K, D))
    expected = digest(*assign(X, centers, return_distances=True, n_threads=1))
    cut_finely(monkeypatch)
    assert digest(*assign(X, centers, return_distances=True, n_threads=n_threads)) == expected
