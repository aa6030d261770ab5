# SPDX-License-Identifier: BSD-3-Clause
"""The fitted half of KMeans: float64 centres in a frame, their public rounding, and the state that
a model file holds."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastmix._saving import SavedModel
from fastmix._state import common_state, restore_columns, stored_frame
from fastmix.core._fit import KMeansModel
from fastmix.core._kmeans import model_of_centers
from fastmix.core._rates import made_rate, rate_values
from fastmix.core._sequential import restored
from fastmix.core._validation import as_centers, result_dtype

__all__ = ["CentersModel"]


class CentersModel(SavedModel):
    """Mixin: ``_model`` is what predict uses, ``_centers`` what ``cluster_centers_`` shows."""

    @property
    def cluster_centers_(self):
        """Centres in the dtype of X, a copy; assigning them replaces the model's."""
        try:
            return self._centers.copy()
        except AttributeError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute 'cluster_centers_'"
            ) from None

    @cluster_centers_.setter
    def cluster_centers_(self, centers):
        known = "_model" in self.__dict__
        shape = np.shape(centers)
        if len(shape) != 2 or (known and shape[1] != self.n_features_in_):
            expected = self.n_features_in_ if known else "n_features"
            raise ValueError(
                f"cluster_centers_ must have the shape (n_clusters, {expected}), got {shape}"
            )
        values = as_centers(centers, None, shape[1], "cluster_centers_")
        dtype = result_dtype(np.asarray(centers).dtype)
        self._centers = values.astype(dtype)
        self._model = model_of_centers(values, self._model.frame.dtype if known else dtype)
        self.n_features_in_ = shape[1]
        # Nothing is known of the rows behind them.  labels_, which scikit-learn's tests read then,
        # stay those of the fit.
        for name in ("_sizes", "_learnt", "inertia_", "objective_trace_", "fit_report_"):
            self.__dict__.pop(name, None)

    @property
    def _n_features_out(self):
        return self._model.centers.shape[0]

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit, and return ``labels_``.

        Parameters
        ----------
        X : {array-like, CSR array, source} of shape (n_samples, n_features)
            Rows to cluster.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Cluster of every row.
        """
        return self.fit(X, sample_weight=sample_weight).labels_

    def fit_transform(self, X, y=None, sample_weight=None):
        """Fit, and transform the same rows.

        Parameters
        ----------
        X : {array-like, CSR array, source} of shape (n_samples, n_features)
            Rows to cluster.
        y : ignored
            Present by convention.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_clusters)
            Euclidean distances.
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def _get_state(self):
        """The fitted model as (params, arrays): JSON-able values, and arrays by name."""
        check_is_fitted(self, "cluster_centers_")
        model = self._model
        params, arrays = common_state(self, model.frame)
        params |= {
            "n_clusters": len(model.centers),
            "inertia": float(self.inertia_) if hasattr(self, "inertia_") else None,
            "n_iter": int(getattr(self, "n_iter_", 0)),
            "learning_rate": rate_values(self.learning_rate),
            "batch_size": None if self.batch_size is None else int(self.batch_size),
            "sequential": None,
        }
        arrays |= {
            "centers": model.centers,
            "cluster_centers": self._centers,
            "counts": getattr(self, "counts_", np.zeros(len(model.centers))),
        }
        learnt = self.__dict__.get("_learnt")
        if learnt is not None:
            params["sequential"] = {"unit": learnt.unit, "n_steps": int(self.n_steps_)}
            arrays |= {"sums_weights": learnt.weights, "sums": learnt.sums}
        return params, arrays

    @classmethod
    def _from_state(cls, params, arrays):
        """A fitted estimator from what ``_get_state`` gave."""
        model = cls(
            n_clusters=params["n_clusters"],
            learning_rate=made_rate(params["learning_rate"]),
            batch_size=params["batch_size"],
        )
        model._model = KMeansModel(arrays["centers"], stored_frame(params, arrays))
        model._centers = arrays["cluster_centers"]
        if params["inertia"] is not None:
            model.inertia_ = params["inertia"]
        if arrays["counts"].any():
            model._sizes = arrays["counts"]
        model.n_iter_ = params["n_iter"]
        sequential = params["sequential"]
        if sequential is not None:
            model.n_steps_ = sequential["n_steps"]
            centers, frame = model._model
            learnt = arrays["sums_weights"], arrays["sums"]
            model._learnt = restored(frame, centers, *learnt, sequential["unit"])
        restore_columns(model, params)
        return model
