# SPDX-License-Identifier: BSD-3-Clause
"""Margins: what they prove holds, and the labels are those of the plain scan, bit for bit."""

import re

import numpy as np
import pytest
import scipy.spatial
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coarse_cases import (  # noqa: F401
    data,
    duplicates,
    everywhere,
    framed,
    on_every_table,
    updated,
    whole,
)
from fastmix import KMeans
from fastmix.core import _margin_assignment, _margins, kmeans
from fastmix.core._dense import DenseRows
from fastmix.core._frame import scan
from fastmix.core._margins import ScoreMargins
from fastmix.core._shortlist import use_shortlists

SHAPES = [
    (1, 1, 2),
    (7, 3, 7),
    (130, 8, 9),
    (300, 2, 40),
    (700, 17, 24),
    (500, 33, 65),
    (90, 64, 300),
    (150, 200, 20),
]


@pytest.fixture
def every_size(monkeypatch):
    """Margins also of rows so few, or with so few columns, that they would not pay."""
    monkeypatch.setattr(_margin_assignment, "LEAST_NANOSECONDS", 0)
    monkeypatch.setattr(_margin_assignment, "MARGIN_ROW", -1e6)
    candidates_everywhere(monkeypatch)


@pytest.fixture
def every_size_at_first(monkeypatch):
    """The same, given up where they do not pay."""
    monkeypatch.setattr(_margin_assignment, "LEAST_NANOSECONDS", 0)
    monkeypatch.setattr(_margin_assignment, "USUALLY_OPEN", 0)
    monkeypatch.setattr(_margin_assignment, "USUALLY_DOUBTFUL", 0)
    candidates_everywhere(monkeypatch)


def candidates_everywhere(patch):
    """From the second E-step on, in turns with some without."""
    patch.setattr(_margins, "MOST_PART", 0)
    patch.setattr(_margin_assignment, "FEW_ROW", -1e6)
    patch.setattr(_margin_assignment, "CHANGED", 1.0)
    patch.setattr(_margin_assignment, "KEPT_ROW", 1e9)
    patch.setattr(_margin_assignment, "TRIES", 4)
    patch.setattr(_margin_assignment, "WAIT", 1)


def margins_of(rows, Y, k, keep=True):
    length = float(np.sqrt(np.square(Y).sum(axis=1).max())) * (1 + 1e-6)
    return ScoreMargins(rows, k, length, keep)


