# SPDX-License-Identifier: BSD-3-Clause
"""SparseRows against DenseRows on the same matrix, in the same frame."""

import numpy as np
import pytest
from scipy import sparse

from fastmix import KMeans, assign
from fastmix.core._dense import DenseRows
from fastmix.core._kernels import exact_column_grid, exact_sum_grid
from fastmix.core._sparse import SparseRows

N, D = 600, 40  # more rows than two slots of the seeding
SOURCES = "f8 f4 i1 u1 i2 u2 i4 u4 i8 u8 ?".split()


def matrix(rng, density=0.1, source="f8", index="i4", n=N, d=D):
    """CSR of small integers, with rows of no element at the ends and in the middle."""
    X = rng.integers(1, 2 if source == "?" else 9, size=(n, d)) * (rng.random((n, d)) < density)
    X[[0, n // 2, n // 2 + 1, -1]] = 0
    X = sparse.csr_array(X.astype(source))
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return X


def both(X, isa=None):
    """The same rows, sparse and dense, in one frame."""
    rows = SparseRows(X, None, isa), DenseRows(X.toarray().astype(np.float64), np.float64, isa)
    for each in rows:
        each.set_frame(np.zeros(each.d), 2.0, exact_sum_grid(np.full(each.d, 20.0), 3.0, each.n))
    return rows


def centers_like(rng, k=7, d=D):
    return rng.integers(0, 8, size=(k, d)) / 4


def assigned(rows, centers, weights=None, n_threads=1, parts=1):
    """Labels, runners-up and sums of one E-step from nothing."""
    labels, second = np.full((2, rows.n), -1, dtype=np.int32)
    sums = rows.empty_sums(parts, len(centers))
    rows.assign(0, rows.n, centers, labels, n_threads, sums, weights, second=second)
    return labels, second, sums.sum(axis=0)


def assert_all_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 7, 15, 16, 17, 33])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
def test_assign_of_integers_equals_dense(rng, isa, density, k):
    sparse_rows, dense_rows = both(matrix(rng, density), isa)
    centers, weights = centers_like(rng, k), rng.integers(0, 4, size=N).astype(float)
    expected = assigned(dense_rows, centers, weights)
    assert_all_equal(assigned(sparse_rows, centers, weights), expected)


@pytest.mark.parametrize("index", ["i4", "i8"])
@pytest.mark.parametrize("source", SOURCES)
def test_types_of_elements_and_indices_do_not_matter(rng, source, index):
    sparse_rows, dense_rows = both(matrix(rng, source=source, index=index))
    centers = centers_like(rng)
    assert_all_equal(assigned(sparse_rows, centers), assigned(dense_rows, centers))


def test_indices_of_two_types_do_not_matter(rng):
    X, centers = matrix(rng), centers_like(rng)
    expected = assigned(both(X)[1], centers)
    X.indptr = X.indptr.astype(np.int64)
    assert X.indices.dtype != X.indptr.dtype
    assert_all_equal(assigned(both(X)[0], centers), expected)


def test_byte_order_of_elements_does_not_matter(rng):
    X, centers = matrix(rng), centers_like(rng)
    expected = assigned(both(X)[1], centers)
    X.data = X.data.astype(X.dtype.newbyteorder())
    assert not X.data.dtype.isnative
    swapped = SparseRows(X)
    swapped.set_frame(np.zeros(D), 2.0, both(matrix(rng))[0].grids)
    assert_all_equal(assigned(swapped, centers), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (257, 1), (2, 3)], ids=str)
def test_small_shapes_equal_dense(rng, isa, shape):
    X = sparse.csr_array(rng.integers(0, 3, size=shape).astype(float))
    sparse_rows, dense_rows = both(X, isa)
    centers = centers_like(rng, 3, shape[1])
    assert_all_equal(assigned(sparse_rows, centers), assigned(dense_rows, centers))


@pytest.mark.parametrize("n_threads", [2, 3, 7])
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_threads_and_parts_do_not_change_a_bit(rng, n_threads, parts):
    X = matrix(rng)
    X.data += rng.random(X.nnz)
    rows, centers = both(X)[0], rng.normal(size=(7, D))
    alone = assigned(rows, centers)
    assert_all_equal(assigned(rows, centers, None, n_threads, parts), alone)


def test_relabelled_rows_leave_the_sums_of_their_new_clusters(rng):
    X, centers, weights = matrix(rng), centers_like(rng), rng.integers(0, 4, size=N).astype(float)
    rows = both(X)[0]
    labels, _, sums = assigned(rows, centers, weights)
    turned = centers[::-1].copy()
    rows.assign(0, N, turned, labels, 1, sums[None], weights)
    assert_all_equal((labels, sums), assigned(rows, turned, weights)[::2])


