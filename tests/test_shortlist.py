# SPDX-License-Identifier: BSD-3-Clause
"""Shortlists of 8-bit codes find the labels of the plain scan, to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import fastmix
from fastmix.core import _shortlist
from fastmix.core._dense import DenseRows
from fastmix.core._kernels import supported_isas
from fastmix.core._rates import PowerLaw

NEVER, WHERE_THEY_PAY, ALWAYS = 0, 1, 2

# Kernel tables whose tiles have sixteen rows, in float32 and in float64.
WIDE = {"float32": {"x86_v3", "x86_v4", "neon"}, "float64": {"x86_v4"}}


def scan(X, centers, dtype, mode, isa=None, hint=None, passes=1):
    """Labels of all rows, and what the shortlists counted, after the last pass."""
    before = _shortlist.use_shortlists(mode)
    try:
        rows = DenseRows(X, dtype, isa)
        labels = np.full(len(X), -1, np.int32) if hint is None else hint.astype(np.int32)
        for _ in range(passes):
            rows.assign(0, len(X), centers, labels, 2)
        return labels, rows.short.counts()
    finally:
        _shortlist.use_shortlists(before)


def assert_same_labels(X, centers, dtype):
    """Returns the greatest counts of close and undecided rows of all tables."""
    rng = np.random.default_rng(0)
    X, centers = np.ascontiguousarray(X, dtype=dtype), np.ascontiguousarray(centers, "f8")
    near = undecided = 0
    for isa in WIDE[dtype].intersection(supported_isas()):
        expected, nothing = scan(X, centers, dtype, NEVER, isa)
        assert nothing == (0, 0, 0)
        random = rng.integers(-1, len(centers), len(X))
        # Where many centres are near, rows are seen from pivots in the second pass.
        for hint, passes in (None, 1), (random, 1), (expected, 1), (random, 2):
            found, counts = scan(X, centers, dtype, ALWAYS, isa, hint, passes=passes)
            assert_array_equal(found, expected, f"{isa}, {counts}")
            if counts[0]:  # the processor runs them
                assert counts[0] == len(X)
            if counts[0] and passes == 1:
                near, undecided = max(near, counts[1]), max(undecided, counts[2])
    return near, undecided


SHAPES = [
    (1, 1, 1),
    (70, 3, 2),
    (65, 4, 5),
    (200, 5, 6),
    (129, 16, 7),
    (64, 33, 100),
    (300, 130, 61),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_are_those_of_the_scan(dtype, shape):
    n, d, k = shape
    rng = np.random.default_rng(n)
    normal, spread = rng.normal(size=(n, d)), rng.normal(size=(k, d))
    assert_same_labels(normal, spread, dtype)
    assert_same_labels(normal * 1e-3 + 1, spread * 1e-3 + 1, dtype)  # products that nearly cancel
    assert_same_labels(normal, spread * 10.0 ** rng.uniform(-6, 6, size=(k, 1)), dtype)
    assert_same_labels(normal * 10.0 ** rng.uniform(-6, 6, size=(n, 1)), spread, dtype)
    assert_same_labels(rng.standard_cauchy(size=(n, d)), rng.standard_cauchy(size=(k, d)), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ties_go_to_the_lowest_label(dtype):
    rng = np.random.default_rng(0)
    grid = rng.integers(-2, 3, size=(500, 6)).astype(float)
    near, _ = assert_same_labels(grid, rng.integers(-2, 3, size=(40, 6)), dtype)
    assert near > 0 or not WIDE[dtype].intersection(supported_isas())
    # Equal centres, here in twos, tie in every row.
    assert_same_labels(grid, np.repeat(grid[:20], 2, axis=0), dtype)
    assert_same_labels(np.zeros((100, 6)), grid[:30], dtype)
    assert_same_labels(grid, np.zeros((30, 6)), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_with_too_many_near_centers_are_scanned(dtype):
    rng = np.random.default_rng(0)
    center = rng.normal(size=(1, 20))
    close = center + 1e-6 * rng.normal(size=(500, 20))
    _, undecided = assert_same_labels(rng.normal(size=(150, 20)), close, dtype)
    fast = "x86_v4" in supported_isas() and scan(close, close, dtype, ALWAYS)[1][0]
    assert undecided or not fast


@pytest.mark.parametrize(
    "dtype, scale",
    [
        ("float32", 1e-30),
        ("float32", 1e15),
        ("float64", 1e-150),
        ("float64", 1e150),
        ("float64", 1e-310),
    ],
)
def test_rows_and_centers_of_any_size_are_right(dtype, scale):
    rng = np.random.default_rng(0)
    X, centers = rng.normal(size=(200, 17)), rng.normal(size=(50, 17))
    assert_same_labels(X * scale, centers * scale, dtype)
    assert_same_labels(X, centers * scale, dtype)
    if scale < 1:
        assert_same_labels(X * scale, centers, dtype)
    X[::3] *= scale
    assert_same_labels(X, centers, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_roundings_of_rows_that_conspire_change_nothing(dtype):
    # Centres that are codes, in pairs; between each a row whose codes are off by 0.4 in every
    # column, all of it along their difference, so that codes find one of them much nearer.
    rng = np.random.default_rng(0)
    d, n = 64, 60
    X, centers = np.empty((n, d)), np.empty((n, 2, d))
    for i in range(n):
        q = rng.integers(-100, 101, size=d).astype(float)
        apart = rng.choice([-1.0, 1.0], size=d)
        q[0], apart[0] = 127, 0
        x = q + 0.4 * apart * rng.choice([-1, 1])
        one = q + rng.integers(-3, 4, size=d)
        one[0] = 127
        gap = round(x @ apart - apart @ apart / 2 - one @ apart)
        one[1 : abs(gap) + 1] += np.sign(gap) * apart[1 : abs(gap) + 1]
        rest = one @ apart + apart @ apart / 2 - x @ apart + rng.uniform(-0.1, 0.1)
        X[i] = x + rest / (apart @ apart) * apart
        centers[i] = one, one + apart
    assert np.abs(X - np.rint(X)).max() < 0.49
    near, _ = assert_same_labels(X, centers.reshape(-1, d), dtype)
    assert near >= 2 * n or not WIDE[dtype].intersection(supported_isas())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_seen_from_pivots_have_fewer_centers_near(dtype):
    # Clusters that are close beside how far they are from the mean.
    rng = np.random.default_rng(0)
    far = rng.choice([-1.0, 1.0], size=(8, 1)) * rng.normal(size=(8, 40)) * 30
    centers = far[rng.integers(8, size=120)] + rng.normal(size=(120, 40))
    X = centers[rng.integers(120, size=900)] + 0.3 * rng.normal(size=(900, 40))
    assert_same_labels(X, centers, dtype)
    for isa in WIDE[dtype].intersection(supported_isas()):
        X_dtype, counts = X.astype(dtype), []
        for passes in 1, 2:
            labels, count = scan(X_dtype, centers, dtype, ALWAYS, isa, passes=passes)
            assert_array_equal(labels, scan(X_dtype, centers, dtype, NEVER, isa)[0])
            counts.append(count)
        if counts[0][0]:
            assert 2 * counts[1][1] < counts[0][1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_very_many_columns_do_not_overflow(dtype):
    X = np.ones((70, 140_000), dtype=dtype)
    centers = np.stack([np.full(140_000, value) for value in (-1.0, 0.9, 1.0, 1.1)])
    assert_same_labels(X, centers, dtype)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_scans_of_all_kinds_have_the_labels_of_plain_ones(draw):
    rng = np.random.default_rng(draw.draw(st.integers(0, 2**32 - 1)))
    n, d, k = (draw.draw(st.integers(1, most)) for most in (150, 70, 200))
    dtype = draw.draw(st.sampled_from(["float32", "float64"]))
    isa = draw.draw(st.sampled_from(sorted(WIDE[dtype].intersection(supported_isas())) or [None]))
    kind = draw.draw(st.sampled_from(["normal", "integers", "copies", "far", "sizes", "flat"]))
    centers, X = rng.normal(size=(k, d)), rng.normal(size=(n, d))
    if kind == "integers":
        centers, X = rng.integers(-2, 3, size=(k, d)), rng.integers(-2, 3, size=(n, d)) / 2
    elif kind == "copies":
        centers = centers[rng.integers(0, k // 3 + 1, size=k)]
        X = centers[rng.integers(k, size=n)] + 1e-7 * X
    elif kind == "far":  # groups of centres, close beside how far they are
        centers = 100 * rng.normal(size=(4, d))[rng.integers(4, size=k)] + centers
        X = centers[rng.integers(k, size=n)] + 0.5 * X
    elif kind == "sizes":
        centers = centers * 2.0 ** rng.integers(-30, 30, size=(k, 1))
        X = X * 2.0 ** rng.integers(-30, 30, size=(n, 1))
    elif kind == "flat":
        centers, X = centers * (np.arange(d) < 2), X * (np.arange(d) < 2)
    X, centers = np.ascontiguousarray(X, dtype), np.ascontiguousarray(centers, "f8")
    expected, _ = scan(X, centers, dtype, NEVER, isa)
    hint = rng.integers(-1, k, size=n)
    for passes in 1, 2, 3:
        found, counts = scan(X, centers, dtype, ALWAYS, isa, hint, passes=passes)
        assert_array_equal(found, expected, f"{kind}, {counts}")


def estimates(dtype):
    """Fitted attributes, as bytes, of everything that scans."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(60, 48))[rng.integers(60, size=4000)] * 2).astype(dtype)
    X += rng.normal(size=X.shape).astype(dtype)
    model = fastmix.KMeans(60, n_init=1, random_state=0).fit(X)
    part = fastmix.MiniBatchKMeans(60, n_init=1, batch_size=256, max_iter=5, random_state=0).fit(X)
    stream = fastmix.KMeans(60, random_state=0, learning_rate=PowerLaw(0.7))
    for batch in np.array_split(X, 4):
        stream.partial_fit(batch)
    arrays = (
        model.cluster_centers_, model.labels_, model.predict(X + 1), part.cluster_centers_,
        part.labels_, stream.cluster_centers_, fastmix.assign(X, model.cluster_centers_),
    )  # fmt: skip
    return [np.asarray(array).tobytes() for array in arrays], model.inertia_, part.inertia_


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fits_have_the_same_bits(dtype):
    found = []
    for mode in (NEVER, WHERE_THEY_PAY, ALWAYS):
        before = _shortlist.use_shortlists(mode)
        try:
            found.append(estimates(dtype))
        finally:
            _shortlist.use_shortlists(before)
    assert found[0] == found[1] == found[2]


