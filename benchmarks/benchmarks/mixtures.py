# SPDX-License-Identifier: BSD-3-Clause
"""EM for Gaussian mixtures by each library, and the log-likelihood of what they return.

Nothing here may be named ``time_``, ``track_`` or ``peakmem_``: asv would run it as a benchmark.
"""

import importlib.util
import math
import statistics
from types import SimpleNamespace

import numpy as np
import scipy.linalg

from benchmarks import N_THREADS
from benchmarks.measure import Task, timed

# oneDAL is an optional peer, through daal4py of scikit-learn-intelex.
LIBRARIES = Task.libraries + (
    ("oneDAL",) if importlib.util.find_spec("daal4py") is not None else ()
)

# Rows and iterations of the K-means that finds the starting means.
_ROUGH_ROWS = 50_000
_ROUGH_ITERATIONS = 3

_BLOCK_ROWS = 16_384


def starting_means(X, n_components, seed=0):
    """Centres of a rough K-means of some rows: means near all components, none of them exact."""
    from sklearn.cluster import KMeans

    model = KMeans(n_components, n_init=1, max_iter=_ROUGH_ITERATIONS, random_state=seed)
    _, fitted = timed(model.fit, X[:_ROUGH_ROWS])
    return fitted.cluster_centers_


class EMTask(Task):
    """EM from a rough K-means' centres, unit covariances and equal weights, unregularised."""

    libraries = LIBRARIES

    def __init__(self, work, dtype, seed=0):
        super().__init__(work, dtype, seed)
        self.means = starting_means(self.X, work.n_clusters, seed)
        self.weights = np.full(work.n_clusters, 1 / work.n_clusters, dtype=dtype)

    def fit(self, library, n_iter, n_rows=None):
        X = self.X[:n_rows]
        if library == "oneDAL":
            return self._fit_onedal(X, n_iter)
        if library == "fastmix":
            from fastmix import GaussianMixture
        else:
            from sklearn.mixture import GaussianMixture
        k, d = self.means.shape
        unit = np.ones((k, d), dtype=X.dtype)
        model = GaussianMixture(
            k,
            covariance_type=self.work.covariance_type,
            tol=0,
            reg_covar=0,
            max_iter=n_iter,
            weights_init=self.weights,
            means_init=self.means,
            precisions_init=unit if self._diagonal() else unit[:, :, np.newaxis] * np.eye(d),
        )
        return timed(model.fit, X)

    def _diagonal(self):
        return self.work.covariance_type == "diag"

    def _fit_onedal(self, X, n_iter):
        import daal4py

        daal4py.daalinit(N_THREADS)
        k, d = self.means.shape
        unit = np.ones((1, d), dtype=X.dtype) if self._diagonal() else np.eye(d, dtype=X.dtype)
        model = daal4py.em_gmm(
            nComponents=k,
            fptype="float" if X.dtype == np.float32 else "double",
            maxIterations=n_iter,
            accuracyThreshold=0.0,
            regularizationFactor=0.0,
            covarianceStorage="diagonal" if self._diagonal() else "full",
        )
        start = (self.weights[np.newaxis], self.means, [unit.copy() for _ in range(k)])
        seconds, result = timed(model.compute, X, *start)
        return seconds, SimpleNamespace(
            weights_=result.weights[0],
            means_=result.means,
            covariances_=np.stack([c[0] if self._diagonal() else c for c in result.covariances]),
            n_iter_=int(result.nIterations[0, 0]),
        )

    def objective(self, model):
        return mean_log_likelihood(self.X, model.weights_, model.means_, model.covariances_)


def e_step_seconds(task, model, repeats):
    """Seconds of one E-step over all rows by fastmix's passes: densities, and nothing else."""
    from fastmix.core._moments import framed_rows
    from fastmix.core._passes import slot_passes

    _, factors, frame = model._model
    rows = framed_rows(task.X, frame, N_THREADS, check=False)
    log_prob = np.empty(rows.n)

    def pass_over_rows():
        for start, stop, threads in slot_passes(rows, factors.covariance_type, *limits):
            rows.expect(start, stop, factors, threads, log_prob=log_prob)

    limits = len(factors.means), N_THREADS
    pass_over_rows()
    return statistics.median(timed(pass_over_rows)[0] for _ in range(repeats))


def mean_log_likelihood(X, weights, means, covariances):
    """ln p(X) / N (PRML 9.14) in float64; covariances (k, d, d), or (k, d) where diagonal."""
    weights, means, covariances = (
        np.asarray(values, dtype=np.float64) for values in (weights, means, covariances)
    )
    k, d = means.shape
    if covariances.ndim == 2:
        whitening = 1 / np.sqrt(covariances)
        log_det = np.log(whitening).sum(axis=1)
    else:
        # P of |P (x - mu)|^2, the inverse Cholesky factor.
        whitening = np.stack(
            [
                scipy.linalg.solve_triangular(np.linalg.cholesky(c), np.eye(d), lower=True)
                for c in covariances
            ]
        )
        log_det = np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(axis=1)
    constants = np.log(weights) + log_det - d / 2 * math.log(2 * math.pi)
    sums = []
    for begin in range(0, X.shape[0], _BLOCK_ROWS):
        block = X[begin : begin + _BLOCK_ROWS].astype(np.float64)
        terms = np.empty((k, len(block)))
        for j in range(k):
            y = block - means[j]
            y = y * whitening[j] if covariances.ndim == 2 else y @ whitening[j].T
            terms[j] = constants[j] - np.einsum("ij,ij->i", y, y) / 2
        top = terms.max(axis=0)
        sums.append(np.sum(top + np.log(np.exp(terms - top).sum(axis=0))))
    return math.fsum(sums) / X.shape[0]
