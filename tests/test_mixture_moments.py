# SPDX-License-Identifier: BSD-3-Clause
"""The statistics of a mixture as an object of their own: they add up, and the M-step reads them."""

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import mixture_reference
from fastmix import GaussianMixture
from fastmix.core import Moments
from fastmix.core._frame import Frame
from fastmix.core._parameters import Factors, cholesky, n_parameters, precision_factors

TYPES = ("full", "tied", "diag", "spherical")


def some_factors(kind, rng, k=3, d=2):
    lower = np.tril(rng.normal(size=(k, d, d)), -1) + rng.uniform(0.5, 2, size=(k, 1, d)) * np.eye(
        d
    )
    P = {
        "full": lower,
        "tied": lower[0],
        "diag": rng.uniform(0.5, 2, size=(k, d)),
        "spherical": rng.uniform(0.5, 2, size=k),
    }[kind]
    diagonal = np.repeat(P[:, np.newaxis], d, axis=1) if kind == "spherical" else P
    if kind in ("full", "tied"):
        diagonal = np.diagonal(P, axis1=-2, axis2=-1)
    log_det = np.broadcast_to(np.log(diagonal).sum(axis=-1), k)
    log_weights = np.log(rng.dirichlet(np.ones(k)))
    return Factors(kind, log_weights, rng.normal(size=(k, d)), P, log_det)


@pytest.fixture(params=TYPES)
def kind(request):
    return request.param


@pytest.fixture
def factors(kind, rng):
    return some_factors(kind, rng)


def moments(factors):
    return Moments(factors.covariance_type, 3, 2, factors=factors)


def assert_same(a, b, rtol):
    for name in ("weight", "first", "second", "log_likelihood", "entropy", "total"):
        assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=rtol, err_msg=name)


def test_moments_are_sums_over_rows(kind, factors, rng):
    X, w = rng.normal(size=(50, 2)), rng.uniform(size=50)
    found = moments(factors).accumulate(X, w)
    log_prob, r, _ = mixture_reference.expectation(X, factors)
    r *= w[:, np.newaxis]
    products = X[:, :, np.newaxis] * X[:, np.newaxis, :]
    second = {
        "full": np.tril(np.einsum("nk,nij->kij", r, products)),
        "tied": np.tril(np.einsum("n,nij->ij", w, products)),
        "diag": r.T @ np.square(X),
        "spherical": r.T @ np.square(X).sum(axis=1),
    }[kind]
    assert_allclose(found.weight, r.sum(axis=0), rtol=1e-13)
    assert_allclose(found.first, r.T @ X, rtol=1e-12, atol=1e-14)
    assert_allclose(found.second, second, rtol=1e-12, atol=1e-14)
    assert_allclose(found.log_likelihood, w @ log_prob, rtol=1e-13)
    assert_allclose(found.total, w.sum(), rtol=1e-14)


def test_merged_parts_are_the_whole(factors, rng):
    X, w = rng.normal(size=(3000, 2)), rng.uniform(size=3000)
    whole = moments(factors).accumulate(X, w)
    parts = moments(factors)
    for start in range(0, 3000, 700):
        part = moments(factors).accumulate(X[start : start + 700], w[start : start + 700])
        parts.merge(part)
    again = moments(factors)
    for start in range(0, 3000, 700):
        again.accumulate(X[start : start + 700], w[start : start + 700])
    assert_same(parts, whole, 1e-11)
    assert_same(again, parts, 0)


def test_scaled_moments_are_those_of_scaled_weights(factors, rng):
    X, w = rng.normal(size=(60, 2)), rng.uniform(size=60)
    scaled = moments(factors).accumulate(X, w).scale(0.25)
    assert_same(scaled, moments(factors).accumulate(X, w / 4), 1e-14)


def test_weights_far_from_one_keep_their_unit(factors, rng):
    X, w = rng.normal(size=(60, 2)), rng.uniform(size=60)
    heavy = moments(factors).accumulate(X, w * 2.0**100).scale(2.0**-100)
    assert_same(heavy, moments(factors).accumulate(X, w), 1e-13)


