# SPDX-License-Identifier: BSD-3-Clause
"""KMeans and kmeans: hand-computed sets, the laws of the objective, degenerate data, precision.

How the estimator behaves in Python (callbacks, reports, frames, pickles) is in test_estimator.py.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import reference
from fastmix import KMeans, assign, kmeans
from fastmix.core._dense import DenseRows
from fastmix.core._frame import extremes

SEEDS = st.integers(0, 2**32 - 1)
CORNERS = np.array([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 4.0]])


def bits(model):
    return model.cluster_centers_.tobytes(), model.labels_.tobytes(), model.inertia_


def drawn(seed, n=60, d=3, k=4):
    """Real rows, and distinct ones among them to start from."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * rng.uniform(0.1, 10, size=d) + rng.normal(size=d)
    return X, X[rng.permutation(n)[:k]]


def drawn_integers(seed, n=60, d=3, k=4):
    """Integer rows, starting centres among them, and integer weights, the starts' positive."""
    rng = np.random.default_rng(seed)
    X, weights = rng.integers(0, 30, size=(n, d)).astype(float), rng.integers(0, 4, size=n)
    start = rng.permutation(n)[:k]
    weights[start] = 1
    return X, X[start], weights


# Sets computed by hand.


@pytest.mark.parametrize("algorithm", ["auto", "lloyd", "elkan"])
def test_four_corners_have_their_hand_computed_fit(algorithm):
    model = KMeans(2, init=CORNERS[[0, 2]], algorithm=algorithm).fit(CORNERS)
    assert model.labels_.tolist() == [0, 0, 1, 1]
    assert model.cluster_centers_.tolist() == [[0, 1], [10, 2]]
    # 2 x 1^2 + 2 x 2^2
    assert model.inertia_ == 10


def test_four_corners_have_their_hand_computed_trace():
    model = KMeans(2, init=CORNERS[[0, 2]], tol=0).fit(CORNERS)
    # From the first rows of each pair: 2^2 + 4^2; from the means: 10; the second pass is the proof.
    assert model.objective_trace_.tolist() == [20, 10, 10, 10]
    assert model.n_iter_ == 2


def test_weights_move_the_hand_computed_center():
    model = KMeans(1, init=[[0.0]]).fit([[0.0], [4.0]], sample_weight=[3, 1])
    assert model.cluster_centers_.tolist() == [[1]]
    # 3 x 1^2 + 1 x 3^2
    assert model.inertia_ == 12


def test_ties_go_to_the_lowest_label():
    labels, best, second = assign([[1.0], [3.0]], [[0.0], [2.0], [4.0]], return_distances=True)
    assert labels.tolist() == [0, 1]
    assert best.tolist() == second.tolist() == [1, 1]


def test_second_distance_of_a_single_center_is_infinite():
    labels, best, second = assign([[3.0]], [[1.0]], return_distances=True)
    assert (labels.tolist(), best.tolist(), second.tolist()) == ([0], [4], [np.inf])


@pytest.mark.parametrize("k", [2, 5, 13])
def test_assigned_distances_are_those_to_the_two_nearest_centers(rng, dtype, k):
    X, centers = rng.normal(5, 1, size=(500, 3)).astype(dtype), rng.normal(5, 1, size=(k, 3))
    labels, best, second = assign(X, centers, return_distances=True)
    squares = np.sort(reference.squared_distances(X, centers), axis=1)
    # Differences in float64 about the rounded mean of the centres, of values up to 10: each off by
    # at most 3 x 2^-50, squares up to 100 by 60 x that, in three columns.
    np.testing.assert_allclose([best, second], squares[:, :2].T, rtol=0, atol=180 * 2.0**-50)
    assert labels.dtype == np.int32


