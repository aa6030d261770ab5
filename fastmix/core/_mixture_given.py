# SPDX-License-Identifier: BSD-3-Clause
"""Parameters of a mixture that the user gives: checked, with scikit-learn's words."""

import numpy as np

from fastmix.core._frame import frame_of
from fastmix.core._mixture_fit import MixtureModel
from fastmix.core._mixture_scan import column_pivot
from fastmix.core._parameters import (
    Parameters,
    check_covariance_type,
    cholesky,
    component_variances,
    covariance_shape,
    factors_of,
    ordered_sum,
    whiten,
)
from fastmix.core._validation import result_dtype

__all__ = ["as_means", "as_parameter", "check_given", "check_matrices", "model_of"]

# Sums and symmetry are checked to this, as scikit-learn does.
WEIGHT_TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-8}


def as_parameter(values, shape, name):
    """A finite array of real numbers and of this shape."""
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"The parameter '{name}' must be numeric, got dtype {values.dtype}")
    if values.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {values.shape}"
        )
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"The parameter '{name}' is not finite: {values[at]} at {at}")
    return values


def _check_weights(weights, k):
    weights = as_parameter(weights, (k,), "weights")
    if (weights < 0).any() or (weights > 1).any():
        raise ValueError(  # scikit-learn's words, which its tests want: max and min are swapped
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}"
        )
    total = weights.sum()
    if abs(1 - total) > WEIGHT_TOLERANCE[result_dtype(weights.dtype)]:
        raise ValueError(
            f"The parameter 'weights' should be normalized, but got sum(weights) = {total:.5f}"
        )
    return weights


def check_matrices(values, kind, k, d, name):
    """Covariances or precisions: of the right shape, symmetric and positive definite."""
    values = as_parameter(values, covariance_shape(kind, k, d), name)
    if kind in ("diag", "spherical"):
        if (values <= 0).any():
            raise ValueError(f"'{name}' should be positive")
        return values
    for j, matrix in enumerate(values if kind == "full" else values[np.newaxis]):
        symmetric = np.allclose(matrix, matrix.T, rtol=1e-5, atol=1e-8 * np.abs(matrix).max())
        if not symmetric or np.isnan(cholesky(matrix.astype(np.float64))).any():
            where = f"; that of component {j} is not" if kind == "full" else ""
            raise ValueError(f"'{name}' should be symmetric, positive-definite{where}")
    return values


def as_means(means):
    """Means (k, d), as as_parameter has them."""
    means = np.asarray(means)
    if means.ndim != 2 or 0 in means.shape:
        raise ValueError(f"means must have the shape (n_components, n_features): {means.shape}")
    return as_parameter(means, means.shape, "means")


def check_given(estimator, k, d):
    """weights, means and precisions that an estimator starts from, each an array or None."""
    given = dict.fromkeys(("weights", "means", "precisions"))
    if estimator.weights_init is not None:
        given["weights"] = _check_weights(estimator.weights_init, k)
    if estimator.means_init is not None:
        given["means"] = as_parameter(estimator.means_init, (k, d), "means")
    if estimator.precisions_init is not None:
        kind = estimator.covariance_type
        given["precisions"] = check_matrices(
            estimator.precisions_init, kind, k, d, f"{kind} precision"
        )
    return given


def model_of(kind, weights, means, covariances):
    """A model from parameters in the user's coordinates, and the dtype of its attributes."""
    check_covariance_type(kind)
    means = as_means(means)
    k, d = means.shape
    weights = _check_weights(weights, k).astype(np.float64)
    covariances = check_matrices(covariances, kind, k, d, f"{kind} covariance")
    dtype = result_dtype(means.dtype)
    means, covariances = means.astype(np.float64), covariances.astype(np.float64)

    # The frame that a scan of such rows would give, roughly: about the mean, in which squares
    # neither overflow nor underflow.
    reach = 4 * np.sqrt(component_variances(kind, covariances, k, d))
    low, high = (means - reach).min(axis=0), (means + reach).max(axis=0)
    mean = np.clip(ordered_sum(weights[:, np.newaxis] * means), low, high)
    bounds = np.stack([low, high])
    about = frame_of(bounds, mean.astype(dtype).astype(np.float64), dtype)
    spread = np.square((high / 2 - low / 2) * about.scale)
    frame = frame_of(bounds, column_pivot(mean, spread, about), dtype)
    framed = covariances * frame.scale * frame.scale
    P, log_det, bad = whiten(kind, framed, d)
    if bad.any():
        raise ValueError(f"'{kind} covariance' should be symmetric, positive-definite")
    parameters = Parameters(kind, weights / ordered_sum(weights), frame.into(means), framed)
    return MixtureModel(parameters, factors_of(parameters, P, log_det), frame), dtype
