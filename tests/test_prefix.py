# SPDX-License-Identifier: BSD-3-Clause
"""Leading coordinates inside the bounds: what they prove holds, and no label depends on them."""

import numpy as np
import pytest

from coarse_cases import K, data, decaying, framed, updated, whole
from fastmix.core._bounds import GroupBounds
from fastmix.core._groups import group_centers
from fastmix.core._leading import COUNTS, Leading
from fastmix.core._prefix import Prefix


def axes_of(Y, m):
    """Axes and shift from rows (n, d), and the largest norm about it."""
    shift = Y.mean(axis=0)
    axes = np.linalg.svd(Y - shift, full_matrices=False)[2][:m]
    return axes, shift, np.sqrt(np.square(Y - shift).sum(axis=1).max())


@data
@pytest.mark.parametrize("n, d, m", [(900, 33, 7), (1100, 40, 8), (300, 130, 31), (70, 64, 1)])
@pytest.mark.parametrize("n_groups", [2, 5])
def test_labels_with_leading_coordinates_are_those_of_a_plain_scan(
    rng, isa, dtype, make, n, d, m, n_groups
):
    X = make(rng, n, d).astype(dtype)
    rows, Y = framed(X, isa, pivot=X.mean())
    axes, shift, reach = axes_of(Y, m)
    centers = Y[rng.choice(n, K, replace=False)]
    labels = np.full(n, -1, dtype=np.int32)
    rows.assign(0, n, centers, labels, 1)
    plain, bounds = labels.copy(), None
    for _ in range(12):
        centers = updated(Y, centers, labels)
        rows.assign(0, n, centers, plain, 1)
        if bounds is None:
            spread = np.sqrt(np.square(Y - centers[labels]).sum(axis=1).mean()) + 1e-30
            prefix = Prefix(rows, axes, 1.01 * reach, shift, 1)
            bounds = GroupBounds(rows, group_centers(centers, n_groups), spread, prefix)
        bounds.move(centers, np.square(Y).sum(axis=1).max() * 1.001, 1)
        bounds.assign(0, n, labels, 1)
        np.testing.assert_array_equal(labels, plain)


