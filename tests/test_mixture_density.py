# SPDX-License-Identifier: BSD-3-Clause
"""log_prob: densities of rows and of their components under given parameters."""

import doctest
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import multivariate_normal

import fastmix
from fastmix import GaussianMixture, log_prob
from fastmix.core import _mixture_density
from fastmix.core._parameters import COVARIANCE_TYPES, as_matrices
from mixture_reference import some_mixture

TINY = ([0.5, 0.5], [[0.0], [1.0]], [[[1.0]], [[1.0]]])


def joint_oracle(X, weights, means, covariances, kind):
    matrices = as_matrices(kind, covariances, *means.shape)
    return np.stack(
        [
            np.log(weight) + multivariate_normal(mean, matrix).logpdf(X)
            for weight, mean, matrix in zip(weights, means, matrices, strict=True)
        ],
        axis=1,
    )


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_densities_are_those_of_the_formula(kind, rng):
    mixture = some_mixture(kind, rng)
    X = rng.normal(size=(70, 4)) * 2
    density, joint = log_prob(X, *mixture, kind, return_components=True)
    expected = joint_oracle(X, *mixture, kind)
    # Covariances of condition up to 1e3, SciPy's by an eigendecomposition.
    assert_allclose(joint, expected, rtol=1e-11)
    assert_allclose(density, np.logaddexp.reduce(expected, axis=1), rtol=1e-11)
    assert density.shape == (70,)
    assert density.dtype == joint.dtype == np.float64


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_densities_have_the_bits_of_the_estimator(kind, dtype, rng):
    mixture = some_mixture(kind, rng, dtype=dtype)
    X = rng.normal(size=(300, 4)).astype(dtype)
    expected = GaussianMixture.from_parameters(*mixture, kind).score_samples(X)
    assert_array_equal(log_prob(X, *mixture, kind).astype(dtype), expected)
    density, _ = log_prob(X, *mixture, kind, return_components=True, n_threads=2)
    assert_array_equal(density.astype(dtype), expected)


@pytest.mark.parametrize("dtype, tolerance", [("f4", 1e-5), ("f8", 1e-13)])
def test_joint_less_density_is_the_logarithm_of_responsibilities(dtype, tolerance, rng):
    # Terms of about 10, whose rounding is an error of the exponential.
    mixture = some_mixture("full", rng, dtype=dtype)
    X = rng.normal(size=(300, 4)).astype(dtype)
    density, joint = log_prob(X, *mixture, return_components=True)
    expected = GaussianMixture.from_parameters(*mixture).predict_proba(X)
    assert_allclose(np.exp(joint - density[:, None]), expected, rtol=0, atol=tolerance)


def test_terms_below_the_cutoff_are_in_the_joint():
    density, joint = log_prob([[0.0]], [0.5, 0.5], [[0.0], [40.0]], [1.0, 1.0], "spherical",
                              return_components=True)  # fmt: skip
    assert_allclose(joint[0, 1] - joint[0, 0], -800, rtol=1e-14)
    assert density[0] == joint[0, 0]


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_offset_common_to_rows_and_means_changes_nothing(kind, rng):
    weights, means, covariances = some_mixture(kind, rng)
    means = np.round(means * 64) / 64
    X = np.round(rng.normal(size=(50, 4)) * 64) / 64
    expected = log_prob(X, weights, means, covariances, kind, return_components=True)
    found = log_prob(X + 2.0**30, weights, means + 2.0**30, covariances, kind,
                     return_components=True)  # fmt: skip
    # Sums with 2^30 are exact; the frames round differences to it once.
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_rows_whose_squares_overflow_have_terms(kind, dtype):
    far = 1e25 if dtype == "f4" else 1e160
    covariances = {"full": np.stack([np.eye(2)] * 3), "tied": np.eye(2), "diag": np.ones((3, 2)),
                   "spherical": np.ones(3)}[kind].astype(dtype)  # fmt: skip
    means = np.array([[0, 0], [1, 1], [0, 1]], dtype=dtype)
    X = np.array([[far, 0], [0, 0]], dtype=dtype)
    density, joint = log_prob(X, [0.5, 0.5, 0], means, covariances, kind, return_components=True)
    assert_array_equal(joint[:, 2], [-np.inf, -np.inf])
    expected = -far * far / 2 if dtype == "f4" else -np.inf
    assert_allclose(joint[0, :2], [expected, expected], rtol=1e-6)
    assert_allclose(density[0], expected, rtol=1e-6)
    assert_allclose(joint[1, :2], np.log(0.5 / (2 * np.pi)) - [0, 1], rtol=1e-6)


