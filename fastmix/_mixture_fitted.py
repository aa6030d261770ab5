# SPDX-License-Identifier: BSD-3-Clause
"""What a fitted mixture gives: its parameters, labels, densities, criteria and samples."""

import math
import numbers

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastmix._rows import RowsValidation
from fastmix._saving import SavedModel
from fastmix._state import LOWER_BOUNDS, common_state, restore_columns, stored_frame
from fastmix._stepwise_state import restored, stored, stored_reg_covar
from fastmix.core import _mixture_fit as core
from fastmix.core import _mixture_use as use
from fastmix.core._mixture import log
from fastmix.core._parameters import Parameters, factors_of, n_parameters, ordered_sum
from fastmix.core._rates import made_rate, rate_values
from fastmix.core._sampling import sample
from fastmix.core._threads import thread_limit
from fastmix.core._validation import as_count, as_out, as_weights, result_dtype

__all__ = ["FittedMixture"]

# Standard deviations between two to the power of minus this and of this have variances and
# precisions in float32.
FLOAT32_EXPONENT = 62


class FittedMixture(RowsValidation, SavedModel):
    """The half of the estimator that reads ``_model``; the other half fits it."""

    def _validated(self, X, reset):
        return self._validated_rows(X, reset, ensure_min_samples=2 if reset else 1)

    # ------------------------------------------------------------------ the model

    def _public(self, name):
        if "_model" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        weights, means, covariances, P = core.user_parameters(self._model)
        matrices = self._model.parameters.covariance_type in ("full", "tied")
        if name == "precisions_":
            with np.errstate(over="ignore", under="ignore"):  # inf where float64 has no number
                if matrices:
                    product = P[..., :, :, np.newaxis] * P[..., :, np.newaxis, :]
                    value = ordered_sum(product, axis=-3)
                else:
                    value = np.square(P)
        else:
            value = {
                "weights_": weights,
                "means_": means,
                "covariances_": covariances,
                "precisions_cholesky_": np.swapaxes(P, -1, -2) if matrices else P,
            }[name]
        scales = np.diagonal(P, axis1=-2, axis2=-1) if matrices else P
        single = self._dtype == np.float32 and np.abs(np.log2(scales)).max() < FLOAT32_EXPONENT
        return value.astype(np.float32 if single else np.float64)

    weights_ = property(lambda self: self._public("weights_"))
    means_ = property(lambda self: self._public("means_"))
    covariances_ = property(lambda self: self._public("covariances_"))
    precisions_ = property(lambda self: self._public("precisions_"))
    precisions_cholesky_ = property(lambda self: self._public("precisions_cholesky_"))

    @property
    def objective_trace_(self):
        """``lower_bounds_`` as an array."""
        return np.array(self.lower_bounds_)

    def _n_parameters(self):
        """Free parameters of the model."""
        k, d = self._model.parameters.means.shape
        return n_parameters(self._model.parameters.covariance_type, k, d)

    def _get_state(self):
        """The fitted model as (params, arrays): JSON-able values, and arrays by name."""
        check_is_fitted(self, "_model")
        parameters, factors, frame = self._model
        likelihood = getattr(self, "log_likelihood_", None)  # from_parameters has none
        bounds = getattr(self, "lower_bounds_", None)  # nor a file of an older version this
        params, arrays = common_state(self, frame)
        fitted = self.__dict__.get("_fitted_reg_covar", self.reg_covar)
        params |= {
            "n_components": len(parameters.means),
            "covariance_type": parameters.covariance_type,
            "attribute_dtype": str(self._dtype),
            "converged": bool(self.converged_),
            "n_iter": int(self.n_iter_),
            "lower_bound": float(self.lower_bound_),
            "n_lower_bounds": None if bounds is None else len(bounds),
            "log_likelihood": None if likelihood is None else float(likelihood),
            "seen": float(getattr(self, "_seen", 0.0)),
            "reg_covar": stored_reg_covar(self.reg_covar),
            "fitted_reg_covar": stored_reg_covar(fitted),
            "learning_rate": rate_values(self.learning_rate),
            "averaging": bool(self.averaging),
            "held": list(self.__dict__.get("_held", ())),
            "stepwise": None,
        }
        arrays |= {
            "weights": parameters.weights,
            "means": parameters.means,
            "covariances": parameters.covariances,
            # Not made anew from the covariances: a start from precisions has its own.
            "whitening": factors.P,
            "log_det": factors.log_det,
        }
        if bounds is not None:
            arrays[LOWER_BOUNDS] = np.array(bounds, dtype=np.float64)
        state = self.__dict__.get("_stepwise")
        if state is not None:
            params["stepwise"], learnt = stored(state)
            arrays |= learnt
        return params, arrays

    @classmethod
    def _from_state(cls, params, arrays):
        """A fitted estimator from what ``_get_state`` gave."""
        kind = params["covariance_type"]
        model = cls(
            n_components=params["n_components"],
            covariance_type=kind,
            reg_covar=params["reg_covar"],
            learning_rate=made_rate(params["learning_rate"]),
            averaging=params["averaging"],
        )
        names = ("weights", "means", "covariances")
        parameters = Parameters(kind, *(arrays[name] for name in names))
        factors = factors_of(parameters, arrays["whitening"], arrays["log_det"])
        model._model = core.MixtureModel(parameters, factors, stored_frame(params, arrays))
        model._dtype = np.dtype(params["attribute_dtype"])
        model.converged_ = params["converged"]
        model.n_iter_ = params["n_iter"]
        model.lower_bound_ = params["lower_bound"]
        if LOWER_BOUNDS in arrays:
            model.lower_bounds_ = arrays[LOWER_BOUNDS].tolist()
        model._seen, model._held = params["seen"], params["held"]
        fitted = params["fitted_reg_covar"]
        model._fitted_reg_covar = params["reg_covar"] if fitted is None else fitted
        if params["stepwise"] is not None:
            model._stepwise = restored(params, arrays, model._model)
        if params["log_likelihood"] is not None:
            model.log_likelihood_ = params["log_likelihood"]
        restore_columns(model, params)
        return model

    def _penalty(self, weight, unit):
        """What every free parameter costs in likelihood, summed: p ln N, of a weight in units of a
        power of two."""
        exponent = math.frexp(unit)[1] - 1  # no logarithm of a subnormal number
        return self._n_parameters() * (float(log([weight])[0]) + exponent * use.LN2)

    # ------------------------------------------------------------------ use

    def _rows(self, X):
        check_is_fitted(self, "_model")
        return self._validated(X, reset=False), thread_limit(self.n_threads)

    def predict(self, X, out=None):
        """Component of the largest responsibility of every row.

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            New rows.
        out : ndarray of shape (n_samples,), int32, optional
            Where to write, such as a memory map.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Index of the component; ties go to the lowest; ``out`` where given.
        """
        X, n_threads = self._rows(X)
        if out is not None:
            as_out(out, (len(X),), X, "i", contiguous=True)
        return use.labels_of(X, self._model, n_threads, out)

    def predict_proba(self, X, out=None):
        """Responsibilities of the components (PRML 9.13).

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            New rows.
        out : ndarray of shape (n_samples, n_components), optional
            Where to write, float32 or float64; nothing of that size is made then.

        Returns
        -------
        responsibilities : ndarray of shape (n_samples, n_components)
            In the dtype of X if float32, else float64; ``out`` where given.
        """
        X, n_threads = self._rows(X)
        if out is not None:
            as_out(out, (len(X), len(self._model.parameters.means)), X)
        return use.responsibilities_of(X, self._model, n_threads, out)

    def score_samples(self, X, out=None):
        """Log-density of every row (PRML 9.12).

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            New rows.
        out : ndarray of shape (n_samples,), optional
            Where to write, float32 or float64.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            ln p(x), in the dtype of X if float32, else float64; minus infinity where that dtype
            ends; ``out`` where given.
        """
        X, n_threads = self._rows(X)
        if out is not None:
            as_out(out, (len(X),), X)
        dtype = result_dtype(X.dtype)
        return use.log_densities(X, self._model, n_threads, out=out, dtype=dtype)

    def score(self, X, y=None, sample_weight=None):
        """Mean log-likelihood of a row.

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            New rows.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.

        Returns
        -------
        score : float
            ln p(X) (PRML 9.14) over the sum of the weights.
        """
        total, weight, _, _ = self._likelihood(X, sample_weight)
        return total / weight

    def _likelihood(self, X, sample_weight):
        """Weighted log-likelihood and total weight, in units of the weights; these; and X and the
        weights as validated."""
        X, n_threads = self._rows(X)
        weights, unit = as_weights(sample_weight, len(X))
        total = use.log_likelihood_of(X, self._model, weights, n_threads)
        weight = float(len(X)) if weights is None else use.weighted_total(weights)
        return total, weight, unit, (X, weights)

    def bic(self, X, sample_weight=None):
        """Bayesian information criterion, the lower the better.

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            Rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0, whose sum takes the place of the number of rows.

        Returns
        -------
        bic : float
            -2 ln p(X) + p ln N with p free parameters.
        """
        total, weight, unit, _ = self._likelihood(X, sample_weight)
        return -2 * total * unit + self._penalty(weight, unit)

    def aic(self, X, sample_weight=None):
        """Akaike's information criterion, the lower the better.

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            Rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.

        Returns
        -------
        aic : float
            -2 ln p(X) + 2 p with p free parameters.
        """
        total, _, unit, _ = self._likelihood(X, sample_weight)
        return -2 * total * unit + 2 * self._n_parameters()

    def icl(self, X, sample_weight=None):
        """Integrated complete-data likelihood criterion, the lower the better.

        Parameters
        ----------
        X : array-like or source of shape (n_samples, n_features)
            Rows.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.

        Returns
        -------
        icl : float
            ``bic`` - 2 sum_n ln max_k r_nk: rows between components cost.  This is the form with
            hard labels, that of the paper; the other form adds twice the entropy of the
            responsibilities in its place.

        References
        ----------
        C. Biernacki, G. Celeux and G. Govaert, "Assessing a mixture model for clustering with the
        integrated completed likelihood", IEEE PAMI 22, 2000.
        """
        total, weight, unit, (X, weights) = self._likelihood(X, sample_weight)
        certain = use.best_log_responsibilities(
            X, self._model, weights, thread_limit(self.n_threads)
        )
        return -2 * (total + certain) * unit + self._penalty(weight, unit)

    def sample(self, n_samples=1):
        """Draw rows from the mixture (PRML 9.10 to 9.12), in random order.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            The rows.
        labels : ndarray of shape (n_samples,), int32
            The component that each was drawn from.

        Raises
        ------
        TypeError
            n_samples is no integer.
        ValueError
            It is less than 1.
        """
        check_is_fitted(self, "_model")
        if isinstance(n_samples, numbers.Integral) and n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one "
                "sample."
            )
        n_samples = as_count(n_samples, "n_samples")
        rng = check_random_state(self.random_state)
        X, labels = sample(self._model.parameters, n_samples, rng)
        return self._model.frame.out_of(X), labels
