# SPDX-License-Identifier: BSD-3-Clause
"""Starting centres: greedy k-means++ and random rows, both drawn by inverse CDF on the weights."""

import math

import numpy as np

from fastmix.core._frame import passes

__all__ = ["default_trials", "greedy_plusplus", "random_rows"]

# Pruning begins with this many centres a trial, ends where it leaves more than this part of the
# rows, and needs this many columns.
SKETCH_BEGIN = 2
SKETCH_LIMIT = 0.7
SKETCH_COLUMNS = 4


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
        self.sketch = None
        self.computed = []  # rows whose distances each step computed

    def first(self, center):
        """Slot potentials of the first centre."""
        slots = np.empty((self.n_slots, 1))
        for start, stop, threads in passes(self.rows, 1, self.n_threads):
            self.rows.potentials(
                start, stop, None, center, self.closest, slots, threads, self.weights
            )
        self.last, self.slots = center, slots[:, 0]

    def choose(self, candidates, pruned):
        """Index of the candidate that takes most off the potential, which becomes a centre."""
        n = len(candidates)
        gains, left = np.empty((2, self.n_slots, n))
        if pruned:
            self._catch_up()
        computed = self.rows.n
        if pruned and self.sketch is not None:
            computed = 0
            for start, stop, threads in passes(self.rows, n, self.n_threads):
                computed += self.rows.gains(
                    *(start, stop, candidates, self.closest, self.sketch, gains, threads),
                    self.weights,
                )
        else:
            pruned = False
            for start, stop, threads in passes(self.rows, n + 1, self.n_threads):
                self.rows.potentials(
                    *(start, stop, self.last, candidates, self.closest, left, threads),
                    *(self.weights, gains),
                )
        self.computed.append(computed)
        # cumsum adds in the order of the slots, where sum would add in the order of the CPU's SIMD.
        best = int(gains.cumsum(axis=0)[-1].argmax())
        self.last, self.slots = candidates[best : best + 1], left[:, best]
        if pruned:
            self._accept(best)
        return best

    def _catch_up(self):
        """Bring closest up to date, and make the sketch if there is none yet."""
        if self.last is None:
            return
        fill = self.sketch is None
        if fill:
            self.sketch = self.rows.sketch()
        if self.sketch is not None:
            self.sketch.forget()
            self._accept(0, fill)

    def _accept(self, best, fill=False):
        slots = np.empty(self.n_slots)
        for start, stop, threads in passes(self.rows, 1, self.n_threads):
            self.rows.accept(
                *(start, stop, self.last, best, self.closest, self.sketch, slots, threads),
                *(self.weights, fill),
            )
        self.last, self.slots = None, slots

    def draw(self, uniforms):
        """Rows drawn with probabilities proportional to w min |x - c|^2."""
        cumulative = self.slots.cumsum()
        picks, within = [], {}
        for target in uniforms * cumulative[-1]:
            slot = _pick(cumulative, target)
            start = slot * self.rows.block_rows
            if slot not in within:
                if self.last is None:
                    values = self.closest[start : start + self.rows.block_rows].astype(np.float64)
                else:
                    values = self.rows.slot_potentials(slot, self.last, self.closest)
                if self.weights is not None:
                    values *= self.weights[start : start + len(values)]
                within[slot] = values.cumsum()
            before = cumulative[slot - 1] if slot else 0.0
            picks.append(start + _pick(within[slot], target - before))
        return np.array(picks, dtype=np.intp)


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
    u = random_state.random()
    first = int(u * rows.n) if weights is None else _pick(c := np.cumsum(weights), u * c[-1])
    potential = _Potential(rows, weights, n_threads)
    potential.first(rows.take([first]))
    chosen = np.empty(k, dtype=np.intp)
    chosen[0] = first
    # The sketch costs about two steps: it must have some left.
    begin = SKETCH_BEGIN * n_trials if prune == "auto" else 1
    if prune == "auto" and (rows.d < SKETCH_COLUMNS or k < 2 * begin):
        prune = False
    for j in range(1, k):
        if not potential.slots.any():
            # Every row coincides with a centre: the rest are drawn by weight alone.
            return _fill(chosen, j, rows.n, weights, random_state)
        candidates = potential.draw(random_state.random(n_trials))
        pruned = bool(prune) and j >= begin
        chosen[j] = candidates[potential.choose(rows.take(candidates), pruned)]
        if prune == "auto" and pruned and potential.computed[-1] > SKETCH_LIMIT * rows.n:
            begin = 2 * j  # not before there are twice as many centres
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
