# SPDX-License-Identifier: BSD-3-Clause
"""MiniBatchKMeans beside scikit-learn's: the same batches, and whole fits by the default rules.

Nothing here may be named ``time_``, ``track_`` or ``peakmem_``: asv would run it as a benchmark.
"""

import statistics

import numpy as np

from benchmarks import measure
from benchmarks.data import blobs

LIBRARIES = ("fastmix", "scikit-learn")

# (rows, columns, K, batch_size, steps, target): steps None is a fit to convergence from k-means++.
CASES = (
    (200_000, 128, 1000, 1024, 200, 3),
    (200_000, 128, 1000, 4096, 100, 3),
    (200_000, 32, 1000, 1024, 200, 3),
    (2_000_000, 16, 8, 1024, None, 1),
    (2_000_000, 16, 8, 10_000, None, 1),
)


def _estimator(library):
    if library == "fastmix":
        from fastmix import MiniBatchKMeans
    else:
        from sklearn.cluster import MiniBatchKMeans
    return MiniBatchKMeans


def objective(X, centers):
    """Mean squared distance of a row to its nearest centre, in float64 for both libraries."""
    centers, total = centers.astype(np.float64), 0.0
    norms = np.square(centers).sum(axis=1)
    for start in range(0, len(X), 2**14):
        rows = X[start : start + 2**14].astype(np.float64)
        labels = np.argmin(norms - 2 * rows @ centers.T, axis=1)
        total += np.square(rows - centers[labels]).sum()
    return total / len(X)


def results(case, dtype, scale, repeats, seed, libraries=LIBRARIES):
    """{library: (seconds of each repeat, steps, objective)}, interleaved; and X."""
    n, d, k, batch_size, steps, _ = case
    rng = np.random.default_rng(seed)
    X = blobs(max(k, int(n * scale)), d, k, rng).astype(dtype, copy=False)
    options = {"n_clusters": k, "n_init": 1, "batch_size": batch_size, "random_state": seed}
    if steps is not None:
        options["init"] = X[rng.choice(len(X), k, replace=False)]
        options["max_iter"] = max(1, round(steps * batch_size / len(X)))
        options |= {"max_no_improvement": None, "compute_labels": False}
    found = {library: [[], 0, 0.0] for library in libraries}
    for library in libraries:
        _estimator(library)(2, n_init=1).fit(X[:1000])  # imports and thread pools
    for _ in range(repeats):
        for library in libraries:
            seconds, model = measure.timed(_estimator(library)(**options).fit, X)
            found[library][0].append(seconds)
            found[library][1:] = model.n_steps_, objective(X, model.cluster_centers_)
    return found, X


def step_milliseconds(found):
    """Median milliseconds of a step."""
    return 1e3 * statistics.median(found[0]) / found[1]
