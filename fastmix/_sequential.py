# SPDX-License-Identifier: BSD-3-Clause
"""partial_fit of KMeans: sequential K-means (PRML 9.5) on the state of a fit, or from a start."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastmix._rollback import Rollback
from fastmix.core import _fit as core
from fastmix.core import _sequential
from fastmix.core._rates import as_rate
from fastmix.core._sources import array_of, refuse_sources
from fastmix.core._threads import thread_limit
from fastmix.core._validation import as_random_state, as_weights, result_dtype

__all__ = ["SequentialUpdates"]


class SequentialUpdates:
    """Mixin of KMeans: ``_learnt`` is the state of partial_fit, made when it is first called."""

    @property
    def counts_(self):
        """Weight of the rows behind each centre: (n_clusters,) float64."""
        check_is_fitted(self, "cluster_centers_")
        state = self.__dict__.get("_learnt")
        if state is not None:
            return state.counts
        try:
            return self._sizes
        except AttributeError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute 'counts_': cluster_centers_ were "
                "assigned, or read from a file without them"
            ) from None

    def _known_state(self, k):
        """The state that partial_fit goes on from, or None before any fit; ValueError where that
        is not of k clusters."""
        if "_model" not in self.__dict__:
            return None
        state, model = self.__dict__.get("_learnt"), self._model
        if len(model.centers) != k:
            raise ValueError(
                f"the model has {len(model.centers)} clusters, but n_clusters={k}: fit, or begin "
                "with a new estimator"
            )
        if state is not None and state.centers is model.centers:
            return state
        counts, unit = self.__dict__.get("_sizes", np.zeros(len(model.centers))), 1.0
        if counts.any():
            counts, unit = as_weights(counts, len(counts), "counts_")
        return _sequential.resume(model.frame, model.centers, counts, unit)

    def partial_fit(self, X, y=None, sample_weight=None):
        """Move the centres towards new rows (PRML 9.5).

        Parameters
        ----------
        X : {array-like, CSR array} of shape (n_samples, n_features)
            Rows, used once and not kept; the first call, unless after fit, also starts from them
            (``init``, one start) and needs at least n_clusters.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.

        Returns
        -------
        self : KMeans
            ``labels_`` and ``inertia_`` are those of these rows when they were met.

        Raises
        ------
        ValueError, TypeError
            For bad input, before any work; the estimator stays as it was, as after Ctrl-C.

        Notes
        -----
        ``batch_size=None`` takes X as one mini-batch, a number cuts it into batches, and 1 goes row
        by row: nearest centre, then a step ``learning_rate`` of the way, n_clusters * n_features
        multiply-adds a row on one thread.  With "mean" the centres are the means of all their rows,
        summed in pairs of float64 and rounded once.  The bits depend on the order of the rows, not
        on threads or layout; with ``batch_size=1`` not on how calls cut the rows, once started.
        """
        self._check_parameters()
        k = self._check_n_clusters()
        rate = as_rate(self.learning_rate)
        with Rollback(self) as back:
            state = self._known_state(k)
            refuse_sources(X, "partial_fit")
            X = array_of(self._validated(X, reset=state is None))
            weights, factor = as_weights(sample_weight, X.shape[0])
            n_threads = thread_limit(self.n_threads)
            dtype = result_dtype(X.dtype) if state is None else self._centers.dtype
            if state is None:
                init = core.check_arguments(X.shape, k, self.init)
                back.draws(self.random_state)
                random_state = as_random_state(self.random_state)
                state = _sequential.begin(X, k, init, weights, factor, random_state, n_threads)
            state, labels, squares = _sequential.learn(
                state, X, weights, factor, rate, self.batch_size, n_threads
            )
            new = self._learnt_attributes(state, dtype)
            if weights is not None:
                squares = squares * weights * factor
            new |= {"labels_": labels, "inertia_": float(np.cumsum(squares)[-1])}
            new |= {"n_steps_": self.__dict__.get("n_steps_", 0) + self._n_updates(X.shape[0])}
            new |= {"n_iter_": self.__dict__.get("n_iter_", 0)}
            for name in ("objective_trace_", "fit_report_", "_sizes"):
                self.__dict__.pop(name, None)  # what they tell is over
            self.__dict__.update(new)
        return self

    def _n_updates(self, n):
        return 1 if self.batch_size is None else -(-n // self.batch_size)

    @staticmethod
    def _learnt_attributes(state, dtype):
        """Attributes of an estimator in this state."""
        return {
            "_learnt": state,
            "_model": core.KMeansModel(state.centers, state.frame),
            "_centers": state.public.astype(dtype),
        }
