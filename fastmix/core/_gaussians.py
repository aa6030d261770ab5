# SPDX-License-Identifier: BSD-3-Clause
"""Mixtures made of a mixture: marginal, conditional, and in canonical order.

Plain functions on (weights, means, covariances); what they return suits
``GaussianMixture.from_parameters``.
"""

import numpy as np

from fastmix.core._mixture import MixtureRows
from fastmix.core._mixture_given import as_means, as_parameter, check_matrices
from fastmix.core._parameters import (
    Parameters,
    as_matrices,
    check_covariance_type,
    factors_of,
    ordered_sum,
    whiten,
)

__all__ = ["canonical_order", "conditional", "marginal"]


def _as_mixture(weights, means, covariances, covariance_type):
    check_covariance_type(covariance_type)
    means = as_means(means)
    k, d = means.shape
    weights = as_parameter(weights, (k,), "weights")
    if (weights < 0).any() or not weights.any():
        raise ValueError(f"weights must be >= 0, and not all 0, got {weights!r:.200}")
    name = f"{covariance_type} covariance"
    covariances = check_matrices(covariances, covariance_type, k, d, name)
    return [np.array(values, dtype=np.float64) for values in (weights, means, covariances)]


def _as_columns(columns, d):
    columns = np.atleast_1d(np.asarray(columns))
    if columns.dtype.kind not in "iu" or columns.ndim != 1 or not columns.size:
        raise ValueError(f"columns must be one or more indices, got {columns!r}")
    if columns.min() < -d or columns.max() >= d:
        raise ValueError(f"columns must be indices of {d} columns, got {columns.tolist()}")
    columns = columns % d
    if len(np.unique(columns)) < len(columns):
        raise ValueError(f"columns must be distinct, got {columns.tolist()}")
    return columns


def marginal(weights, means, covariances, columns, covariance_type="full"):
    """Mixture of some of the columns, the others integrated out.

    Parameters
    ----------
    weights : array-like of shape (n_components,)
        Mixing coefficients.
    means : array-like of shape (n_components, n_features)
        Means.
    covariances : array-like
        Symmetric and positive definite, in the shape of ``covariance_type``.
    columns : int or sequence of int
        Columns to keep, in this order.
    covariance_type : {"full", "tied", "diag", "spherical"}
        What the covariances are.

    Returns
    -------
    weights : ndarray of shape (n_components,), float64
        As given.
    means : ndarray of shape (n_components, len(columns)), float64
        Those of the columns.
    covariances : ndarray, float64
        Those of the columns, of the same type.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, covariances that are not positive
        definite, or columns that are not distinct indices.

    Notes
    -----
    The marginal of a Gaussian has the parts of its mean and covariance (PRML 2.98), and mixing
    does not change that.

    Examples
    --------
    >>> from fastmix.core import marginal
    >>> marginal([1.0], [[1.0, 2.0]], [[[4.0, 1.0], [1.0, 9.0]]], [1])
    (array([1.]), array([[2.]]), array([[[9.]]]))
    """
    weights, means, covariances = _as_mixture(weights, means, covariances, covariance_type)
    columns = _as_columns(columns, means.shape[1])
    if covariance_type in ("full", "tied"):
        covariances = np.ascontiguousarray(covariances[..., columns[:, None], columns])
    elif covariance_type == "diag":
        covariances = covariances[:, columns]
    return weights, means[:, columns], covariances


