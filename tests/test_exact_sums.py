# SPDX-License-Identifier: BSD-3-Clause
"""The exact sums: correctly rounded to their bound, and the same bits whatever the history."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmix.core._dense import DenseRows
from fastmix.core._kernels import exact_column_grid, exact_sum_grid, update_centers


def placed(X, weights=None, isa=None):
    """Rows at their own place, with the grids that a fit would give them."""
    rows = DenseRows(X, np.float64, isa)
    heaviest = 1.0 if weights is None else weights.max()
    rows.set_frame(
        np.zeros(rows.d), 1.0, exact_sum_grid(np.abs(X).max(axis=0).astype(float), heaviest, len(X))
    )
    return rows


def total(X, weights=None, isa=None, n_threads=1):
    """Both parts of the sums of all rows: (2, stride)."""
    rows = placed(X, weights, isa)
    sums = rows.empty_sums(n_threads, 1)
    rows.add_all(0, len(X), n_threads, sums, weights)
    return sums[:, 0].sum(axis=0)


def clustered(X, labels, k, weights=None, isa=None):
    """Sums (k, 2, stride) of the rows by label, added in one go."""
    rows = placed(X, weights, isa)
    sums = rows.empty_sums(1, k)[0]
    nowhere = np.full(len(X), -1, dtype=np.int32)
    rows.move(np.arange(len(X)), labels.astype(np.int32), nowhere, sums, weights)
    return sums


def wild(rng, n, d):
    """Rows whose columns differ by up to 2^100 in scale, and whose elements by 2^60."""
    scale = rng.integers(-50, 50, size=d)
    return np.ldexp(rng.normal(size=(n, d)), scale + rng.integers(-60, 1, size=(n, d)))


def bound(n, largest, value):
    """Error of a sum: n addends by 4 n^2 2^-103 of the largest, and one final rounding.

    The fine unit is 2^-103 of (n largest) n (grid.c), with n, n and largest each rounded up to a
    power of two, and an addend is off by half of it.
    """
    return 4 * n**3 * Fraction(2) ** -103 * Fraction(largest) + Fraction(2) ** -53 * abs(value)


# Against exact arithmetic.

FLOATS = st.floats(-1e100, 1e100, allow_subnormal=False)


@given(st.lists(FLOATS, min_size=1, max_size=50))
def test_sum_of_any_floats_is_rounded_once_to_its_bound(column):
    exact = sum(map(Fraction, column))
    found = total(np.array(column)[:, None])[:, 0].sum()
    assert abs(Fraction(found) - exact) <= bound(len(column), max(map(abs, column)), exact)


@given(st.lists(st.tuples(FLOATS, st.floats(1e-3, 1e9)), min_size=1, max_size=50))
def test_weighted_sum_of_any_floats_is_rounded_once_to_its_bound(pairs):
    column, weights = np.array(pairs).T.copy()
    addends = weights * column  # the one rounding before the sum
    exact = sum(map(Fraction, addends))
    found = total(column[:, None].copy(), weights)[:, 0].sum()
    largest = Fraction(weights.max()) * Fraction(np.abs(column).max())
    assert abs(Fraction(found) - exact) <= bound(len(column), largest, exact)


def test_sums_of_wild_columns_are_correctly_rounded(rng, isa):
    X = wild(rng, 3000, 9)
    found = total(X, isa=isa).sum(axis=0)[:9]
    # The bound of the addends, 4 n^3 2^-103 of the largest, is far below half an ulp of these sums.
    np.testing.assert_array_equal(found, [math.fsum(column) for column in X.T])


def test_sum_of_weights_is_correctly_rounded(rng, isa):
    weights = np.ldexp(rng.random(3000), rng.integers(-60, 1, size=3000))
    found = total(rng.normal(size=(3000, 2)), weights, isa).sum(axis=0)[2]
    assert found == math.fsum(weights)


def test_sum_of_squares_is_within_its_bound(rng, isa):
    X = wild(rng, 3000, 9)
    found = total(X, isa=isa).sum(axis=0)[10]
    exact = math.fsum(np.square(X).ravel())
    # Each |x|^2 has at most 4 roundings in its chain of 3 columns and the sum of 4 chains.
    assert abs(found - exact) <= 6 * 2.0**-53 * exact


def test_sums_that_cancel_keep_what_float64_loses(isa):
    X = np.array([[1e16], [1.0], [-1e16], [2.0**-30]])
    # 2^-30 is 83 bits below 1e16: within the 103 of the fine grid, less n^2.
    assert total(X, isa=isa)[:, 0].sum() == 1 + 2.0**-30


# The same bits.


@pytest.mark.parametrize("order", ["reversed", "shuffled", "sorted"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_order_of_rows_does_not_change_a_bit(rng, isa, order, weighted):
    X = wild(rng, 1000, 5)
    weights = rng.random(1000) if weighted else None
    at = {"reversed": np.arange(1000)[::-1], "shuffled": rng.permutation(1000)}.get(
        order, np.argsort(X[:, 0])
    )
    turned = total(X[at], None if weights is None else weights[at], isa)
    assert turned.tobytes() == total(X, weights, isa).tobytes()


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_adding_and_removing_leaves_the_bits_of_a_fresh_sum(rng, isa, weighted):
    X = wild(rng, 1000, 5)
    weights = rng.random(1000) if weighted else None
    rows, labels = placed(X, weights, isa), rng.integers(4, size=1000, dtype=np.int32)
    sums = clustered(X, labels, 4, weights, isa)
    for _ in range(50):
        moved = rng.permutation(1000)[:300]
        to = rng.integers(4, size=300, dtype=np.int32)
        rows.move(moved, to, labels[moved], sums, weights)
        labels[moved] = to
    assert sums.tobytes() == clustered(X, labels, 4, weights, isa).tobytes()


def test_removing_every_row_leaves_zero(rng, isa):
    X = wild(rng, 1000, 5)
    labels = rng.integers(4, size=1000, dtype=np.int32)
    sums = clustered(X, labels, 4, isa=isa)
    nowhere = np.zeros(1000, dtype=np.int32)
    placed(X, isa=isa).move(np.arange(1000), nowhere, labels, sums)
    np.testing.assert_array_equal(sums[1:], 0)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_threads_and_parts_do_not_change_a_bit(rng, n_threads, parts):
    X, centers = rng.normal(size=(20_000, 3)), rng.normal(size=(6, 3))
    rows, labels = placed(X), np.full(20_000, -1, dtype=np.int32)
    sums = rows.empty_sums(parts, 6)
    rows.assign(0, 20_000, centers, labels, n_threads, sums)
    assert sums.sum(axis=0).tobytes() == clustered(X, labels, 6).tobytes()


@pytest.mark.parametrize("n_threads", [2, 7])
def test_threads_do_not_change_a_bit_of_the_total(rng, n_threads):
    X, weights = wild(rng, 20_000, 3), rng.random(20_000)
    assert total(X, weights, n_threads=n_threads).tobytes() == total(X, weights).tobytes()


@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_inertia_is_the_correctly_rounded_sum_of_the_residuals(rng, isa, n_threads):
    X, centers = rng.normal(size=(9000, 5)), rng.normal(size=(6, 5))
    labels, weights = rng.integers(6, size=9000, dtype=np.int32), rng.random(9000)
    rows, residuals = placed(X, isa=isa), np.empty(9000)
    rows.residuals(0, 9000, centers, labels, residuals, 1)
    grid = exact_column_grid(residuals.max(), 9000)
    found = rows.inertia(0, 9000, centers, labels, grid, n_threads, weights).sum()
    # 4 n^3 2^-103 of the largest is 2^-61: far below half an ulp of the sum.
    assert found == math.fsum(residuals * weights)


# The grids, and the M-step.

EXTREMES = [5e-324, 1e-310, 2.0**-1022, 1e-200, 1.0, np.nextafter(2.0, 0), 1e100, 2.0**900]


@pytest.mark.parametrize("n", [1, 2, 3, 2**20 - 1, 2**20, 2**31])
@pytest.mark.parametrize("largest", EXTREMES, ids=str)
def test_sums_on_a_grid_fit_into_float64(largest, n):
    coarse, fine = (Fraction(m) / (3 * 2**51) for m in exact_column_grid(largest, n))
    # Below 2^52 units in either grid: sums of n addends, and the difference of two sums.
    assert n * Fraction(largest) <= 2**52 * coarse
    assert n * (coarse / 2) <= 2**52 * fine


@pytest.mark.parametrize("n", [1, 2, 3, 2**20 - 1, 2**20, 2**31])
@pytest.mark.parametrize("largest", EXTREMES, ids=str)
def test_addends_on_a_grid_are_off_by_the_stated_bound(largest, n):
    fine = Fraction(exact_column_grid(largest, n)[1]) / (3 * 2**51)
    # As in bound(); but no finer than the smallest float64, of which every addend is a multiple.
    stated = 4 * n**2 * Fraction(2) ** -103 * Fraction(largest)
    assert fine / 2 <= max(stated, Fraction(2) ** -1075)


@pytest.mark.parametrize("exponent", [-1074, -1040, -1000, -500, 0, 500, 900])
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_extreme_magnitude_are_exact(rng, isa, exponent, sign):
    column = sign * np.ldexp(rng.integers(1, 2**20, size=500).astype(float), exponent)
    # The column of squares overflows and is not looked at.
    with np.errstate(over="ignore"):
        assert total(column[:, None], isa=isa)[:, 0].sum() == math.fsum(column)


def test_zero_column_sums_to_zero(isa):
    np.testing.assert_array_equal(total(np.zeros((9, 2)), isa=isa).sum(axis=0)[:4], [0, 0, 9, 0])


def test_largest_weight_of_a_grid_may_be_tiny(rng, isa):
    weights = np.ldexp(rng.random(300), -400)
    X = rng.normal(size=(300, 1))
    assert total(X, weights, isa)[:, 0].sum() == math.fsum(weights * X[:, 0])


def test_update_centers_gives_means_and_the_objective_before_and_after(rng):
    X, labels = rng.integers(-9, 9, size=(64, 3)).astype(float), np.arange(64) % 4
    old = rng.integers(-9, 9, size=(4, 3)).astype(float)
    centers, weights, before, after, shift, least = update_centers(clustered(X, labels, 4), old)
    means = np.array([X[labels == j].mean(axis=0) for j in range(4)])  # of 16 integers: exact
    np.testing.assert_array_equal(centers, means)
    np.testing.assert_array_equal(weights, 16)
    assert least == 16
    exact = [np.square(X - c[labels]).sum() for c in (old, means)]
    assert [before, after, shift] == [*exact, np.square(means - old).sum()]


def test_update_centers_keeps_the_center_of_an_empty_cluster(rng):
    X, old = rng.normal(size=(10, 3)), rng.normal(size=(2, 3))
    centers, weights, *_, least = update_centers(clustered(X, np.zeros(10, dtype=int), 2), old)
    np.testing.assert_array_equal(centers[1], old[1])
    assert weights[1] == least == 0
