# SPDX-License-Identifier: BSD-3-Clause
"""Every kernel, through DenseRows, against NumPy: exact on integers, within bounds on reals."""

import numpy as np
import pytest

import reference
from fastmix.core._dense import DenseRows
from fastmix.core._dense_seeding import SKETCH_BYTES, Sketch
from fastmix.core._kernels import exact_column_grid, exact_sum_grid

# Around every tile size of every table (4 to 64 rows), primes, and one row.
ROWS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 131]
COLUMNS = [1, 2, 3, 4, 5, 7, 16, 17, 300, 1000]
CENTERS = [1, 2, 5, 6, 7, 13, 64]
# Every pair of columns and centres, the rows in turn; then every number of rows.
PAIRS = [(d, k) for d in COLUMNS for k in CENTERS]
SHAPES = [(ROWS[i % len(ROWS)], d, k) for i, (d, k) in enumerate(PAIRS)]
SHAPES += [(n, 5 if i % 2 else 2, 7) for i, n in enumerate(ROWS)]
tile_shapes = pytest.mark.parametrize("n, d, k", SHAPES)
# Fewer where neither tiles nor panels matter, or where the shape only changes the bound.
shapes = pytest.mark.parametrize("n, d, k", SHAPES[::5])
real_shapes = pytest.mark.parametrize("n, d, k", SHAPES[3::7])


def framed(X, dtype, isa=None, pivot=0.0, scale=1.0, heaviest=1.0):
    """DenseRows in the frame (x - pivot) * scale, and the framed rows as float64."""
    rows = DenseRows(X, dtype, isa)
    Y = (X.astype(np.float64) - pivot) * scale
    grids = exact_sum_grid(np.abs(Y).max(axis=0) + 1, heaviest, len(X))
    rows.set_frame(np.full(rows.d, pivot * scale, dtype=np.float64), scale, grids)
    return rows, Y


def integers(rng, n, d, k, dtype):
    """Rows, centres and weights of small integers: every result is exact, and ties abound."""
    X = rng.integers(-4, 5, size=(n, d)).astype(dtype)
    return X, rng.integers(-4, 5, size=(k, d)) / 2, rng.integers(0, 4, size=n).astype(np.float64)


def add_up(sums, d):
    """Parts of exact sums (parts, k, 2, stride) as float64 statistics (k, d + 2)."""
    return sums.sum(axis=(0, 2))[:, : d + 2]


# Integers: exact.


@shapes
def test_extremes_of_integers_are_exact(rng, isa, dtype, n, d, k):
    rows, Y = framed(integers(rng, n, d, k, dtype)[0], dtype, isa, pivot=3.0, scale=0.25)
    bounds, finite = rows.extremes(0, n, 1)
    assert finite
    np.testing.assert_array_equal(bounds, [Y.min(axis=0), Y.max(axis=0)])


@tile_shapes
def test_assign_of_integers_gives_labels_with_ties_to_the_lowest(rng, isa, dtype, n, d, k):
    X, centers, _ = integers(rng, n, d, k, dtype)
    rows, Y = framed(X, dtype, isa, pivot=1.0, scale=2.0)
    labels = np.full(n, -1, dtype=np.int32)
    changed = rows.assign(0, n, centers, labels, 1)
    np.testing.assert_array_equal(labels, reference.assign(Y, centers))
    assert changed == n


@tile_shapes
def test_assign_of_integers_gives_runners_up_with_ties_to_the_lowest(rng, isa, dtype, n, d, k):
    X, centers, _ = integers(rng, n, d, k, dtype)
    rows, Y = framed(X, dtype, isa, pivot=1.0)
    found = np.full((2, n), -1, dtype=np.int32)
    rows.assign(0, n, centers, found[0], 1, second=found[1])
    np.testing.assert_array_equal(found, reference.nearest_two(Y, centers))


@shapes
def test_assign_of_integers_adds_exact_statistics(rng, isa, dtype, n, d, k):
    X, centers, weights = integers(rng, n, d, k, dtype)
    rows, Y = framed(X, dtype, isa, pivot=-2.0, scale=0.5, heaviest=3.0)
    labels, sums = np.full(n, -1, dtype=np.int32), rows.empty_sums(1, k)
    rows.assign(0, n, centers, labels, 1, sums, weights)
    np.testing.assert_array_equal(add_up(sums, d), reference.statistics(Y, labels, k, weights))


