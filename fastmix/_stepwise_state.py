# SPDX-License-Identifier: BSD-3-Clause
"""What a model file holds of stepwise EM: the statistics, their mean, and the parameters of the
last M-step where the model is of that mean."""

import numpy as np

from fastmix.core._em import Start
from fastmix.core._floor import Floor
from fastmix.core._moments import Moments
from fastmix.core._parameters import Parameters, factors_of
from fastmix.core._stepwise import State

__all__ = ["restored", "stored", "stored_reg_covar"]


def stored_reg_covar(reg_covar):
    """As a file holds it."""
    return reg_covar if isinstance(reg_covar, str) else float(reg_covar)


def stored(state):
    """A state as (values, arrays): JSON-able, and by name."""
    start, floor, average = state.start, state.floor, state.average
    values = {
        "calls": state.calls,
        "step": state.step,
        "reg_covar": stored_reg_covar(floor.reg_covar),
        "reseeded": np.flatnonzero(start.reseeded).tolist(),
        "dead": np.flatnonzero(start.dead).tolist(),
        "total": None if state.moments is None else float(state.moments.total),
        "averaged": state.averaged,
        "average_total": 0.0 if average is None else float(average.total),
    }
    arrays = _parameters(start.raw, "raw") | {"floor_variances": floor.variances}
    if state.moments is not None:
        arrays |= _moments(state.moments, "moments")
    if average is not None:
        arrays |= _moments(average, "average") | _parameters(start.parameters, "start")
        arrays |= {"start_whitening": start.factors.P, "start_log_det": start.factors.log_det}
    return values, arrays


def restored(params, arrays, model):
    """The state of a model from its params and arrays."""
    values, (parameters, factors, frame) = params["stepwise"], model
    kind, k = parameters.covariance_type, len(parameters.means)
    if values["averaged"]:
        parameters = _made_parameters(kind, arrays, "start")
        factors = factors_of(parameters, arrays["start_whitening"], arrays["start_log_det"])
    start = Start(
        _made_parameters(kind, arrays, "raw"), parameters, factors,
        _mask(params["held"], 1 if kind == "tied" else k),
        _mask(values["reseeded"], k), _mask(values["dead"], k), n_iter=values["calls"],
    )  # fmt: skip
    floor = Floor(values["reg_covar"], arrays["floor_variances"], frame)
    moments = average = None
    if values["total"] is not None:
        moments = _made_moments(kind, arrays, "moments", frame, values["total"])
    if values["averaged"]:
        average = _made_moments(kind, arrays, "average", frame, values["average_total"])
    return State(
        start, floor, model, moments, average, values["averaged"], params["seen"],
        values["calls"], values["step"],
    )  # fmt: skip


def _parameters(parameters, prefix):
    return {
        f"{prefix}_weights": parameters.weights,
        f"{prefix}_means": parameters.means,
        f"{prefix}_covariances": parameters.covariances,
    }


def _made_parameters(kind, arrays, prefix):
    names = ("weights", "means", "covariances")
    return Parameters(kind, *(arrays[f"{prefix}_{name}"] for name in names))


# Moments go by the names of the parameters that they are summed for, whose shapes they have.
def _moments(moments, prefix):
    return {
        f"{prefix}_weights": moments.weight,
        f"{prefix}_means": moments.first,
        f"{prefix}_covariances": moments.second,
    }


def _made_moments(kind, arrays, prefix, frame, total):
    first = arrays[f"{prefix}_means"]
    moments = Moments(kind, *first.shape, frame)
    moments.weight, moments.first = arrays[f"{prefix}_weights"], first
    moments.second, moments.total = arrays[f"{prefix}_covariances"], total
    return moments


def _mask(places, size):
    mask = np.zeros(size, dtype=bool)
    mask[places] = True
    return mask
