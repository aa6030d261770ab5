# SPDX-License-Identifier: BSD-3-Clause
"""The mixture driver in plain NumPy, float64: slow, readable, and what the kernels are held to."""

import sys
import types

import numpy as np
from scipy.linalg import lapack, solve_triangular

from fastmix.core._tiles import TileRows

# Responsibilities whose log term is this far below the row's largest are exactly zero: ln 1e18.
CUTOFF = 41.45


def factor(covariance):
    """(P, ln det P, failed pivot or -1) with P the inverse of the lower Cholesky factor."""
    d = len(covariance)
    lower, info = lapack.dpotrf(np.asarray(covariance, dtype=np.float64), lower=1)
    if info > 0 or not np.isfinite(lower).all():
        return np.zeros((d, d)), 0.0, max(0, info - 1)
    inverse = solve_triangular(np.tril(lower), np.eye(d), lower=True)
    return inverse, -np.log(np.diagonal(lower)).sum(), -1


def cholesky(matrix):
    """Lower Cholesky factor of a (d, d) matrix; all NaN if it is not positive definite."""
    lower, info = lapack.dpotrf(np.asarray(matrix, dtype=np.float64), lower=1)
    return np.full(lower.shape, np.nan) if info else np.tril(lower)


def log(values):
    """Natural logarithm of positive finite values."""
    return np.log(np.asarray(values, dtype=np.float64))


def squared_mahalanobis(rows, factors):
    """(x - mu_k)^T Lambda_k (x - mu_k) by differences, (n, k), of framed rows."""
    out = np.empty((len(rows), len(factors.means)))
    for j, mean in enumerate(factors.means):
        difference = rows - mean
        if factors.covariance_type == "full":
            y = difference @ factors.P[j].T
        elif factors.covariance_type == "tied":
            y = difference @ factors.P.T
        else:
            y = difference * factors.P[j]
        out[:, j] = np.square(y).sum(axis=1)
    return out


def log_terms(rows, factors):
    """ln p(x, z_k = 1) of framed rows, (n, k)."""
    constants = factors.log_weights + factors.log_det - rows.shape[1] / 2 * np.log(2 * np.pi)
    return constants - squared_mahalanobis(rows, factors) / 2


def expectation(rows, factors):
    """ln p(x) (PRML 9.12) and responsibilities (9.13) of framed rows, with the cut-off."""
    terms = log_terms(rows, factors)
    most = terms.max(axis=1, keepdims=True)
    powers = np.where(terms >= most - CUTOFF, np.exp(terms - most), 0.0)
    sums = powers.sum(axis=1, keepdims=True)
    return (most + np.log(sums))[:, 0], powers / sums, terms.argmax(axis=1)


def add_moments(moments, rows, responsibilities, weights):
    """Add the moments (PRML 9.18) of framed rows with given responsibilities."""
    r = responsibilities * weights[:, np.newaxis]
    weights = r.sum(axis=1)  # zero for a row that is in no component
    moments.weight += r.sum(axis=0)
    moments.first += r.T @ rows
    if moments.covariance_type == "full":
        for j in range(r.shape[1]):
            moments.second[j] += np.tril((rows * r[:, j : j + 1]).T @ rows)
    elif moments.covariance_type == "tied":
        moments.second += np.tril((rows * weights[:, np.newaxis]).T @ rows)
    elif moments.covariance_type == "diag":
        moments.second += r.T @ np.square(rows)
    else:
        moments.second += r.T @ np.square(rows).sum(axis=1)
    moments.total += weights.sum()


class ReferenceRows(TileRows):
    """Rows of X in a frame; methods and conventions of the compiled driver."""

    slot_rows = 1024

    def _slots(self, start, stop):
        assert start % self.slot_rows == 0
        for at in range(start, stop, self.slot_rows):
            end = min(stop, at + self.slot_rows)
            x = np.asarray(self.X[at:end]).astype(self.dtype)
            framed = x * self.dtype.type(self.scale) - self.offset.astype(self.dtype)
            yield at, end, framed.astype(np.float64, order="C")

    def _weights(self, at, end, weights):
        return np.ones(end - at) if weights is None else weights[at:end]

    def expect(self, start, stop, factors, n_threads, *, weights=None, moments=None,
               log_prob=None, log_joint=None, responsibilities=None, labels=None,
               entropy=True):  # fmt: skip
        for at, end, rows in self._slots(start, stop):
            densities, r, best = expectation(rows, factors)
            if log_joint is not None:
                log_joint[at:end] = log_terms(rows, factors)
            if log_prob is not None:
                log_prob[at:end] = densities
            if responsibilities is not None:
                responsibilities[at:end] = r
            if labels is not None:
                labels[at:end] = best
            if moments is not None:
                w = self._weights(at, end, weights)
                add_moments(moments, rows, r, w)
                moments.log_likelihood += w @ densities
                with np.errstate(divide="ignore", invalid="ignore"):
                    shared = np.where(r > 0, r * np.log(r), 0.0).sum(axis=1)
                moments.entropy -= w @ shared if entropy else 0.0

    def gather(self, start, stop, labels, n_threads, *, moments, weights=None):
        for at, end, rows in self._slots(start, stop):
            hard = (labels[at:end, np.newaxis] == np.arange(len(moments.weight))).astype(float)
            add_moments(moments, rows, hard, self._weights(at, end, weights))

    def absorb(self, start, stop, responsibilities, n_threads, *, moments, weights=None):
        for at, end, rows in self._slots(start, stop):
            given = responsibilities[at - start : end - start]
            add_moments(moments, rows, given, self._weights(at, end, weights))


def stand_in():
    """Be the driver where it is not compiled."""
    try:
        import fastmix.core._mixture  # noqa: F401
    except ModuleNotFoundError:
        module = types.ModuleType("fastmix.core._mixture")
        module.MixtureRows, module.log = ReferenceRows, log
        module.factor, module.cholesky = factor, cholesky
        sys.modules[module.__name__] = module


def some_mixture(kind, rng, k=3, d=4, dtype=np.float64):
    """Weights, means and covariances of that type, drawn at random."""
    A = rng.normal(size=(k, d, d))
    full = A @ A.transpose(0, 2, 1) + 0.2 * np.eye(d)
    covariances = {
        "full": full,
        "tied": full[0],
        "diag": rng.uniform(0.2, 2, size=(k, d)),
        "spherical": rng.uniform(0.2, 2, size=k),
    }[kind]
    weights, means = rng.dirichlet(np.ones(k)), rng.normal(size=(k, d))
    return weights, means.astype(dtype), covariances.astype(dtype)