def test_every_pass_reads_its_centers(rng):
    X, centers = matrix(rng), centers_like(rng)
    rows = both(X)[0]
    assigned(rows, centers)
    centers[...] = centers[::-1].copy()
    assert_all_equal(assigned(rows, centers), assigned(both(X)[0], centers))


def test_move_equals_dense(rng):
    chosen, weights = rng.permutation(N)[:200], rng.integers(0, 4, size=N).astype(float)
    to, back = rng.integers(5, size=(2, 200), dtype=np.int32)
    found = []
    for rows in both(matrix(rng)):
        found.append(rows.empty_sums(1, 5)[0])
        rows.move(chosen, to, back, found[-1], weights)
    assert found[0].any()
    np.testing.assert_array_equal(*found)


def test_extremes_equal_dense(rng):
    # Every column has a zero, which the sparse rows count without looking for one.
    found = [rows.extremes(0, N, 2)[0] for rows in both(matrix(rng))]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_extremes_see_a_value_that_is_not_finite(rng, value):
    X = matrix(rng)
    X.data[-1] = value
    rows = SparseRows(X)
    assert not rows.extremes(0, N, 1)[1]
    row, column, found = rows.first_non_finite()
    np.testing.assert_array_equal([found, X[[row], [column]][0]], value)


def test_residuals_equal_dense(rng, isa):
    centers, labels = centers_like(rng), rng.integers(7, size=N, dtype=np.int32)
    found = np.empty((2, N))
    for rows, out in zip(both(matrix(rng), isa), found, strict=True):
        rows.residuals(0, N, centers, labels, out, 2)
    np.testing.assert_array_equal(*found)


def test_inertia_equals_dense(rng, isa):
    centers, labels = centers_like(rng), rng.integers(7, size=N, dtype=np.int32)
    weights, grid = rng.integers(0, 4, size=N).astype(float), exact_column_grid(4e4, N)
    found = [
        rows.inertia(0, N, centers, labels, grid, 2, weights) for rows in both(matrix(rng), isa)
    ]
    assert found[0].sum() > 0
    np.testing.assert_array_equal(*found)


