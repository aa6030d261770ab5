# SPDX-License-Identifier: BSD-3-Clause
"""Mini-batch K-means (Sculley, "Web-scale k-means clustering", WWW 2010), with scikit-learn's
draws, reassignment of small clusters and stopping rules."""

import time
from dataclasses import dataclass

import numpy as np

from fastmix.core._frame import passes, place, scanned_rows
from fastmix.core._kernels import column_variance
from fastmix.core._means import Means
from fastmix.core._seeding import greedy_plusplus, random_rows, starting_centers
from fastmix.core._sequential import Learner
from fastmix.core._validation import as_rows

__all__ = [
    "MiniBatches",
    "StepState",
    "best_start",
    "framed_tolerance",
    "run",
    "start",
    "total",
]


@dataclass
class StepState:
    """What a callback is given after every mini-batch; objective is that of the batch before it
    moved the centres, and ``centers`` are those after, in the user's coordinates; seconds since fit
    was called, and the rows of the batches so far."""

    iteration: int
    max_iter: int
    objective: float
    seconds: float
    rows: int
    centers: np.ndarray
    counts: np.ndarray


def drawer(n, weights, random_state):
    """A function that draws so many of n rows by weight, with replacement: the bits of
    RandomState.choice, which adds up all weights for every batch."""
    if weights is None:

        def draw(size):
            u = random_state.random_sample(size)
            rows = (u * n).astype(np.intp)
            # Largest row with row / n <= u, as a search among these quotients finds it.
            rows += (rows + 1) / n <= u
            rows -= rows / n > u
            return rows

        return draw
    cumulative = np.cumsum(weights)
    cumulative /= cumulative[-1]
    return lambda size: np.searchsorted(cumulative, random_state.random_sample(size), "right")


def framed_tolerance(rows, tol, n_threads):
    """tol times the mean variance of the columns, which does not count weights: scikit-learn's."""
    if tol == 0:
        return 0.0
    sums, labels = rows.empty_sums(1, 1), np.full(rows.n, -1, dtype=np.int32)
    center = np.zeros((1, rows.d))
    for start, stop, threads in passes(rows, 1, n_threads):
        rows.assign(start, stop, center, labels, threads, sums)
    return tol * column_variance(sums[0], rows.d)


class MiniBatches:
    """Rows in a frame, running means of k clusters, and the updates of these by batches.

    Parameters
    ----------
    X, rows : validated X, and its driver in the frame
    means : Means
    random_state : RandomState
    """

    def __init__(self, X, rows, frame, means, rate, unit, random_state, n_threads):
        self.X, self.rows, self.frame, self.means = X, rows, frame, means
        self.learner = Learner(frame, means, rate, unit)
        self.random_state, self.n_threads = random_state, n_threads

    def _part(self, chosen):
        """Chosen rows of a CSR array, and what to add to centres for them."""
        part = as_rows(self.X if chosen is None else self.X[chosen], self.frame.dtype)
        return part, place(part, self.frame)

    def assign(self, chosen, labels, values):
        """E-step for chosen rows: labels, and squared distances in framed units."""
        if self.rows.centered:
            arguments = self.rows, 0, len(labels), labels, values, self.n_threads, None, chosen
        else:
            part, shift = self._part(chosen)
            arguments = part, 0, part.n, labels, values, self.n_threads, shift
        self.learner.assign(*arguments)

    def step(self, chosen, labels, values, weights=None):
        """Update by chosen rows (None: all), with weights by row where chosen is None."""
        if self.rows.centered:
            arguments = self.rows, 0, len(labels), weights, labels, values, self.n_threads
            self.learner.batch(*arguments, None, chosen)
        else:
            part, shift = self._part(chosen)
            self.learner.batch(part, 0, part.n, weights, labels, values, self.n_threads, shift)

    def reassign(self, chosen, size, ratio):
        """Clusters of small weight begin anew at rows of the batch; returns how many."""
        weights = self.means.weights[:, 0]
        small = weights < ratio * weights.max()
        small[np.argmax(weights)] = False  # some weight must be left to begin with
        if small.sum() > 0.5 * size:
            small[np.argsort(weights, kind="stable")[int(0.5 * size) :]] = False
        count = int(small.sum())
        if count:
            picked = self.random_state.choice(size, replace=False, size=count)
            picked = picked if chosen is None else chosen[picked]
            clusters = np.flatnonzero(small)
            lightest = np.argmin(np.where(small, np.inf, weights))
            self.means.weights[clusters] = self.means.weights[lightest]
            if self.rows.centered:
                self.means.place(self.rows, picked, clusters, self.n_threads)
            else:
                shift = self.frame.pivot * self.frame.scale
                self.means.centers[clusters] = self.rows.take(picked) - shift
                self.means.touched[clusters] = 1
                self.means.restore(self.n_threads)
        return count


