# SPDX-License-Identifier: BSD-3-Clause
"""Parameters of a Gaussian mixture, and their factors: what the E-step needs of them."""

from typing import NamedTuple

import numpy as np

from fastmix.core._mixture import cholesky, factors, log

__all__ = [
    "COVARIANCE_TYPES",
    "Factors",
    "Parameters",
    "as_matrices",
    "check_covariance_type",
    "cholesky",
    "component_variances",
    "conditional_variances",
    "covariance_shape",
    "factors_of",
    "n_parameters",
    "ordered_sum",
    "precision_factors",
    "whiten",
]

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")

# Weights have a logarithm from here on: ours takes normal numbers.
LEAST_WEIGHT = 2.0**-1000

HALF_LOG_2PI = 0.91893853320467274178


class Parameters(NamedTuple):
    """Weights (k,), means (k, d) and covariances of one covariance type, float64.

    covariances: full (k, d, d), tied (d, d), diag (k, d), spherical (k,).
    """

    covariance_type: str
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


class Factors(NamedTuple):
    """Parameters as the E-step reads them, float64.

    P whitens, y = P (x - mu), so that |y|^2 is the squared Mahalanobis distance: full (k, d, d) and
    tied (d, d) lower triangular, the inverse of the Cholesky factor of the covariance; diag (k, d)
    and spherical (k,) the reciprocal standard deviations.  log_det (k,) is ln det P.
    """

    covariance_type: str
    log_weights: np.ndarray
    means: np.ndarray
    P: np.ndarray
    log_det: np.ndarray

    @property
    def constants(self):
        """ln pi_k + ln det P_k - d/2 ln 2 pi (k,): what ln p(x, z_k = 1) is at the mean."""
        return self.log_weights + self.log_det - self.means.shape[1] * HALF_LOG_2PI


def ordered_sum(values, axis=0):
    """Sum along an axis in the order of its elements, where sum would take that of the CPU."""
    if values.shape[axis] == 0:
        return np.zeros(np.delete(values.shape, axis))
    return np.take(np.cumsum(values, axis=axis), -1, axis=axis)


def check_covariance_type(kind):
    """ValueError for what is no covariance type."""
    if kind not in COVARIANCE_TYPES:
        raise ValueError(f"covariance_type must be one of {COVARIANCE_TYPES}, got {kind!r}")


def covariance_shape(covariance_type, k, d):
    """The shape of the covariances of k components in d columns."""
    return {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}[covariance_type]


def component_variances(covariance_type, covariances, k, d):
    """Variances of the columns in every component, (k, d); read only."""
    if covariance_type in ("full", "tied"):
        covariances = np.diagonal(covariances, axis1=-2, axis2=-1)
    elif covariance_type == "spherical":
        covariances = covariances[:, np.newaxis]
    return np.broadcast_to(covariances, (k, d))


def n_parameters(covariance_type, k, d):
    """Free parameters of a mixture of k components in d columns."""
    full = d * (d + 1) // 2
    shape = {"full": k * full, "tied": full, "diag": k * d, "spherical": k}
    return shape[covariance_type] + k * d + k - 1


def whiten(covariance_type, covariances, d, n_threads=1):
    """P, ln det P (m,) and a mask (m,) of covariances that are not positive definite.

    m is 1 for tied, else k.
    """
    if covariance_type in ("full", "tied"):
        stack = covariances if covariance_type == "full" else covariances[np.newaxis]
        P, log_det, failed = factors(stack, n_threads)
        return (P if covariance_type == "full" else P[0]), log_det, failed >= 0
    good = covariances > 0
    P = 1 / np.sqrt(np.where(good, covariances, 1.0))
    if covariance_type == "diag":
        return P, ordered_sum(log(P), axis=1), ~good.all(axis=1)
    return P, d * log(P), ~good


def conditional_variances(covariance_type, P):
    """Variance of each column given those before it, (m, d); of a row's columns, (k, 1), for
    spherical."""
    if covariance_type in ("full", "tied"):
        P = np.diagonal(P, axis1=-2, axis2=-1)
    if covariance_type == "spherical":
        P = P[:, np.newaxis]
    good = np.atleast_2d(P) > 0  # a factor that failed has zeros
    with np.errstate(over="ignore", under="ignore"):
        return np.where(good, 1 / np.square(np.where(good, P, 1.0)), 0.0)


def factors_of(parameters, P, log_det):
    """Factors of parameters whose covariances are whitened."""
    weights = parameters.weights
    k = len(parameters.means)
    return Factors(
        parameters.covariance_type,
        # However far a row is from all others, it is not of a component without weight.
        np.where(weights > 0, log(np.maximum(weights, LEAST_WEIGHT)), -np.inf),
        np.ascontiguousarray(parameters.means),
        np.ascontiguousarray(P),
        np.ascontiguousarray(np.broadcast_to(log_det, k)),
    )


def precision_factors(covariance_type, precisions, d):
    """Covariances, P and ln det P (m,) of precisions, scikit-learn's ``precisions_init``.

    P is lower triangular with P^T P the precision: the Cholesky factor of the matrix with rows
    and columns reversed, transposed and reversed again.
    """
    if covariance_type in ("diag", "spherical"):
        P = np.sqrt(precisions)
        log_det = ordered_sum(log(P), axis=1) if P.ndim == 2 else d * log(P)
        return 1 / precisions, P, log_det
    stack = precisions if covariance_type == "full" else precisions[np.newaxis]
    P = np.stack([np.ascontiguousarray(cholesky(m[::-1, ::-1]).T[::-1, ::-1]) for m in stack])
    # The inverse from the inverse Cholesky factor: Q^T Q with Q that of the precision.
    covariances = np.zeros_like(P)
    for covariance, Q in zip(covariances, factors(stack)[0], strict=True):
        for i, row in enumerate(Q, start=1):
            covariance[:i, :i] += row[:i, np.newaxis] * row[:i]
    log_det = ordered_sum(log(np.diagonal(P, axis1=1, axis2=2)), axis=1)
    if covariance_type == "tied":
        return covariances[0], P[0], log_det
    return covariances, P, log_det


def as_matrices(covariance_type, covariances, k, d):
    """Covariances of any type as full matrices (k, d, d)."""
    if covariance_type == "full":
        return np.array(covariances)
    if covariance_type == "tied":
        return np.repeat(covariances[np.newaxis], k, axis=0)
    if covariance_type == "spherical":
        covariances = np.repeat(covariances[:, np.newaxis], d, axis=1)
    return covariances[:, :, np.newaxis] * np.eye(d)