def test_distances_equal_dense(rng, isa):
    centers, found = centers_like(rng), np.empty((2, N, 7))
    for rows, out in zip(both(matrix(rng), isa), found, strict=True):
        rows.distances(0, N, centers, out, 2)
    # The squares are exact; sparse takes the root at once, dense too.
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("previous", [False, True], ids=["first", "later"])
def test_potentials_equal_dense(rng, isa, previous):
    centers, weights = centers_like(rng), rng.integers(0, 4, size=N).astype(float)
    totals, kept = [], []
    for rows in both(matrix(rng), isa):
        closest, slots = np.full(N, 9000.0), np.zeros((-(-N // rows.block_rows), 6))
        last = centers[:1] if previous else None
        rows.potentials(0, N, last, centers[1:].copy(), closest, slots, 2, weights)
        totals.append(slots.sum(axis=0))
        kept.append(closest)
    # The sparse rows square a root again: 2 roundings, and those of the sum of N terms.
    np.testing.assert_allclose(*totals, rtol=(N + 2) * 2.0**-53)
    np.testing.assert_allclose(*kept, rtol=2 * 2.0**-53)


def test_slot_potentials_equal_dense(rng):
    center, closest = centers_like(rng)[:1], np.full(N, 100.0)
    rows, dense_rows = both(matrix(rng))
    n_slots = -(-N // rows.block_rows)
    found = np.concatenate([rows.slot_potentials(slot, center, closest) for slot in range(n_slots)])
    # As above: a root squared again.
    expected = dense_rows.slot_potentials(0, center, closest)
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=2 * 2.0**-53)
    assert len(found) == N


# Reals, and the whole way.


def test_distances_of_reals_agree_with_dense(rng, isa):
    X = matrix(rng)
    X.data = rng.normal(size=X.nnz)
    centers, found = rng.normal(size=(7, D)), np.empty((2, N, 7))
    for rows, out in zip(both(X, isa), found, strict=True):
        rows.distances(0, N, centers, out, 1)
    # sparse.inc.h adds to |c|^2 at most D terms below (|x| + |c|)^2 each; the dense bound is less.
    reach = (np.sqrt(X.power(2).sum(axis=1)).max() * 2 + np.linalg.norm(centers, axis=1).max()) ** 2
    np.testing.assert_allclose(*np.square(found), rtol=0, atol=4 * D * 2.0**-53 * reach)


@pytest.mark.parametrize("source", ["f4", "f8", "u1"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_fit_of_sparse_rows_equals_the_fit_of_dense_ones(rng, source, weighted):
    X = matrix(rng, source=source)
    weights = rng.integers(0, 4, size=N) if weighted else None
    start = rng.integers(0, 8, size=(4, D)).astype(float)
    found, dense = (
        KMeans(4, init=start, tol=0).fit(data, sample_weight=weights) for data in (X, X.toarray())
    )
    np.testing.assert_array_equal(found.labels_, dense.labels_)
    # Means of integers up to 8, without a pivot and with one: two roundings, to float32 where X is.
    eps = np.finfo(found.cluster_centers_.dtype).eps
    np.testing.assert_allclose(
        found.cluster_centers_, dense.cluster_centers_, rtol=0, atol=16 * eps
    )
    # Residuals with |c|^2 added and taken off again, of 600 rows: 2 D + 3 roundings at most.
    np.testing.assert_allclose(found.inertia_, dense.inertia_, rtol=2 * D * 2.0**-51)


def test_duplicate_entries_are_added_up(rng):
    values, columns = rng.integers(1, 5, size=300).astype(float), rng.integers(9, size=300)
    starts = np.arange(0, 301, 6)  # six entries a row, most of them in columns met before
    doubled = sparse.csr_array((values, columns, starts), shape=(50, 9))
    dense = np.zeros((50, 9))
    np.add.at(dense, (np.arange(300) // 6, columns), values)
    assert np.count_nonzero(dense) < 300
    np.testing.assert_array_equal(assign(doubled, dense[:5]), assign(dense, dense[:5]))


def shuffled(rng, X):
    """The same matrix with the entries of every row in another order."""
    keys = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)), rng.random(X.nnz)
    order = np.lexsort(keys[::-1])
    return sparse.csr_array((X.data[order], X.indices[order], X.indptr), shape=X.shape)


@pytest.mark.parametrize("d", [1, 2, 127, 128, 129, 16384, 16385, 70_000])
def test_order_of_entries_changes_no_bit(rng, d):
    X = sparse.random_array((300, d), density=min(1, 40 / d), format="csr", rng=rng)
    centers, labels = rng.normal(size=(7, d)), rng.integers(7, size=300, dtype=np.int32)
    found = []
    for each in X, shuffled(rng, X):
        rows, out = SparseRows(each), np.empty((300, 7))
        rows.set_frame(np.zeros(d), 1.0, exact_sum_grid(np.full(d, 2.0), 1.0, 300))
        rows.distances(0, 300, centers, out, 2)
        residuals = np.empty(300)
        rows.residuals(0, 300, centers, labels, residuals, 2)
        extremes = rows.extremes(0, 300, 2)[0]
        found.append([*assigned(rows, centers), out, residuals, extremes, rows.take([2, 299])])
    assert_all_equal(*found)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_order_of_entries_changes_no_bit_of_a_fit(rng, weighted):
    X = matrix(rng, density=0.4)
    X.data += rng.random(X.nnz)
    weights = rng.random(N) if weighted else None
    found = [
        KMeans(5, random_state=0).fit(each, sample_weight=weights) for each in (X, shuffled(rng, X))
    ]
    assert_all_equal(*([m.cluster_centers_, m.labels_, m.inertia_] for m in found))


def test_rows_without_duplicates_are_not_copied(rng):
    X = matrix(rng)
    for each in X, shuffled(rng, X):
        assert each.has_canonical_format == (each is X)
        rows = SparseRows(each)
        assert rows.X is each


@pytest.mark.parametrize("index", ["i2", "u4", ">i4", ">i8"])
def test_indices_of_types_that_scipy_does_not_make_do_not_matter(rng, index):
    X, centers = matrix(rng), centers_like(rng)
    expected = assigned(both(X)[1], centers)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    X.has_canonical_format = True
    rows = SparseRows(X)
    rows.set_frame(np.zeros(D), 2.0, both(matrix(rng))[0].grids)
    assert_all_equal(assigned(rows, centers), expected)


@pytest.mark.parametrize("layout", ["canonical", "shuffled", "duplicates"])
@pytest.mark.parametrize("use", ["fit", "predict", "assign"])
def test_csr_is_never_changed(rng, layout, use):
    X = matrix(rng)
    if layout == "shuffled":
        X = shuffled(rng, X)
    if layout == "duplicates":
        X.indices[: X.indptr[2]] = 3
        X.has_canonical_format = False
    before = [part.tobytes() for part in (X.data, X.indices, X.indptr)]
    model = KMeans(3, init=np.eye(3, D)).fit(matrix(rng))
    {"fit": model.fit, "predict": model.predict, "assign": lambda X: assign(X, np.eye(3, D))}[use](
        X
    )
    assert [part.tobytes() for part in (X.data, X.indices, X.indptr)] == before
