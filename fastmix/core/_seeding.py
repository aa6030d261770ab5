# SPDX-License-Identifier: BSD-3-Clause
"""Starting centres: greedy k-means++ and random rows, both drawn by inverse CDF on the weights."""

import math

import numpy as np

from fastmix.core._potential import Potential, pick
from fastmix.core._source import Source
from fastmix.core._validation import as_centers

__all__ = ["default_trials", "greedy_plusplus", "random_rows", "read_only", "starting_centers"]

# Pruning begins with this many centres a trial, ends where it leaves more than this part of the
# rows, and needs this many columns.
SKETCH_BEGIN = 2
SKETCH_LIMIT = 0.7
SKETCH_COLUMNS = 4


def starting_centers(rows, frame, X, k, init, weights, random_state, n_threads):
    """Starting centres of a fit in the frame, (k, d) float64.

    init is "k-means++", "random", centres in the user's coordinates, or a function that is given X
    and returns some.
    """
    if isinstance(init, str):
        if init == "k-means++":
            chosen = greedy_plusplus(rows, k, weights, random_state, n_threads)
        else:
            chosen = random_rows(rows.n, k, weights, random_state)
        return rows.take(chosen)
    if callable(init):
        init = as_centers(init(read_only(X), k, random_state=random_state), k, rows.d)
    return frame.into(init)


def read_only(X):
    """X for a callable, which cannot write to it."""
    if isinstance(X, Source):
        X = X.original
        if not isinstance(X, np.ndarray):
            return X
    if isinstance(X, np.ndarray):
        X = X.view()
        X.flags.writeable = False
        return X
    parts = [np.asarray(part).view() for part in (X.data, X.indices, X.indptr)]
    for part in parts:
        part.flags.writeable = False
    return type(X)(tuple(parts), shape=X.shape, copy=False)


def default_trials(n_clusters):
    """Candidates a step of greedy k-means++ tries: 2 + ln k, as scikit-learn."""
    return 2 + int(math.log(n_clusters))


def random_rows(n, k, weights, random_state):
    """k distinct rows, each drawn with a probability proportional to its weight among the rest."""
    if weights is None and 2 * k > n:
        return random_state.permutation(n)[:k]
    chosen = {}  # a dict keeps the order of the draws
    left = None if weights is None else weights.copy()
    while len(chosen) < k:
        draws = random_state.uniform(size=k - len(chosen))
        if left is None:
            chosen.update(dict.fromkeys((draws * n).astype(np.intp).tolist()))
            continue
        left[list(chosen)] = 0
        cumulative = np.cumsum(left)
        if not cumulative[-1] > 0:
            # Fewer rows with a weight than centres: the rest are rows without.
            rest = np.setdiff1d(np.arange(n), list(chosen))
            chosen.update(dict.fromkeys(rest[: k - len(chosen)].tolist()))
            break
        chosen.update(dict.fromkeys(pick(cumulative, u * cumulative[-1]) for u in draws))
    return np.fromiter(chosen, dtype=np.intp)


def greedy_plusplus(rows, k, weights, random_state, n_threads, n_trials=None, prune="auto"):
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): row indices of k centres, (k,).

    At every step n_trials candidates are drawn with probabilities proportional to
    w min_j |x - c_j|^2, and the one that takes most off the potential becomes a centre.

    While there are few centres, one pass over the rows scores all candidates of a step and brings
    the distances up to date.  Later few rows are nearer to any candidate: about n_trials / j of
    them with j centres of no structure.  A sketch of the rows (one byte a column, as far as its
    memory reaches) then proves of most rows that they are not, and only the others are read.

    prune: "auto", or True or False for steps that all use the sketch, or none.  The draws are the
    same.
    """
    n_trials = default_trials(k) if n_trials is None else n_trials
    chosen = np.empty(k, dtype=np.intp)
    chosen[0] = _by_weight(weights, rows.n, random_state.random())
    potential = Potential(rows, weights, n_threads)
    potential.first(rows.take(chosen[:1]))
    # The sketch costs about two steps: it must have some left.
    begin = SKETCH_BEGIN * n_trials if prune == "auto" else 1
    if prune == "auto" and (rows.d < SKETCH_COLUMNS or k < 2 * begin):
        prune = False
    for j in range(1, k):
        if potential.total == 0:
            # Every row coincides with a centre: the rest are drawn by weight alone.
            return _fill(chosen, j, rows.n, weights, random_state)
        candidates, centers = potential.draw(random_state.random(n_trials))
        pruned = bool(prune) and j >= begin
        chosen[j] = candidates[potential.choose(centers, pruned)]
        if prune == "auto" and pruned and potential.computed > SKETCH_LIMIT * rows.n:
            begin = 2 * j  # not before there are twice as many centres
    return chosen


def _by_weight(weights, n, u):
    """A row of n, drawn by weight with u of [0, 1)."""
    if weights is None:
        return int(u * n)
    cumulative = np.cumsum(weights)
    return pick(cumulative, u * cumulative[-1])


def _fill(chosen, found, n, weights, random_state):
    """chosen, whose first entries are found, with rows that are not among them as long as there are
    any with a weight."""
    weights = np.ones(n) if weights is None else weights
    left = weights.copy()
    left[chosen[:found]] = 0
    for j in range(found, len(chosen)):
        if not left.any():
            left = weights.copy()  # fewer rows with a weight than centres
        chosen[j] = _by_weight(left, n, random_state.uniform())
        left[chosen[j]] = 0
    return chosen
