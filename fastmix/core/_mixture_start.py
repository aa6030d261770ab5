# SPDX-License-Identifier: BSD-3-Clause
"""Starting parameters of a mixture: from K-means, from rows, at random, or as given."""

import numpy as np

from fastmix.core import _fit as kmeans
from fastmix.core._em import expectation_maximisation, new_start, unchecked_start
from fastmix.core._floor import CollapseError
from fastmix.core._frame import Frame, place, scanned_rows
from fastmix.core._mixture import MixtureRows
from fastmix.core._moments import Moments
from fastmix.core._parameters import Factors, Parameters, factors_of, ordered_sum, precision_factors
from fastmix.core._passes import slot_passes
from fastmix.core._potential import pick
from fastmix.core._seeding import greedy_plusplus, random_rows
from fastmix.core._validation import as_key

__all__ = ["INIT_PARAMS", "Starter"]

INIT_PARAMS = ("kmeans", "k-means++", "random", "random_from_data")

# Short runs before a start (Biernacki, Celeux and Govaert 2003): every other one from K-means, the
# rest from the rows nearest to random rows, the best goes on.  On Old Faithful, full K=3, K-means
# alone reaches the best optimum from 6 of 30 seeds, ten such runs of ten or more iterations from 12
# of 12; runs from K-means only, of ten iterations, from 6 of 12.
SHORT_RUNS = 10
SHORT_ITERATIONS = 20
SHORT_TOLERANCE = 1e-5

# Runs that end within so much of one another, in the mean log-likelihood, are equal, and the first
# counts: rounding must not choose between one optimum and its permutation.
TIE = 1e-7

# Rows that they see, and how many row-iterations they may cost beside so many passes over all rows.
LEAST_SAMPLE = 4096
ROWS_A_PARAMETER = 10
PASSES = 10

# Variances of components that start on single rows, relative to the data's: a hard assignment to
# the nearest row, in columns divided by their standard deviation.
POINT_VARIANCE = 1e-4


def _distinct_points(points, k, weights, random_state):
    """k indices drawn by weight, no two of equal points as long as some twenty draws each find
    others: copies of a row are drawn as one row of their weight."""
    cumulative = None if weights is None else np.cumsum(weights)
    chosen, seen = [], set()
    for attempt in range(20 * k):
        u = random_state.uniform()
        index = int(u * len(points)) if cumulative is None else pick(cumulative, u * cumulative[-1])
        value = as_key(points[index])
        if value not in seen or attempt >= 19 * k:
            chosen.append(index)
            seen.add(value)
        if len(chosen) == k:
            break
    return np.array(chosen)


