# SPDX-License-Identifier: BSD-3-Clause
"""K-means in a few lines of NumPy: slow, plain, and what the kernels are held against."""

from itertools import pairwise

import numpy as np


def squared_distances(X, centers, dtype=np.float64):
    """|x_n - mu_k|^2 by differences, (n, k)."""
    X, centers = X.astype(dtype), centers.astype(dtype)
    out = np.empty((len(X), len(centers)), dtype)
    for j, center in enumerate(centers):
        out[:, j] = np.square(X - center).sum(axis=1)
    return out


def nearest_two(X, centers, dtype=np.float64):
    """Indices of the nearest and the second nearest centre, ties to the lowest (PRML 9.2)."""
    order = np.argsort(squared_distances(X, centers, dtype), axis=1, kind="stable")
    return order[:, 0], order[:, min(1, len(centers) - 1)]


def assign(X, centers, dtype=np.float64):
    """Nearest centre of every row, ties to the lowest (PRML 9.2)."""
    return nearest_two(X, centers, dtype)[0]


def statistics(X, labels, k, weights=None):
    """Per cluster sum w x, sum w and sum w |x|^2: (k, d + 2)."""
    weights = np.ones(len(X)) if weights is None else weights
    rows = np.column_stack([X, np.ones(len(X)), np.square(X).sum(axis=1)]) * weights[:, None]
    out = np.zeros((k, rows.shape[1]), rows.dtype)
    np.add.at(out, labels, rows)
    return out


def objective(X, centers, labels, weights=None, dtype=np.longdouble):
    """J = sum w |x - mu_label|^2 (PRML 9.1)."""
    squares = np.square(X.astype(dtype) - centers.astype(dtype)[labels]).sum(axis=1)
    return (squares if weights is None else squares * weights).sum()


def lloyd(X, centers, max_iter=300, tol=1e-4, weights=None):
    """Lloyd's algorithm with scikit-learn's stop rule, float64, for data that empty no cluster.

    Returns centers, labels, objective, n_iter, and what stopped it.
    """
    X, centers = X.astype(np.float64), centers.astype(np.float64)
    mean = np.average(X, axis=0, weights=weights)
    limit = tol * np.average(np.square(X - mean), axis=0, weights=weights).mean()
    labels, n_iter, stopped = np.full(len(X), -1), 0, None
    while stopped is None:
        old_labels, old_centers = labels, centers
        labels = assign(X, centers)
        sums = statistics(X, labels, len(centers), weights)
        centers = sums[:, :-2] / sums[:, -2:-1]
        n_iter += 1
        if np.array_equal(labels, old_labels):
            stopped = "strict"
        elif np.square(centers - old_centers).sum() <= limit:
            stopped = "tol"
        elif n_iter == max_iter:
            stopped = "max_iter"
    if stopped != "strict":
        labels = assign(X, centers)
    return centers, labels, objective(X, centers, labels, weights), n_iter, stopped


def greedy_plusplus(X, k, random_state, n_trials, weights=None):
    """Row indices of k centres by greedy k-means++, drawn by inverse CDF.

    One uniform number for the first centre, then n_trials for each further one.
    """
    weights = np.ones(len(X)) if weights is None else weights

    def draw(masses, uniforms):
        cumulative = np.cumsum(masses)
        return np.searchsorted(cumulative, uniforms * cumulative[-1], side="right")

    chosen = [int(draw(weights, random_state.uniform()))]
    closest = squared_distances(X, X[chosen])[:, 0]
    while len(chosen) < k:
        candidates = draw(weights * closest, random_state.uniform(size=n_trials))
        left = np.minimum(closest[:, None], squared_distances(X, X[candidates]))
        best = np.argmin(weights @ left)
        chosen.append(int(candidates[best]))
        closest = left[:, best]
    return np.array(chosen)


def plusplus_probabilities(X, n_trials, weights=None):
    """Exact distribution of the pair (first, second) row of greedy k-means++: (n, n).

    n_trials candidates are drawn with probabilities proportional to w |x - first|^2; the one that
    leaves the least potential is taken, and of equals the one drawn first.
    """
    n = len(X)
    weights = np.ones(n) if weights is None else weights
    squares = squared_distances(X, X)
    pairs = np.zeros((n, n))
    for first in range(n):
        draw = weights * squares[first] / (weights @ squares[first])
        left = np.minimum(squares[first], squares) @ weights
        # P(the best of the trials has a potential of at least v), for each value in turn.
        values = np.unique(left)
        beyond = [draw[left >= value].sum() ** n_trials for value in values] + [0.0]
        for value, (here, after) in zip(values, pairwise(beyond), strict=True):
            equal = (left == value) & (draw > 0)
            pairs[first, equal] = (here - after) * draw[equal] / draw[equal].sum()
    return pairs * (weights / weights.sum())[:, None]
