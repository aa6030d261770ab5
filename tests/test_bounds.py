# SPDX-License-Identifier: BSD-3-Clause
"""Group bounds: the labels of the plain scan, bit for bit, whatever the data and the centres do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmix import KMeans
from fastmix.core import kmeans
from fastmix.core._bounds import GroupBounds
from fastmix.core._dense import DenseRows
from fastmix.core._dense_assignment import DenseAssignment
from fastmix.core._frame import scan
from fastmix.core._groups import group_centers
from fastmix.core._kernels import GROUP_WIDTH

SHAPES = [
    (1, 1, 2), (7, 3, 7), (64, 5, 8), (257, 8, 9), (300, 2, 40), (1000, 17, 24), (700, 40, 65),
    (513, 130, 130), (5000, 4, 17),
]  # fmt: skip


def both(rows, centers, bounds, labels):
    """Labels of one E-step by a plain scan and by bounds, and how many each says have changed."""
    plain, bounded = labels.copy(), labels.copy()
    x_square = float(np.square(np.abs(rows.take(np.arange(rows.n)))).sum(axis=1).max())
    bounds.move(centers, x_square * (1 + 1e-6))
    found = (
        rows.assign(0, rows.n, centers, plain, 1),
        bounds.assign(0, rows.n, bounded, 1),
    )
    return plain, bounded, found


def drifting(rng, rows, centers, steps, shift):
    """E-steps with centres that move by about `shift`: asserts the same labels at every one."""
    labels = np.zeros(rows.n, dtype=np.int32)
    rows.assign(0, rows.n, centers, labels, 1)
    spread = float(np.abs(rows.take(np.arange(rows.n)) - centers[labels]).mean()) + 1e-30
    bounds = GroupBounds(rows, group_centers(centers, -(-len(centers) // GROUP_WIDTH)), spread)
    for _ in range(steps):
        plain, bounded, found = both(rows, centers, bounds, labels)
        np.testing.assert_array_equal(bounded, plain)
        assert found[0] == found[1] == (plain != labels).sum()
        labels = plain
        centers = centers + rng.normal(size=centers.shape) * shift * rng.random((len(centers), 1))
    return bounds


def rows_of(X, dtype, isa=None):
    rows = DenseRows(X, dtype, isa)
    scan(rows, None, 1)
    return rows


# One E-step after another.


@pytest.mark.parametrize("n, d, k", SHAPES)
@pytest.mark.parametrize("shift", [0.0, 1e-3, 0.1, 30.0])
def test_labels_are_those_of_a_plain_scan(rng, isa, dtype, n, d, k, shift):
    rows = rows_of(rng.normal(size=(n, d)).astype(dtype), dtype, isa)
    drifting(rng, rows, rng.normal(size=(k, d)), 6, shift)


@pytest.mark.parametrize("n, d, k", SHAPES)
def test_ties_go_to_the_lowest_centre(rng, isa, dtype, n, d, k):
    X = rng.integers(-2, 3, size=(n, d)).astype(dtype)
    rows = rows_of(X, dtype, isa)
    offset = rows.offset / rows.scale
    labels = np.zeros(n, dtype=np.int32)
    centers = rng.integers(-2, 3, size=(k, d)) / 2 - offset
    rows.assign(0, n, centers, labels, 1)
    bounds = GroupBounds(rows, group_centers(centers, -(-k // GROUP_WIDTH)), 1.0)
    for _ in range(4):
        plain, bounded, _ = both(rows, centers, bounds, labels)
        np.testing.assert_array_equal(bounded, plain)
        labels = plain
        centers = rng.integers(-2, 3, size=(k, d)) / 2 - offset


@pytest.mark.parametrize(
    "offset, spread",
    [(1e6, 1.0), (0.0, 1e-18), (0.0, 1e18), (1.0, 1e-7), (0.0, 1e-33), (0.0, 1e70), (0.0, 1e-70)],
)
def test_rows_far_from_the_pivot_or_very_close_together(rng, dtype, offset, spread):
    if dtype == "f4" and not 1e-18 <= spread <= 1e18:
        pytest.skip("beyond float32")
    X = (rng.normal(size=(900, 6)) * spread).astype(dtype)
    X[::2] += np.dtype(dtype).type(offset)
    rows = rows_of(X, dtype)
    centers = rows.take(rng.choice(900, 20, replace=False))
    size = float(np.abs(centers).max())
    drifting(rng, rows, centers, 5, size * 1e-4)


def test_rounding_of_scores_is_within_the_margin(rng):
    # Rows between two centres, but for a few units in the last place.
    X = np.zeros((4000, 3), dtype=np.float32)
    X[:, 0] = (1 + rng.normal(size=4000) * 3e-7).astype(np.float32)
    X[:, 1:] = rng.normal(size=(4000, 2)) * 30
    rows = rows_of(X, "f4")
    centers = np.vstack([np.zeros(3), [2.0, 0, 0], rng.normal(size=(14, 3)) * 500])
    drifting(rng, rows, centers - rows.offset, 5, 1e-7)


def test_bounds_close_rows_and_groups(rng):
    rows = rows_of(rng.normal(size=(4000, 12)), "f8")
    bounds = drifting(rng, rows, rng.normal(size=(40, 12)), 1, 0.0)
    assert bounds.products == 4000 * 40  # the first time all are open
    bounds.products = bounds.rows_open = 0
    labels = np.zeros(4000, dtype=np.int32)
    centers = rng.normal(size=(40, 12))
    rows.assign(0, 4000, centers, labels, 1)
    fresh = GroupBounds(rows, group_centers(centers, 5), 1.0)
    for step in range(3):
        fresh.products = fresh.rows_open = 0
        fresh.move(centers + step * 1e-4, 200.0)
        fresh.assign(0, 4000, labels, 1)
    assert fresh.rows_open < 400
    assert fresh.products < 0.05 * 4000 * 40


@pytest.mark.parametrize("n_threads", [2, 3])
def test_threads_change_neither_labels_nor_counts(rng, n_threads):
    rows = rows_of(rng.normal(size=(9000, 8)).astype("f4"), "f4")
    first = np.zeros(9000, dtype=np.int32)
    centers = rng.normal(size=(30, 8))
    rows.assign(0, 9000, centers, first, 1)
    found = []
    for threads in (1, n_threads):
        bounds, labels = GroupBounds(rows, group_centers(centers, 4), 2.0), first.copy()
        sums = rows.empty_sums(threads, 30)
        for step in range(4):
            bounds.move(centers * (1 + 0.01 * step), 100.0)
            bounds.assign(0, 4096, labels, threads, sums)
            bounds.assign(4096, 9000, labels, threads, sums)
        found.append((labels, sums.sum(axis=0), bounds.products, bounds.rows_open))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("k, groups", [(1, 1), (7, 1), (8, 1), (9, 2), (64, 8), (100, 7), (65, 9)])
def test_groups_hold_every_centre_once_in_ascending_order(rng, k, groups):
    parts = group_centers(rng.normal(size=(k, 3)), groups)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(k))
    assert len(parts) <= groups
    assert all((np.diff(part) > 0).all() for part in parts)
    assert sum(len(part) % GROUP_WIDTH != 0 for part in parts) <= 1


def test_groups_of_equal_centres():
    parts = group_centers(np.ones((20, 2)), 3)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(20))


# Whole fits.


def traced(X, k, algorithm, **options):
    """Labels and centres after every iteration, then the result."""
    states = []

    def keep(state):
        states.append((state.labels.copy(), state.centers.copy(), state.objective))

    result = kmeans(X, k, algorithm=algorithm, callbacks=keep, tol=0, **options)
    return states, result


def assert_same_fits(X, k, **options):
    expected, plain = traced(X, k, "lloyd", **options)
    found, bounded = traced(X, k, "elkan", **options)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert bounded.inertia == plain.inertia
    np.testing.assert_array_equal(bounded.model.centers, plain.model.centers)
    return bounded


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bounded_fits_are_plain_fits_at_every_iteration(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    n, d = data.draw(st.integers(2, 400), label="n"), data.draw(st.integers(1, 20), label="d")
    k = data.draw(st.integers(1, min(n, 40)), label="k")
    dtype = data.draw(st.sampled_from(["f4", "f8", "f2", "i1", "i4"]), label="dtype")
    kind = data.draw(st.sampled_from(["normal", "grid", "copies", "far"]), label="kind")
    X = rng.normal(size=(n, d)) * 10
    if kind == "grid":
        X = rng.integers(0, 3, size=(n, d))
    elif kind == "copies":
        X = X[rng.integers(max(1, n // 4), size=n)]
    elif kind == "far" and dtype in ("f4", "f8"):
        X[rng.integers(n)] *= 1e4
    X = X.astype(dtype)
    weights = rng.integers(0, 3, size=n) if data.draw(st.booleans(), label="weights") else None
    if weights is not None and not weights.any():
        weights = None
    # Copies among the starting rows leave clusters empty.
    init = X[rng.integers(n, size=k)].astype(np.float64)
    assert_same_fits(X, k, init=init, sample_weight=weights, max_iter=30)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_long_fit_in_which_the_codes_begin_anew(rng, dtype):
    # Centres start in a corner, and move by many times the final distances.
    X = (rng.normal(size=(3000, 5)) + 40 * rng.integers(0, 6, size=(3000, 1))).astype(dtype)
    init = X.min(axis=0) + rng.random((24, 5))
    assert_same_fits(X, 24, init=init, max_iter=100)


def test_auto_uses_bounds_where_they_pay_and_reports_it(rng, plain_scans):
    X = rng.normal(size=(20_000, 64)) * np.arange(1, 65) ** -0.7
    fits = {name: kmeans(X, 120, init=X[:120], algorithm=name) for name in ("auto", "lloyd")}
    report = fits["auto"].report
    assert report["algorithm"] == "yinyang"
    assert report["products"] < 0.7 * fits["lloyd"].report["products"]
    assert report["rows_scanned"] < report["e_steps"] * 20_000
    assert "15 groups" in report["reason"]
    np.testing.assert_array_equal(fits["auto"].labels, fits["lloyd"].labels)
    assert fits["auto"].inertia == fits["lloyd"].inertia
    assert fits["lloyd"].report["products"] == fits["lloyd"].report["e_steps"] * 20_000 * 120


def test_auto_scans_where_centres_are_few(rng):
    report = kmeans(rng.normal(size=(5000, 2)), 8, random_state=0).report
    assert (report["algorithm"], report["reason"]) == ("lloyd", "bounds could not pay")


@pytest.mark.parametrize("memory, groups", [(0, 0), (15, 0), (16, 8), (31, 8), (32, 15), (900, 15)])
def test_memory_limits_the_groups(rng, memory, groups):
    rows = rows_of(rng.normal(size=(500, 4)), "f8")
    assignment = DenseAssignment(rows, None, 120, "elkan", memory * 500, np.ones(4))
    assert assignment.groups == groups


@pytest.mark.parametrize("memory", [-1, 1.5, True, "half"])
def test_bad_memory_is_refused(memory):
    X = np.arange(12.0).reshape(6, 2)
    with pytest.raises((ValueError, TypeError), match="bounds_memory"):
        kmeans(X, 2, bounds_memory=memory)
    with pytest.raises((ValueError, TypeError), match="bounds_memory"):
        KMeans(2, bounds_memory=memory).fit(X)


def test_no_memory_for_bounds_means_plain_scans(rng):
    X = rng.normal(size=(3000, 32))
    report = KMeans(50, init=X[:50], algorithm="elkan", bounds_memory=0).fit(X).fit_report_
    assert (report["algorithm"], report["reason"]) == ("lloyd", "no memory for bounds")