class Starter:
    """Draws the starts of one fit.

    Parameters
    ----------
    rows : MixtureRows, in its frame
    frame : Frame
    weights : ndarray (n,) float64 or None
    kind : covariance type
    k : number of components
    init : one of INIT_PARAMS
    given : dict of "weights", "means", "precisions" in user units, each or None
    floor : Floor
    random_state : RandomState or Generator
    n_threads : int
    """

    def __init__(self, rows, frame, weights, kind, k, init, given, floor, random_state, n_threads):
        self.rows, self.frame, self.weights = rows, frame, weights
        self.kind, self.k, self.init, self.floor = kind, k, init, floor
        self.given = {name: value for name, value in given.items() if value is not None}
        self.random_state, self.n_threads = random_state, n_threads
        self.deviations = np.sqrt(floor.variances)
        self.fixed = len(self.given) == 3
        self.reason = "all parameters given" if self.fixed else init

    def __call__(self):
        """A new start; CollapseError where reg_covar=0 leaves no remedy."""
        if self.fixed:
            return self._with_given(None, None)
        if self.init == "kmeans":
            return self._from_kmeans()
        if self.init == "random":
            moments = self._random_moments()
            return self._with_given(moments.parameters(), moments)
        if self.init == "k-means++":
            chosen = self._seeds()
        else:
            chosen = random_rows(self.rows.n, self.k, self.weights, self.random_state)
        variances = self.floor.variances * POINT_VARIANCE
        return self._with_given(self._around(self.rows.take(chosen), variances), None)

    # ------------------------------------------------------------ what the user gives

    def _with_given(self, parameters, moments):
        """A start from parameters in which what the user gave takes the place of what was found."""
        given, frame = self.given, self.frame
        if parameters is None:
            parameters = Parameters(self.kind, None, None, None)
        if "weights" in given:
            parameters = parameters._replace(weights=np.array(given["weights"], dtype=np.float64))
        if "means" in given:
            parameters = parameters._replace(means=frame.into(given["means"]))
        if "precisions" not in given:
            return new_start(parameters, self.floor, moments)
        precisions = np.asarray(given["precisions"], dtype=np.float64) / frame.scale**2
        covariances, P, log_det = precision_factors(self.kind, precisions, self.rows.d)
        parameters = parameters._replace(covariances=covariances)
        # As given: not regularised.
        return unchecked_start(parameters, factors_of(parameters, P, log_det))

    def _around(self, means, variances):
        """Parameters with equal weights, these means and the same variances for all."""
        k, d = means.shape
        if self.kind == "full":
            covariances = np.repeat(np.diag(variances)[np.newaxis], k, axis=0)
        elif self.kind == "tied":
            covariances = np.diag(variances)
        elif self.kind == "diag":
            covariances = np.repeat(variances[np.newaxis], k, axis=0)
        else:
            covariances = np.full(k, ordered_sum(variances) / d)
        return Parameters(self.kind, np.full(k, 1.0 / k), means, covariances)

    # ------------------------------------------------------------ K-means and short runs

    def _sample(self):
        """Rows and weights that K-means and the short runs see: all that have a weight, or rows
        drawn by weight, one from each of equal shares of the weight in the order of the rows."""
        rows, k, d = self.rows, self.k, self.rows.d
        size = max(LEAST_SAMPLE, ROWS_A_PARAMETER * k * (d + 1))
        if rows.n <= size:
            if self.weights is None or np.count_nonzero(self.weights) < k:
                return np.arange(rows.n), self.weights
            chosen = np.flatnonzero(self.weights)
            return chosen, self.weights[chosen]
        shares = (np.arange(size) + self.random_state.uniform(size=size)) / size
        if self.weights is None:
            chosen = np.minimum((shares * rows.n).astype(np.intp), rows.n - 1)
        else:
            cumulative = np.cumsum(self.weights)
            chosen = np.array([pick(cumulative, share * cumulative[-1]) for share in shares])
        return chosen, None

    def _cluster(self, points, weights, seeds_only):
        """Labels of standardised points: of K-means, or of the nearest of k random ones."""
        random_state = self.random_state
        init = "k-means++"
        if seeds_only:
            init = points[_distinct_points(points, self.k, weights, random_state)]
        return kmeans.fit(
            points, self.k, weights=weights, factor=1.0, init=init, n_init=1,
            max_iter=1 if seeds_only else 300, tol=1e-4, random_state=random_state,
            algorithm="auto", bounds_memory=None, n_threads=self.n_threads, callbacks=(),
            verbose=False,
        )  # fmt: skip

    def _from_kmeans(self):
        chosen, weights = self._sample()
        points = self.rows.take(chosen)
        everything = len(chosen) == self.rows.n
        runs = 1
        if not self.given:
            budget = max(PASSES * self.rows.n, SHORT_RUNS * SHORT_ITERATIONS * LEAST_SAMPLE)
            runs = min(SHORT_RUNS, budget // (SHORT_ITERATIONS * len(points)))
            runs = 1 if self.k == 1 else max(1, runs)
        # In place where the short runs do not need them: 21 MB of a sample of 20,640 x 128 rows.
        into = points if runs == 1 else None
        standard = np.divide(points, self.deviations, out=into).astype(self.rows.dtype, copy=False)
        best = None
        if runs > 1:
            sample, frame = self._sample_rows(points, everything)
            self.reason = f"kmeans, best of {runs} short runs on {len(points)} rows"
            for index in range(runs):
                result = self._cluster(standard, weights, seeds_only=index % 2 == 1)
                run = self._short_run(sample, frame, weights, result)
                if run is not None and (best is None or run.better_than(best, TIE)):
                    best = run
        if best is not None:
            return new_start(best.raw, self.floor)
        result = self._cluster(standard, weights, seeds_only=False)
        if everything:
            labels = result.labels
        else:
            labels = self._nearest(result.model.frame.out_of(result.model.centers))
        moments = self._hard_moments(self.rows, self.frame, labels, self.weights)
        return self._with_given(self._of_clusters(moments, result), moments)

    def _of_clusters(self, moments, result):
        """M-step from clusters; an empty one has its centre and the data's variances."""
        centers = result.model.frame.out_of(result.model.centers) * self.deviations
        return moments.parameters(self._around(centers, self.floor.variances))

    def _sample_rows(self, points, everything):
        if everything:
            return self.rows, self.frame
        rows = MixtureRows(np.ascontiguousarray(points.astype(self.rows.dtype)), self.rows.dtype)
        frame = Frame.identity(rows.d, self.rows.dtype)
        place(rows, frame)
        return rows, frame

    def _short_run(self, rows, frame, weights, result):
        moments = self._hard_moments(rows, frame, result.labels, weights)
        try:
            start = new_start(self._of_clusters(moments, result), self.floor, moments)
            return expectation_maximisation(
                rows, frame, weights, start, self.floor, max_iter=SHORT_ITERATIONS,
                tol=SHORT_TOLERANCE, n_threads=self.n_threads,
            )  # fmt: skip
        except CollapseError:
            return None

    def _nearest(self, centers):
        """Labels of all rows for centres in standardised columns."""
        rows, k = self.rows, self.k
        scales = np.repeat(1 / self.deviations[np.newaxis], k, axis=0)
        factors = Factors("diag", np.zeros(k), centers * self.deviations, scales, np.zeros(k))
        labels = np.empty(rows.n, dtype=np.int32)
        for start, stop, threads in slot_passes(rows, "diag", k, self.n_threads):
            rows.expect(start, stop, factors, threads, labels=labels)
        return labels

    def _hard_moments(self, rows, frame, labels, weights):
        moments = Moments(self.kind, self.k, rows.d, frame)
        for start, stop, threads in slot_passes(rows, self.kind, self.k, self.n_threads):
            rows.gather(start, stop, labels, threads, moments=moments, weights=weights)
        return moments

    # ------------------------------------------------------------ rows, and at random

    def _seeds(self):
        """Rows chosen by greedy k-means++ among the sample, in standardised columns."""
        chosen, weights = self._sample()
        points = np.ascontiguousarray(
            (self.rows.take(chosen) / self.deviations).astype(self.rows.dtype)
        )
        rows, _ = scanned_rows(points, weights, self.n_threads)
        return chosen[greedy_plusplus(rows, self.k, weights, self.random_state, self.n_threads)]

    def _random_moments(self):
        """Moments under uniform random responsibilities, scikit-learn's ``"random"``."""
        rows, k = self.rows, self.k
        moments = Moments(self.kind, k, rows.d, self.frame)
        for start, stop, threads in slot_passes(rows, self.kind, k, self.n_threads, values=k):
            r = self.random_state.uniform(size=(stop - start, k))
            r /= ordered_sum(r, axis=1)[:, np.newaxis]
            rows.absorb(start, stop, r, threads, moments=moments, weights=self.weights)
        return moments
