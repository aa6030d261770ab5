# SPDX-License-Identifier: BSD-3-Clause
"""Codes of 8 bits inside the bounds: what they prove holds, and no label depends on them."""

import numpy as np
import pytest

from coarse_cases import (
    K,
    data,
    decaying,
    everywhere,  # noqa: F401
    framed,
    on_every_table,
    updated,
    whole,
)
from fastmix.core import _row_codes, kmeans
from fastmix.core._bounds import GroupBounds
from fastmix.core._groups import group_centers
from fastmix.core._row_codes import RowCodes
from fastmix.core._shortlist import use_shortlists


@pytest.fixture(autouse=True, params=[np.inf, 0.0], ids=["zero", "references"])
def nearer(request, monkeypatch):
    """Whether codes are of rows, or of rows less their reference."""
    monkeypatch.setattr(_row_codes, "NEARER", request.param)
    return request.param


def coded(X, isa, pivot=0.0):
    rows, Y = framed(X, isa, pivot)
    centers = Y[:: len(Y) // K][:K]
    far = np.square(Y[:, np.newaxis] - centers).sum(axis=2)
    groups = group_centers(centers, 32)
    codes = RowCodes(rows, centers, groups, np.sqrt(far.min(axis=1).mean()))
    codes.add(0, rows.n, far.argmin(axis=1).astype(np.int32), 2)
    return rows, Y, codes


def centers_in_codes(codes, members):
    """Whole numbers that the codes of some centres stand for, (size, 8 pairs)."""
    width, parts = codes.codes.shape[1], codes.panels.shape[1]
    panels = codes.panels.reshape(-1, width // 8, parts, 8, 8).transpose(0, 3, 2, 1, 4)
    part = panels.reshape(-1, parts, width)[codes.column_of[members]].astype(np.float64)
    return part[:, 0] if parts == 1 else 256 * part[:, 0] + part[:, 1]


def assert_bounds_hold(bounds, Y, centers, labels, dtype):
    """No row is farther from its centre than its upper bound, nor nearer to any other than the
    lower bound of that one's group, in exact distances of what the kernels see."""
    apart = Y[:, np.newaxis] - centers.astype(dtype).astype(np.float64)
    far = np.sqrt(np.square(apart).sum(axis=2))
    own = far[np.arange(len(Y)), labels]
    upper = bounds.upper + bounds.moved[labels]
    assert (own <= upper * (1 + 1e-9) + 1e-30).all()
    far[np.arange(len(Y)), labels] = np.inf
    for g, members in enumerate(bounds.groups):
        code = bounds.codes[:, g].astype(np.float64)
        lower = code * bounds.step - bounds.group_reach[g]
        assert (lower <= far[:, members].min(axis=1) * (1 + 1e-9) + 1e-30).all()


@on_every_table
@data
@pytest.mark.parametrize("n, d", [(700, 33), (500, 40), (300, 130), (70, 64), (90, 1)])
@pytest.mark.parametrize("n_groups", [2, 5])
def test_labels_are_those_of_a_plain_scan_and_bounds_hold(rng, isa, dtype, make, n, d, n_groups):
    if d < 6:
        make = decaying
    X = make(rng, n, d).astype(dtype)
    rows, Y, codes = coded(X, isa, pivot=X.mean())
    centers = Y[rng.choice(n, K, replace=False)]
    labels = np.full(n, -1, dtype=np.int32)
    rows.assign(0, n, centers, labels, 1)
    plain, bounds = labels.copy(), None
    for _ in range(9):
        centers = updated(Y, centers, labels)
        rows.assign(0, n, centers, plain, 1)
        if bounds is None:
            spread = np.sqrt(np.square(Y - centers[labels]).sum(axis=1).mean()) + 1e-30
            bounds = GroupBounds(rows, group_centers(centers, n_groups), spread, codes)
        bounds.move(centers, np.square(Y).sum(axis=1).max() * 1.001, 1)
        bounds.assign(0, n, labels, 1)
        np.testing.assert_array_equal(labels, plain)
        assert_bounds_hold(bounds, Y, centers, labels, dtype)


@on_every_table
@data
@pytest.mark.parametrize("n, d", [(700, 33), (300, 130), (70, 64)])
@pytest.mark.parametrize("labeled", [False, True])
def test_bounds_that_a_scan_leaves_hold(rng, isa, dtype, make, n, d, labeled):
    X = make(rng, n, d).astype(dtype)
    rows, Y, _ = coded(X, isa, pivot=X.mean())
    assert_scan_leaves_bounds(rng, rows, Y, Y[rng.choice(n, K, replace=False)], dtype, labeled)


@on_every_table
@pytest.mark.parametrize("factor", [1e-30, 1e-12, 1e-3, 1e3, 1e12])
def test_bounds_that_a_scan_leaves_hold_at_any_scale(rng, isa, dtype, factor):
    X = decaying(rng, 300, 48)
    X[::3] *= factor
    rows, Y, _ = coded(X.astype(dtype), isa)
    centers = np.concatenate([Y[:20], Y[: 3 * (K - 20) : 3]])
    assert_scan_leaves_bounds(rng, rows, Y, centers, dtype, True)


def assert_scan_leaves_bounds(rng, rows, Y, centers, dtype, labeled):
    n = len(Y)
    plain = np.full(n, -1, dtype=np.int32)
    rows.assign(0, n, centers, plain, 1)
    labels = plain.copy() if labeled else np.full(n, -1, dtype=np.int32)
    spread = np.sqrt(np.square(Y - centers[plain]).sum(axis=1).mean()) + 1e-30
    bounds = GroupBounds(rows, group_centers(centers, 5), spread)
    bounds.move(centers, np.square(Y).sum(axis=1).max() * 1.001, 1)
    for at in range(0, n, 128):
        rows.assign(at, min(n, at + 128), centers, labels, 2, bounds=bounds, again=at > 0)
    np.testing.assert_array_equal(labels, plain)
    known = bounds.upper < 2.0**119
    assert (bounds.codes[~known] == 0).all()
    assert_bounds_hold(bounds, Y, centers, labels, dtype)
    # They go on as others do.
    moved = updated(Y, centers, labels)
    bounds.move(moved, np.square(Y).sum(axis=1).max() * 1.001, 1)
    bounds.assign(0, n, labels, 1)
    rows.assign(0, n, moved, plain, 1)
    np.testing.assert_array_equal(labels, plain)
    assert_bounds_hold(bounds, Y, moved, labels, dtype)


def test_a_scan_leaves_useful_bounds(rng):
    X = decaying(rng, 2000, 128).astype(np.float32)
    rows, Y, codes = coded(X, None)
    centers = Y[:K]
    labels = np.full(len(X), -1, dtype=np.int32)
    spread = np.sqrt(np.square(Y).sum(axis=1).mean())
    bounds = GroupBounds(rows, group_centers(centers, 5), spread, codes)
    for _ in range(2):
        bounds.move(centers, np.square(Y).sum(axis=1).max() * 1.001, 1)
        rows.assign(0, len(X), centers, labels, 1, bounds=bounds)
    far = np.sqrt(np.square(Y[:, np.newaxis] - centers).sum(axis=2))
    own = far[np.arange(len(X)), labels]
    squares = np.square(Y).sum(axis=1)
    slack = 0.02 * (squares + np.square(centers).sum(axis=1).max())
    assert (bounds.upper**2 <= own**2 + slack).all()
    own_group = np.array([[label in members for members in bounds.groups] for label in labels])
    lower = bounds.codes[:, : bounds.n_groups] * bounds.step
    least = np.stack([far[:, members].min(axis=1) for members in bounds.groups], axis=1)
    assert (lower**2 >= least**2 - slack[:, np.newaxis])[~own_group].all()
    assert (lower[own_group] == 0).all()


def test_most_rows_are_ruled_out_unread(rng):
    X = decaying(rng, 3000, 128, 0.3).astype(np.float32)
    rows, Y, codes = coded(X, None)
    centers = Y[:K]
    labels = np.full(len(X), -1, dtype=np.int32)
    rows.assign(0, len(X), centers, labels, 1)
    spread = np.sqrt(np.square(Y - centers[labels]).sum(axis=1).mean())
    bounds = GroupBounds(rows, group_centers(centers, 5), spread, codes)
    bounds.move(centers, np.square(Y).sum(axis=1).max() * 1.001, 1)
    bounds.assign(0, len(X), labels, 1)
    far = np.sqrt(np.square(Y[:, np.newaxis] - centers).sum(axis=2))
    nearest, second = np.sort(far, axis=1)[:, :2].T
    # A row in codes is off by at most so much, and so are the centres, in each of two distances.
    off = codes.numbers[:, 2] + codes.group_numbers[2].max()
    # What float32 may round of two scores, and of the squares of two distances in codes.
    square = np.square(Y).sum(axis=1).max()
    rounding = (4 * 1.5 * 132 * 2**-24 + 4 * 2**-19) * square
    clear = second - np.sqrt(nearest**2 + rounding) > 2.1 * off + 3 * bounds.step
    assert clear.mean() > 0.5
    assert bounds.rows_open <= (~clear).sum()
    assert_bounds_hold(bounds, Y, centers, labels, np.float32)
    assert (bounds.upper <= np.sqrt(nearest**2 + rounding) + 2.1 * off).all()


@on_every_table
def test_bounds_hold_where_codes_are_exact_but_for_a_half(rng, isa, dtype, nearer):
    # Whole numbers with one of 127 are their own codes; half of an odd square is rounded.
    X = rng.integers(-9, 10, size=(400, 4)).astype(dtype)
    X[:, 0] = np.where(np.arange(400) < 200, 127, -127)
    rows, Y, codes = coded(X, isa)
    centers, labels = Y[[0, 200]], (Y[:, 0] < 0).astype(np.int32)
    bounds = GroupBounds(rows, group_centers(centers, 1), 100.0, codes)
    bounds.move(centers, np.square(Y).sum(axis=1).max() * 1.001, 1)
    bounds.assign(0, 400, labels, 1)
    assert bounds.rows_open == 0 or nearer == 0
    assert_bounds_hold(bounds, Y, centers, labels, dtype)


@on_every_table
@data
def test_codes_are_off_by_no_more_than_they_say(rng, isa, dtype, make, nearer):
    n, d = 150, 70
    X = make(rng, n, d).astype(dtype)
    X[:6] = [[0.0], [1e-25], [1.2e-25], [1e-24], [2e-23], [-1.0]]
    _, Y, codes = coded(X, isa)
    unit, constant, rest = codes.numbers[:, :3].astype(np.float64).T
    points = codes.references[codes.numbers[:, 3].view(np.int32), :d].astype(np.float64)
    assert len(codes.references) == (1 if nearer else 5)
    q = codes.codes[:, :d].astype(np.float64) - 128
    assert (codes.codes[:, d:] == 128).all()
    assert np.abs(q).max() <= 127
    step = q * unit[:, np.newaxis]
    off = np.sqrt(np.square(Y - points - step).sum(axis=1))
    assert (off <= rest).all()
    assert (rest[6:] <= 0.03 * np.sqrt(np.square(Y - points).sum(axis=1))[6:] + 1e-17).all()
    np.testing.assert_allclose(
        constant, (step * (step + 2 * points)).sum(axis=1), rtol=1e-6, atol=1e-30
    )


@on_every_table
def test_codes_of_centers_are_off_by_no_more_than_they_say(rng, isa, dtype):
    X = decaying(rng, 200, 37).astype(dtype)
    rows, Y, codes = coded(X, isa)
    centers = Y[:K] * 10.0 ** rng.uniform(-3, 3, size=(K, 1))
    groups = [np.arange(13), np.arange(13, K)]
    codes.arrange(groups, np.array([0, 16]), 16 + 32)
    for g, members in enumerate(groups):
        codes.move(g, centers[members])
    unit, square, rest = codes.group_numbers.astype(np.float64)
    seen = centers.astype(dtype).astype(np.float64)
    apart = codes.apart.reshape(-1, len(codes.references), 8).transpose(0, 2, 1)
    apart = apart.reshape(-1, len(codes.references))
    points = codes.references.astype(np.float64)[:, : rows.d]
    for g, members in enumerate(groups):
        z = centers_in_codes(codes, members)
        assert (z[:, rows.d :] == 0).all()
        z = z[:, : rows.d]
        off = np.sqrt(np.square(seen[members] - z * unit[g]).sum(axis=1))
        assert (off <= rest[g]).all()
        assert rest[g] <= np.sqrt(rows.d) * unit[g]
        assert (np.square(z * unit[g]).sum(axis=1) <= square[g]).all()
        far = np.square(points - z[:, np.newaxis] * unit[g]).sum(axis=2)
        np.testing.assert_allclose(apart[codes.column_of[members]], far, rtol=1e-6)
    assert (apart[13:16] > 1e30).all()
    # A group moves alone.
    before, z = codes.panels.copy(), [centers_in_codes(codes, members) for members in groups]
    codes.move(0, -centers[groups[0]])
    np.testing.assert_array_equal(codes.panels[16:], before[16:])
    np.testing.assert_array_equal(centers_in_codes(codes, groups[0]), -z[0])


@pytest.mark.parametrize("d", [32, 64])
@pytest.mark.parametrize("exponent", [-70, 58, 60, 61, 61.5, 62, 63, 64, 66, 100, 120])
def test_large_float64_rows_have_the_labels_of_plain_scans(rng, d, exponent):
    # The frame leaves them as they are, and the squares of bounds do not fit floats.
    means = 0.3 * rng.standard_normal((24, d))
    X = (means[rng.integers(24, size=2000)] + rng.standard_normal((2000, d))) * 2.0**exponent
    plain, result = (
        kmeans(X, 24, init=X[:24], algorithm=algorithm, max_iter=20)
        for algorithm in ("lloyd", "elkan")
    )
    np.testing.assert_array_equal(result.labels, plain.labels)
    np.testing.assert_array_equal(result.centers, plain.centers)


@on_every_table
@pytest.mark.parametrize("factor", [1e-30, 1e-12, 1e12])
def test_rows_of_any_scale_beside_others(rng, isa, dtype, factor):
    X = decaying(rng, 400, 48)
    X[::3] *= factor
    rows, Y, codes = coded(X.astype(dtype), isa)
    centers = np.concatenate([Y[:20], Y[: 3 * (K - 20) : 3]])
    labels = np.full(len(Y), -1, dtype=np.int32)
    rows.assign(0, len(Y), centers, labels, 1)
    found = np.zeros_like(labels)
    spread = np.sqrt(np.square(Y - centers[labels]).sum(axis=1).mean())
    bounds = GroupBounds(rows, group_centers(centers, 4), spread, codes)
    bounds.move(centers, np.square(Y).sum(axis=1).max() * 1.001, 1)
    bounds.assign(0, len(Y), found, 1)
    np.testing.assert_array_equal(found, labels)
    assert_bounds_hold(bounds, Y, centers, labels, dtype)


@data
@pytest.mark.parametrize("d", [70, 200])
def test_fits_have_the_bits_of_plain_scans(rng, dtype, make, d):
    X = make(rng, 3000, d).astype(dtype)
    use_shortlists(0)
    plain = whole(X, "lloyd")
    use_shortlists(2)
    for algorithm in ("lloyd", "auto", "elkan"):
        result = whole(X, algorithm)
        np.testing.assert_array_equal(result.labels, plain.labels)
        np.testing.assert_array_equal(result.centers, plain.centers)
        assert result.inertia == plain.inertia
    assert "codes of 8 bits" in result.report["reason"]


@pytest.mark.parametrize("memory", [0, 12_000 * 20, 12_000 * 232, 12_000 * 260])
def test_memory_of_bounds_limits_codes(rng, memory):
    X = decaying(rng, 12_000, 200, 1.5).astype(np.float32)
    plain, result = whole(X, "lloyd"), whole(X, "elkan", bounds_memory=memory)
    np.testing.assert_array_equal(result.labels, plain.labels)
    assert ("codes of 8 bits" in result.report["reason"]) == (memory >= 12_000 * 232)