def start(X, rows, frame, k, init, weights, size, random_state, n_threads):
    """Starting centres in the frame from a sample of size rows, or from all rows if fewer."""
    chosen, own = np.arange(rows.n), weights
    if size < rows.n:
        chosen = random_state.randint(0, rows.n, size)
        X = X[chosen]
        own = None if weights is None else weights[chosen]
        if own is not None and not own.any():
            own = None
    if not isinstance(init, str):
        return starting_centers(rows, frame, X, k, init, own, random_state, n_threads)
    if init == "random":
        return rows.take(chosen[random_rows(len(chosen), k, own, random_state)])
    sample, _ = scanned_rows(X, own, n_threads)
    return rows.take(chosen[greedy_plusplus(sample, k, own, random_state, n_threads)])


class Convergence:
    """scikit-learn's rules: a smoothed mean of the batches' inertia stops falling, or
    the centres stop moving; in framed units, but for what is printed."""

    def __init__(self, frame, n, batch_size, n_steps, tol, patience, verbose):
        self.squared = frame.squared
        self.alpha = min(batch_size * 2.0 / (n + 1), 1)
        self.batch_size, self.n_steps, self.tol = batch_size, n_steps, tol
        self.patience, self.verbose = patience, verbose
        self.average = self.least = None
        self.waited = 0

    def __call__(self, step, shift, inertia):
        """Why to stop after this step, counted from 1, or None."""
        inertia /= self.batch_size
        say = print if self.verbose else lambda line: None
        if step == 1:  # that of the start
            mean = self.squared(inertia)
            say(f"Minibatch step {step}/{self.n_steps}: mean batch inertia: {mean}")
            return None
        if self.average is None:
            self.average = inertia
        else:
            self.average = self.average * (1 - self.alpha) + inertia * self.alpha
        say(
            f"Minibatch step {step}/{self.n_steps}: mean batch inertia: "
            f"{self.squared(inertia)}, ewa inertia: {self.squared(self.average)}"
        )
        if self.tol > 0 and shift <= self.tol:
            say(f"Converged (small centers change) at step {step}/{self.n_steps}")
            return "tol"
        if self.least is None or self.average < self.least:
            self.waited, self.least = 0, self.average
        else:
            self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            say(f"Converged (lack of improvement in inertia) at step {step}/{self.n_steps}")
            return "no_improvement"
        return None


def total(values):
    """Sum in order."""
    return float(np.cumsum(values)[-1])


def run(batches, progress, *, began, weights, batch_size, n_steps, tol, patience, ratio, due,
        callbacks, verbose):  # fmt: skip
    """Learn from random batches; progress (a dict) holds steps done, stopped and the average.

    due(weights) says whether small clusters are to be reassigned; tol is in framed units, in which
    all decisions are taken: squares in the user's may not be numbers.
    """
    frame, means, n = batches.frame, batches.means, batches.rows.n
    draw = drawer(n, weights, batches.random_state)
    labels, values = np.empty(batch_size, dtype=np.int32), np.empty(batch_size)
    converged = Convergence(frame, n, batch_size, n_steps, tol, patience, verbose)
    for i in range(n_steps):
        chosen = draw(batch_size)
        old = means.centers.copy() if tol > 0 else None
        again = due(means.weights[:, 0])
        batches.step(chosen, labels, values)
        inertia = total(values)
        if again and ratio > 0:
            count = batches.reassign(chosen, batch_size, ratio)
            if count and verbose:
                print(f"[MiniBatchKMeans] Reassigning {count} cluster centers.")
        progress["steps"] = i + 1
        shift = 0.0
        if old is not None:
            shift = total(np.square(means.centers - old))
        why = converged(i + 1, shift, inertia)
        average = inertia / batch_size if i == 0 else converged.average
        progress["average"] = frame.squared(average)
        if callbacks:
            state = StepState(
                iteration=i,
                max_iter=n_steps,
                objective=frame.squared(inertia),
                seconds=time.perf_counter() - began,
                rows=(i + 1) * batch_size,
                centers=means.means / frame.scale,
                counts=means.weights[:, 0].copy(),
            )
            if any([callback(state) for callback in callbacks]):
                why = why or "callback"
        if why:
            progress["stopped"] = why
            break


def best_start(X, rows, frame, k, init, n_init, weights, sizes, random_state, n_threads, verbose):
    """The start of n_init whose objective on a sample of size rows is least."""
    validation = random_state.randint(0, rows.n, sizes)
    labels, values = np.empty(sizes, dtype=np.int32), np.empty(sizes)
    best, least = None, np.inf
    for index in range(n_init):
        if verbose:
            print(f"Init {index + 1}/{n_init} with method {init}")
        centers = start(X, rows, frame, k, init, weights, sizes, random_state, n_threads)
        inertia = 0.0
        if n_init > 1 or verbose:
            means = Means(frame, centers.copy(), np.zeros((k, 2)))
            batches = MiniBatches(X, rows, frame, means, None, 1.0, random_state, n_threads)
            batches.assign(validation, labels, values)
            own = values if weights is None else values * weights[validation]
            inertia = total(own)
        if verbose:
            print(f"Inertia for init {index + 1}/{n_init}: {frame.squared(inertia)}")
        if best is None or inertia < least:
            best, least = centers, inertia
    return best
