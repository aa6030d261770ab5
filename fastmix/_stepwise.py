# SPDX-License-Identifier: BSD-3-Clause
"""partial_fit of GaussianMixture: stepwise EM on the state of a fit, or from a start."""

import time

import numpy as np
from sklearn.utils import check_random_state

from fastmix._rollback import Rollback
from fastmix.core import _stepwise
from fastmix.core._mixture_fit import report_of_parameters
from fastmix.core._mixture_given import check_given
from fastmix.core._rates import PowerLaw, as_rate
from fastmix.core._threads import thread_limit
from fastmix.core._validation import as_count, as_weights, result_dtype

__all__ = ["StepwiseUpdates"]


class StepwiseUpdates:
    """Mixin of GaussianMixture: ``_stepwise`` is the state, made when partial_fit is first called;
    of a model without one ``_seen`` is the weight of the rows behind it, ``_held`` the covariances
    to which the floor is added, and ``_fitted_reg_covar`` what else is."""

    def partial_fit(self, X, y=None, sample_weight=None):
        """Move the model towards a batch of new rows by stepwise EM.

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            Rows, used once and not kept.  The first call, unless after fit, also starts from them
            (``init_params``, one start) and needs at least n_components, and two.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.

        Returns
        -------
        self : GaussianMixture
            ``lower_bound_`` is the mean log-likelihood of these rows before they were learnt,
            ``n_iter_`` the number of batches, and ``converged_`` False.

        Raises
        ------
        ValueError, TypeError
            For bad input, before any work, also for rows so far from those before that squares
            leave float64, and for n_components or a covariance_type that is not the
            model's.  With ``reg_covar=0`` also where a component collapses.  The estimator stays as
            it was, as after Ctrl-C.

        Notes
        -----
        With moments s per unit of weight (PRML 9.18) and s(batch) those under the responsibilities
        of the batch (9.23): s <- (1 - step) s + step s(batch), then the M-step (9.24 to 9.26) from
        s.  ``learning_rate`` gives the step, but that of a first call is 1, since the start is of
        its rows.  With step 1 and all rows a call is one iteration of fit, to the bit.  After
        fit, s is what gives the model's parameters, with the weight of the rows of fit behind it; a
        mixture from ``from_parameters`` has none behind it, so that only a constant rate, a
        half-life or a function keep some of it.

        The pivot of the moments s follows the mean of the rows: s is moved, to rounding, when that
        is 32 standard deviations away in some column.  The floor of the variances is relative to
        those of all rows as s has them.

        With ``averaging`` the attributes and predict are of the M-step of the mean of s after each
        batch, which forgets less and varies less (Polyak and Ruppert): of s and not of the
        parameters, so that the floor's policy is the same.  E-steps go on from s.  A repair begins
        the mean anew.

        ``fit_report_`` has the keys of a fit, of this call alone, but for repairs and held; and
        step, and seen, the weight of all rows.  ``lower_bounds_`` has one for every batch; repairs
        are those since a model file was loaded.

        References
        ----------
        O. Cappe and E. Moulines, "On-line expectation-maximization algorithm for latent data
        models", Journal of the Royal Statistical Society B 71, 2009.
        """
        self._check_parameters()
        k = as_count(self.n_components, "n_components")
        rate = PowerLaw() if self.learning_rate is None else as_rate(self.learning_rate)
        with Rollback(self) as back:
            if "_model" not in self.__dict__:
                back.draws(self.random_state)
            new = self._partial_fit(X, sample_weight, k, rate)
            for name in ("log_likelihood_", "_began_from"):  # of rows that are no longer all
                self.__dict__.pop(name, None)
            self.__dict__.update(new)
        return self

    def _partial_fit(self, X, sample_weight, k, rate):
        began = time.perf_counter()
        known = self.__dict__
        first = "_model" not in known
        if not first:
            self._check_same_model(k)
        X = self._validated(X, reset=first)
        if first and len(X) < k:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {k}, "
                f"n_samples = {len(X)}: the first call starts from its rows"
            )
        weights, factor = as_weights(sample_weight, len(X))
        n_threads = thread_limit(self.n_threads)
        state = known.get("_stepwise")
        goes_on = state is not None and state.model is known.get("_model")
        if first:
            state = _stepwise.begin(
                X, k, covariance_type=self.covariance_type, weights=weights,
                reg_covar=self.reg_covar, init_params=self.init_params,
                given=check_given(self, k, X.shape[1]),
                random_state=check_random_state(self.random_state), n_threads=n_threads,
                on_drowned=self._warn_drowned,
            )  # fmt: skip
        elif not goes_on:
            seen, held = known.get("_seen", 0.0), known.get("_held", ())
            added = known.get("_fitted_reg_covar", self.reg_covar)
            state = _stepwise.resume(self._model, added, seen, held)
        at = time.perf_counter()
        state = _stepwise.learn(
            state, X, weights, factor, rate, self.averaging, n_threads, self.reg_covar
        )
        bound, now = state.lower_bound, time.perf_counter()
        report = report_of_parameters(state.model) | {
            "algorithm": "stepwise em",
            "reason": "partial_fit",
            "n_threads": n_threads,
            "n_iter": state.calls,
            "stopped": "batch",
            "repairs": list(state.start.repairs),
            "held": np.flatnonzero(np.broadcast_to(state.start.held, k)).tolist(),
            "rows_scanned": len(X),
            "pairs_evaluated": len(X) * k,
            "bounds": "none in a single pass",
            "seconds": {
                "scan": 0.0,
                "init": at - began,
                "em": now - at,
                "final": 0.0,
                "total": now - began,
            },
            "objective_trace": np.array([bound]),
            "step": state.step,
            "seen": state.seen,
        }
        return {
            "_stepwise": state,
            "_seen": state.seen,
            "_held": np.flatnonzero(state.start.held).tolist(),
            "_fitted_reg_covar": self.reg_covar,
            "_model": state.model,
            "_dtype": result_dtype(X.dtype) if first else self._dtype,
            "converged_": False,
            "n_iter_": state.calls,
            "lower_bound_": bound,
            "lower_bounds_": [*(known.get("lower_bounds_", ()) if goes_on else ()), bound],
            "fit_report_": report,
        }

    def _check_same_model(self, k):
        """ValueError where parameters are no longer those of the model."""
        model = self._model.parameters
        known_k, kind = len(model.means), model.covariance_type
        if (known_k, kind) != (k, self.covariance_type):
            raise ValueError(
                f"the model has {known_k} components of type {kind!r}, but n_components={k} and "
                f"covariance_type={self.covariance_type!r}: fit, or begin with a new estimator"
            )
