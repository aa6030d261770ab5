# SPDX-License-Identifier: BSD-3-Clause
"""Mixtures made of a mixture: marginals, conditionals, canonical order."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastmix import GaussianMixture
from fastmix.core import canonical_order, conditional, marginal
from mixture_reference import some_mixture

TYPES = ("full", "tied", "diag", "spherical")


@pytest.mark.parametrize("kind", TYPES)
def test_joint_density_is_marginal_times_conditional(kind, rng):
    mixture = some_mixture(kind, rng)
    known, left = [2, 0], [1, 3]
    X = rng.normal(size=(5, 4))
    joint = GaussianMixture.from_parameters(*mixture, kind).score_samples(X)
    part = GaussianMixture.from_parameters(*marginal(*mixture, known, kind), kind)
    for row, expected in zip(X, joint, strict=True):
        rest = GaussianMixture.from_parameters(*conditional(*mixture, known, row[known], kind))
        found = part.score_samples(row[None, known]) + rest.score_samples(row[None, left])
        # Covariances of condition up to 1e3.
        assert_allclose(found, expected, rtol=1e-11)


def test_marginal_takes_columns_in_the_order_given(rng):
    weights, means, covariances = some_mixture("full", rng)
    found = marginal(weights, means, covariances, [3, -3])
    assert_array_equal(found[0], weights)
    assert_array_equal(found[1], means[:, [3, 1]])
    assert_array_equal(found[2], covariances[:, [[3, 3], [1, 1]], [3, 1]])


def test_conditional_far_from_every_mean_is_finite(rng):
    weights, means, covariances = some_mixture("full", rng)
    found = conditional(weights, means, covariances, [0], 1e6)
    assert_allclose(found[0].sum(), 1, rtol=1e-15)
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize(
    "columns, message",
    [
        ([4], "columns must be indices of 4 columns"),
        ([0, 0], "columns must be distinct"),
        ([0, -4], "columns must be distinct"),
        ([], "columns must be one or more indices"),
        ([0.5], "columns must be one or more indices"),
    ],
)
def test_bad_columns_are_refused(rng, columns, message):
    mixture = some_mixture("full", rng)
    with pytest.raises(ValueError, match=message):
        marginal(*mixture, columns)
    with pytest.raises(ValueError, match=message):
        conditional(*mixture, columns, np.zeros(len(columns)))


def test_bad_mixtures_are_refused(rng):
    weights, means, covariances = some_mixture("full", rng)
    with pytest.raises(ValueError, match=r"'weights' should have the shape of \(3,\)"):
        marginal(weights[:2], means, covariances, 0)
    with pytest.raises(ValueError, match="'full covariance' should have the shape of"):
        marginal(weights, means, covariances[0], 0)
    with pytest.raises(ValueError, match="covariance_type must be one of"):
        marginal(weights, means, covariances, 0, "round")
    with pytest.raises(ValueError, match="none is left"):
        conditional(weights, means, covariances, [0, 1, 2, 3], np.zeros(4))
    with pytest.raises(ValueError, match="values must be 1 finite"):
        conditional(weights, means, covariances, 0, np.nan)
    with pytest.raises(ValueError, match="'full covariance' should be symmetric, positive"):
        conditional(weights, means, covariances * [[[1]], [[-1]], [[1]]], 0, 0.0)


def test_canonical_order_does_not_depend_on_the_order_given(rng):
    means = rng.integers(0, 2, size=(6, 3)).astype(float)
    weights = rng.dirichlet(np.ones(6))
    expected = means[canonical_order(means, weights)]
    for _ in range(5):
        shuffle = rng.permutation(6)
        order = canonical_order(means[shuffle], weights[shuffle])
        assert_array_equal(means[shuffle][order], expected)
        assert_array_equal(weights[shuffle][order], weights[canonical_order(means, weights)])


def test_canonical_order_of_no_columns_is_refused():
    with pytest.raises(ValueError, match="means must have the shape"):
        canonical_order(np.empty((3, 0)))


def test_canonical_order_of_equal_means_is_by_weight():
    assert_array_equal(canonical_order([[1.0], [1.0], [0.0]], [0.2, 0.5, 0.3]), [2, 1, 0])


@pytest.mark.parametrize(
    "weights, message",
    [
        ([-0.5, 1.5], "weights must be >= 0, and not all 0"),
        ([0.0, 0.0], "weights must be >= 0, and not all 0"),
        ([np.nan, 1.0], "'weights' is not finite: nan"),
        ([np.inf, 1.0], "'weights' is not finite: inf"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    means, covariances = [[0.0, 0.0], [1.0, 1.0]], [np.eye(2)] * 2
    with pytest.raises(ValueError, match=message):
        marginal(weights, means, covariances, 0)
    with pytest.raises(ValueError, match=message):
        conditional(weights, means, covariances, 0, 1.0)


def test_means_that_are_not_finite_are_refused():
    means, covariances = [[0.0, np.nan], [1.0, 1.0]], [np.eye(2)] * 2
    with pytest.raises(ValueError, match="'means' is not finite: nan"):
        marginal([0.5, 0.5], means, covariances, 0)
    with pytest.raises(ValueError, match="means and weights must be finite"):
        canonical_order(means)
    with pytest.raises(ValueError, match="must have the shapes"):
        canonical_order([[1.0], [2.0]], [1.0])


@pytest.mark.parametrize("function", [marginal, lambda *mixture: conditional(*mixture, 0.7)])
@pytest.mark.parametrize(
    "covariance", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.9], [0.1, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]]
)
def test_what_is_no_covariance_is_refused(function, covariance):
    with pytest.raises(ValueError, match="should be symmetric, positive-definite"):
        function([1.0], [[0.0, 0.0]], [covariance], 1)


@pytest.mark.parametrize("far", [1e100, 1e153, 1e160, 3e154, 1e300])
@pytest.mark.parametrize("value", [0.0, 1.0, -1e50])
def test_conditional_of_means_far_apart_is_of_the_wider_component(far, value):
    mixture = [0.5, 0.5], [[far, 0.0], [-far, 0.0]], [[1.0, 1.0], [2.0, 1.0]]
    np.testing.assert_array_equal(conditional(*mixture, 0, value, "diag")[0], [0.0, 1.0])


@pytest.mark.parametrize("value", [1e100, 1e153, 1e155, 1e200, 1e307])
def test_conditional_of_a_far_value_is_of_the_wider_component(value):
    mixture = [0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [2.0, 2.0]]
    weights, _, _ = conditional(*mixture, 0, value, "diag")
    np.testing.assert_array_equal(weights, [0.0, 1.0])