def test_m_step_on_moments_is_an_iteration_of_fit(kind, blobs):
    X = blobs(400, 2, 3)
    options = {"covariance_type": kind, "reg_covar": 0, "random_state": 0}
    model = GaussianMixture(3, tol=0.5, **options).fit(X)
    frame, factors = model._model.frame, model._model.factors
    after = Moments(kind, 3, 2, frame, factors).accumulate(X).parameters()
    more = model.set_params(warm_start=True, max_iter=1, tol=1e300).fit(X)
    assert_array_equal(after.covariances, more._model.parameters.covariances)
    assert_array_equal(frame.out_of(after.means), more.means_)
    assert_array_equal(after.weights, more.weights_)


def test_component_without_weight_keeps_what_it_had(kind, rng):
    found = Moments(kind, 2, 2)
    found.weight[:] = 5, 0
    found.first[0] = 10
    found.second[...] = {"full": 25, "tied": 25, "diag": 25, "spherical": 50}[kind]
    previous = found.parameters()
    for values in previous[2:]:
        values[...] = 3
    parameters = found.parameters(previous)
    assert_array_equal(parameters.weights, [1, 0])
    assert_array_equal(parameters.means[1], [3, 3])
    if kind != "tied":
        assert (parameters.covariances[1] == 3).all()
    assert np.isfinite(found.parameters().covariances).all()


@pytest.mark.parametrize("difference", ["type", "shape", "pivot", "scale"])
def test_moments_that_do_not_fit_are_not_merged(difference):
    frame = Frame(np.zeros(2), 1.0, np.dtype("f8"), np.zeros(2))
    other = {
        "type": Moments("tied", 3, 2),
        "shape": Moments("full", 2, 2),
        "pivot": Moments("full", 3, 2, frame=Frame(np.ones(2), 1.0, frame.dtype, frame.largest)),
        "scale": Moments("full", 3, 2, frame=Frame(np.zeros(2), 2.0, frame.dtype, frame.largest)),
    }[difference]
    mine = Moments("full", 3, 2, frame=frame)
    with pytest.raises(ValueError, match=f"moments of different .*{difference} cannot be merged"):
        mine.merge(other)
    assert_same(mine, Moments("full", 3, 2), 0)


def test_accumulate_refuses_bad_input(factors):
    found = moments(factors)
    with pytest.raises(ValueError, match=r"Input X contains NaN: X\[1, 0\]"):
        found.accumulate([[0.0, 1.0], [np.nan, 1.0]])
    with pytest.raises(ValueError, match="X has 3 columns, but the moments are of 2"):
        found.accumulate(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"weights\[0\] = -1.0 is negative"):
        found.accumulate(np.zeros((1, 2)), [-1.0])
    assert_same(found, moments(factors), 0)
    with pytest.raises(ValueError, match="accumulate needs the current parameters"):
        Moments("full", 3, 2).accumulate(np.zeros((4, 2)))


def test_sparse_rows_are_refused_with_what_to_do():
    with pytest.raises(TypeError, match=r"X is sparse.*: pass X\.toarray\(\)"):
        Moments.under([1.0], [[0.0, 0.0]], [1.0], "spherical").accumulate(sparse.eye_array(2))


@pytest.mark.parametrize("factor", [-1.0, np.nan, np.inf])
def test_scale_refuses_what_is_no_weight(factor):
    with pytest.raises(ValueError, match="factor must be a finite number >= 0"):
        Moments("full", 1, 1).scale(factor)


# Parameters and factors.


@pytest.mark.parametrize("d", [1, 2, 7])
def test_cholesky_is_that_of_lapack(rng, d):
    A = rng.normal(size=(d, 2 * d + 1))
    matrix = A @ A.T
    assert_allclose(cholesky(matrix), np.linalg.cholesky(matrix), rtol=1e-10, atol=1e-13)


def test_cholesky_of_an_indefinite_matrix_is_nan():
    assert np.isnan(cholesky(np.array([[1.0, 2.0], [2.0, 1.0]]))).all()
    assert np.isnan(cholesky(np.zeros((2, 2)))).all()


