# SPDX-License-Identifier: BSD-3-Clause
"""What a checkpoint holds of each class: its values, with a test of each, and the arrays that they
size."""

from fastmix._container import Expected, check_values
from fastmix._state import is_number, is_power_of_two, is_size, values_of
from fastmix.core._checkpoint import made_random_state
from fastmix.core._parameters import COVARIANCE_TYPES, covariance_shape

__all__ = ["VALUES", "arrays_of"]

_F8, _I8, _MASK = ("<f8",), ("<i8",), ("|u1",)


def _is_draws(value):
    if value is not None:
        made_random_state(value)  # whatever it raises is the manifest's fault
    return True


def _is_stop(value):
    return value in ("strict", "tol", "max_iter", "callback")


def _are_arguments(*names):
    """A test of the arguments of a fit, of which these are sizes."""

    def test(value):
        return type(value) is dict and all(
            type(value.get(name)) is int and value[name] > 0 for name in names
        )

    return test


def _are_mixture_arguments(value):
    return (
        _are_arguments("n_samples", "n_features", "n_components")(value)
        and value.get("covariance_type") in COVARIANCE_TYPES
    )


def _is_ends(value):
    return type(value) is list and all(end is None or is_number(end) for end in value)


# The values of each class, by its name in fastmix, with a test of each.
_COMMON = {
    "random_state": _is_draws,
    "scale": is_power_of_two,
    "start": is_size,
}
_RUN = {
    "n_iter": is_size,
    "stopped": _is_stop,
    "rows_changed": is_size,
    "n_repairs": is_size,
}
_START = {
    "n_iter": is_size,
    "stopped": _is_stop,
    "lower_bound": is_number,
    "n_repairs": is_size,
}
VALUES = {
    "KMeans": _COMMON
    | _RUN
    | {
        "arguments": _are_arguments("n_samples", "n_features", "n_clusters"),
        "limit": lambda value: value is None or is_number(value),
        "best": values_of(_RUN | {"inertia": is_number}),
    },
    "GaussianMixture": _COMMON
    | _START
    | {
        "arguments": _are_mixture_arguments,
        "n_starts": lambda value: type(value) is int and value > 0,
        "ends": _is_ends,
        "failure": lambda value: value is None or type(value) is str,
        "reason": lambda value: type(value) is str,
        "best": values_of(_START),
    },
}


def _of_run(arguments, run, prefix):
    """The arrays of a run of K-means."""
    k, d = arguments["n_clusters"], arguments["n_features"]
    ended = {f"{prefix}sizes": Expected(_F8, [k])} if prefix else {}
    return ended | {
        f"{prefix}centers": Expected(_F8, [k, d]),
        f"{prefix}trace": Expected(_F8, [2 * run["n_iter"]]),
        f"{prefix}repairs": Expected(_I8, [run["n_repairs"], 3]),
    }


def _of_start(arguments, start, prefix):
    """The arrays of a start of a mixture."""
    k, d = arguments["n_components"], arguments["n_features"]
    kind = arguments["covariance_type"]
    matrices = list(covariance_shape(kind, k, d))
    shapes = {
        "weights": [k],
        "means": [k, d],
        "raw_covariances": matrices,
        "covariances": matrices,
        "whitening": matrices,
        "log_det": [k],
    }
    masks = {"held": [1 if kind == "tied" else k], "reseeded": [k], "dead": [k]}
    return {
        **{f"{prefix}{key}": Expected(_F8, shape) for key, shape in shapes.items()},
        **{f"{prefix}{key}": Expected(_MASK, shape) for key, shape in masks.items()},
        f"{prefix}bounds": Expected(_F8, [start["n_iter"]], logarithms=True),
        f"{prefix}repairs": Expected(_I8, [start["n_repairs"], 3]),
    }


# The arrays of a run or start, and what tells one set of rows from another.
_ARRAYS = {"KMeans": (_of_run, "moment"), "GaussianMixture": (_of_start, "variances")}


def arrays_of(name, values):
    """The arrays of a checkpoint of this class; refuses what no such checkpoint can have."""
    check_values(name, values, VALUES)
    arguments, (of_class, fingerprint) = values["arguments"], _ARRAYS[name]
    d = arguments["n_features"]
    expected = {
        "pivot": Expected(_F8, [d]),
        "largest": Expected(_F8, [d]),
        fingerprint: Expected(_F8, [1 if name == "KMeans" else d]),
        **of_class(arguments, values, ""),
    }
    if values["best"] is not None:
        expected |= of_class(arguments, values["best"], "best_")
    return expected
