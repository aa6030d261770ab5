# SPDX-License-Identifier: BSD-3-Clause
"""Densities of rows under a mixture whose parameters are given, as a function."""

import numpy as np

from fastmix.core._mixture_given import model_of
from fastmix.core._mixture_use import log_densities
from fastmix.core._threads import thread_limit
from fastmix.core._validation import as_data, refuse_sparse

__all__ = ["log_prob"]


def log_prob(
    X,
    weights,
    means,
    covariances,
    covariance_type="full",
    *,
    return_components=False,
    n_threads=None,
):
    """Log-density of every row under a Gaussian mixture (PRML 9.7, 9.12).

    Parameters
    ----------
    X : array-like or source of shape (n_samples, n_features)
        Any numeric dtype, strides and byte order; neither copied nor written.  float32, float16
        and integers of 8 and 16 bits are computed in float32 tiles where the means are float32 too,
        all else in float64.
    weights : array-like of shape (n_components,)
        Mixing coefficients >= 0, of sum 1.
    means : array-like of shape (n_components, n_features)
        Means.
    covariances : array-like
        Symmetric and positive definite: full (K, D, D), tied (D, D), diag (K, D), spherical (K,).
    covariance_type : {"full", "tied", "diag", "spherical"}
        What the covariances are.
    return_components : bool
        Also return the components' terms.
    n_threads : int, optional
        As for :func:`kmeans`.

    Returns
    -------
    log_prob : ndarray of shape (n_samples,), float64
        ln p(x), with the numbers of ``GaussianMixture.score_samples``.
    log_joint : ndarray of shape (n_samples, n_components), float64
        With return_components: ln p(x, z_k = 1) = ln pi_k + ln N(x; mu_k, Sigma_k), minus infinity
        for a component without weight.  ``log_joint - log_prob[:, None]`` are the logarithms of the
        responsibilities (PRML 9.13).

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work, with what was expected.

    Notes
    -----
    ln p(x) = ln sum_k pi_k N(x; mu_k, Sigma_k) by log-sum-exp, and ln N(x; mu, Sigma) = ln det P -
    D/2 ln 2 pi - |P (x - mu)|^2 / 2 with P the inverse Cholesky factor of Sigma (the density of
    PRML 9.23).  Differences come first, so that an offset common to rows and means costs no
    precision.  Terms below 1e-18 of a row's largest are left out of the sum, but not out of
    log_joint.

    A row costs K D (D + 1) / 2 multiply-adds for full covariances, D (D + 1) / 2 + K D for tied and
    2 K D for the others.  The result has the same bits for any number of threads, any cut of the
    rows, and every processor with fused multiply-adds.

    References
    ----------
    C. M. Bishop, Pattern Recognition and Machine Learning, 2006, equations 9.7, 9.12, 9.13 and
    9.23.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmix.core import log_prob
    >>> density, joint = log_prob(
    ...     [[0.0], [4.0]], [0.5, 0.5], [[0.0], [4.0]], [1.0, 1.0], "spherical",
    ...     return_components=True,
    ... )
    >>> density.round(4)
    array([-1.6118, -1.6118])
    >>> np.exp(joint - density[:, None]).round(4)
    array([[9.997e-01, 3.000e-04],
           [3.000e-04, 9.997e-01]])
    """
    refuse_sparse(X, "the densities of a mixture")
    X = as_data(X)
    model, _ = model_of(covariance_type, weights, means, covariances)
    d = model.parameters.means.shape[1]
    if X.shape[1] != d:
        raise ValueError(f"X has {X.shape[1]} columns, but means has {d}")
    n_threads = thread_limit(n_threads)
    if not return_components:
        return log_densities(X, model, n_threads)
    joint = np.empty((X.shape[0], len(model.parameters.means)))
    return log_densities(X, model, n_threads, joint=joint), joint