def test_threads_and_strides_do_not_change_a_bit(rng):
    mixture = some_mixture("full", rng, d=3)
    X = rng.normal(size=(60_000, 6))[:, ::2]
    expected = log_prob(X, *mixture, return_components=True, n_threads=1)
    for other in (X.copy(), np.asfortranarray(X)):
        for n_threads in (2, 3):
            found = log_prob(other, *mixture, return_components=True, n_threads=n_threads)
            for one, two in zip(found, expected, strict=True):
                assert_array_equal(one, two)


@pytest.mark.parametrize(
    "X, change, error, message",
    [
        ([[0.0, 1.0]], {}, ValueError, "X has 2 columns, but means has 1"),
        ([[np.nan]], {}, ValueError, "contains NaN"),
        ([0.0], {}, ValueError, "Expected 2D array"),
        ([["a"]], {}, TypeError, "X must be numeric"),
        (sparse.csr_array([[1.0]]), {}, TypeError, "X is sparse"),
        ([[0.0]], {"weights": [0.5, 0.6]}, ValueError, "should be normalized"),
        ([[0.0]], {"covariances": [1.0, 1.0]}, ValueError, "'full covariance' should have the"),
        ([[0.0]], {"covariance_type": "round"}, ValueError, "covariance_type must be one of"),
        ([[0.0]], {"n_threads": 0}, ValueError, "n_threads"),
    ],
)
def test_bad_arguments_are_refused(X, change, error, message):
    good = dict(zip(("weights", "means", "covariances"), TINY, strict=True))
    with pytest.raises(error, match=message):
        log_prob(X, **(good | change))


def test_needs_no_scikit_learn(tmp_path):
    code = """
import sys
sys.modules["sklearn"] = None
import fastmix
print(fastmix.log_prob([[0.0]], [1.0], [[0.0]], [1.0], "spherical").round(6).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "[-0.918939]\n", done.stderr


def test_docstring_example_prints_what_it_says():
    assert fastmix.log_prob is fastmix.core.log_prob is _mixture_density.log_prob
    results = doctest.testmod(_mixture_density)
    assert (results.failed, results.attempted > 0) == (0, True)


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
@pytest.mark.parametrize("dtype, tolerance", [("f4", 2e-5), ("f8", 1e-11)])
def test_columns_in_unlike_units_lose_no_digits(kind, dtype, tolerance, rng):
    # Seconds since 1970 beside a column whose spread is as large as those: each has its own pivot.
    offset = 1e6 + 3 if dtype == "f4" else 1.7e9 + 0.125
    deviations = np.array([1.3 if dtype == "f4" else 1.3e-3, 1e9])
    X = (np.array([offset, 0]) + deviations * rng.normal(size=(1000, 2))).astype(dtype)
    means = np.array([[offset, 0.0]]).astype(dtype)
    covariances = {"full": np.diag(deviations**2)[np.newaxis], "tied": np.diag(deviations**2)}
    covariances["diag"] = deviations[np.newaxis] ** 2
    z = (X.astype("f8") - means.astype("f8")) / deviations
    expected = -np.square(z).sum(axis=1) / 2 - np.log(2 * np.pi * deviations.prod())
    found = log_prob(X, [1.0], means, covariances[kind], kind)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