def conditional(weights, means, covariances, columns, values, covariance_type="full"):
    """Mixture of the other columns, given the values of some.

    Parameters
    ----------
    weights : array-like of shape (n_components,)
        Mixing coefficients.
    means : array-like of shape (n_components, n_features)
        Means.
    covariances : array-like
        Symmetric and positive definite, in the shape of ``covariance_type``.
    columns : int or sequence of int
        Columns that are known; at least one must be left.
    values : float or array-like of shape (len(columns),)
        What they are.
    covariance_type : {"full", "tied", "diag", "spherical"}
        What the covariances are.

    Returns
    -------
    weights : ndarray of shape (n_components,), float64
        Responsibilities of the known values (PRML 9.13) under the marginal mixture; exactly 0 below
        1e-18 of the largest.
    means : ndarray of shape (n_components, n_left), float64
        Conditional means of the columns left, in ascending order.
    covariances : ndarray of shape (n_components, n_left, n_left), float64
        Conditional covariances, full whatever the type given.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, covariances that are not positive
        definite, or no column left.

    Notes
    -----
    With known columns a and the others b, per component mu_b + S_ba S_aa^-1 (x_a - mu_a) and
    S_bb - S_ba S_aa^-1 S_ab (PRML 2.96 and 2.97), by way of the inverse Cholesky factor of S_aa.

    Examples
    --------
    >>> from fastmix.core import conditional
    >>> conditional([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.5, 1.0]]], 0, 2.0)
    (array([1.]), array([[1.]]), array([[[0.75]]]))
    """
    weights, means, covariances = _as_mixture(weights, means, covariances, covariance_type)
    k, d = means.shape
    known = _as_columns(columns, d)
    left = np.setdiff1d(np.arange(d), known)
    if not left.size:
        raise ValueError("columns are all columns: none is left")
    values = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if values.shape != known.shape or not np.isfinite(values).all():
        raise ValueError(f"values must be {len(known)} finite numbers, got {values!r}")
    full = as_matrices(covariance_type, covariances, k, d)
    part = np.ascontiguousarray(full[:, known[:, None], known])
    P, log_det, bad = whiten("full", part, len(known))
    if bad.any():
        raise ValueError(
            f"the covariance of component {int(np.argmax(bad))} is not positive definite"
        )
    difference = values - means[:, known]
    whitened = ordered_sum(P * difference[:, np.newaxis, :], axis=2)
    cross = full[:, left[:, None], known]  # (k, left, known)
    # S_ba P^T: a row of it for every column left.
    gain = ordered_sum(cross[:, :, np.newaxis, :] * P[:, np.newaxis, :, :], axis=3)
    new_means = means[:, left] + ordered_sum(gain * whitened[:, np.newaxis, :], axis=2)
    explained = ordered_sum(gain[:, :, np.newaxis, :] * gain[:, np.newaxis, :, :], axis=3)
    new_covariances = full[:, left[:, None], left] - explained
    # About the values, so that no digit of a distance is lost.
    parameters = Parameters("full", weights, -difference, part)
    rows = MixtureRows(np.zeros((1, len(known))), np.dtype(np.float64))
    responsibilities = np.empty((1, k))
    rows.expect(0, 1, factors_of(parameters, P, log_det), 1, responsibilities=responsibilities)
    return responsibilities[0], new_means, new_covariances


def canonical_order(means, weights=None):
    """Order of the components that does not depend on how they were found.

    Parameters
    ----------
    means : array-like of shape (n_components, n_features)
        Means.
    weights : array-like of shape (n_components,), optional
        Break ties between equal means, the heaviest first.

    Returns
    -------
    order : ndarray of shape (n_components,), intp
        Components by ascending mean, the first column first; ``means[order]`` is sorted.

    Raises
    ------
    ValueError
        For shapes that do not fit, or values that are not finite.

    Notes
    -----
    The K! permutations of a mixture's components have one likelihood (PRML 9.2.1, identifiability);
    this picks one of them.

    Examples
    --------
    >>> from fastmix.core import canonical_order
    >>> canonical_order([[2.0, 0.0], [1.0, 5.0], [1.0, 3.0]])
    array([2, 1, 0])
    """
    means = np.asarray(means, dtype=np.float64)
    if means.ndim != 2 or 0 in means.shape:
        raise ValueError(f"means must have the shape (n_components, n_features): {means.shape}")
    keys = [*means.T[::-1]]
    if weights is not None:
        weights = np.asarray(weights, dtype=np.float64)
        if weights.shape != means.shape[:1]:
            raise ValueError(
                f"weights {weights.shape} and means {means.shape} must have the shapes (K,) and "
                "(K, D)"
            )
        keys.insert(0, -weights)
    for key in keys:
        if not np.isfinite(key).all():
            raise ValueError("means and weights must be finite")
    return np.lexsort(keys)
