# SPDX-License-Identifier: BSD-3-Clause
"""The fitted half of KMeans: float64 centres in a frame, their public rounding, and the state that
a model file holds."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastmix.core._fit import KMeansModel
from fastmix.core._frame import Frame
from fastmix.core._validation import result_dtype

__all__ = ["CentersModel"]


class CentersModel:
    """Mixin: ``_model`` is what predict uses, ``_centers`` what ``cluster_centers_`` shows."""

    @property
    def cluster_centers_(self):
        """Centres in the dtype of X; assigning them replaces the model's."""
        try:
            return self._centers
        except AttributeError:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute 'cluster_centers_'"
            ) from None

    @cluster_centers_.setter
    def cluster_centers_(self, centers):
        centers = np.asarray(centers)
        if centers.dtype.kind != "f":
            centers = centers.astype(np.float64)
        self._centers = centers
        if "_model" in self.__dict__:
            frame = self._model.frame
        else:
            dtype = result_dtype(centers.dtype)
            d = centers.shape[1]
            frame = Frame(np.zeros(d), 1.0, dtype, np.zeros(d))
        self._model = KMeansModel(frame.into(centers), frame)

    @property
    def _n_features_out(self):
        return self._model.centers.shape[0]

    def _get_state(self):
        """The fitted model as (params, arrays): JSON-able values, and arrays by name."""
        check_is_fitted(self, "cluster_centers_")
        model = self._model
        names = getattr(self, "feature_names_in_", None)
        params = {
            "n_clusters": len(model.centers),
            "n_features": model.centers.shape[1],
            "dtype": str(model.frame.dtype),
            "scale": model.frame.scale,
            "inertia": float(self.inertia_),
            "n_iter": int(self.n_iter_),
            "feature_names": None if names is None else names.tolist(),
        }
        arrays = {
            "centers": model.centers,
            "pivot": model.frame.pivot,
            "cluster_centers": self._centers,
        }
        return params, arrays

    @classmethod
    def _from_state(cls, params, arrays):
        """A fitted estimator from what ``_get_state`` gave."""
        model = cls(n_clusters=params["n_clusters"])
        pivot = arrays["pivot"]
        frame = Frame(pivot, params["scale"], np.dtype(params["dtype"]), np.zeros_like(pivot))
        model._model = KMeansModel(arrays["centers"], frame)
        model._centers = arrays["cluster_centers"]
        model.inertia_ = params["inertia"]
        model.n_iter_ = params["n_iter"]
        model.n_features_in_ = params["n_features"]
        if params["feature_names"] is not None:
            model.feature_names_in_ = np.array(params["feature_names"], dtype=object)
        return model
