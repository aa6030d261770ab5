# SPDX-License-Identifier: BSD-3-Clause
"""The state that a model file holds of each class: what may be in it, and what all classes share.

An estimator gives it as ``_get_state() -> (params, arrays)``, JSON-able values and arrays by name,
and is made from it by ``_from_state(params, arrays)``.
"""

import math

import numpy as np

from fastmix.core._frame import Frame
from fastmix.core._parameters import COVARIANCE_TYPES

__all__ = ["ARRAYS", "PARAMS", "axes_of", "common_state", "restore_columns", "stored_frame"]


def _is_count(value):
    return type(value) is int and value > 0


def _is_names(value):
    return value is None or (type(value) is list and all(type(name) is str for name in value))


def _is_dtype(value):
    return value in ("float32", "float64")


def _is_log_likelihood(value):
    return type(value) is float and not math.isnan(value)  # -Infinity: of no rows, or not known


# The parameters that every class has, with a test of each.
_COMMON = {
    "n_features": _is_count,
    "dtype": _is_dtype,
    "scale": lambda value: type(value) is float and math.frexp(value)[0] == 0.5,
    "feature_names": _is_names,
}

_CENTERS = _COMMON | {
    "n_clusters": _is_count,
    "inertia": lambda value: value is None or (type(value) is float and value >= 0),
    "n_iter": lambda value: type(value) is int and value >= 0,
}

# Each class that model files can hold, by its name in fastmix: the parameters of its state.
PARAMS = {
    "KMeans": _CENTERS,
    "MiniBatchKMeans": _CENTERS,
    "GaussianMixture": _COMMON
    | {
        "n_components": _is_count,
        "covariance_type": lambda value: value in COVARIANCE_TYPES,
        "attribute_dtype": _is_dtype,
        "converged": lambda value: type(value) is bool,
        "n_iter": lambda value: type(value) is int and value >= 0,
        "lower_bound": _is_log_likelihood,
        "log_likelihood": lambda value: value is None or _is_log_likelihood(value),
        "seen": lambda value: type(value) is float and 0 <= value < math.inf,
    },
}

# The arrays of each class, with the dtypes they may have and the parameters that size them: one
# list, or one for each covariance type.
_MATRICES = {
    "full": ("n_components", "n_features", "n_features"),
    "tied": ("n_features", "n_features"),
    "diag": ("n_components", "n_features"),
    "spherical": ("n_components",),
}
_PIVOT = {"pivot": (("<f8",), ("n_features",))}
_CENTER_ARRAYS = _PIVOT | {
    "centers": (("<f8",), ("n_clusters", "n_features")),
    "cluster_centers": (("<f4", "<f8"), ("n_clusters", "n_features")),
    "counts": (("<f8",), ("n_clusters",)),  # zeros: not known
}
ARRAYS = {
    "KMeans": _CENTER_ARRAYS,
    "MiniBatchKMeans": _CENTER_ARRAYS,
    "GaussianMixture": _PIVOT
    | {
        "weights": (("<f8",), ("n_components",)),
        "means": (("<f8",), ("n_components", "n_features")),
        "covariances": (("<f8",), _MATRICES),
        "whitening": (("<f8",), _MATRICES),
        "log_det": (("<f8",), ("n_components",)),
    },
}


def axes_of(axes, params):
    """Names of the parameters that size an array of ``ARRAYS``."""
    return axes[params["covariance_type"]] if isinstance(axes, dict) else axes


def common_state(estimator, frame):
    """Parameters and arrays that every class has."""
    names = getattr(estimator, "feature_names_in_", None)
    params = {
        "n_features": len(frame.pivot),
        "dtype": str(frame.dtype),
        "scale": frame.scale,
        "feature_names": None if names is None else names.tolist(),
    }
    return params, {"pivot": frame.pivot}


def stored_frame(params, arrays):
    """The frame of a state."""
    # What bounds the rows of a fit is of no use after it.
    pivot = arrays["pivot"]
    return Frame(pivot, params["scale"], np.dtype(params["dtype"]), np.zeros_like(pivot))


def restore_columns(estimator, params):
    """Give an estimator the number and the names of its columns."""
    estimator.n_features_in_ = params["n_features"]
    if params["feature_names"] is not None:
        estimator.feature_names_in_ = np.array(params["feature_names"], dtype=object)
