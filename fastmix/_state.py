# SPDX-License-Identifier: BSD-3-Clause
"""The state that a model file holds of each class: what may be in it, and what all classes share.

An estimator gives it as ``_get_state() -> (params, arrays)``, JSON-able values and arrays by name,
and is made from it by ``_from_state(params, arrays)``.
"""

import math

import numpy as np

from fastmix.core._checkpoint import made_random_state
from fastmix.core._frame import Frame
from fastmix.core._parameters import COVARIANCE_TYPES
from fastmix.core._rates import made_rate

__all__ = [
    "ARRAYS",
    "LATER",
    "LOWER_BOUNDS",
    "PARAMS",
    "common_state",
    "is_number",
    "is_power_of_two",
    "is_size",
    "learnt_arrays",
    "restore_columns",
    "shape_of",
    "stored_frame",
    "values_of",
]


def _is_count(value):
    return type(value) is int and value > 0


def _is_names(value):
    return value is None or (type(value) is list and all(type(name) is str for name in value))


def _is_dtype(value):
    return value in ("float32", "float64")


def is_number(value):
    return type(value) is float and not math.isnan(value)  # -Infinity: of no rows, or not known


def is_size(value):
    return type(value) is int and value >= 0


def is_power_of_two(value):
    return type(value) is float and math.frexp(value)[0] == 0.5


def _is_amount(value):
    return type(value) is float and 0 <= value < math.inf


def _is_rate(value):
    made_rate(value)  # whatever it raises is the manifest's fault
    return True


def _is_reg_covar(value):
    return value == "auto" or _is_amount(value)


def _are_places(value):
    return type(value) is list and all(map(is_size, value))


def _is_random_state(value):
    if type(value) is dict:
        made_random_state(value)
        return True
    return value is None or is_size(value)


def values_of(tests):
    """A test of an object with exactly these values, or none."""

    def test(value):
        return value is None or (
            type(value) is dict
            and set(value) == set(tests)
            and all(is_valid(value[key]) for key, is_valid in tests.items())
        )

    return test


# The parameters that every class has, with a test of each.
_COMMON = {
    "n_features": _is_count,
    "dtype": _is_dtype,
    "scale": is_power_of_two,
    "feature_names": _is_names,
}

_CENTERS = _COMMON | {
    "n_clusters": _is_count,
    "inertia": lambda value: value is None or (type(value) is float and value >= 0),
    "n_iter": is_size,
    "learning_rate": lambda value: value is not None and _is_rate(value),
    # Of a model that partial_fit, or fit by mini-batches, has moved: sums and their weights.
    "sequential": values_of({"unit": is_power_of_two, "n_steps": is_size}),
}

# Of a mixture that partial_fit has moved: see _stepwise_state.py.
_STEPWISE = {
    "calls": is_size,
    "step": _is_amount,
    "reg_covar": _is_reg_covar,
    "reseeded": _are_places,
    "dead": _are_places,
    "total": lambda value: value is None or _is_amount(value),
    "averaged": is_size,
    "average_total": _is_amount,
}

# Each class that model files can hold, by its name in fastmix: the parameters of its state.
PARAMS = {
    "KMeans": _CENTERS | {"batch_size": lambda value: value is None or _is_count(value)},
    "MiniBatchKMeans": _CENTERS
    | {
        "batch_size": _is_count,
        "reassignment_ratio": _is_amount,
        "random_state": _is_random_state,
        # Rows since small clusters were last reassigned, and rows of the first batch.
        "batches": values_of({"since": is_size, "size": _is_count}),
    },
    "GaussianMixture": _COMMON
    | {
        "n_components": _is_count,
        "covariance_type": lambda value: value in COVARIANCE_TYPES,
        "attribute_dtype": _is_dtype,
        "converged": lambda value: type(value) is bool,
        "n_iter": is_size,
        "lower_bound": is_number,
        # How many there are; None: not known.
        "n_lower_bounds": lambda value: value is None or is_size(value),
        "log_likelihood": lambda value: value is None or is_number(value),
        "seen": _is_amount,
        "reg_covar": _is_reg_covar,
        # What the covariances contain; None: not known, reg_covar.
        "fitted_reg_covar": lambda value: value is None or _is_reg_covar(value),
        "learning_rate": _is_rate,
        "averaging": lambda value: type(value) is bool,
        "held": _are_places,
        "stepwise": values_of(_STEPWISE),
    },
}

# What a version of the format brought, and what a model had that was read from an older file: the
# defaults.
_LATER_CENTERS = {"learning_rate": "mean", "sequential": None}
LATER = {
    2: {
        "KMeans": _LATER_CENTERS | {"batch_size": None},
        "MiniBatchKMeans": _LATER_CENTERS
        | {"batch_size": 1024, "reassignment_ratio": 0.01, "random_state": None, "batches": None},
        "GaussianMixture": {
            "reg_covar": 1e-6,
            "learning_rate": None,
            "averaging": False,
            "held": [],
            "stepwise": None,
        },
    },
    3: {"GaussianMixture": {"n_lower_bounds": None}},
    4: {"GaussianMixture": {"fitted_reg_covar": None}},
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


_SUMS = {
    "sums_weights": (("<f8",), ("n_clusters", 2)),
    "sums": (("<f8",), ("n_clusters", 2, "n_features")),
}


# The lower bounds of a mixture, where they are known.
LOWER_BOUNDS = "lower_bounds"


def _sized(prefix, *names):
    """Arrays of a mixture, by names of a model's, under a prefix."""
    of_model = ARRAYS["GaussianMixture"]
    return {f"{prefix}_{name}": of_model[name] for name in names}


def learnt_arrays(name, params):
    """The arrays that a model of this class has more: for ``partial_fit`` to go on from, and the
    lower bounds of a mixture."""
    if name != "GaussianMixture":
        return {} if params["sequential"] is None else _SUMS
    arrays, stepwise = {}, params["stepwise"]
    if params["n_lower_bounds"] is not None:
        arrays[LOWER_BOUNDS] = ("<f8",), ("n_lower_bounds",)
    if stepwise is None:
        return arrays
    moments = ("weights", "means", "covariances")  # of these shapes: sums, first and second moments
    arrays |= _sized("raw", *moments) | {"floor_variances": _PIVOT["pivot"]}
    if stepwise["total"] is not None:
        arrays |= _sized("moments", *moments)
    if stepwise["averaged"]:
        start = (*moments, "whitening", "log_det")
        arrays |= _sized("average", *moments) | _sized("start", *start)
    return arrays


def shape_of(axes, params):
    """The shape of an array: of what sizes it a number, or the name of a parameter."""
    axes = axes[params["covariance_type"]] if isinstance(axes, dict) else axes
    return [axis if isinstance(axis, int) else params[axis] for axis in axes]


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
