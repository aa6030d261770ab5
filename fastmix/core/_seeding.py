# SPDX-License-Identifier: BSD-3-Clause
"""Starting centres: greedy k-means++ and random rows, both drawn by inverse CDF on the weights."""

import math

import numpy as np

from fastmix.core._frame import passes

__all__ = ["default_trials", "greedy_plusplus", "random_rows"]


def default_trials(n_clusters):
    """Candidates a step of greedy k-means++ tries: 2 + ln k, as scikit-learn."""
    return 2 + int(math.log(n_clusters))


def _pick(cumulative, target):
    """First index whose cumulative weight exceeds target; never one of weight zero.

    Rounding can leave target at or beyond the last sum: then the last index with a weight.
    """
    index = int(cumulative.searchsorted(target, side="right"))
    if index == len(cumulative):
        index = int(cumulative.searchsorted(cumulative[-1], side="left"))
    return index


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
        chosen.update(dict.fromkeys(_pick(cumulative, u * cumulative[-1]) for u in draws))
    return np.fromiter(chosen, dtype=np.intp)


class _Potential:
    """Weighted squared distances to the nearest centre so far, as sums over fixed slots of rows."""

    def __init__(self, rows, weights, n_threads):
        self.rows, self.weights, self.n_threads = rows, weights, n_threads
        self.closest = np.full(rows.n, np.inf, dtype=rows.dtype)
        self.n_slots = -(-rows.n // rows.block_rows)
        self.last = None  # the centre that closest does not reflect yet, (1, d)
        self.slots = None  # (n_slots,) potential after the last centre

    def totals(self, candidates):
        """Slot potentials (n_slots, len(candidates)) if each candidate were the next centre."""
        slots = np.empty((self.n_slots, len(candidates)))
        for start, stop, threads in passes(self.rows, len(candidates) + 1, self.n_threads):
            self.rows.potentials(
                start, stop, self.last, candidates, self.closest, slots, threads, self.weights
            )
        return slots

    def accept(self, center, slots):
        self.last, self.slots = center, slots

    def draw(self, uniforms):
        """Rows drawn with probabilities proportional to w min |x - c|^2."""
        cumulative = np.cumsum(self.slots)
        picks, within = [], {}
        for target in uniforms * cumulative[-1]:
            slot = _pick(cumulative, target)
            start = slot * self.rows.block_rows
            if slot not in within:
                values = self.rows.slot_potentials(slot, self.last, self.closest)
                if self.weights is not None:
                    values *= self.weights[start : start + len(values)]
                within[slot] = values.cumsum()
            before = cumulative[slot - 1] if slot else 0.0
            picks.append(start + _pick(within[slot], target - before))
        return np.array(picks, dtype=np.intp)


def greedy_plusplus(rows, k, weights, random_state, n_threads, n_trials=None):
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): row indices of k centres, (k,).

    At every step n_trials candidates are drawn with probabilities proportional to
    w min_j |x - c_j|^2, and the one that leaves the least potential becomes a centre.  One pass
    over the rows scores all candidates of a step and brings the distances up to date.
    """
    n_trials = default_trials(k) if n_trials is None else n_trials
    u = random_state.random()
    first = int(u * rows.n) if weights is None else _pick(c := np.cumsum(weights), u * c[-1])
    potential = _Potential(rows, weights, n_threads)
    chosen = np.empty(k, dtype=np.intp)
    candidates = np.array([first], dtype=np.intp)
    for j in range(k):
        centers = rows.take(candidates)
        slots = potential.totals(centers)
        # cumsum adds in the order of the slots, where sum would add in the order of the CPU's SIMD.
        best = int(slots.cumsum(axis=0)[-1].argmin())
        chosen[j] = candidates[best]
        potential.accept(centers[best : best + 1], slots[:, best])
        if j + 1 < k:
            if potential.slots.any():
                candidates = potential.draw(random_state.random(n_trials))
            else:
                # Every row coincides with a centre: the rest are drawn by weight alone.
                return _fill(chosen, j + 1, rows.n, weights, random_state)
    return chosen


def _fill(chosen, found, n, weights, random_state):
    weights = np.ones(n) if weights is None else weights
    left = weights.copy()
    left[chosen[:found]] = 0
    for j in range(found, len(chosen)):
        if not left.any():
            left = weights.copy()  # fewer rows with a weight than centres
        cumulative = np.cumsum(left)
        chosen[j] = _pick(cumulative, random_state.uniform() * cumulative[-1])
        left[chosen[j]] = 0
    return chosen
