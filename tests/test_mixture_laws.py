# SPDX-License-Identifier: BSD-3-Clause
"""Laws of a mixture as properties, and its densities against fifty digits."""

import math
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fastmix import GaussianMixture
from fastmix.core import Moments

TYPES = ("full", "tied", "diag", "spherical")
PROPERTIES = given(
    seed=st.integers(0, 2**20), k=st.integers(1, 4), d=st.integers(1, 6),
    kind=st.sampled_from(TYPES),
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def case(seed, k, d, kind, n=90):
    """Rows, and a start: parameters of an overlapping mixture."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + 2 * rng.integers(k, size=(n, 1))
    shape = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}[kind]
    precisions = np.broadcast_to(np.eye(d), shape) if kind in ("full", "tied") else np.ones(shape)
    weights = rng.dirichlet(np.full(k, 5.0))
    start = {
        "weights_init": weights / weights.sum(), "means_init": X[:k], "precisions_init": precisions,
        "covariance_type": kind, "max_iter": 4, "tol": 0,
        "reg_covar": 1e-2,  # bounds the condition, which amplifies rounding
    }  # fmt: skip
    return rng, X, start


def assert_same_mixture(a, b, rtol=1e-9):
    # Sums of 90 terms in another order, through four iterations that amplify little.
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=rtol, err_msg=name)


@PROPERTIES
def test_integer_weights_are_repeated_rows(seed, k, d, kind):
    rng, X, start = case(seed, k, d, kind)
    counts = rng.integers(0, 4, size=len(X))
    counts[: 4 * d] += 1
    weighted = GaussianMixture(k, **start).fit(X, sample_weight=counts)
    repeated = GaussianMixture(k, **start).fit(np.repeat(X, counts, axis=0))
    assert_same_mixture(weighted, repeated)


@PROPERTIES
def test_rows_without_weight_are_not_there(seed, k, d, kind):
    rng, X, start = case(seed, k, d, kind)
    weights = rng.uniform(size=len(X)) * (rng.uniform(size=len(X)) < 0.7)
    weights[: 4 * d] += 0.1
    kept = weights > 0
    X[~kept] *= 1e3
    whole = GaussianMixture(k, **start).fit(X, sample_weight=weights)
    assert_same_mixture(
        whole, GaussianMixture(k, **start).fit(X[kept], sample_weight=weights[kept])
    )


@PROPERTIES
def test_order_of_rows_and_components_does_not_matter(seed, k, d, kind):
    rng, X, start = case(seed, k, d, kind)
    here = GaussianMixture(k, **start).fit(X)
    order = rng.permutation(k)
    for name in ("weights_init", "means_init"):
        start[name] = start[name][order]
    there = GaussianMixture(k, **start).fit(rng.permutation(X))
    assert_allclose(there.means_, here.means_[order], rtol=1e-9, atol=1e-9)
    assert_allclose(there.lower_bounds_, here.lower_bounds_, rtol=1e-11)
    assert_allclose(there.predict_proba(X), here.predict_proba(X)[:, order], atol=1e-9)


@PROPERTIES
def test_likelihood_does_not_fall(seed, k, d, kind):
    _, X, start = case(seed, k, d, kind)
    model = GaussianMixture(k, **start | {"max_iter": 30, "reg_covar": "auto"}).fit(X)
    if not model.fit_report_["repairs"]:
        # By more than the rounding of a mean of 90 terms of some units.
        assert np.diff(model.objective_trace_).min() >= -1e-12
        assert model.score(X) >= model.lower_bound_ - 1e-12


@PROPERTIES
def test_chunks_of_statistics_are_one_shot(seed, k, d, kind):
    rng, X, start = case(seed, k, d, kind)
    model = GaussianMixture(k, **start).fit(X)._model
    parts, whole = (Moments(kind, k, d, model.frame, model.factors) for _ in range(2))
    cuts = np.sort(rng.integers(1, len(X), size=3))
    for part in np.split(X, cuts):
        if len(part):
            parts.accumulate(part)
    whole.accumulate(X)
    for a, b in zip(parts.parameters()[1:], whole.parameters()[1:], strict=True):
        assert_allclose(a, b, rtol=1e-10, atol=1e-10)
    assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-13)


@PROPERTIES
def test_one_component_has_the_covariance_of_all_rows(seed, k, d, kind):
    rng, X, _ = case(seed, k, d, kind)
    weights = rng.uniform(0.1, 1, size=len(X))
    expected = np.atleast_2d(np.cov(X.T, aweights=weights, ddof=0))
    model = GaussianMixture(1, covariance_type=kind, reg_covar=0).fit(X, sample_weight=weights)
    variances = np.diag(expected)
    wanted = {"full": expected, "tied": expected, "diag": variances}.get(kind, variances.mean())
    assert_allclose(np.squeeze(model.covariances_), np.squeeze(wanted), rtol=1e-11, atol=1e-12)


# ln p(x) in rational arithmetic, and logarithms and exponentials of fifty digits.

PI = Decimal("3.14159265358979323846264338327950288419716939937510582")


def solve(matrix, vector):
    """(vector^T matrix^-1 vector, det matrix) of a positive definite matrix, exactly."""
    rows = [[*row, value] for row, value in zip(matrix, vector, strict=True)]
    det, square = Fraction(1), Fraction(0)
    for i, pivot in enumerate(rows):
        det *= pivot[i]
        square += pivot[-1] ** 2 / pivot[i]
        for other in rows[i + 1 :]:
            factor = other[i] / pivot[i]
            other[:] = [a - factor * b for a, b in zip(other, pivot, strict=True)]
    return square, det


def decimal(value):
    return Decimal(value.numerator) / Decimal(value.denominator)


def exact_log_density(x, weights, means, covariances):
    getcontext().prec = 60
    terms = []
    for weight, mean, covariance in zip(weights, means, covariances, strict=True):
        matrix = [[Fraction(float(v)) for v in row] for row in covariance]
        vector = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(x, mean, strict=True)]
        square, det = solve(matrix, vector)
        constant = len(x) * (2 * PI).ln() + decimal(det).ln()
        terms.append(Decimal(float(weight)).ln() - (constant + decimal(square)) / 2)
    most = max(terms)
    return most + sum((term - most).exp() for term in terms).ln()


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**20), d=st.integers(1, 7), kind=st.sampled_from(TYPES),
    offset=st.sampled_from([0.0, 1e8]),
)  # fmt: skip
def test_log_densities_are_right_to_twelve_digits(seed, d, kind, offset):
    rng, k = np.random.default_rng(seed), 3
    A = rng.normal(size=(k, d, 2 * d + 2)) / math.sqrt(2 * d)
    full = A @ A.transpose(0, 2, 1)
    full = (full + full.transpose(0, 2, 1)) / 2
    variances = rng.uniform(0.5, 2, size=(k, d))
    given = {"full": full, "tied": full[0], "diag": variances, "spherical": variances[:, 0]}[kind]
    matrices = {
        "full": full, "tied": [full[0]] * k, "diag": [np.diag(v) for v in variances],
        "spherical": [np.eye(d) * v[0] for v in variances],
    }[kind]  # fmt: skip
    weights = np.array([0.25, 0.5, 0.25])
    # On a grid that both places hold, so that only the computing can differ.
    means = np.rint(rng.normal(size=(k, d)) * 2**20) / 2**20 + offset
    X = np.rint(rng.normal(size=(6, d)) * 2**21) / 2**20 + offset
    found = GaussianMixture.from_parameters(weights, means, given, kind).score_samples(X)
    expected = [float(exact_log_density(x, weights, means, matrices)) for x in X]
    # Where terms cancel to about zero, the digits are those of the terms.
    assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
