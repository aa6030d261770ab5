# SPDX-License-Identifier: BSD-3-Clause
"""K-means as functions: kmeans, kmeans_plusplus, assign."""

import numpy as np

from fastmix.core._fit import KMeansModel, KMeansResult, as_callbacks, check_arguments, fit, predict
from fastmix.core._frame import (
    extremes,
    frame_of,
    passes,
    round_pivot,
    scanned_rows,
    spread_exponent,
)
from fastmix.core._kernels import exact_sum_grid
from fastmix.core._seeding import greedy_plusplus
from fastmix.core._source import Source
from fastmix.core._threads import thread_limit
from fastmix.core._validation import (
    as_centers,
    as_count,
    as_data,
    as_random_state,
    as_rows,
    as_weights,
    result_dtype,
)

__all__ = ["KMeansResult", "assign", "kmeans", "kmeans_plusplus"]

# Where centres are so many times as far from the middle as rows are, no float32 holds the squares
# of both.
FAR = 2.0**50


def kmeans(
    X,
    n_clusters,
    *,
    init="k-means++",
    n_init=1,
    sample_weight=None,
    max_iter=300,
    tol=1e-4,
    random_state=None,
    algorithm="auto",
    bounds_memory=None,
    n_threads=None,
    callbacks=None,
):
    """K-means (PRML 9.1): partition rows so that the sum of squared distances to centres is small.

    Parameters
    ----------
    X : array-like, CSR array or source of shape (n_samples, n_features)
        Any numeric dtype, strides and byte order; neither copied nor written.  float32, float16
        and integers of 8 and 16 bits are computed in float32 tiles, all else in float64; sums are
        float64 in either case.  CSR entries may be in any order, sorted ones are faster; only where
        several stand for one element is there a copy, in which they are added up.
    n_clusters : int
        Number of clusters K.
    init : {"k-means++", "random"}, array-like (n_clusters, n_features) or callable
        Starting centres; a callable is called as ``init(X, n_clusters, random_state=...)``.
    n_init : int
        Number of starts, of which the one with the lowest inertia is kept.
    sample_weight : array-like of shape (n_samples,), optional
        Weights >= 0, of which at least one is positive.
    max_iter : int
        Iterations at most.
    tol : float
        Stop when the squared shifts of all centres add up to at most ``tol`` times the mean
        variance of the columns.
    random_state : None, int, RandomState or Generator
        Source of the random draws; they depend on neither threads nor chunks.
    algorithm : {"auto", "lloyd", "elkan"}
        "lloyd" compares every row with every centre in every iteration, "elkan" only those that
        bounds of the distances cannot rule out, "auto" does so where it pays; the report says what
        was done.  The result has the same bits.
    bounds_memory : int, optional
        Most bytes that bounds may take beyond X and 4 a row, of which more make them tighter;
        default: half as much as X, and at least 24 a row, but at most 2 GiB for rows that are not
        in memory.
    n_threads : int, optional
        Default: OMP_NUM_THREADS, threadpool_limits, affinity and cgroup quota decide.
    callbacks : callable or list of callables, optional
        Called after every iteration with an ``IterationState``; a true value ends the fit.

    Returns
    -------
    KMeansResult
        centers, labels, inertia, n_iter, report, model and counts.

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work, naming the argument and the first offending place.

    Notes
    -----
    An iteration costs n k d multiply-adds, fewer with bounds (Ding et al., Yinyang K-means, ICML
    2015; Hamerly, SDM 2010; both with room for rounding), and adds up only the rows whose label
    changed.  The result has the same bits for any number of threads and every processor with fused
    multiply-adds; from a given start also for any order of the rows.

    References
    ----------
    C. M. Bishop, Pattern Recognition and Machine Learning, 2006, equations 9.1 to 9.4.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmix.core import kmeans
    >>> X = np.array([[0.0, 0], [0, 1], [9, 9], [9, 8]])
    >>> result = kmeans(X, 2, init=X[:3:2])
    >>> result.labels
    array([0, 0, 1, 1], dtype=int32)
    >>> result.inertia
    1.0
    """
    X = as_data(X)
    init = check_arguments(
        X.shape, n_clusters, init, n_init, max_iter, tol, algorithm, bounds_memory
    )
    weights, factor = as_weights(sample_weight, X.shape[0])
    return fit(
        X,
        int(n_clusters),
        weights=weights,
        factor=factor,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        random_state=random_state,
        algorithm=algorithm,
        bounds_memory=bounds_memory,
        n_threads=n_threads,
        callbacks=as_callbacks(callbacks),
        verbose=False,
    )