@tile_shapes
def test_distances_of_integers_are_exact(rng, isa, dtype, n, d, k):
    X, centers, _ = integers(rng, n, d, k, dtype)
    rows, Y = framed(X, dtype, isa, pivot=1.0, scale=2.0)
    out = np.empty((n, k), dtype=dtype)
    rows.distances(0, n, centers, out, 1)
    exact = np.sqrt(reference.squared_distances(Y, centers))
    np.testing.assert_array_equal(out, (exact / 2.0).astype(dtype))


@shapes
def test_residuals_of_integers_are_exact(rng, isa, dtype, n, d, k):
    X, centers, _ = integers(rng, n, d, k, dtype)
    rows, Y = framed(X, dtype, isa, pivot=1.0, scale=2.0)
    labels = rng.integers(k, size=n, dtype=np.int32)
    out = np.empty(n)
    rows.residuals(0, n, centers, labels, out, 1)
    np.testing.assert_array_equal(out, np.square(Y - centers[labels]).sum(axis=1))


@shapes
def test_inertia_of_integers_is_exact(rng, isa, dtype, n, d, k):
    X, centers, weights = integers(rng, n, d, k, dtype)
    rows, Y = framed(X, dtype, isa, pivot=1.0, scale=2.0)
    labels = rng.integers(k, size=n, dtype=np.int32)
    grid = exact_column_grid(3.0 * d * 14**2, n)
    total = rows.inertia(0, n, centers, labels, grid, 1, weights).sum()
    assert total == reference.objective(Y, centers, labels, weights)


@shapes
def test_add_all_of_integers_is_exact(rng, isa, dtype, n, d, k):
    X, _, weights = integers(rng, n, d, k, dtype)
    rows, Y = framed(X, dtype, isa, pivot=1.0, scale=2.0, heaviest=3.0)
    sums = rows.empty_sums(1, 1)
    rows.add_all(0, n, 1, sums, weights)
    exact = reference.statistics(Y, np.zeros(n, dtype=int), 1, weights)
    np.testing.assert_array_equal(add_up(sums, d), exact)


