# SPDX-License-Identifier: BSD-3-Clause
"""Fits that the tests of checkpoints interrupt, and the hash of what one leaves.

Children of those tests import this file, too.
"""

import hashlib
import warnings

import numpy as np
from scipy import sparse

from fastmix import GaussianMixture, KMeans


def _rows():
    rng = np.random.default_rng(0)
    centers = rng.uniform(-4, 4, size=(12, 4))
    return centers[rng.integers(12, size=1500)] + rng.normal(size=(1500, 4))


DENSE = _rows()
SPARSE = sparse.random_array((600, 80), density=0.1, format="csr", rng=np.random.default_rng(1))
NEAR = sparse.csr_array(1000 + 1e-3 * np.random.default_rng(0).normal(size=(300, 6)))
# Copies of few rows: clusters empty, and components collapse.
COPIES = np.repeat(np.random.default_rng(2).normal(size=(12, 3)), 25, axis=0)
COPIES += np.random.default_rng(3).normal(size=COPIES.shape) * (np.arange(300)[:, None] < 100)
CROWDED = np.repeat(COPIES[:8], 5, axis=0)
WEIGHTS = np.random.default_rng(4).integers(0, 4, size=len(DENSE)).astype(float)

# Estimator, its parameters, rows, and weights.
CASES = {
    "plain": (KMeans, {"n_clusters": 12, "algorithm": "lloyd", "tol": 0}, DENSE, None),
    "bounds": (KMeans, {"n_clusters": 40, "algorithm": "elkan", "tol": 0}, DENSE, None),
    "float32": (KMeans, {"n_clusters": 12, "tol": 1e-6}, DENSE.astype(np.float32), None),
    "starts": (KMeans, {"n_clusters": 12, "n_init": 3, "init": "random"}, DENSE, None),
    "weights": (KMeans, {"n_clusters": 12, "n_init": 2, "tol": 0}, DENSE, WEIGHTS),
    "sparse": (KMeans, {"n_clusters": 20, "tol": 0, "n_init": 2}, SPARSE, None),
    # Rows so near to one another that a run finds its screen useless, and those after it have none.
    "unscreened": (KMeans, {"n_clusters": 10, "tol": 0, "n_init": 2, "init": "random"}, NEAR, None),
    "empty": (KMeans, {"n_clusters": 40, "init": CROWDED, "tol": 0}, COPIES, None),
    "few": (KMeans, {"n_clusters": 20, "n_init": 2, "tol": 0}, COPIES[200:], None),
    "scaled": (KMeans, {"n_clusters": 12, "tol": 0}, DENSE * 1e160, None),
    "full": (
        GaussianMixture,
        {"n_components": 6, "tol": 1e-5, "init_params": "random_from_data"},
        DENSE,
        None,
    ),
    "diag": (
        GaussianMixture,
        {
            "n_components": 8,
            "covariance_type": "diag",
            "n_init": 3,
            "init_params": "random_from_data",
            "tol": 1e-4,
        },
        DENSE.astype(np.float32),
        None,
    ),
    "tied": (
        GaussianMixture,
        {
            "n_components": 5,
            "covariance_type": "tied",
            "n_init": 2,
            "init_params": "random_from_data",
            "tol": 1e-4,
        },
        DENSE,
        WEIGHTS,
    ),
    # The first lower bound is minus infinity: means so many standard deviations away.
    "far": (
        GaussianMixture,
        {
            "n_components": 2,
            "covariance_type": "diag",
            "means_init": DENSE[:2] + 100,
            "precisions_init": np.full((2, 4), 1e307),
            "tol": 1e-5,
        },
        DENSE,
        None,
    ),
    "collapse": (
        GaussianMixture,
        {
            "n_components": 10,
            "covariance_type": "spherical",
            "reg_covar": "auto",
            "n_init": 2,
            "init_params": "random_from_data",
        },
        COPIES,
        None,
    ),
}


def fit(name, **options):
    """The fitted estimator of a case."""
    cls, given, X, weights = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no convergence, few distinct rows, an infinite inertia
        model = cls(**{"random_state": 3, "max_iter": 40, **given, **options})
        return model.fit(X, sample_weight=weights)


def digest(model):
    """Hash of everything that a fit computes, but for times and counts of work."""
    report = model.fit_report_
    kept = ("stopped", "n_iter", "repairs", "starts", "agreed", "failed", "held", "rows_changed")
    parts = [{name: report.get(name) for name in kept}, report["objective_trace"].tolist()]
    if isinstance(model, KMeans):
        parts += [model._model.centers.tobytes(), model.cluster_centers_.tobytes()]
        parts += [model.labels_.tobytes(), model.inertia_, model.objective_trace_.tolist()]
    else:
        for array in (*model._model.parameters[1:], *model._model.factors[1:]):
            parts.append(array.tobytes())
        parts += [model.lower_bounds_, model.log_likelihood_, model.converged_]
    return hashlib.sha256(repr(parts).encode()).hexdigest()