@pytest.mark.parametrize("tol", [0, 1e-4, 1e-2, 0.3])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_fit_follows_the_reference_iteration_by_iteration(blobs, rng, tol, weighted):
    X, weights = blobs(), rng.random(1000) if weighted else None
    centers, labels, inertia, n_iter, stopped = reference.lloyd(X, X[:5], 40, tol, weights)
    model = KMeans(5, init=X[:5], tol=tol, max_iter=40).fit(X, sample_weight=weights)
    assert (model.n_iter_, model.fit_report_["stopped"]) == (n_iter, stopped)
    np.testing.assert_array_equal(model.labels_, labels)
    # The reference adds 1000 values of up to 10 in float64; ours rounds each sum once.
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=0, atol=1000 * 2.0**-49)
    np.testing.assert_allclose(model.inertia_, float(inertia), rtol=1000 * 2.0**-52)


# Laws.


def assert_never_rises(model, X):
    """Each step of the trace is at most the one before, but for rounding.

    The trace comes from sums whose terms are as large as the total squares about the mean, a few
    hundred of them at most.
    """
    rounding = 2.0**-44 * np.square(X - X.mean(axis=0)).sum()
    assert np.diff(model.objective_trace_).max() <= rounding


@given(SEEDS)
def test_objective_never_rises(seed):
    X, start = drawn(seed)
    assert_never_rises(KMeans(4, init=start, tol=0).fit(X), X)


@given(SEEDS)
def test_objective_never_rises_where_clusters_empty(seed):
    X, start = drawn(seed)
    model = KMeans(4, init=start + np.array([[0], [0], [99], [999]]), tol=0).fit(X)
    assume(model.fit_report_["repairs"])
    assert_never_rises(model, X)


@given(SEEDS)
def test_last_objective_is_the_inertia_where_nothing_changes_any_more(seed):
    X, start = drawn(seed)
    model = KMeans(4, init=start, tol=0).fit(X)
    assert model.fit_report_["stopped"] == "strict"
    # As in assert_never_rises.
    rounding = 2.0**-44 * np.square(X - X.mean(axis=0)).sum()
    assert abs(model.objective_trace_[-1] - model.inertia_) <= rounding


@given(SEEDS)
def test_inertia_is_that_of_the_float64_centers(seed):
    X, start = drawn(seed)
    model = KMeans(4, init=start, max_iter=1).fit(X)
    exact = reference.objective(X, model.cluster_centers_, model.labels_)
    # cluster_centers_ are the model's but for one rounding of pivot + centre, and x - pivot for
    # another: each 2^-53 of values up to 40, against distances.
    slack = 2 * len(X) * 40 * 2.0**-52 * np.sqrt(float(exact) / len(X) + 1) * np.sqrt(3)
    assert abs(model.inertia_ - float(exact)) <= slack


@given(SEEDS)
def test_weights_are_repetitions(seed):
    X, start, weights = drawn_integers(seed)
    one = KMeans(4, init=start, tol=0).fit(X, sample_weight=weights)
    two = KMeans(4, init=start, tol=0).fit(np.repeat(X, weights, axis=0))
    # The pivots differ, so the centres round differently: values up to 30, a few roundings.
    np.testing.assert_allclose(one.cluster_centers_, two.cluster_centers_, rtol=0, atol=2.0**-46)
    np.testing.assert_array_equal(np.repeat(one.labels_, weights), two.labels_)


@given(SEEDS)
def test_rows_of_weight_zero_are_as_if_removed(seed):
    X, start, weights = drawn_integers(seed)
    kept = weights > 0
    one = KMeans(4, init=start, tol=0).fit(X, sample_weight=weights)
    two = KMeans(4, init=start, tol=0).fit(X[kept], sample_weight=weights[kept])
    np.testing.assert_array_equal(one.labels_[kept], two.labels_)
    # The grids and the pivot depend on the rows' range: a few roundings of values up to 30.
    np.testing.assert_allclose(one.cluster_centers_, two.cluster_centers_, rtol=0, atol=2.0**-46)


