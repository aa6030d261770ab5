# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints of a mixture: the parameters of a start and its factors, from which EM goes on."""

import numpy as np

from fastmix.core._checkpoint import Checkpoints, argument, table
from fastmix.core._em import Start
from fastmix.core._parameters import Parameters, factors_of

__all__ = ["MixtureCheckpoints", "open_checkpoints", "origin_of"]

# What was done to a component, by its number in the array of repairs.
REPAIRS = ("held", "re-seeded")


def origin_of(warm):
    """What a fit begins from, (model, lower bound) or None, as the argument of a checkpoint."""
    if warm is None:
        return None
    (_, *parameters), frame = warm[0].parameters, warm[0].frame
    parts = *parameters, frame.pivot, [frame.scale, warm[1]]
    return argument(np.concatenate([np.ravel(part) for part in parts]))


def open_checkpoints(file, X, k, given, factor, weights, **arguments):
    """The checkpoints of a fit with these arguments, or None without a file."""
    if file is None:
        return None
    arguments |= {
        "n_samples": X.shape[0],
        "n_features": X.shape[1],
        "dtype": str(X.dtype.newbyteorder("=")),
        "n_components": k,
        "sample_weight": "none" if weights is None else f"times {factor!r}",
        **{f"{name}_init": value for name, value in given.items()},
    }
    return MixtureCheckpoints(file, {name: argument(value) for name, value in arguments.items()})


class MixtureCheckpoints(Checkpoints):
    """The checkpoints of one fit of a mixture."""

    fingerprints = (("variances", "the variance"),)

    def open(self, frame, variances, draws):
        """Take the scan of this fit; ValueError where it is not the checkpoint's."""
        self.begin(frame, draws, {"variances": variances})

    def resume(self, found, starter):
        """(start's index, start, starts in all) to go on with, or None; found gets what ended."""
        if self.saved is None:
            return None
        values, arrays = self.saved
        kind = values["arguments"]["covariance_type"]
        starter.reason = values["reason"]
        found.ends = list(values["ends"])
        found.failure = None if values["failure"] is None else ValueError(values["failure"])
        if values["best"] is not None:
            found.best = _start_of(kind, values["best"], arrays, "best_")
        start = _start_of(kind, values, arrays, "")
        # What a callback ended, and what max_iter did, goes on.
        start.stopped = "tol" if start.stopped == "tol" else "max_iter"
        return values["start"], start, values["n_starts"]

    def saver(self, index, n_starts, found, reason, max_iter):
        """The function save(start) of a start; reason() is the report's."""

        def save(start):
            if not self.due(start.n_iter, start.stopped, max_iter):
                return
            values = {
                "start": index,
                "n_starts": n_starts,
                "ends": found.ends,
                "failure": None if found.failure is None else str(found.failure),
                "reason": reason(),
                "best": None,
                **_values_of(start),
            }
            arrays = _arrays_of(start, "")
            if found.best is not None:
                values["best"] = _values_of(found.best)
                arrays |= _arrays_of(found.best, "best_")
            self.write(values, arrays)

        return save


def _values_of(start):
    return {
        "n_iter": start.n_iter,
        "stopped": start.stopped,
        "lower_bound": start.lower_bound,
        "n_repairs": len(start.repairs),
    }


def _arrays_of(start, prefix):
    repairs = [(at, component, REPAIRS.index(what)) for at, component, what in start.repairs]
    arrays = {
        "weights": start.raw.weights,
        "means": start.raw.means,
        "raw_covariances": start.raw.covariances,
        "covariances": start.parameters.covariances,
        "whitening": start.factors.P,
        "log_det": start.factors.log_det,
        "bounds": np.array(start.lower_bounds, dtype=np.float64),
        "held": start.held.astype(np.uint8),
        "reseeded": start.reseeded.astype(np.uint8),
        "dead": start.dead.astype(np.uint8),
        "repairs": table(repairs, 3),
    }
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def _start_of(kind, values, arrays, prefix):
    found = {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    raw = Parameters(kind, found["weights"], found["means"], found["raw_covariances"])
    parameters = raw._replace(covariances=found["covariances"])
    factors = factors_of(parameters, found["whitening"], found["log_det"])
    masks = [found[name] != 0 for name in ("held", "reseeded", "dead")]
    start = Start(raw, parameters, factors, *masks)
    start.n_iter = start.resumed = values["n_iter"]
    start.stopped, start.lower_bound = values["stopped"], values["lower_bound"]
    start.lower_bounds = found["bounds"].tolist()
    start.bounds_reason = "no iterations since the checkpoint"
    start.repairs = [
        (at, component, REPAIRS[what]) for at, component, what in found["repairs"].tolist()
    ]
    return start