def test_lists_that_do_not_pay_are_left():
    # All centres are near to all rows: a pass finds out, another that pivots do not help, and the
    # next ones scan.
    rng = np.random.default_rng(0)
    close = 1 + 1e-7 * rng.normal(size=(600, 64))
    X = rng.normal(size=(300, 64))
    before = _shortlist.use_shortlists(WHERE_THEY_PAY)
    try:
        rows, labels = DenseRows(X, "float64"), np.zeros(300, np.int32)
        if rows.short.speedup(600) == 1:
            pytest.skip("this processor does not multiply bytes faster")
        for _ in range(2):
            rows.assign(0, 300, close, labels, 1, rows.empty_sums(1, 600))
            assert rows.short.counts()[2] > 0
        assert rows.short.speedup(600) == 1
        for _ in range(3):
            rows.assign(0, 300, close, labels, 1)
            assert rows.short.counts() == (0, 0, 0)
    finally:
        _shortlist.use_shortlists(before)


@pytest.mark.parametrize("algorithm", ["lloyd", "elkan"])
def test_report_counts_the_rows_of_shortlists(algorithm):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 64)).astype(np.float32)
    before = _shortlist.use_shortlists(ALWAYS)
    try:
        model = fastmix.KMeans(20, init=X[:20], algorithm=algorithm, max_iter=5, tol=0).fit(X)
    finally:
        _shortlist.use_shortlists(before)
    report = model.fit_report_
    # Bounds begin with the second E-step, as the last that shortlists serve.
    scans = report["e_steps"] if algorithm == "lloyd" else 2
    assert report["rows_shortlisted"] == 900 * scans