def kmeans_plusplus(
    X,
    n_clusters,
    *,
    sample_weight=None,
    x_squared_norms=None,
    random_state=None,
    n_local_trials=None,
    n_threads=None,
):
    """Starting centres by greedy k-means++.

    Parameters
    ----------
    X : array-like, CSR array or source of shape (n_samples, n_features)
        As for :func:`kmeans`.
    n_clusters : int
        Number of centres K.
    sample_weight : array-like of shape (n_samples,), optional
        Weights >= 0; rows of weight zero are never drawn.
    x_squared_norms : ignored
        Accepted because scikit-learn has it; distances are computed by differences.
    random_state : None, int, RandomState or Generator
        One uniform number for the first centre, then n_local_trials for each further one.
    n_local_trials : int, optional
        Candidates a step; default 2 + ln K, and 1 is plain k-means++.
    n_threads : int, optional
        As for :func:`kmeans`.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
        Rows of X, in its dtype if that is float32, else in float64.
    indices : ndarray of shape (n_clusters,), intp
        ``centers`` are ``X[indices]``.

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work.

    Notes
    -----
    While there are few centres a step reads X once, n (2 + n_local_trials) d multiply-adds.  Later
    a sketch of the rows, one byte a column, proves of most rows that no candidate is nearer, and
    only the others are read; the draws are the same.  The sketch and the distances take at most 8
    bytes a row and 40 MB.

    References
    ----------
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmix.core import kmeans_plusplus
    >>> X = np.array([[0.0, 0], [0, 1], [9, 9], [9, 8]])
    >>> centers, indices = kmeans_plusplus(X, 2, random_state=0)
    >>> sorted(indices // 2)
    [np.int64(0), np.int64(1)]
    """
    X = as_data(X)
    check_arguments(X.shape, n_clusters)
    if n_local_trials is not None:
        n_local_trials = as_count(n_local_trials, "n_local_trials")
    norms = np.shape(x_squared_norms)
    if x_squared_norms is not None and norms != (X.shape[0],):
        raise ValueError(
            f"The length of x_squared_norms of shape {norms} should be equal to the length of "
            f"n_samples {X.shape[0]}."
        )
    weights, _ = as_weights(sample_weight, X.shape[0])
    random_state = as_random_state(random_state)
    n_threads = thread_limit(n_threads)
    rows, _ = scanned_rows(X, weights, n_threads)
    chosen = greedy_plusplus(
        rows, int(n_clusters), weights, random_state, n_threads, n_local_trials
    )
    picked = X.take(chosen) if isinstance(X, Source) else X[chosen]
    if not isinstance(picked, np.ndarray):
        picked = picked.toarray()
    return picked.astype(result_dtype(X.dtype)), chosen


def assign(X, centers, *, return_distances=False, n_threads=None):
    """Nearest centre of every row (PRML 9.2).

    Parameters
    ----------
    X : array-like, CSR array or source of shape (n_samples, n_features)
        As for :func:`kmeans`.
    centers : array-like of shape (n_clusters, n_features)
        The centres.
    return_distances : bool
        Also return the squared distances to the nearest and to the second nearest centre.
    n_threads : int, optional
        As for :func:`kmeans`.

    Returns
    -------
    labels : ndarray of shape (n_samples,), int32
        Index of the nearest centre; ties go to the lowest.
    best, second : ndarray of shape (n_samples,), float64
        With return_distances: squared distances, by differences in float64 (of CSR arrays by
        squares about zero, which lose digits far from it); second is infinite where there is one
        centre only.

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work.

    Notes
    -----
    Rows and centres are taken relative to the centres' median, so that an offset common to both
    costs no precision.

    Examples
    --------
    >>> from fastmix.core import assign
    >>> assign([[0.0], [4.0]], [[1.0], [5.0]], return_distances=True)
    (array([0, 1], dtype=int32), array([1., 1.]), array([25.,  9.]))
    """
    X = as_data(X)
    centers = as_centers(centers, None, X.shape[1], "centers")
    n_threads = thread_limit(n_threads)
    rows = as_rows(X)
    bounds = extremes(rows, n_threads)
    pivot = _pivot_of(centers, rows.dtype) if rows.centered else np.zeros(rows.d)
    reach = np.stack([np.minimum(bounds[0], centers.min(0)), np.maximum(bounds[1], centers.max(0))])
    if np.abs(reach / 2 - pivot / 2).max() > FAR * np.abs(bounds / 2 - pivot / 2).max():
        rows = as_rows(X, np.dtype(np.float64))
    frame = frame_of(reach, pivot, rows.dtype)
    if frame.drowned:
        rows = as_rows(X, np.dtype(np.float64))
        frame = frame_of(reach, pivot, rows.dtype)
    grids = exact_sum_grid(np.ones(rows.d), 1.0, rows.n)
    rows.set_frame(frame.pivot * frame.scale, frame.scale, grids)
    framed = frame.into(centers)
    if not return_distances:
        return predict(rows, framed, n_threads)
    second = np.zeros(rows.n, dtype=np.int32)
    labels = predict(rows, framed, n_threads, second)
    best, runner_up = np.empty(rows.n), np.empty(rows.n)
    for which, out in ((labels, best), (second, runner_up)):
        # As 128 centres: a new page of memory for every 512 rows takes longer than few columns.
        for start, stop, threads in passes(rows, 128, n_threads):
            rows.residuals(start, stop, framed, which, out[start:stop], threads)
    if len(centers) == 1:
        runner_up[...] = np.inf
    return labels, frame.squared(best), frame.squared(runner_up)


def model_of_centers(centers, dtype):
    """The model of centres (k, d) in the user's coordinates, of which nothing else is known: in a
    frame about them, of this dtype or, where one is too far from the others for it, float64."""
    pivot = _pivot_of(centers, dtype)
    far = np.abs(centers / 2 - pivot / 2)
    if far.max() > FAR * np.median(far):
        dtype = np.dtype(np.float64)
        pivot = _pivot_of(centers, dtype)
    bounds = np.stack([centers.min(axis=0), centers.max(axis=0)])
    frame = frame_of(bounds, pivot, dtype)
    if frame.drowned:
        frame = frame_of(bounds, pivot, np.dtype(np.float64))
    return KMeansModel(frame.into(centers), frame)


def _pivot_of(centers, dtype):
    """Median of centres (k, d), rounded as the pivot of a fit is: a mean would be far from all rows
    where one centre is."""
    # Divided by a power of two: the sum of values near the largest float must not overflow.
    exponent = max(0, int(np.frexp(np.abs(centers).max())[1]))
    small = np.ldexp(centers, -exponent)
    middle = np.median(small, axis=0)
    deviation = float(np.median(np.abs(small - middle)))
    spread = spread_exponent(deviation * deviation, np.ldexp(1.0, -exponent))
    return round_pivot(np.ldexp(middle, exponent), spread, dtype)