@given(SEEDS)
def test_permuted_rows_have_permuted_labels(seed):
    X, start = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(X))
    one, two = (KMeans(4, init=start).fit(data) for data in (X, X[order]))
    assert (two.cluster_centers_.tobytes(), two.inertia_) == (
        one.cluster_centers_.tobytes(),
        one.inertia_,
    )
    np.testing.assert_array_equal(two.labels_, one.labels_[order])


@given(SEEDS, st.integers(-60, 60))
@settings(max_examples=200)
def test_scaling_by_a_power_of_two_scales_every_bit(seed, exponent):
    X, start = drawn(seed)
    one = KMeans(4, init=start).fit(X)
    two = KMeans(4, init=np.ldexp(start, exponent)).fit(np.ldexp(X, exponent))
    back = np.ldexp(two.cluster_centers_, -exponent)
    assert (back.tobytes(), two.labels_.tobytes(), np.ldexp(two.inertia_, -2 * exponent)) == bits(
        one
    )


@pytest.mark.parametrize("of_rows, of_weights", [(-290, -498), (290, 498), (290, -498)])
def test_scale_of_weights_and_rows_together_scales_every_bit(of_rows, of_weights):
    X, start, weights = drawn_integers(0)
    one = KMeans(4, init=start, tol=0).fit(X, sample_weight=weights)
    heavy = np.ldexp(weights.astype(float), of_weights)
    start, scaled = np.ldexp(start, of_rows), np.ldexp(X, of_rows)
    two = KMeans(4, init=start, tol=0).fit(scaled, sample_weight=heavy)
    np.testing.assert_array_equal(two.labels_, one.labels_)
    np.testing.assert_array_equal(two.cluster_centers_, np.ldexp(one.cluster_centers_, of_rows))
    with np.errstate(over="ignore"):  # an objective beyond float64 is infinite, not NaN
        assert two.inertia_ == np.ldexp(one.inertia_, 2 * of_rows + of_weights)


@given(SEEDS, st.integers(-(2**40), 2**40))
def test_shift_shifts_the_centers_alone(seed, shift):
    X, start, _ = drawn_integers(seed)
    one, two = KMeans(4, init=start).fit(X), KMeans(4, init=start + shift).fit(X + shift)
    np.testing.assert_array_equal(two.labels_, one.labels_)
    # Centres of integers up to 30, to one rounding of values up to 2^40 + 30.
    gap = two.cluster_centers_ - shift - one.cluster_centers_
    assert np.abs(gap).max() <= 2.0**-52 * (abs(shift) + 32)


@given(SEEDS, st.sampled_from(["f4", "f8"]), st.integers(1, 5))
def test_predict_of_the_rows_gives_labels(seed, dtype, max_iter):
    X, start = drawn(seed)
    X = X.astype(dtype)
    model = KMeans(4, init=start, max_iter=max_iter, tol=0).fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)


# Degenerate data.


@given(SEEDS, st.sampled_from(["k-means++", "random"]), st.sampled_from(["f4", "f8"]))
def test_as_many_clusters_as_rows_give_inertia_zero(seed, init, dtype):
    X = drawn(seed, n=9)[0].astype(dtype)
    model = KMeans(9, init=init, n_init=1, random_state=0).fit(X)
    assert model.inertia_ == 0
    assert len(set(model.labels_)) == 9


@given(SEEDS, st.sampled_from(["k-means++", "random"]), st.sampled_from(["f4", "f8"]))
def test_fewer_distinct_rows_than_clusters_give_inertia_zero(seed, init, dtype):
    rng = np.random.default_rng(seed)
    X = drawn(seed, n=3)[0].astype(dtype)[rng.integers(3, size=40)]
    result = kmeans(X, 6, init=init, random_state=0)
    assert result.inertia == 0
    assert len(set(result.labels)) == len(np.unique(X, axis=0))


