# SPDX-License-Identifier: BSD-3-Clause
"""K-means by either library: iterations, seeding, whole fits of tiny data, and the objective.

Nothing here may be named ``time_``, ``track_`` or ``peakmem_``: asv would run it as a benchmark.
"""

import math
import time

import numpy as np
import scipy.sparse

from benchmarks.measure import Task, timed

LIBRARIES = Task.libraries

# Entries of a block of scores: 32 MB in float64, far from n_samples x n_clusters.
_BLOCK_ENTRIES = 4_000_000


def estimator(library, n_clusters, **parameters):
    """An unfitted KMeans of the library that runs plain Lloyd iterations."""
    if library == "fastmix":
        from fastmix import KMeans
    else:
        from sklearn.cluster import KMeans
    return KMeans(n_clusters, n_init=1, algorithm="lloyd", **parameters)


def _dense(rows):
    return rows.toarray() if scipy.sparse.issparse(rows) else rows


def starting_centers(X, n_clusters, seed=0):
    """`n_clusters` random rows of X with distinct values, dense (photographs repeat colours)."""
    rng = np.random.default_rng([seed, 1])  # not the stream that made the data
    candidates = rng.choice(X.shape[0], size=min(X.shape[0], 8 * n_clusters), replace=False)
    rows = _dense(X[candidates])
    _, first = np.unique(rows, axis=0, return_index=True)
    chosen = np.sort(first)[:n_clusters]
    if len(chosen) < n_clusters:
        raise ValueError(f"n_clusters={n_clusters}: expected at most {len(chosen)} distinct rows")
    return np.ascontiguousarray(rows[chosen])


class LloydTask(Task):
    """Whole Lloyd iterations from K distinct random rows."""

    def __init__(self, work, dtype, seed=0):
        super().__init__(work, dtype, seed)
        self.start = starting_centers(self.X, work.n_clusters, seed)

    def fit(self, library, n_iter, n_rows=None):
        model = estimator(library, len(self.start), init=self.start, max_iter=n_iter, tol=0)
        return timed(model.fit, self.X[:n_rows])

    def objective(self, model):
        return objective(self.X, model.cluster_centers_)


def objective(X, centers):
    """Sum of squared distances to the nearest centre (PRML 9.1), in float64, by differences."""
    centers = np.asarray(centers, dtype=np.float64)
    pivot = centers.mean(axis=0)
    centers = centers - pivot
    half_norms = np.einsum("ij,ij->i", centers, centers) / 2
    n_rows = max(1, _BLOCK_ENTRIES // max(centers.shape))
    sums = []
    for begin in range(0, X.shape[0], n_rows):
        block = _dense(X[begin : begin + n_rows]).astype(np.float64) - pivot
        scores = block @ centers.T
        scores -= half_norms
        block -= centers[scores.argmax(axis=1)]
        sums.append(np.einsum("ij,ij->", block, block))
    return math.fsum(sums)


def timed_seeding(library, X, n_clusters, seed):
    """Seconds and the centres of one greedy k-means++ seeding."""
    if library == "fastmix":
        from fastmix import kmeans_plusplus
    else:
        from sklearn.cluster import kmeans_plusplus
    begin = time.perf_counter()
    centers, _ = kmeans_plusplus(X, n_clusters, random_state=seed)
    return time.perf_counter() - begin, centers


def seeding_runs(X, n_clusters, seeds, libraries=LIBRARIES):
    """{library: (seconds, potentials)} over the seeds, the libraries interleaved."""
    runs = {library: ([], []) for library in libraries}
    for library in libraries:
        timed_seeding(library, X[: max(10_000, n_clusters)], n_clusters, 0)
    for seed in range(seeds):
        for library in libraries if seed % 2 == 0 else libraries[::-1]:
            seconds, centers = timed_seeding(library, X, n_clusters, seed)
            runs[library][0].append(seconds)
            runs[library][1].append(objective(X, centers))
    return runs


def tiny_timings(X, n_clusters, init, fits=50, repeats=5, libraries=LIBRARIES):
    """{library: (seconds per whole fit, mean n_iter)}; init is an array, or a name: then seeded."""
    results = {library: ([], []) for library in libraries}
    for repeat in range(repeats + 1):
        for library in libraries if repeat % 2 == 0 else libraries[::-1]:
            models = [
                estimator(library, n_clusters, init=init, tol=0, random_state=seed)
                for seed in range(fits)
            ]
            begin = time.perf_counter()
            for model in models:
                model.fit(X)
            seconds = (time.perf_counter() - begin) / fits
            if repeat > 0:  # the first round is the warm-up
                results[library][0].append(seconds)
                results[library][1].append(np.mean([model.n_iter_ for model in models]))
    return results
