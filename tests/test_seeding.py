# SPDX-License-Identifier: BSD-3-Clause
"""Starting centres: greedy k-means++ and random rows, their draws and their distributions."""

import numpy as np
import pytest
import sklearn.cluster
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import chisquare

import reference
from fastmix import KMeans, kmeans, kmeans_plusplus
from fastmix.core import _dense_seeding
from fastmix.core._frame import scan
from fastmix.core._potential import pick
from fastmix.core._seeding import default_trials, greedy_plusplus, random_rows
from fastmix.core._validation import as_rows

SEEDS = st.integers(0, 2**32 - 1)


def integer_rows(seed, n, d=3):
    """Rows of integers, weights 0 to 3: every sum of the draws is exact, so that draws compare."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 50, size=(n, d)).astype(float), rng.integers(0, 4, size=n)


# The same draws as a plain NumPy implementation, and as repeated rows.


@pytest.mark.parametrize("n_trials", [1, 2, 5])
@pytest.mark.parametrize("n", [10, 300, 7000], ids="n{}".format)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_plusplus_draws_the_rows_of_the_reference(dtype, n_trials, n, weighted):
    X, weights = integer_rows(n, n)
    weights = weights if weighted else None
    found = kmeans_plusplus(
        X.astype(dtype), 5, sample_weight=weights, random_state=4, n_local_trials=n_trials
    )[1]
    state = np.random.RandomState(4)
    np.testing.assert_array_equal(found, reference.greedy_plusplus(X, 5, state, n_trials, weights))


@pytest.mark.parametrize("n_trials", [1, 3])
def test_plusplus_of_sparse_rows_draws_the_rows_of_dense_ones(n_trials):
    X, weights = integer_rows(0, 900, d=6)
    X *= X > 25
    options = {"sample_weight": weights, "random_state": 7, "n_local_trials": n_trials}
    found = kmeans_plusplus(sparse.csr_array(X), 6, **options)[1]
    np.testing.assert_array_equal(found, kmeans_plusplus(X, 6, **options)[1])


@pytest.mark.parametrize("k", [1, 2, 3, 8, 100])
def test_default_trials_are_those_of_scikit_learn(k):
    X, weights = integer_rows(1, 400)
    found = kmeans_plusplus(X, k, sample_weight=weights, random_state=4)[1]
    state = np.random.RandomState(4)
    trials = 2 + int(np.log(k))
    np.testing.assert_array_equal(found, reference.greedy_plusplus(X, k, state, trials, weights))
    assert default_trials(k) == trials


@given(SEEDS)
def test_integer_weights_draw_the_rows_that_repetition_would(seed):
    X, weights = integer_rows(seed, 40)
    weights[0] = 1  # not all zero
    k = min(6, np.count_nonzero(weights))
    found = kmeans_plusplus(X, k, sample_weight=weights, random_state=seed)[1]
    repeated = kmeans_plusplus(np.repeat(X, weights, axis=0), k, random_state=seed)[1]
    np.testing.assert_array_equal(found, np.repeat(np.arange(40), weights)[repeated])


def test_integer_weights_draw_the_rows_that_repetition_would_over_many_slots():
    X, weights = integer_rows(2, 9000)
    found = kmeans_plusplus(X, 20, sample_weight=weights, random_state=2)[1]
    repeated = kmeans_plusplus(np.repeat(X, weights, axis=0), 20, random_state=2)[1]
    np.testing.assert_array_equal(found, np.repeat(np.arange(9000), weights)[repeated])


@pytest.mark.parametrize("weight", [0.25, 3.0, 2.0**600, 2.0**-600], ids=str)
def test_equal_weights_draw_the_rows_that_no_weights_would(weight):
    X, _ = integer_rows(3, 500)
    found = kmeans_plusplus(X, 9, sample_weight=np.full(500, weight), random_state=3)[1]
    np.testing.assert_array_equal(found, kmeans_plusplus(X, 9, random_state=3)[1])


@pytest.mark.parametrize("scale", [2.0**-200, 2.0**-3, 2.0**200, 2.0**400], ids=str)
def test_scale_does_not_change_a_draw(rng, scale):
    X = rng.normal(size=(500, 4))
    found = kmeans_plusplus(X * scale, 9, random_state=3)[1]
    np.testing.assert_array_equal(found, kmeans_plusplus(X, 9, random_state=3)[1])


@pytest.mark.parametrize("of_rows, of_weights", [(-297, -499), (297, 499), (297, -499)])
def test_scale_of_weights_and_rows_together_does_not_change_a_draw(rng, of_rows, of_weights):
    # Neither w nor |x|^2 leaves float64, but their product does.
    X, weights = rng.normal(size=(500, 4)), rng.random(500)
    scaled, heavy = np.ldexp(X, of_rows), np.ldexp(weights, of_weights)
    found = kmeans_plusplus(scaled, 9, sample_weight=heavy, random_state=3)[1]
    expected = kmeans_plusplus(X, 9, sample_weight=weights, random_state=3)[1]
    np.testing.assert_array_equal(found, expected)


# Steps that skip rows draw what steps over all rows draw.


def mixed(rng, n, d):
    """Clusters, one far away, and rows that a byte a column cannot hold."""
    X = rng.normal(size=(n, d)) + rng.normal(scale=2, size=(8, d))[rng.integers(8, size=n)]
    X[: n // 9] += 1e4
    X[n // 2 : n // 2 + 5] *= 1e6
    return X


DATA = {
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "mixed": mixed,
    "ties": lambda rng, n, d: rng.integers(-2, 3, size=(n, d)).astype(float),
    "duplicates": lambda rng, n, d: rng.normal(size=(40, d))[rng.integers(40, size=n)],
    "tails": lambda rng, n, d: rng.standard_cauchy(size=(n, d)),
    "constant": lambda rng, n, d: np.where(np.arange(d) % 2, rng.normal(size=(n, d)), 7.0),
    "tiny": lambda rng, n, d: rng.normal(size=(n, d)) * 2.0**-100,
}


def picks(X, k, weights, prune, n_threads=2, seed=3, n_trials=None):
    rows = as_rows(X)
    scan(rows, weights, n_threads)
    state = np.random.RandomState(seed)
    return greedy_plusplus(rows, k, weights, state, n_threads, n_trials, prune)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("n, d", [(70, 1), (900, 3), (4500, 8), (1300, 65), (200, 600)])
@pytest.mark.parametrize("make", DATA.values(), ids=list(DATA))
def test_pruned_steps_draw_the_rows_of_full_ones(rng, dtype, make, n, d, weighted):
    X = make(rng, n, d).astype(dtype)
    weights = rng.integers(0, 4, size=n).astype(float) if weighted else None
    expected = picks(X, 40, weights, prune=False)
    np.testing.assert_array_equal(picks(X, 40, weights, prune=True), expected)
    np.testing.assert_array_equal(picks(X, 40, weights, prune="auto"), expected)


@pytest.mark.parametrize("n_trials", [1, 7, 8, 9, 20])
def test_pruned_steps_of_any_number_of_trials_draw_the_rows_of_full_ones(rng, dtype, n_trials):
    X = rng.normal(size=(3000, 5)).astype(dtype)
    found, expected = (picks(X, 30, None, prune, n_trials=n_trials) for prune in (True, False))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n_threads", [1, 3, 8])
def test_pruned_steps_draw_the_same_rows_on_any_number_of_threads(rng, dtype, n_threads):
    X, weights = rng.normal(size=(60_000, 6)).astype(dtype), rng.random(60_000)
    found = picks(X, 30, weights, True, n_threads)
    np.testing.assert_array_equal(found, picks(X, 30, weights, True, 2))


@pytest.mark.parametrize("budget", [0, 40_000, 60_000])
def test_rows_beyond_the_memory_of_the_sketch_change_no_draw(rng, monkeypatch, budget):
    # 20,000 rows of float64 take 15,360 bytes a block of 2048 with the notes: none fit, or a part.
    X = rng.normal(size=(20_000, 6))
    expected = picks(X, 30, None, prune=False)
    monkeypatch.setattr(_dense_seeding, "SKETCH_BYTES", 2 * budget + 120_000 * (budget > 0))
    np.testing.assert_array_equal(picks(X, 30, None, prune=True), expected)


# What is never drawn, and never twice.


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20).filter(any), st.integers(-1, 1))
def test_pick_takes_the_first_row_whose_cumulative_weight_exceeds_the_target(weights, step):
    cumulative = np.cumsum(np.array(weights, dtype=float))
    for total in {0.0, *cumulative}:
        target = max(0.0, np.nextafter(total, total + step))  # total, or just beside it
        below = [i for i in np.flatnonzero(weights) if cumulative[i] > target]
        expected = below[0] if below else np.flatnonzero(weights)[-1]
        assert pick(cumulative, target) == expected


@given(SEEDS)
def test_plusplus_never_draws_a_row_of_weight_zero(seed):
    X, weights = integer_rows(seed, 30)
    weights[[3, 11, 20]], weights[[0, 29]] = 1, 0
    # More centres than distinct rows with a weight, in some examples.
    indices = kmeans_plusplus(X % 3, 12, sample_weight=weights, random_state=seed)[1]
    assert (weights[indices] > 0).all()


@given(SEEDS)
def test_random_rows_never_include_one_of_weight_zero(seed):
    weights = integer_rows(seed, 30)[1].astype(float)
    weights[[3, 11, 20]], weights[[0, 29]] = 1, 0
    k = np.count_nonzero(weights)
    chosen = random_rows(30, k, weights, np.random.RandomState(seed))
    np.testing.assert_array_equal(np.sort(chosen), np.flatnonzero(weights))


@given(SEEDS, st.integers(1, 40), st.booleans())
def test_random_rows_are_distinct(seed, k, weighted):
    weights = integer_rows(seed, 40)[1].astype(float) + 0.01 if weighted else None
    chosen = random_rows(40, k, weights, np.random.RandomState(seed))
    assert len(np.unique(chosen)) == len(chosen) == k


@given(SEEDS)
def test_plusplus_rows_are_distinct_where_enough_rows_are(seed):
    X, _ = integer_rows(seed, 30)
    X[:, 0] += np.arange(30) / 64
    assert len(set(kmeans_plusplus(X, 30, random_state=seed)[1])) == 30


@pytest.mark.parametrize("n_trials", [None, 1])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_plusplus_draws_every_distinct_row_where_there_are_few(rng, n_trials, weighted):
    X = rng.normal(size=(4, 3))[rng.integers(4, size=50)]
    weights = rng.random(50) if weighted else None
    options = {"sample_weight": weights, "n_local_trials": n_trials, "random_state": 0}
    centers, _ = kmeans_plusplus(X, 9, **options)
    assert {tuple(row) for row in centers[:4]} == {tuple(row) for row in X}


def test_draws_are_the_same_for_a_seed_and_a_state_made_of_it(rng):
    X = rng.normal(size=(100, 3))
    one, two = (kmeans_plusplus(X, 9, random_state=s)[1] for s in (5, np.random.RandomState(5)))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("source", ["f4", "f8", "f2", "i4", "u1"])
def test_centers_are_the_rows_of_the_indices(rng, source):
    X = rng.integers(0, 99, size=(200, 3)).astype(source)
    centers, indices = kmeans_plusplus(X, 7, random_state=0)
    np.testing.assert_array_equal(centers, X[indices])
    assert centers.dtype == (np.float32 if source == "f4" else np.float64)


# Distributions.

POINTS = np.array([[0.0, 0.0], [1.0, 0.3], [1.5, 3.1], [4.0, 1.0], [4.2, 5.0]])
HEAVY = np.array([1.0, 2.0, 0.5, 3.0, 1.5])
DRAWS = 1500
# The seeds are fixed: a false alarm had a chance of 0.1 %, once.
ALPHA = 1e-3


def counts(pairs):
    found = np.zeros((len(POINTS), len(POINTS)))
    np.add.at(found, tuple(np.transpose(pairs)), 1)
    return found


def assert_follows(pairs, probabilities):
    """Chi-square of the counts of ordered pairs against their exact probabilities."""
    possible = probabilities > 0
    found = counts(pairs)
    assert not found[~possible].any()
    assert chisquare(found[possible], DRAWS * probabilities[possible]).pvalue > ALPHA


@pytest.mark.parametrize("n_trials", [1, 3])
@pytest.mark.parametrize("weights", [None, HEAVY], ids=["plain", "weighted"])
def test_first_two_draws_of_plusplus_have_their_exact_distribution(n_trials, weights):
    state = np.random.RandomState(11)
    options = {"sample_weight": weights, "random_state": state, "n_local_trials": n_trials}
    pairs = [kmeans_plusplus(POINTS, 2, n_threads=1, **options)[1] for _ in range(DRAWS)]
    assert_follows(pairs, reference.plusplus_probabilities(POINTS, n_trials, weights))


@pytest.mark.parametrize("weights", [None, HEAVY], ids=["plain", "weighted"])
def test_first_two_random_rows_have_the_distribution_of_draws_without_replacement(weights):
    state = np.random.RandomState(12)
    pairs = [random_rows(5, 2, weights, state) for _ in range(DRAWS)]
    w = np.ones(5) if weights is None else weights
    exact = np.outer(w, w) / w.sum() / (w.sum() - w)[:, None]
    np.fill_diagonal(exact, 0)
    assert_follows(pairs, exact)


@pytest.mark.parametrize("n_trials", [None, 1])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_mean_potential_over_20_seeds_is_that_of_scikit_learn(blobs, rng, n_trials, weighted):
    X = blobs(2000, 6, 40)
    weights = rng.random(2000) if weighted else None
    options = {"sample_weight": weights, "n_local_trials": n_trials}

    def potentials(function):
        seeds = [function(X, 40, random_state=seed, **options)[0] for seed in range(20)]
        squares = [reference.squared_distances(X, centers).min(axis=1) for centers in seeds]
        return np.average(squares, axis=1, weights=weights)

    ours, theirs = potentials(kmeans_plusplus), potentials(sklearn.cluster.kmeans_plusplus)
    error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / 20)
    # 3.3 standard errors of the difference: the 0.1 % of a normal distribution.
    assert abs(ours.mean() - theirs.mean()) < 3.3 * error


def test_more_trials_leave_less_potential(blobs):
    X = blobs(2000, 6, 40)
    means = []
    for n_trials in (1, 8):
        starts = [
            kmeans_plusplus(X, 40, random_state=seed, n_local_trials=n_trials)[0]
            for seed in range(10)
        ]
        means.append(np.mean([reference.squared_distances(X, c).min(axis=1) for c in starts]))
    # About 15 % apart, over 10 seeds that differ by about 5 % among themselves.
    assert means[1] < means[0]


# Through the estimator.


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_fit_starts_from_the_rows_that_kmeans_plusplus_draws(blobs, rng, weighted):
    X, weights = blobs(), rng.random(1000) if weighted else None
    start, _ = kmeans_plusplus(X, 5, sample_weight=weights, random_state=6)
    options = {"max_iter": 1, "tol": 0}
    one = KMeans(5, random_state=6, **options).fit(X, sample_weight=weights)
    two = KMeans(5, init=start, **options).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(one.cluster_centers_, two.cluster_centers_)


def test_random_init_starts_from_the_rows_that_it_draws(blobs):
    X = blobs()
    start = X[random_rows(1000, 5, None, np.random.RandomState(6))]
    one = kmeans(X, 5, init="random", random_state=6, max_iter=1, tol=0)
    two = kmeans(X, 5, init=start, max_iter=1, tol=0)
    np.testing.assert_array_equal(one.centers, two.centers)


def test_callable_init_is_given_the_rows_and_the_state(blobs):
    X, seen = blobs(), []

    def init(given, n_clusters, random_state):
        seen.append((given, n_clusters, random_state.uniform()))
        return X[:n_clusters]

    KMeans(5, init=init, n_init=2, random_state=6).fit(X)
    state = np.random.RandomState(6)
    assert [call[1:] for call in seen] == [(5, state.uniform()), (5, state.uniform())]
    assert all(np.shares_memory(call[0], X) for call in seen)


def test_best_of_several_starts_is_kept(blobs):
    X = blobs()
    state = np.random.RandomState(6)
    single = [kmeans(X, 7, init="random", random_state=state).inertia for _ in range(5)]
    best = kmeans(X, 7, init="random", n_init=5, random_state=6)
    assert len(set(single)) > 1
    assert best.inertia == min(single)


@pytest.mark.parametrize("norms", [1.0, np.ones(3), np.ones((10, 1))], ids=["0d", "short", "2d"])
def test_norms_of_another_shape_are_refused(norms):
    with pytest.raises(ValueError, match=r"x_squared_norms .* n_samples 10"):
        kmeans_plusplus(np.eye(10), 2, x_squared_norms=norms)