@data
def test_distances_of_codes_are_no_greater_than_those_of_the_points(rng, isa, dtype, make):
    n, d, m = 200, 70, 20
    X = make(rng, n, d).astype(dtype)
    rows, Y = framed(X, isa, pivot=X.mean())
    axes, shift, reach = axes_of(Y, m)
    prefix = Prefix(rows, axes, reach * (1 + 1e-6), shift, 1)
    groups = [np.sort(part) for part in np.split(rng.permutation(K), [K // 2 - 3])]
    sizes = [len(part) for part in groups]
    first = np.array([0, (sizes[0] + 7) // 8 * 8])
    prefix.arrange(groups, first, first[1] + (sizes[1] + 7) // 8 * 8 + 8)
    centers = np.concatenate([Y[: K // 2], Y[K // 2 : K] * 0.5 + Y[:20] * 0.5])
    for g, members in enumerate(groups):
        prefix.move(g, centers[members])
    pairs = prefix.panels.view(np.int32).reshape(-1, prefix.width // 2, 8)
    codes = pairs.transpose(0, 2, 1).copy().view(np.int16).reshape(-1, prefix.width)
    codes = codes[prefix.column_of].astype(np.float64)
    x = prefix.codes.astype(np.float64)
    inside = prefix.half >= 0
    assert inside.all()
    least = np.sqrt(np.square(x[:, np.newaxis] - codes).sum(axis=2)) * prefix.step
    far = np.sqrt(np.square(Y[:, np.newaxis] - centers.astype(dtype)).sum(axis=2))
    # The test's own rounding of distances is far below the errors allowed.
    assert (least <= far + 2 * prefix.error).all()
    assert prefix.error < 0.01 * reach


def test_halves_bound_the_squares_of_the_codes(rng, isa, dtype):
    X = decaying(rng, 150, 50).astype(dtype)
    rows, Y = framed(X, isa)
    axes, shift, reach = axes_of(Y, 10)
    prefix = Prefix(rows, axes, reach * (1 + 1e-9), shift, 1)
    squares = np.square(prefix.codes.astype(np.int64)).sum(axis=1)
    np.testing.assert_array_equal(prefix.half, squares // 2)
    assert squares.max() <= 32000**2
    near = Prefix(rows, axes, reach / 2, shift, 1)
    beyond = np.square(Y - shift).sum(axis=1) > reach**2 / 4
    np.testing.assert_array_equal(near.half < 0, beyond)
    assert (near.codes[beyond] == 0).all()


@pytest.mark.parametrize("fault", ["half of the rows", "one row", "all rows"])
def test_rows_and_centers_beyond_the_reach_are_scanned_in_full(rng, isa, dtype, fault):
    X = decaying(rng, 500, 40).astype(dtype)
    rows, Y = framed(X, isa)
    axes, shift, _ = axes_of(Y, 8)
    norms = np.sqrt(np.square(Y - shift).sum(axis=1))
    part = {"half of the rows": np.median(norms), "one row": np.sort(norms)[-2]}.get(fault, 1e-6)
    prefix = Prefix(rows, axes, part * (1 + 1e-9), shift, 1)
    centers = np.concatenate([Y[: K // 2], 30 * Y[K // 2 : K]])
    labels = np.full(len(X), -1, dtype=np.int32)
    rows.assign(0, len(X), centers, labels, 1)
    plain, labels = labels.copy(), np.zeros_like(labels)
    bounds = GroupBounds(rows, group_centers(centers, 5), 1.0, prefix)
    bounds.move(centers, np.square(Y).sum(axis=1).max() * 1.001, 1)
    bounds.assign(0, len(X), labels, 1)
    np.testing.assert_array_equal(labels, plain)


def test_axes_that_are_not_orthonormal_loosen_the_bounds_only(rng, dtype):
    X = decaying(rng, 600, 40).astype(dtype)
    rows, Y = framed(X)
    axes, shift, reach = axes_of(Y, 8)
    labels = np.full(len(X), -1, dtype=np.int32)
    centers = Y[:K]
    rows.assign(0, len(X), centers, labels, 1)
    errors = []
    for off in (0, 1e-6, 1e-2, 1):
        prefix = Prefix(rows, axes + off * rng.standard_normal(axes.shape), reach, shift, 1)
        errors.append(prefix.error)
        found = np.zeros_like(labels)
        bounds = GroupBounds(rows, group_centers(centers, 5), 1.0, prefix)
        bounds.move(centers, np.square(Y).sum(axis=1).max() * 1.001, 1)
        bounds.assign(0, len(X), found, 1)
        np.testing.assert_array_equal(found, labels)
    assert errors == sorted(errors)


def test_leading_axes_are_orthonormal_and_hold_the_variance(rng):
    X = decaying(rng, 4000, 90).astype(np.float32)
    rows, Y = framed(X)
    leading = Leading(rows, 100, 10**9)
    assert leading.counts == [m for m in COUNTS if m <= 45]
    axes = leading.axes
    np.testing.assert_allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-12)
    Y = Y - Y.mean(axis=0)
    best = np.square(np.linalg.svd(Y, compute_uv=False))[: len(axes)].sum()
    assert np.square(Y @ axes.T).sum() > 0.95 * best


@data
@pytest.mark.parametrize("d", [61, 200])
def test_fits_have_the_bits_of_plain_scans(rng, dtype, make, d, plain_scans):
    X = make(rng, 3000, d).astype(dtype)
    plain = whole(X, "lloyd")
    for algorithm in ("auto", "elkan"):
        result = whole(X, algorithm)
        np.testing.assert_array_equal(result.labels, plain.labels)
        np.testing.assert_array_equal(result.centers, plain.centers)
        assert result.inertia == plain.inertia


def test_leading_coordinates_are_used_where_the_spectrum_decays(rng, plain_scans):
    X = decaying(rng, 12_000, 200, 1.5).astype(np.float32)
    result = whole(X, "auto")
    assert "leading coordinates" in result.report["reason"]
    assert result.report["products"] < 0.3 * result.report["e_steps"] * X.shape[0] * 120


def test_leading_coordinates_are_not_used_where_the_spectrum_is_flat(rng, plain_scans):
    X = rng.standard_normal((12_000, 200)).astype(np.float32)
    assert "leading coordinates" not in whole(X, "auto").report["reason"]


@pytest.mark.parametrize("memory", [0, 12_000 * 20, 12_000 * 60])
def test_memory_of_bounds_limits_leading_coordinates(rng, memory, plain_scans):
    X = decaying(rng, 12_000, 200, 1.5).astype(np.float32)
    plain, result = whole(X, "lloyd"), whole(X, "auto", bounds_memory=memory)
    np.testing.assert_array_equal(result.labels, plain.labels)
    assert memory > 12_000 * 30 or "leading coordinates" not in result.report["reason"]
