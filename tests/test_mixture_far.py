# SPDX-License-Identifier: BSD-3-Clause
"""Rows so far from a mixture that squares overflow, and components that no row may come from."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastmix import GaussianMixture
from fastmix.core import Moments

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

TYPES = ("full", "tied", "diag", "spherical")


def mixture(kind, dtype="f8"):
    """Components at (0, 0) and (6, 0); the second is the wider one where they differ."""
    covariances = {
        "full": [np.eye(2), [[4.0, 1.0], [1.0, 4.0]]],
        "tied": np.eye(2),
        "diag": [[1.0, 1.0], [4.0, 4.0]],
        "spherical": [1.0, 4.0],
    }[kind]
    means = np.array([[0.0, 0.0], [6.0, 0.0]], dtype=dtype)
    return GaussianMixture.from_parameters([0.5, 0.5], means, covariances, kind)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("dtype, far", [("f4", 1e25), ("f4", 3e38), ("f8", 1e160), ("f8", 1.7e308)])
def test_rows_whose_squares_overflow_have_a_component(kind, dtype, far):
    model = mixture(kind, dtype)
    X = np.array([[0, 0], [far, -far], [-far, far], [6, 0], [far, far]], dtype=dtype)
    shares = model.predict_proba(X)
    assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    if kind != "tied":  # the wider component has all that is far
        assert_array_equal(shares[[1, 2, 4]], [[0, 1]] * 3)
    assert_array_equal(model.predict(X), shares.argmax(axis=1))
    # The neighbours in the tile are as they are alone.
    assert_array_equal(model.predict_proba(X[[0, 3]]), shares[[0, 3]])
    # -far^2 / 2 and less: minus infinity where float32 or float64 ends.
    assert (model.score_samples(X)[[1, 2, 4]] < -1e37).all()
    assert np.isfinite(model.icl(X[[0, 3]]))


@pytest.mark.parametrize("kind", TYPES)
def test_densities_of_float32_rows_beyond_float32_are_those_of_float64(kind):
    X = np.array([[1e20, 1e20], [-3e22, 1e21]], dtype="f4")
    single, double = (mixture(kind, dtype)._model for dtype in ("f4", "f8"))
    found, expected = (
        Moments(kind, 2, 2, model.frame, model.factors).accumulate(X) for model in (single, double)
    )
    assert_allclose(found.log_likelihood, expected.log_likelihood, rtol=1e-12)
    if kind != "tied":  # where distances are equal to the last bit
        assert_array_equal(found.weight, expected.weight)


def test_axis_of_a_far_row_decides_its_component():
    model = GaussianMixture.from_parameters(
        [0.5, 0.5], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 9.0], [9.0, 1.0]], "diag"
    )
    far = [[1e200, 0.0], [0.0, 1e200], [-1e300, 1e299]]
    assert_array_equal(model.predict(far), [1, 0, 1])


@pytest.mark.parametrize("kind", TYPES)
def test_component_without_weight_has_no_row(kind):
    model = mixture(kind)
    weights, means = [1.0, 0.0], [[0.0, 0.0], [100.0, 0.0]]
    model = GaussianMixture.from_parameters(weights, means, model.covariances_, kind)
    X = [[100.0, 0.0], [1e4, 0.0], [1e170, 0.0]]
    assert_array_equal(model.predict_proba(X), [[1.0, 0.0]] * 3)
    one = GaussianMixture.from_parameters(
        [1.0], means[:1], model.covariances_ if kind == "tied" else model.covariances_[:1], kind
    )
    assert_array_equal(model.score_samples(X[:2]), one.score_samples(X[:2]))


@pytest.mark.parametrize("kind", TYPES)
def test_fit_with_rows_beyond_the_squares_of_float32_is_finite(rng, kind):
    # Components of 1e-12 and rows out to 1e8: a distance of 1e20 deviations.
    X = np.concatenate([rng.normal(size=(300, 2)) * 1e-12, [[1e8, 1e8], [-1e8, 1e8]]]).astype("f4")
    model = GaussianMixture(
        2, covariance_type=kind, reg_covar=1e-300, weights_init=[0.5, 0.5], max_iter=5, tol=0,
        means_init=[[0.0, 0.0], [1e-12, 0.0]], precisions_init={
            "full": [np.eye(2) * 1e24] * 2, "tied": np.eye(2) * 1e24,
            "diag": np.full((2, 2), 1e24), "spherical": np.full(2, 1e24)}[kind],
    )  # fmt: skip
    with pytest.warns(UserWarning, match="did not converge"):
        model.fit(X)
    assert np.isfinite([*model.weights_, *model.means_.ravel(), *model.covariances_.ravel()]).all()
    assert np.isfinite(model.lower_bounds_).all()
