# SPDX-License-Identifier: BSD-3-Clause
"""Whole K-means fits to convergence, by fastmix and whichever peers can be imported.

Nothing here may be named ``time_``, ``track_`` or ``peakmem_``: asv would run it as a benchmark.
"""

import importlib.util
import statistics

from benchmarks import N_THREADS, kmeans
from benchmarks.measure import timed

MAX_ITER, TOL = 300, 1e-4

# superkmeans is made for long rows, and starts from rows of its own choice.
SUPERKMEANS_COLUMNS = 128

# A shorter fit is repeated: its median counts.
_LEAST_SECONDS = 0.5


def _faiss(X, start, n_iter):
    import faiss

    faiss.omp_set_num_threads(N_THREADS)
    # It samples, and refuses small clusters, unless told not to.
    model = faiss.Kmeans(
        X.shape[1], len(start), niter=n_iter, max_points_per_centroid=2**30,
        min_points_per_centroid=1,
    )  # fmt: skip
    model.train(X, init_centroids=start)
    return model.centroids


def _onedal(X, start, n_iter):
    import daal4py

    daal4py.daalinit(N_THREADS)
    model = daal4py.kmeans(
        nClusters=len(start), maxIterations=n_iter, accuracyThreshold=0.0,
        fptype="float" if X.dtype.itemsize == 4 else "double",
    )  # fmt: skip
    return model.compute(X, start).centroids


def _superkmeans(X, start, n_iter):
    from superkmeans import SuperKMeans

    # Its defaults are hierarchical and sampled beyond 100,000 rows, and stop early.
    model = SuperKMeans(
        len(start), X.shape[1], hierarchical=False, iters=n_iter, sampling_fraction=1.0,
        max_points_per_cluster=2**30, early_termination=False, n_threads=N_THREADS,
    )  # fmt: skip
    return model.train(X)


PEERS = {"faiss": _faiss, "oneDAL": _onedal, "superkmeans": _superkmeans}
_MODULES = {"faiss": "faiss", "oneDAL": "daal4py", "superkmeans": "superkmeans"}


def peers_for(X):
    """Names of the peers that can be imported and fit this X."""
    names = [name for name, module in _MODULES.items() if importlib.util.find_spec(module)]
    if not hasattr(X, "shape") or not hasattr(X, "__array__"):  # sparse
        return []
    short = X.dtype.itemsize != 4
    return [
        name
        for name in names
        if not (short and name != "oneDAL")
        and not (name == "superkmeans" and X.shape[1] < SUPERKMEANS_COLUMNS)
    ]


def fit(library, X, start, algorithm):
    """Seconds and the model of a fit to convergence by fastmix or scikit-learn."""
    model = kmeans.estimator(
        library, len(start), init=start, max_iter=MAX_ITER, tol=TOL
    ).set_params(algorithm=algorithm)
    return _repeated(model.fit, X)


def peer_fit(name, X, start, n_iter):
    """Seconds and the centres after so many iterations of a peer."""
    PEERS[name](X[: max(2000, 40 * len(start))], start, 1)
    return _repeated(PEERS[name], X, start, n_iter)


def _repeated(call, *arguments):
    seconds, value = timed(call, *arguments)
    spans = [seconds]
    while sum(spans) < _LEAST_SECONDS:
        seconds, value = timed(call, *arguments)
        spans.append(seconds)
    return statistics.median(spans), value