def test_repair_picks_the_farthest_rows_and_never_two_copies():
    # Rows 3 and 4 are the farthest and alike; then row 5, then 2.
    X = np.array([[0.0], [1.0], [5.0], [9.0], [9.0], [7.0], [0.0]])
    result = kmeans(X, 3, init=[[0.0], [100.0], [200.0]], max_iter=1, tol=0)
    repairs = result.report["repairs"]
    assert [(cluster, X[row, 0]) for _, cluster, row in repairs] == [(1, 9), (2, 7)]


@given(SEEDS)
def test_repair_never_picks_two_copies_of_a_row(seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 4, size=(40, 2)).astype(float)
    start = np.concatenate([X[:1], np.full((4, 2), 99.0)])
    repairs = kmeans(X, 5, init=start, max_iter=1).report["repairs"]
    picked = X[[row for _, _, row in repairs]]
    assert [cluster for _, cluster, _ in repairs] == [1, 2, 3, 4]
    assert len(np.unique(picked, axis=0)) == 4


def test_repair_never_picks_a_row_of_weight_zero():
    X = np.array([[0.0], [1.0], [2.0], [50.0], [40.0]])
    result = kmeans(X, 2, init=[[0.0], [99.0]], sample_weight=[1, 1, 1, 0, 0], tol=0)
    assert [row for _, _, row in result.report["repairs"]] == [2]


# Precision: float32 rows with a mean of 1e6.


@pytest.mark.parametrize("d, k", [(2, 8), (16, 64)])
def test_float32_rows_far_from_zero_have_the_labels_of_float64(rng, d, k):
    X = (1e6 + rng.normal(size=(20_000, d))).astype(np.float32)
    wide = X.astype(np.float64)
    narrow, other = (KMeans(k, init=wide[:k], max_iter=10, tol=0).fit(data) for data in (X, wide))
    at = narrow.labels_ != other.labels_
    squares = np.sort(reference.squared_distances(wide, other.cluster_centers_), axis=1)
    # The bound of assign.inc.h on rows and centres about the pivot, both within the same reach, for
    # two scores, whose difference is half that of the squared distances; u |c| (|x| + |c|) more for
    # each centre's own rounding to float32.
    u, reach = 2.0**-24, np.square(wide - wide.mean(axis=0)).sum(axis=1).max()
    bound = 2 * 2 * ((d + 1) * 1.5 + 0.5 + 2) * u * reach
    gap = squares[:, 1] - squares[:, 0]
    assert (gap[at] <= bound).all()
    assert np.mean(gap <= bound) < 0.01  # the exception is one


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_centers_of_float32_rows_are_those_of_float64_rounded_once(rng, offset):
    X = (offset + rng.normal(size=(20_000, 2))).astype(np.float32)
    wide = X.astype(np.float64)
    narrow, other = (KMeans(4, init=wide[:4], max_iter=5, tol=0).fit(data) for data in (X, wide))
    np.testing.assert_array_equal(narrow.labels_, other.labels_)
    np.testing.assert_array_equal(
        narrow.cluster_centers_, other.cluster_centers_.astype(np.float32)
    )
    assert narrow.inertia_ == other.inertia_


def test_memory_of_bounds_may_be_any_number(rng):
    X = rng.normal(size=(8000, 9))
    whole, none = (KMeans(8, bounds_memory=m, random_state=0).fit(X) for m in (10**30, 0))
    np.testing.assert_array_equal(whole.labels_, none.labels_)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("d", [1024, 1025])
def test_extremes_of_many_columns(dtype, d, rng):
    X = rng.normal(size=(300, d)).astype(dtype)
    bounds = extremes(DenseRows(X, dtype), 2)
    np.testing.assert_array_equal(bounds, [X.min(axis=0), X.max(axis=0)])
    X[17, d - 1] = np.nan
    with pytest.raises(ValueError, match=rf"X\[17, {d - 1}\] = nan"):
        extremes(DenseRows(X, dtype), 2)