@shapes
def test_move_of_integers_is_exact(rng, isa, dtype, n, d, k):
    X, _, weights = integers(rng, n, d, k, dtype)
    rows, Y = framed(X, dtype, isa, pivot=1.0, heaviest=3.0)
    chosen = rng.permutation(n)[: max(1, n // 2)]
    to, back = rng.integers(k, size=(2, len(chosen)), dtype=np.int32)
    sums = rows.empty_sums(1, k)
    rows.move(chosen, to, back, sums[0], weights)
    part, heavy = Y[chosen], weights[chosen]
    exact = reference.statistics(part, to, k, heavy) - reference.statistics(part, back, k, heavy)
    np.testing.assert_array_equal(add_up(sums, d), exact)


@shapes
@pytest.mark.parametrize("previous", [False, True], ids=["first", "later"])
def test_potentials_of_integers_are_exact(rng, isa, dtype, n, d, k, previous):
    X, centers, weights = integers(rng, n, d, k + 1, dtype)
    rows, Y = framed(X, dtype, isa, pivot=1.0)
    squares = reference.squared_distances(Y, centers)
    closest = np.full(n, 30.0 * d, dtype=dtype)
    nearest = closest.astype(np.float64)
    if previous:
        nearest = np.minimum(nearest, squares[:, 0])
    out = np.empty((-(-n // rows.block_rows), k))
    last = centers[:1] if previous else None
    rows.potentials(0, n, last, centers[1:].copy(), closest, out, 1, weights)
    left = weights[:, None] * np.minimum(nearest[:, None], squares[:, 1:])
    exact = np.add.reduceat(left, np.arange(0, n, rows.block_rows))
    np.testing.assert_array_equal(
        np.column_stack([out, [closest.sum()] * len(out)]),
        np.column_stack([exact, [nearest.sum()] * len(out)]),
    )


@shapes
def test_slot_potentials_of_integers_are_exact(rng, isa, dtype, n, d, k):
    X, centers, _ = integers(rng, n, d, k, dtype)
    rows, Y = framed(X, dtype, isa, pivot=1.0)
    closest = rng.integers(10 * d, 30 * d, size=n).astype(dtype)
    slot = (n - 1) // rows.block_rows
    part = slice(slot * rows.block_rows, n)
    exact = np.minimum(closest, reference.squared_distances(Y, centers[-1:])[:, 0])[part]
    np.testing.assert_array_equal(rows.slot_potentials(slot, centers[-1:], closest), exact)


# Reals: within the bounds that the kernels state.


def near_ties(rng, n, d, k, dtype):
    """Rows far from the origin, centres in threes so close that rounding decides between them."""
    u = np.finfo(dtype).eps / 2
    X = rng.normal(3.0, 1.0, size=(n, d)).astype(dtype)
    centers = np.repeat(rng.normal(3.0, 1.0, size=(-(-k // 3), d)), 3, axis=0)[:k]
    return X, (centers * (1 + 20 * u * rng.normal(size=(k, d)))).astype(dtype).astype(np.float64), u


def scores(X, centers, u):
    """Scores x.c - |c|^2 / 2 in extended precision, and the bound of assign.inc.h on each."""
    X, centers = X.astype(np.longdouble), centers.astype(np.longdouble)
    half = np.square(centers).sum(axis=1) / 2
    bound = (X.shape[1] + 1) * u * (half + np.abs(X) @ np.abs(centers.T)) + u * half
    return X @ centers.T - half, bound


@real_shapes
def test_assign_of_reals_is_wrong_by_no_more_than_its_bound(rng, isa, dtype, n, d, k):
    X, centers, u = near_ties(rng, n, d, k, dtype)
    labels = np.empty(n, dtype=np.int32)
    framed(X, dtype, isa)[0].assign(0, n, centers, labels, 1)
    score, bound = scores(X, centers, u)
    chosen, best = np.column_stack([labels, score.argmax(axis=1)]).T
    at = np.arange(n)
    # Two scores are compared: both bounds count.
    assert (score[at, best] - score[at, chosen] <= bound[at, best] + bound[at, chosen]).all()


@pytest.mark.parametrize("n, d, k", [s for s in SHAPES[3::7] if s[2] > 1])
def test_runners_up_of_reals_are_wrong_by_no_more_than_their_bound(rng, isa, dtype, n, d, k):
    X, centers, u = near_ties(rng, n, d, k, dtype)
    labels, second = np.empty((2, n), dtype=np.int32)
    framed(X, dtype, isa)[0].assign(0, n, centers, labels, 1, second=second)
    score, bound = scores(X, centers, u)
    at = np.arange(n)
    score[at, labels] = -np.inf
    best = score.argmax(axis=1)
    # Of two scores each, the winner's and the runner-up's.
    error = score[at, best] - score[at, second]
    assert (error <= bound[at, best] + bound[at, second]).all()


@real_shapes
def test_distances_of_reals_are_within_their_bound(rng, isa, dtype, n, d, k):
    X, centers, u = near_ties(rng, n, d, k, dtype)
    out = np.empty((n, k), dtype=dtype)
    framed(X, dtype, isa)[0].distances(0, n, centers, out, 1)
    exact = np.sqrt(reference.squared_distances(X, centers, np.longdouble))
    # Half of (d + 2) u from the squares (distances.inc.h), u for the root, 10 % for second order.
    assert (np.abs(out - exact) <= 1.1 * (d / 2 + 2) * u * exact).all()


@real_shapes
def test_residuals_of_reals_are_within_their_bound(rng, isa, dtype, n, d, k):
    X, centers, _ = near_ties(rng, n, d, k, dtype)
    labels = rng.integers(k, size=n, dtype=np.int32)
    out = np.empty(n)
    framed(X, dtype, isa)[0].residuals(0, n, centers, labels, out, 1)
    squares = np.square(X.astype(np.longdouble) - centers[labels]).sum(axis=1)
    # sums.inc.h: (d + 3) 2^-53, relative.
    assert (np.abs(out - squares) <= (d + 3) * 2.0**-53 * squares).all()


@real_shapes
def test_potentials_of_reals_are_within_their_bound(rng, isa, dtype, n, d, k):
    X, centers, u = near_ties(rng, n, d, k, dtype)
    rows, _ = framed(X, dtype, isa)
    weights = rng.random(n)
    closest = rng.uniform(d, 3 * d, size=n).astype(dtype)
    out = np.empty((-(-n // rows.block_rows), k))
    rows.potentials(0, n, None, centers, closest, out, 1, weights)
    squares = reference.squared_distances(X, centers, np.longdouble)
    exact = (weights[:, None] * np.minimum(closest[:, None], squares)).sum(axis=0)
    # (d + 2) u from distances.inc.h; then float64 sums of at most n positive terms.
    assert (np.abs(out.sum(axis=0) - exact) <= ((d + 2) * u + n * 2.0**-53) * exact).all()


# The sketch of the seeding: nothing that is nearer is skipped.


def sketched(rows, closest, center, n_threads=1):
    """A sketch of the rows, filled; closest becomes the distances to center (1, d)."""
    sketch, slots = Sketch(rows), np.empty(-(-rows.n // rows.block_rows))
    rows.accept(0, rows.n, center, 0, closest, sketch, slots, n_threads, fill=True)
    return sketch


def columns(rng, n, d, kind):
    """Rows whose sketch is good, poor because of the mean, or poor because of the scales."""
    X = rng.normal(size=(n, d))
    return {"plain": X, "far": X + 50, "scales": X * 4.0 ** -(np.arange(d) % 9)}[kind]


@pytest.mark.parametrize("kind", ["plain", "far", "scales"])
@pytest.mark.parametrize("d", [1, 2, 3, 16, 33, 300])
def test_a_row_that_is_nearer_by_one_bit_is_never_skipped(rng, isa, dtype, d, kind):
    n = 700
    rows, Y = framed(columns(rng, n, d, kind).astype(dtype), dtype, isa)
    closest = np.full(n, np.inf, dtype=dtype)
    sketch = sketched(rows, closest, Y[:1].copy())
    for candidate in range(1, 8):
        center = Y[candidate : candidate + 1].copy()
        squares = np.full(n, np.inf, dtype=dtype)
        rows.potentials(0, n, center, center, squares, np.empty((-(-n // rows.block_rows), 1)), 1)
        # One row in five, so that no block is computed whole because most of its rows are.
        chosen = (rng.random(n) < 0.2) & (squares > 0)
        nearer = np.where(chosen, np.nextafter(squares, dtype.type(np.inf)), dtype.type(0))
        bit = np.where(chosen, nearer - squares, 1).astype(np.float64)
        listed = np.empty((-(-n // rows.block_rows), 1))
        rows.gains(0, n, center, nearer, sketch, listed, 1, 1 / bit)
        assert listed.sum() == np.count_nonzero(chosen)


@pytest.mark.parametrize("n", [1, 31, 64, 65, 5000])
@pytest.mark.parametrize("d", [1, 5, 40])
@pytest.mark.parametrize("k", [1, 4, 7, 8, 13])
def test_gains_of_listed_rows_have_the_bits_of_all_rows(rng, isa, dtype, n, d, k):
    rows, Y = framed(rng.normal(size=(n, d)).astype(dtype), dtype, isa)
    closest, weights = np.full(n, np.inf, dtype=dtype), rng.random(n)
    sketch = sketched(rows, closest, np.zeros((1, d)), 2)
    expected = np.square(Y).sum(axis=1)
    np.testing.assert_allclose(closest, expected, rtol=2 * (d + 2) * np.finfo(dtype).eps)
    candidates = Y[rng.integers(n, size=k)]
    gains, left, listed = np.empty((3, -(-n // rows.block_rows), k))
    rows.potentials(0, n, None, candidates, closest, left, 2, weights, gains)
    rows.gains(0, n, candidates, closest, sketch, listed, 2, weights)
    np.testing.assert_array_equal(listed, gains)
    # What was noted brings closest to the minimum, with the potential that the full pass found.
    slots, updated = np.empty(len(left)), closest.copy()
    rows.accept(0, n, candidates[-1:], k - 1, updated, sketch, slots, 2, weights)
    np.testing.assert_array_equal(slots, left[:, -1])
    rows.potentials(0, n, candidates[-1:], candidates, closest, left, 2, weights)
    np.testing.assert_array_equal(updated, closest)


def test_most_rows_of_many_centers_are_skipped(rng, isa, dtype):
    rows, Y = framed(rng.normal(size=(5000, 8)).astype(dtype), dtype, isa)
    closest = np.full(5000, np.inf, dtype=dtype)
    sketch = sketched(rows, closest, Y[:1].copy())
    rows.potentials(0, 5000, None, Y[:200].copy(), closest, np.empty((3, 200)), 1)
    nearest = reference.squared_distances(Y, Y[:200]).min(axis=1).astype(dtype)
    n_computed = rows.gains(0, 5000, Y[300:301].copy(), nearest, sketch, np.empty((3, 1)), 1)
    # About one row in 200 is nearer to one more centre; the sketch must tell most of the others.
    assert n_computed < 500


@pytest.mark.parametrize("n, d", [(1000, 3), (3_000_000, 16), (200_000, 300)])
def test_a_sketch_takes_no_more_than_its_memory(dtype, n, d):
    rows = DenseRows(np.broadcast_to(np.ones(d, dtype=dtype), (n, d)), dtype)
    sketch = Sketch(rows)
    # A block more, whose end is padded, and a count a block.
    slack = rows.block_rows * (d + 16) + 8 * (n // rows.block_rows + 1)
    assert sketch.nbytes + n * rows.dtype.itemsize <= 8 * n + SKETCH_BYTES + slack


# Blocks, lists of rows, threads.


@pytest.mark.parametrize("extra", [-1, 0, 1, 67])
@pytest.mark.parametrize("d", [2, 300])
def test_rows_around_a_block_are_each_assigned_once(rng, dtype, d, extra):
    n = 2 * DenseRows(np.empty((1, d)), dtype).block_rows + extra
    X, centers, weights = integers(rng, n, d, 5, dtype)
    rows, Y = framed(X, dtype, heaviest=3.0)
    labels, sums = np.full(n, -1, dtype=np.int32), rows.empty_sums(2, 5)
    rows.assign(0, n, centers, labels, 2, sums, weights)
    exact = reference.statistics(Y, reference.assign(Y, centers), 5, weights)
    np.testing.assert_array_equal(add_up(sums, d), exact)


def test_assign_counts_and_moves_only_rows_whose_label_changes(rng, isa, dtype):
    X, centers, weights = integers(rng, 333, 3, 6, dtype)
    rows, Y = framed(X, dtype, isa, heaviest=3.0)
    labels, sums = np.full(333, -1, dtype=np.int32), rows.empty_sums(1, 6)
    rows.assign(0, 333, centers, labels, 1, sums, weights)
    before = labels.copy()
    changed = rows.assign(0, 333, centers[::-1].copy(), labels, 1, sums, weights)
    assert changed == (labels != before).sum() > 0
    np.testing.assert_array_equal(add_up(sums, 3), reference.statistics(Y, labels, 6, weights))


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_partial_ranges_meet_the_rows_they_name(rng, dtype, n_threads):
    X, centers, _ = integers(rng, 5000, 3, 6, dtype)
    rows, Y = framed(X, dtype)
    labels = rng.integers(6, size=5000, dtype=np.int32)
    step = 2 * rows.block_rows
    out = np.full(step, -1.0)
    rows.residuals(step, 5000, centers, labels, out[: 5000 - step], n_threads)
    exact = np.square(Y - centers[labels]).sum(axis=1)[step:]
    np.testing.assert_array_equal(out, np.append(exact, np.full(2 * step - 5000, -1.0)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0), (16, 4), (129, 2), (130, 4)], ids=str)
def test_extremes_see_every_value_that_is_not_finite(rng, isa, dtype, value, at):
    X = rng.normal(size=(131, 5)).astype(dtype)
    X[at] = value
    rows, _ = framed(np.where(np.isfinite(X), X, 0), dtype, isa)
    bad = DenseRows(X, dtype, isa)
    assert rows.extremes(0, 131, 1)[1]
    assert not bad.extremes(0, 131, 1)[1]
    assert bad.first_non_finite()[:2] == at