def plain_fit(fit, *args, **options):
    """A fit whose every E-step compares all rows with all centres in their own dtype."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_margin_assignment, "MOST_COLUMNS", 0)
        before = use_shortlists(0)
        try:
            return fit(*args, algorithm="lloyd", **options)
        finally:
            use_shortlists(before)


def steps(rows, Y, centers, move, n_steps=5):
    """E-steps by margins, with candidates from the second on and without, and by scans in whole
    numbers: asserts the labels of plain scans, and that what is left of every margin is less than
    the lead of its label; returns the margins, and those with candidates."""
    k = len(centers)
    margins, few, without = (margins_of(rows, Y, k, keep) for keep in (True, True, False))
    labels = np.full(rows.n, -1, dtype=np.int32)
    for step in range(n_steps):
        if step in (1, 4):
            few.keep_candidates(6 + 10 * (step == 1))  # which begin anew
        plain, others, changed = labels.copy(), (labels.copy(), labels.copy()), []
        changed.append(rows.assign(0, rows.n, centers, plain, 1))
        for each, of_each in (margins, labels), (few, others[0]), (without, others[1]):
            each.move(np.ascontiguousarray(centers))
            changed.append(each.assign(0, rows.n, of_each, 1, fresh=step == 0))
            np.testing.assert_array_equal(of_each, plain)
        assert len(set(changed)) == 1
        assert without.rows_open == rows.n
        assert margins.rows_few == without.rows_few == without.rows_moving == 0
        for each in margins, few:
            assert each.rows_only <= each.rows_moving <= each.rows_only + each.rows_few
            assert each.rows_only_met <= min(each.rows_only, each.rows_met)
            assert 0 <= failed(each) <= each.rows_only + each.rows_few
        for each in margins, few:
            assert_margins_hold(each, Y, centers, labels, rows.dtype)
        centers = move(centers, labels)
    return margins, few


def failed(margins):
    """Rows for which their candidates, or movers, were not enough."""
    return margins.rows_only + margins.rows_few + margins.rows_met - margins.rows_open


def assert_margins_hold(margins, Y, centers, labels, dtype):
    """No margin is more than that by which a row is nearer to its centre than to others, in exact
    distances of what the kernels see: movers, all others, and those of them that are no candidates;
    and no row is nearer to its centre than it is said to be at least."""
    c = centers.astype(dtype).astype(np.float64)
    scale = 2.0 ** -np.frexp(max(np.abs(Y).max(), np.abs(c).max()))[1]
    distances = scipy.spatial.distance.cdist(Y * scale, c * scale) / scale
    rows, k = np.arange(len(Y)), len(c)
    own = distances[rows, labels]
    distances[rows, labels] = np.inf
    nears, kept, mover_margins = margins.numbers.astype(np.float64)
    own_moved, movers = margins.own_moved[labels], margins.moving.astype(bool)
    slack = 1e-13 * distances[np.isfinite(distances)].max()

    def assert_holds(kept, moved, others):
        with np.errstate(invalid="ignore"):
            left = kept - (own_moved + np.float32(moved)).astype(np.float64)
        # What float32 cannot hold is no number, and proves nothing.
        assert ((left <= others - own + slack) | np.isnan(left) | (left <= 0)).all()

    with np.errstate(invalid="ignore"):
        near = nears - own_moved
    assert ((near <= own + slack) | np.isnan(near) | (near <= 0)).all()
    others_moved, movers_moved = margins.all_moved
    others = np.where(movers, np.inf, distances)
    assert_holds(kept, others_moved, others.min(axis=1))
    if movers.any():
        assert_holds(mover_margins, movers_moved, np.where(movers, distances, np.inf).min(axis=1))
    if margins.candidates is None:
        return
    with_any = np.isfinite(margins.beyond) & (margins.beyond > np.finfo("f4").min)
    candidates = margins.candidates[with_any].astype(int)
    # The label is one of them, and none is there twice.
    assert (candidates == labels[with_any, np.newaxis]).any(axis=1).all()
    for each in candidates:
        assert len(set(each[each < k])) == (each < k).sum()
        assert (each <= k).all()
    beyond = np.hstack([others, np.full((len(Y), 1), np.inf)])
    beyond[np.flatnonzero(with_any)[:, np.newaxis], candidates] = np.inf
    assert_holds(margins.beyond.astype(np.float64), others_moved, beyond.min(axis=1))


def drift(rng, shift):
    return lambda centers, labels: (
        centers + rng.normal(size=centers.shape) * shift * rng.random((len(centers), 1)) ** 4
    )


# One E-step after another.


@on_every_table
@pytest.mark.parametrize("n, d, k", SHAPES)
@pytest.mark.parametrize("shift", [0.0, 1e-3, 0.1, 30.0])
def test_labels_are_those_of_a_plain_scan(rng, isa, dtype, n, d, k, shift):
    rows, Y = framed(rng.normal(size=(n, d)).astype(dtype), isa)
    steps(rows, Y, rng.normal(size=(k, d)), drift(rng, shift))


@on_every_table
@data
@pytest.mark.parametrize("d", [9, 40])
def test_margins_hold_on_data_of_every_kind(rng, isa, dtype, make, d):
    rows, Y = framed(make(rng, 600, d).astype(dtype), isa)
    centers = Y[rng.choice(600, 30, replace=False)]
    steps(rows, Y, centers, lambda centers, labels: updated(Y, centers, labels), 6)


@on_every_table
@pytest.mark.parametrize("spread", [1e-1, 1e-3, 1e-5])
def test_margins_hold_where_clusters_are_far_apart(rng, isa, dtype, spread):
    # Squared distances are small differences of squared lengths.
    middles = rng.normal(size=(15, 12))
    X = middles[rng.integers(15, size=900)] + rng.normal(size=(900, 12)) * spread
    rows, Y = framed(X.astype(dtype), isa)
    steps(rows, Y, Y[:60].copy(), drift(rng, spread / 10), 6)


@on_every_table
def test_ties_go_to_the_lowest_center(rng, isa, dtype):
    rows, Y = framed(rng.integers(-2, 3, size=(400, 8)).astype(dtype), isa)
    steps(rows, Y, rng.integers(-2, 3, size=(40, 8)) / 2, lambda c, labels: c[rng.permutation(40)])


@on_every_table
@pytest.mark.parametrize("factor", [1e-36, 1e-20, 1e-12, 1e12, 1e18, 1e30, 1e70])
def test_rows_of_any_scale(rng, isa, dtype, factor):
    if dtype == "f4" and not 1e-18 <= factor <= 1e17:
        factor = np.clip(factor, 1e-15, 1e15)
    rows, Y = framed((rng.normal(size=(300, 10)) * factor).astype(dtype), isa)
    steps(rows, Y, Y[:20].copy(), drift(rng, 0.1 * factor))


def test_movers_beyond_the_squares_of_floats_prove_nothing(rng):
    # Six centers are so far that no float holds a difference of scores; then one comes near.
    def directions(n):
        found = rng.normal(size=(n, 8))
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    rows, Y = framed(rng.normal(size=(4000, 8)) * 2.4e18)
    near, far = rng.normal(size=(18, 8)) * 3e18, directions(6) * 1e20
    margins, labels = margins_of(rows, Y, 24), np.full(4000, -1, dtype=np.int32)
    margins.keep_candidates(6)
    for step in range(4):
        if step == 1:
            far *= -1
        if step == 2:
            far[0] = 0
        near += directions(18) * (5e17 if step == 2 else 1e13)
        centers, plain = np.vstack([near, far]), labels.copy()
        rows.assign(0, 4000, centers, plain, 1)
        margins.move(centers)
        margins.assign(0, 4000, labels, 1, fresh=step == 0)
        np.testing.assert_array_equal(labels, plain)


@on_every_table
def test_columns_may_be_adjacent(rng, isa, dtype):
    rows, Y = framed(np.asfortranarray(rng.normal(size=(500, 10)).astype(dtype)), isa)
    steps(rows, Y, Y[:20].copy(), drift(rng, 0.1))


@on_every_table
@pytest.mark.parametrize("length", [3.0e-18, 3.05e-18, 4.6e-18, 1e-19, 1e-17])
def test_margins_of_tiny_scores_hold(isa, dtype, length):
    # Scores are near the least normal float; then one centre comes to the other, a hundredth
    # farther.
    X = np.zeros((64, 8))
    X[:, 0] = np.where(np.arange(64) < 32, length, -length)
    rows, Y = framed(X.astype(dtype), isa)
    centers = np.zeros((2, 8))
    centers[:, 0] = length / 8, -length / 8
    move = [1.0, -1.0, 1.0, -1.01, 1.0]
    steps(rows, Y, centers, lambda c, labels: c * [[1.0], [move.pop()]], 5)


@pytest.mark.parametrize("algorithm", ["auto", "lloyd"])
def test_rows_beyond_floats_have_the_labels_of_plain_scans(every_size, rng, algorithm):
    # Small centres beside rows that float32 cannot hold: all of their codes would be zero.
    X = np.zeros((64, 8))
    X[:, :2] = rng.choice([-1.0, 1.0], size=(64, 1)) * [5e38, 3e38]
    init = np.zeros((4, 8))
    init[:2, 1], init[2:, 0] = [1, -1], [1, -1]
    plain = plain_fit(kmeans, X, 4, init=init, max_iter=1)
    assert_same_fit(kmeans(X, 4, init=init, max_iter=1, algorithm=algorithm), plain)


@on_every_table
def test_rounding_of_scores_is_hidden_by_no_margin(rng, isa, dtype):
    # Rows between two centres, but for a few units in the last place.
    X = np.zeros((2000, 8))
    X[:, 0] = 1 + rng.normal(size=2000) * 3 * np.finfo(dtype).eps
    X[:, 1:3] = rng.normal(size=(2000, 2)) * 30
    rows, Y = framed(X.astype(dtype), isa)
    centers = np.zeros((16, 8))
    centers[1, 0], centers[2:, :3] = 2, rng.normal(size=(14, 3)) * 500
    steps(rows, Y, centers, drift(rng, 1e-7))


@on_every_table
def test_nothing_that_moves_opens_nothing(rng, isa, dtype):
    rows, Y = framed(rng.normal(size=(500, 12)).astype(dtype), isa)
    for margins in steps(rows, Y, rng.normal(size=(30, 12)), lambda centers, labels: centers, 3):
        assert margins.rows_open < 10  # all but those that rounding could decide
        assert margins.rows_doubtful <= margins.rows_open


@on_every_table
def test_a_center_that_moves_opens_the_rows_it_may_reach(rng, isa, dtype):
    rows, Y = framed(rng.normal(size=(2000, 8)).astype(dtype), isa)
    centers = rng.normal(size=(20, 8))
    margins, labels = margins_of(rows, Y, 20), np.full(2000, -1, dtype=np.int32)
    margins.move(centers)
    margins.assign(0, 2000, labels, 1, fresh=True)
    centers[3] += 0.02
    margins.move(centers)
    before = labels.copy()
    margins.assign(0, 2000, labels, 1)
    assert 0 < margins.rows_open < 600
    assert (labels != before).any()


@on_every_table
@pytest.mark.parametrize("d", [8, 31, 33, 63])
def test_candidates_spare_most_rows_the_other_centers(rng, isa, dtype, d):
    rows, Y = framed(rng.normal(size=(3000, d)).astype(dtype), isa)
    _, few = steps(rows, Y, Y[:100].copy(), drift(rng, 0.02), 4)
    assert few.rows_open > 300
    assert few.rows_few + few.rows_only > 0.6 * few.rows_open
    assert failed(few) < 0.1 * few.rows_few
    assert few.rows_met < 0.5 * few.rows_open


@on_every_table
@pytest.mark.parametrize("d", [8, 31, 63])
@pytest.mark.parametrize("apart", [0.0, 1e-7, 1e-6, 1e-5])
def test_centers_are_told_apart_to_the_last_bit(rng, isa, dtype, d, apart):
    # Two centers of a pair are nearly as far from a row, and all others much farther.
    rows, Y = framed(rng.normal(size=(2000, d)).astype(dtype), isa)
    pairs = Y[:30].repeat(2, axis=0)
    margins, few = steps(
        rows, Y, pairs, lambda centers, labels: pairs + rng.normal(size=pairs.shape) * apart, 6
    )
    assert min(margins.rows_doubtful, few.rows_doubtful) > 1900


@on_every_table
@pytest.mark.parametrize("d", [8, 33, 63])
def test_movers_spare_most_rows_the_other_centers(rng, isa, dtype, d):
    # One center in ten moves, and others far less; then one of these does.
    rows, Y = framed(rng.normal(size=(3000, d)).astype(dtype), isa)
    centers, fast = Y[:100].copy(), rng.permutation(100)[:10]
    margins, labels = margins_of(rows, Y, 100), np.full(3000, -1, dtype=np.int32)
    for step in range(6):
        margins.move(centers)
        margins.assign(0, 3000, labels, 1, fresh=step == 0)
        assert_margins_hold(margins, Y, centers, labels, rows.dtype)
        assert set(fast) <= set(np.flatnonzero(margins.moving)) or step == 0
        if 0 < step < 5:
            assert margins.moving.sum() == margins.n_movers < 25
            assert margins.rows_moving == margins.rows_only > 0.3 * 3000
            assert margins.rows_only_met == failed(margins) < 0.05 * 3000
            assert margins.rows_met < 0.15 * 3000
        if step == 4:
            fast = np.setdiff1d(np.arange(100), fast)[:1]
        centers[fast] += rng.normal(size=(len(fast), d)) * 0.1
        centers += rng.normal(size=centers.shape) * 1e-5


@pytest.mark.parametrize("n_threads", [2, 3])
def test_threads_change_neither_labels_nor_counts(rng, n_threads):
    rows = DenseRows(rng.normal(size=(9000, 8)).astype("f4"), "f4")
    scan(rows, None, 1)
    Y = rows.take(np.arange(9000))
    centers, found = rng.normal(size=(30, 8)), []
    for threads in (1, n_threads):
        margins, labels = margins_of(rows, Y, 30), np.full(9000, -1, dtype=np.int32)
        sums = rows.empty_sums(threads, 30)
        for step in range(4):
            if step == 1:
                margins.keep_candidates(7)
            margins.move(centers * (1 + 0.01 * step))
            margins.assign(0, 4096, labels, threads, sums, fresh=step == 0)
            margins.assign(4096, 9000, labels, threads, sums, fresh=step == 0)
        counts = margins.rows_open, margins.rows_few, margins.rows_met, margins.rows_doubtful
        assert min(counts) > 0
        found.append((labels, sums.sum(axis=0), *counts))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


# Whole fits.


def assert_same_fit(one, other):
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.centers, other.centers)
    assert one.inertia == other.inertia
    assert one.n_iter == other.n_iter


@data
@pytest.mark.parametrize("d", [8, 20, 63])
def test_fits_have_the_bits_of_plain_scans(every_size, rng, dtype, make, d):
    X = make(rng, 3000, d).astype(dtype)
    auto, lloyd, plain = whole(X, "auto"), whole(X, "lloyd"), plain_fit(whole, X)
    assert_same_fit(auto, plain)
    assert_same_fit(lloyd, plain)
    # Scans before bounds of groups begin, and where these leave rows.
    elkan = whole(X, "elkan")
    assert_same_fit(elkan, plain)
    assert "scans in whole numbers in" in elkan.report["reason"]
    assert auto.report["algorithm"] == "hamerly"
    assert f"of {auto.report['e_steps']} E-steps, candidates in " in auto.report["reason"]
    products = auto.report["products"], plain.report["products"]
    # Sixty distinct rows may meet all forty centres in every E-step.
    assert products[0] < products[1] or (make is duplicates and products[0] == products[1])
    assert lloyd.report["algorithm"] == plain.report["algorithm"] == "lloyd"
    assert plain.report["reason"] == "asked for"
    steps = lloyd.report["e_steps"]
    assert (
        lloyd.report["reason"] == f"asked for; scans in whole numbers in {steps} of {steps} E-steps"
    )
    for count in "rows_scanned", "products":
        assert lloyd.report[count] == plain.report[count]


def candidates_in(report):
    """In how many E-steps candidates were used."""
    return int(re.search(r"E-steps(?:, candidates in (\d+))?", report["reason"])[1] or 0)


@pytest.mark.parametrize("d, k, used", [(32, 128, True), (8, 32, False)])
def test_candidates_are_used_where_they_pay(monkeypatch, rng, d, k, used):
    monkeypatch.setattr(_margin_assignment, "LEAST_NANOSECONDS", 0)
    monkeypatch.setattr(_margin_assignment, "MARGIN_ROW", -1e6)
    X = rng.normal(size=(8000, d)).astype("f4")
    report = kmeans(X, k, init=X[:k], algorithm="auto", max_iter=40, tol=0).report
    steps = report["e_steps"]
    assert steps == 41
    in_use = candidates_in(report)
    assert 10 < in_use < steps if used else in_use == 0


def test_candidates_that_do_not_pay_wait_longer_each_time(every_size, monkeypatch, rng):
    monkeypatch.setattr(_margin_assignment, "FEW_ROW", 0.0)
    monkeypatch.setattr(_margin_assignment, "WAIT", 4)
    X = rng.normal(size=(4000, 32)).astype("f4")
    report = kmeans(X, 60, init=X[:60], algorithm="auto", max_iter=40, tol=0).report
    # Each time one E-step to begin with and four that cost more; four, eight and more between.
    assert report["e_steps"] == 41
    assert candidates_in(report) == 3 * 6


# The patches are those of all examples.
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_iteration_has_the_bits_of_a_plain_scan(every_size_at_first, draw):
    n, d, k = (
        draw.draw(st.integers(2, 400)),
        draw.draw(st.integers(8, 40)),
        draw.draw(st.integers(2, 30)),
    )
    k = min(n, k)
    rng = np.random.default_rng(draw.draw(st.integers(0, 2**32 - 1)))
    dtype = draw.draw(st.sampled_from(["f4", "f8"]))
    kind = draw.draw(st.sampled_from(["normal", "integers", "copies"]))
    X = rng.normal(size=(n, d))
    if kind == "integers":
        X = rng.integers(-1, 2, size=(n, d)).astype(float)
    elif kind == "copies":
        X = X[rng.integers(0, max(1, n // 5), size=n)]
    X = X.astype(dtype)
    init = X[rng.choice(n, k)]  # copies among them: empty clusters
    weights = rng.integers(0, 3, size=n).astype(float) if draw.draw(st.booleans()) else None
    if weights is not None and weights.sum() == 0:
        weights = None
    options = {"init": init, "tol": 0, "n_threads": 2, "sample_weight": weights}
    for max_iter in range(1, 6):
        plain = plain_fit(kmeans, X, k, max_iter=max_iter, **options)
        for algorithm in "auto", "lloyd":
            found = kmeans(X, k, algorithm=algorithm, max_iter=max_iter, **options)
            assert_same_fit(found, plain)


def test_margins_that_do_not_pay_are_given_up(every_size, monkeypatch, rng):
    monkeypatch.setattr(_margin_assignment, "PATIENCE", 2)
    X = rng.normal(size=(4000, 16)).astype("f4")
    cost = _margin_assignment.MarginAssignment._margin_cost
    monkeypatch.setattr(
        _margin_assignment.MarginAssignment,
        "_margin_cost",
        lambda self, *counts: cost(self, *counts) + 1e9 * (self.margin_steps + self.scan_steps > 0),
    )
    auto, lloyd, plain = whole(X, "auto"), whole(X, "lloyd"), plain_fit(whole, X)
    assert_same_fit(auto, plain)
    assert_same_fit(lloyd, plain)
    assert auto.report["reason"].startswith("margins in 3 of ")
    assert lloyd.report["reason"].startswith("asked for; scans in whole numbers in 3 of ")


@pytest.mark.parametrize(
    "memory, algorithm", [(0, "lloyd"), (7 * 3000, "lloyd"), (8 * 3000, "hamerly")]
)
def test_memory_of_bounds_limits_margins(every_size, rng, memory, algorithm):
    X = rng.normal(size=(3000, 16)).astype("f4")
    report = whole(X, "auto", bounds_memory=memory).report
    assert report["algorithm"] == algorithm


def test_report_counts_what_margins_left(every_size, rng):
    X = rng.normal(size=(4000, 16)).astype("f4")
    report = KMeans(40, init=X[:40], n_init=1, max_iter=30).fit(X).fit_report_
    assert report["algorithm"] == "hamerly"
    steps = report["e_steps"]
    assert report["reason"].startswith(f"margins in {steps} of {steps} E-steps, candidates in ")
    rows = 4000 * report["e_steps"]
    assert 0 < report["rows_shortlisted"] <= report["rows_scanned"] < 0.95 * rows
    doubtful = report["rows_scanned"] - report["rows_shortlisted"]
    assert 40 * doubtful <= report["products"] < 0.95 * 40 * rows
    assert doubtful < 0.1 * report["rows_scanned"]


def test_report_counts_the_products_of_scans_in_whole_numbers(monkeypatch, rng):
    monkeypatch.setattr(_margin_assignment, "LEAST_NANOSECONDS", 0)
    monkeypatch.setattr(_margin_assignment, "MARGIN_ROW", -1e6)
    X = rng.normal(size=(4000, 16)).astype("f4")
    # Three centres are too few for candidates and movers: rows that are open meet all of them.
    report = KMeans(3, init=X[:3], n_init=1, max_iter=30).fit(X).fit_report_
    assert report["algorithm"] == "hamerly"
    assert report["rows_shortlisted"] > 0
    assert report["products"] == 3 * report["rows_scanned"] < 3 * 4000 * report["e_steps"]


def test_rows_that_are_read_anew_have_bounds_of_groups(every_size, tmp_path, rng):
    # Of 20,000 rows margins leave some open in every page.
    X = rng.normal(size=(20_000, 16)).astype("f4")
    np.save(tmp_path / "rows.npy", X)
    options = {"init": X[:30], "n_init": 1, "max_iter": 60, "n_threads": 2}
    kept = KMeans(30, **options).fit(X)
    read = KMeans(30, **options).fit(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    np.testing.assert_array_equal(kept.labels_, read.labels_)
    assert kept.inertia_ == read.inertia_
    assert kept.fit_report_["algorithm"] == "hamerly"
    reason = read.fit_report_["reason"]
    assert "margins" not in reason
    assert "scans in whole numbers in" in reason
