# SPDX-License-Identifier: BSD-3-Clause
"""MiniBatchKMeans as an estimator with scikit-learn's contract."""

import math
import time
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval

from fastmix._kmeans import KMeans
from fastmix._rollback import Rollback
from fastmix.core import _fit as core
from fastmix.core import _lloyd, _minibatch, _sequential
from fastmix.core._checkpoint import made_random_state, random_state_values
from fastmix.core._frame import extremes, framed_reach, place, scanned_rows
from fastmix.core._kernels import isa
from fastmix.core._means import Means
from fastmix.core._rates import as_rate
from fastmix.core._sources import array_of, refuse_sources
from fastmix.core._threads import thread_limit, useful_threads
from fastmix.core._validation import as_random_state, as_rows, as_weights, result_dtype
from fastmix.core._warn import warn

__all__ = ["MiniBatchKMeans"]


class MiniBatchKMeans(KMeans):
    """K-means on random batches of rows, with scikit-learn's interface and its draws.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters K.
    init : {"k-means++", "random"}, array-like (n_clusters, n_features) or callable
        Starting centres, as of :class:`KMeans`, from init_size rows.
    max_iter : int, default=100
        Passes over as many rows as X has, at most.
    batch_size : int, default=1024
        Rows of a batch, drawn by weight with replacement.
    verbose : int, default=0
        Print a line per batch.
    compute_labels : bool, default=True
        Whether fit ends with ``labels_`` and ``inertia_`` of all rows.
    random_state : int, RandomState instance or None, default=None
        Source of the random draws; they depend on neither threads nor chunks.
    tol : float, default=0.0
        Stop when the squared shifts of all centres add up to at most ``tol`` times the mean
        variance of the columns; 0: never.
    max_no_improvement : int or None, default=10
        Stop after so many batches in a row without a new least smoothed inertia; None: never.
    init_size : int or None, default=None
        Rows that a start is made from and judged on; None: three batches, or three rows a cluster
        if that is less than n_clusters.
    n_init : "auto" or int, default="auto"
        Starts, of which the best is used; "auto" is 1, but 3 for "random" and for a callable.
    reassignment_ratio : float, default=0.01
        Clusters with less than this part of the greatest weight begin anew at rows of the batch,
        whenever 10 n_clusters rows have been drawn or a cluster is empty; 0: never.
    n_threads : int or None, default=None
        As of :class:`KMeans`.
    learning_rate : "mean", float or callable, default="mean"
        As of :class:`KMeans`; "mean" is scikit-learn's.
    callbacks : callable or list of callables, default=None
        Called after every batch with a state (``iteration``, ``max_iter``, ``objective`` of the
        batch, ``seconds``, ``rows``, ``centers``, ``counts``); a true value ends the fit.

    Attributes
    ----------
    cluster_centers_, n_features_in_, feature_names_in_
        As of :class:`KMeans`.
    counts_ : ndarray of shape (n_clusters,), float64
        Rows behind each centre that were drawn in fit, by weight; of partial_fit, their weight.
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of every row, with compute_labels.
    inertia_ : float
        Objective J (PRML 9.1) with compute_labels, else the smoothed one of a batch for all rows.
    n_iter_ : int
        Passes over as many rows as X has, begun.
    n_steps_ : int
        Batches.
    fit_report_ : dict
        algorithm, isa, n_threads, dtype, n_steps, stopped ("max_iter", "tol", "no_improvement",
        "callback" or "interrupt") and seconds.

    Notes
    -----
    A batch costs batch_size K d multiply-adds on all threads, and K d divisions; its rows are read
    where they lie.  Each centre is the mean of all rows that met it, in pairs of float64.

    References
    ----------
    D. Sculley, "Web-scale k-means clustering", WWW 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmix import MiniBatchKMeans
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = MiniBatchKMeans(n_clusters=2, init=X[[0, 3]], batch_size=6).fit(X)
    >>> model.labels_
    array([0, 0, 0, 1, 1, 1], dtype=int32)
    """

    _parameter_constraints = {
        **{
            name: KMeans._parameter_constraints[name]
            for name in ("n_clusters", "init", "max_iter", "verbose", "random_state", "tol",
                         "n_init", "n_threads", "callbacks", "learning_rate")
        },
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "compute_labels": ["boolean"],
        "max_no_improvement": [Interval(Integral, 0, None, closed="left"), None],
        "init_size": [Interval(Integral, 1, None, closed="left"), None],
        "reassignment_ratio": [Interval(Real, 0, None, closed="left")],
    }  # fmt: skip
    _many_starts = 3

    def __init__(
        self,
        n_clusters=8,
        *,
        init="k-means++",
        max_iter=100,
        batch_size=1024,
        verbose=0,
        compute_labels=True,
        random_state=None,
        tol=0.0,
        max_no_improvement=10,
        init_size=None,
        n_init="auto",
        reassignment_ratio=0.01,
        n_threads=None,
        learning_rate="mean",
        callbacks=None,
    ):
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.n_threads = n_threads
        self.learning_rate = learning_rate
        self.callbacks = callbacks

    def fit(self, X, y=None, sample_weight=None):
        """Compute the clustering from random batches.

        Parameters
        ----------
        X : {array-like, CSR array} of shape (n_samples, n_features)
            Rows to cluster, as of :meth:`KMeans.fit`.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0, by which rows are drawn.

        Returns
        -------
        self : MiniBatchKMeans
            Fitted estimator.

        Raises
        ------
        ValueError, TypeError
            For bad input, before any work; the estimator stays as it was.
        """
        return self._atomically(self._fit, X, sample_weight)

    def partial_fit(self, X, y=None, sample_weight=None):
        """Move the centres towards the rows of one batch.

        Parameters
        ----------
        X : {array-like, CSR array} of shape (n_samples, n_features)
            The batch; the first call also starts from it.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.

        Returns
        -------
        self : MiniBatchKMeans
            With compute_labels, ``labels_`` and ``inertia_`` are those of the batch after it.

        Raises
        ------
        ValueError, TypeError
            For bad input, before any work; the estimator stays as it was, as after Ctrl-C.
        """
        return self._atomically(self._partial_fit, X, sample_weight)

    def _get_state(self):
        """As of KMeans, with what the batches to come depend on."""
        params, arrays = super()._get_state()
        known, seed = self.__dict__, self.random_state
        if isinstance(seed, Integral) and "_random_state" not in known:
            seed = int(seed)
        elif seed is not None:  # without one nothing repeats
            seed = random_state_values(as_random_state(known.get("_random_state", seed)))
        since = known.get("_n_since_last_reassign")
        return params | {
            "reassignment_ratio": float(self.reassignment_ratio),
            "random_state": seed,
            "batches": None if since is None else {"since": since, "size": self._batch_size},
        }, arrays

    @classmethod
    def _from_state(cls, params, arrays):
        """A fitted estimator from what ``_get_state`` gave."""
        model = super()._from_state(params, arrays)
        model.reassignment_ratio = params["reassignment_ratio"]
        seed = params["random_state"]
        model.random_state = made_random_state(seed) if isinstance(seed, dict) else seed
        if params["batches"] is not None:
            model._n_since_last_reassign = params["batches"]["since"]
            model._batch_size = params["batches"]["size"]
        return model

    def _atomically(self, method, X, sample_weight):
        """Call a method that returns new attributes; an error leaves all as it was, unless the
        method has committed what it keeps."""
        self._check_parameters()
        self._check_n_clusters()
        with Rollback(self) as back:
            self.__dict__.update(method(X, sample_weight, back))
        return self

    def _sizes_of(self, n):
        """Rows of a batch and of a start."""
        k, batch = self.n_clusters, min(self.batch_size, n)
        size = self.init_size
        if size is None:
            size = 3 * batch if 3 * batch >= k else 3 * k
        elif size < k:
            warn(
                f"init_size={size} should be larger than n_clusters={k}. Setting it to "
                "min(3*n_clusters, n_samples)",
                RuntimeWarning,
            )
            size = 3 * k
        self._batch_size, self._init_size = batch, min(size, n)
        return self._batch_size, self._init_size

    def _due(self, weights):
        """Whether small clusters are to be reassigned with this batch: scikit-learn's rule."""
        self._n_since_last_reassign += self._batch_size
        if (weights == 0).any() or self._n_since_last_reassign >= 10 * self.n_clusters:
            self._n_since_last_reassign = 0
            return True
        return False

    def _fit(self, X, sample_weight, back):
        began = time.perf_counter()
        k, rate, callbacks = self.n_clusters, as_rate(self.learning_rate), self.callbacks
        callbacks = core.as_callbacks(callbacks)
        refuse_sources(X, "MiniBatchKMeans")
        X = array_of(self._validated(X, reset=True))
        weights, factor = as_weights(sample_weight, X.shape[0])
        init = core.check_arguments(X.shape, k, self.init)
        n_init = self._resolve_n_init()
        batch_size, init_size = self._sizes_of(X.shape[0])
        random_state, n_threads = as_random_state(self.random_state), thread_limit(self.n_threads)
        back.draws(self.random_state)
        rows, frame = scanned_rows(X, weights, n_threads)
        centers = _minibatch.best_start(
            X, rows, frame, k, init, n_init, weights, init_size, random_state, n_threads,
            self.verbose,
        )  # fmt: skip
        means = Means(frame, centers.copy(), np.zeros((k, 2)))
        batches = _minibatch.MiniBatches(X, rows, frame, means, rate, 1.0, random_state, n_threads)
        self._n_since_last_reassign = 0
        progress = {"steps": 0, "stopped": "max_iter", "average": math.nan}
        n_steps = self.max_iter * rows.n // batch_size

        def attributes():
            state = _sequential.state_of(frame, means, 1.0)
            new = self._learnt_attributes(state, result_dtype(X.dtype))
            steps = progress["steps"]
            report = {
                "algorithm": "minibatch",
                "isa": isa(),
                "n_threads": useful_threads(n_threads, batch_size * rows.nanoseconds(k)),
                "dtype": f"float{8 * rows.dtype.itemsize}",
                "n_steps": steps,
                "stopped": progress["stopped"],
                "seconds": {"total": time.perf_counter() - began},
            }
            weight = rows.n if weights is None else _minibatch.total(weights) * factor
            return new | {
                "n_steps_": steps,
                "n_iter_": math.ceil(steps * batch_size / rows.n),
                "inertia_": float(progress["average"] * weight),
                "fit_report_": report,
            }

        self.__dict__.pop("labels_", None)  # of other centres
        try:
            _minibatch.run(
                batches, progress, began=began, weights=weights, batch_size=batch_size,
                n_steps=n_steps, tol=_minibatch.framed_tolerance(rows, self.tol, n_threads),
                patience=self.max_no_improvement, ratio=self.reassignment_ratio, due=self._due,
                callbacks=callbacks, verbose=self.verbose,
            )  # fmt: skip
            new = attributes()
            if self.compute_labels:
                labels = core.predict(rows, means.centers, n_threads)
                inertia = _lloyd.inertia(
                    rows, means.centers, labels, weights, frame.largest, n_threads
                )
                new |= {"labels_": labels, "inertia_": float(frame.squared(inertia) * factor)}
        except KeyboardInterrupt:
            if progress["steps"]:
                progress["stopped"] = "interrupt"
                self.__dict__.update(attributes())
                back.commit()
            raise
        new["fit_report_"]["seconds"]["total"] = time.perf_counter() - began
        return new

    def _partial_fit(self, X, sample_weight, back):
        k, rate = self.n_clusters, as_rate(self.learning_rate)
        state = self._known_state(k)
        refuse_sources(X, "partial_fit")
        X = array_of(self._validated(X, reset=state is None))
        weights, factor = as_weights(sample_weight, X.shape[0])
        n_threads = thread_limit(self.n_threads)
        random_state = self.__dict__.get("_random_state")
        if random_state is None:
            random_state = as_random_state(self.random_state)
        if state is None:
            dtype = result_dtype(X.dtype)
            init = core.check_arguments(X.shape, k, self.init)
            self._resolve_n_init()
            _, init_size = self._sizes_of(X.shape[0])
            rows, frame = scanned_rows(X, weights, n_threads)
            unit = factor
            largest = frame.largest
            back.draws(random_state)
            centers = _minibatch.start(
                X, rows, frame, k, init, weights, init_size, random_state, n_threads
            )
            means = Means(frame, centers, np.zeros((k, 2)))
            self._n_since_last_reassign = 0
        else:
            dtype, frame, unit = self._centers.dtype, state.frame, state.unit
            rows = as_rows(X, frame.dtype)
            ends = extremes(rows, n_threads)
            place(rows, frame)
            largest = framed_reach(rows, ends)
            arrays = state.centers.copy(), state.weights.copy(), state.sums.copy()
            means = Means(frame, *arrays)
            self._batch_size = self.__dict__.get("_batch_size", min(self.batch_size, rows.n))
            self._n_since_last_reassign = self.__dict__.get("_n_since_last_reassign", 0)
        weights = _sequential.in_units(weights, factor, unit, rows.n)
        batches = _minibatch.MiniBatches(X, rows, frame, means, rate, unit, random_state, n_threads)
        labels, values = np.empty(rows.n, dtype=np.int32), np.empty(rows.n)
        again = self._due(means.weights[:, 0])
        batches.step(None, labels, values, weights)
        if again and self.reassignment_ratio > 0:
            back.draws(random_state)
            count = batches.reassign(None, rows.n, self.reassignment_ratio)
            if count and self.verbose:
                print(f"[MiniBatchKMeans] Reassigning {count} cluster centers.")
        new = self._learnt_attributes(_sequential.state_of(frame, means, unit), dtype)
        if self.compute_labels:
            shift = 0.0 if rows.centered else frame.pivot * frame.scale
            centers = means.centers + shift
            labels = core.predict(rows, centers, n_threads)
            inertia = _lloyd.inertia(rows, centers, labels, weights, largest, n_threads)
            new |= {"labels_": labels, "inertia_": float(frame.squared(inertia) * unit)}
        for name in ("labels_", "inertia_", "fit_report_"):
            self.__dict__.pop(name, None)  # what they tell is over
        new |= {"_random_state": random_state, "n_steps_": self.__dict__.get("n_steps_", 0) + 1}
        return new