@pytest.mark.parametrize("exponent", [-1040, -601, 600, 1001])
def test_cholesky_in_any_unit_is_exactly_that(rng, exponent):
    A = np.round(rng.normal(size=(5, 5)) * 16)
    matrix = A @ A.T + np.eye(5)
    unit = exponent // 2 * 2
    expected = np.ldexp(cholesky(matrix), unit // 2)
    # Integers below 2^14 are exact in any of these units.
    assert_array_equal(cholesky(np.ldexp(matrix, unit)), expected)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_precision_factor_is_lower_triangular_and_its_square_the_precision(rng, d):
    A = rng.normal(size=(2, d, 2 * d + 1))
    precisions = A @ A.transpose(0, 2, 1)
    _, P, log_det = precision_factors("full", precisions, d)
    assert_array_equal(P, np.tril(P))
    assert_allclose(P.transpose(0, 2, 1) @ P, precisions, rtol=1e-10, atol=1e-12)
    assert_allclose(log_det, np.linalg.slogdet(precisions)[1] / 2, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "kind, k, d, count",
    [("full", 2, 2, 11), ("tied", 2, 2, 8), ("tied", 3, 2, 11), ("diag", 2, 2, 9),
     ("spherical", 2, 2, 7), ("full", 3, 2, 17), ("full", 3, 4, 44)],
)  # fmt: skip
def test_parameters_are_counted_as_published(kind, k, d, count):
    assert n_parameters(kind, k, d) == count


def test_moments_of_nothing_are_refused():
    with pytest.raises(ValueError, match="no row with a weight has been accumulated"):
        Moments("full", 2, 3).parameters()
    with pytest.raises(ValueError, match="covariance_type must be one of"):
        Moments("round", 2, 3)
    with pytest.raises(ValueError, match="n_components must be a positive integer"):
        Moments("full", 0, 3)


def test_an_iteration_of_em_is_moments_of_parts_added_up(kind, rng):
    X = np.vstack([rng.normal(size=(300, 2)), rng.normal(size=(200, 2)) * [1, 3] + 5]) * 1e-100
    options = {"covariance_type": kind, "reg_covar": 0, "random_state": 0, "tol": 0}
    start, after = (GaussianMixture(2, max_iter=n, **options).fit(X) for n in (2, 3))
    mixture = start.weights_, start.means_, start.covariances_
    whole = Moments.under(*mixture, kind)
    for part in np.array_split(X, 3):
        whole.merge(Moments.under(*mixture, kind).accumulate(part))
    for found, expected in zip(
        whole.mixture(), (after.weights_, after.means_, after.covariances_), strict=True
    ):
        assert_allclose(found, expected, rtol=1e-9, atol=0)
    assert whole.total == 500


def test_moments_under_what_is_no_mixture_are_refused(kind):
    shape = {"full": (2, 3, 3), "tied": (3, 3), "diag": (2, 3), "spherical": (2,)}[kind]
    with pytest.raises(ValueError, match=f"{kind} covariance"):
        Moments.under([0.5, 0.5], np.zeros((2, 3)), np.zeros(shape), kind)
    with pytest.raises(ValueError, match="weights"):
        Moments.under([0.5, 0.7], np.zeros((2, 3)), np.ones(shape), kind)


def test_moments_that_cannot_be_are_refused_and_nothing_changes():
    moments = Moments.under([1.0], [[0.0]], [1.0], "spherical").accumulate([[1.0], [2.0]])
    before = moments.total, moments.second.copy()
    with pytest.raises(TypeError, match="must be Moments"):
        moments.merge(3)
    for factor in "a", [1.0, 2.0], None:
        with pytest.raises(TypeError, match="factor must be a finite number"):
            moments.scale(factor)
    for factor in -1, np.inf, np.nan, 10**400:
        with pytest.raises(ValueError, match="factor must be a finite number"):
            moments.scale(factor)
    with pytest.raises(ValueError, match="leave float64"):
        moments.scale(1e308)
    with pytest.raises(ValueError, match="leave float64"):
        moments.accumulate([[1e155]])
    assert (moments.total, moments.second) == before
    assert type(moments.scale(Fraction(1, 2)).total) is float
    assert moments.scale(np.float32(2)).total == before[0]
