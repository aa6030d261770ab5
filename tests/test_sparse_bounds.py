# SPDX-License-Identifier: BSD-3-Clause
"""E-steps over sparse rows that skip scores: the bits of those that compute all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fastmix import KMeans
from fastmix.core._kernels import exact_sum_grid
from fastmix.core._sparse import SparseRows
from fastmix.core._sparse_bounds import SparseBounds

N, D = 700, 60


def reals(rng, n=N, d=D, density=0.2, groups=5):
    """Rows near a few sparse centres, of which some are copies; the first has no entry."""
    bases = rng.random((groups, d)) * (rng.random((groups, d)) < 0.3)
    X = bases[rng.integers(groups, size=n)] + rng.normal(scale=0.2, size=(n, d))
    X *= rng.random((n, d)) < density
    X[n // 2 : n // 2 + 20] = X[1]
    X[0] = 0
    return sparse.csr_array(X)


def rows_of(X, isa=None, scale=1.0):
    rows = SparseRows(X, None, isa)
    largest = np.abs(X).max(axis=0).toarray().ravel() * scale
    rows.set_frame(
        np.zeros(rows.d), scale, exact_sum_grid(np.maximum(largest, 1e-300), 1.0, rows.n)
    )
    return rows


def plain(rows, centers):
    """Labels by all scores: only those have runners-up."""
    labels, second = np.zeros((2, rows.n), dtype=np.int32)
    rows.assign(0, rows.n, centers, labels, 1, second=second)
    return labels


def screened(rows, centers, n_threads=1):
    labels = np.zeros(rows.n, dtype=np.int32)
    rows.assign(0, rows.n, centers, labels, n_threads)
    return labels


@pytest.mark.parametrize("k", [8, 15, 16, 17, 33, 100, 129, 300])
def test_screened_labels_are_those_of_all_scores(rng, isa, k):
    X = reals(rng)
    rows, centers = rows_of(X, isa), X[rng.integers(N, size=k)].toarray()
    centers[::3] += rng.normal(scale=1e-5, size=centers[::3].shape)  # near ties, and exact ones
    np.testing.assert_array_equal(screened(rows, centers, 2), plain(rows, centers))


def test_centers_that_all_round_to_the_wrong_side_are_candidates(isa):
    # In steps of 1 / 32767 the scores of centre 0 lose 20 by rounding, those of centre 1 win 20.
    step, centers = 1 / 32767, np.zeros((8, 42))
    centers[:, 0] = 1
    centers[0, 1:41], centers[1, 1:41] = 1000.49 * step, 999.51 * step
    centers[0, 41] = np.sqrt(58 * step)  # takes 29 off the lead of 38
    rows = rows_of(sparse.csr_array(np.repeat([[0.0] + 40 * [1.0] + [0.0]], 3, axis=0)), isa)
    np.testing.assert_array_equal(plain(rows, centers), 0)
    np.testing.assert_array_equal(screened(rows, centers), 0)


@pytest.mark.parametrize("density", [0.0, 0.02, 1.0])
def test_screened_labels_of_integers_are_those_of_all_scores(rng, isa, density):
    X = sparse.csr_array(rng.integers(0, 3, size=(N, 300)) * (rng.random((N, 300)) < density))
    rows, centers = rows_of(X, isa), rng.integers(0, 3, size=(40, 300)) / 2
    np.testing.assert_array_equal(screened(rows, centers), plain(rows, centers))


@pytest.mark.parametrize("size", [1e-300, 1e-60, 1e-20, 1e20, 1e60, 1e140])
def test_size_of_rows_and_centers_does_not_matter(rng, isa, size):
    X = reals(rng)
    rows, centers = rows_of(X * size, isa), X[rng.integers(N, size=20)].toarray() * size
    np.testing.assert_array_equal(screened(rows, centers), plain(rows, centers))


@pytest.mark.parametrize("size", [1e-40, 1e-6, 1e6, 1e30, 1e100])
def test_rows_and_centers_of_different_sizes(rng, isa, size):
    X = reals(rng)
    centers = X[rng.integers(N, size=20)].toarray()
    centers[::2] *= size
    rows = rows_of(X, isa)
    np.testing.assert_array_equal(screened(rows, centers), plain(rows, centers))
    X = sparse.csr_array(sparse.diags_array(np.where(np.arange(N) % 2, size, 1.0)) @ X)
    rows = rows_of(X, isa)
    np.testing.assert_array_equal(screened(rows, centers), plain(rows, centers))


def test_many_equal_centers_end_the_screen(rng):
    X = reals(rng)
    rows, centers = rows_of(X), np.repeat(X[[3, 9]].toarray(), 10, axis=0)
    found = screened(rows, centers)
    assert not rows.screened
    np.testing.assert_array_equal(found, plain(rows, centers))
    np.testing.assert_array_equal(screened(rows, centers), found)


def test_few_candidates_keep_the_screen(rng):
    X = reals(rng)
    rows = rows_of(X)
    screened(rows, rng.normal(size=(40, D)))
    assert rows.screened


# Bounds.


def walk(rng, rows, centers, steps, isa=None):
    """Bounded E-steps of moving centres, each compared with the plain one; the bounds."""
    bounds = SparseBounds(rows)
    labels = np.full(rows.n, -1, dtype=np.int32)
    for step in range(steps):
        bounds.move(centers)
        expected, before = plain(rows_of(rows.X, isa), centers), labels.copy()
        changed = bounds.assign(0, rows.n, labels, 2)
        np.testing.assert_array_equal(labels, expected)
        assert changed == (labels != before).sum()
        centers = centers.copy()
        moved = rng.random(len(centers)) < (0.0, 0.1, 0.5, 1.0)[step % 4]
        shift = 10.0 ** -rng.integers(1, 9, size=(moved.sum(), 1))
        centers[moved] += shift * rng.normal(size=(moved.sum(), rows.d))
    return bounds


@pytest.mark.parametrize("k", [8, 20, 50])
def test_bounded_labels_are_those_of_all_scores(rng, isa, k):
    X = reals(rng)
    walk(rng, rows_of(X, isa), X[rng.integers(N, size=k)].toarray(), 24, isa)


def test_bounds_survive_centers_that_grow_and_shrink(rng):
    X = reals(rng)
    rows, centers = rows_of(X), X[rng.integers(N, size=20)].toarray()
    bounds, labels = SparseBounds(rows), np.full(N, -1, dtype=np.int32)
    for size in (0.0, 1.0, 1e5, 1e-5, 1e-30, 1.0, 1e30, 1.0):
        bounds.move(centers * size)
        bounds.assign(0, N, labels, 1)
        expected = plain(rows_of(X), centers * size)
        np.testing.assert_array_equal(labels, expected)
        rows.screened = True
        if not bounds.useful:
            bounds = SparseBounds(rows)


def test_rows_are_skipped_and_few_centers_screened(rng):
    X = reals(rng, density=0.8)
    rows, centers = rows_of(X), rng.normal(size=(64, D))
    bounds, labels = SparseBounds(rows), np.full(N, -1, dtype=np.int32)
    bounds.move(centers)
    bounds.assign(0, N, labels, 1)
    assert (bounds.rows_open, bounds.products) == (N, 64 * N)
    bounds.rows_open = bounds.products = 0
    bounds.move(centers)
    bounds.assign(0, N, labels, 1)
    assert bounds.rows_open <= 0.1 * N
    bounds.rows_open = bounds.products = 0
    moved = centers.copy()
    moved[:3] += rng.normal(size=(3, D))
    bounds.move(moved)
    bounds.assign(0, N, labels, 1)
    assert 0 < bounds.products < 0.7 * 64 * N


def history(X, k, algorithm, **options):
    """Labels and centres of every iteration, and of the fit."""
    steps = []

    def keep(state):
        steps.append((state.labels.copy(), state.centers.copy()))

    model = KMeans(k, algorithm=algorithm, callbacks=keep, **options)
    model.fit(X, sample_weight=options.pop("sample_weight", None))
    return [*steps, (model.labels_, model.cluster_centers_)], model


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("algorithm", ["auto", "elkan"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_every_iteration_has_the_bits_of_lloyd(rng, algorithm, dtype, n_threads):
    X = reals(rng, n=3000).astype(dtype)
    options = {"tol": 0, "random_state": 1, "max_iter": 30}
    found, model = history(X, 30, algorithm, n_threads=n_threads, **options)
    expected, reference = history(X, 30, "lloyd", n_threads=1, **options)
    assert len(found) == len(expected) > 5
    for (labels, centers), (labels_, centers_) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(labels, labels_)
        np.testing.assert_array_equal(centers, centers_)
    assert model.inertia_ == reference.inertia_
    assert model.fit_report_["algorithm"] == "hamerly"
    assert model.fit_report_["products"] < reference.fit_report_["products"]
    assert reference.fit_report_["algorithm"] == "lloyd"


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(8, 40), st.booleans(), st.booleans())
def test_fits_of_any_rows_have_the_bits_of_lloyd(seed, k, whole, weighted):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(k, 150)), int(rng.integers(1, 12))
    X = rng.integers(0, 3, size=(n, d)) if whole else rng.normal(size=(n, d))
    X = X * (rng.random((n, d)) < rng.random())
    X[rng.integers(n, size=n // 2)] = X[0]  # copies, and clusters that empty
    weights = rng.integers(0, 3, size=n).astype(float) + (np.arange(n) == 0) if weighted else None
    X = sparse.csr_array(X.astype(float))
    fits = [
        KMeans(k, algorithm=algorithm, tol=0, random_state=seed % 1000, init="random").fit(
            X, sample_weight=weights
        )
        for algorithm in ("auto", "lloyd")
    ]
    for name in ("labels_", "cluster_centers_", "inertia_", "n_iter_"):
        np.testing.assert_array_equal(*(getattr(fit, name) for fit in fits))


def test_memory_of_the_bounds_is_budgeted(rng):
    X = reals(rng)
    tight = KMeans(20, bounds_memory=11 * N, random_state=0).fit(X)
    assert tight.fit_report_["algorithm"] == "lloyd"
    assert KMeans(20, bounds_memory=12 * N, random_state=0).fit(X).fit_report_["algorithm"] == (
        "hamerly"
    )
