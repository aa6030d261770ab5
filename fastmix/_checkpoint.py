# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints in files: the container of model files, with the state of a fit in it."""

import errno
import os
from numbers import Integral

from sklearn.utils._param_validation import Interval

from fastmix._atomic import remove_leftovers
from fastmix._checkpoint_state import VALUES, arrays_of
from fastmix._container import Format, read, write
from fastmix._stored_zip import Refusal

__all__ = ["CHECKPOINT_CONSTRAINTS", "CHECKPOINT_VERSION", "checkpoint_of"]

CHECKPOINT_VERSION = 1

_FORMAT = Format("fastmix-checkpoint", CHECKPOINT_VERSION, arrays_of)

# Of the parameters that every estimator with checkpoints has.
CHECKPOINT_CONSTRAINTS = {
    "checkpoint": [str, os.PathLike, None],
    "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
    "resume": ["boolean"],
}


def checkpoint_of(estimator):
    """What the core writes its checkpoints to, by an estimator's parameters; or None."""
    path = estimator.checkpoint
    if path is None:
        if estimator.resume:
            raise ValueError("resume=True needs checkpoint=, the file to go on from")
        return None
    name = next(base.__name__ for base in type(estimator).__mro__ if base.__name__ in VALUES)
    every = int(estimator.checkpoint_every)
    return CheckpointFile(os.fsdecode(path), every, estimator.resume, name)


class CheckpointFile:
    """Loads and saves the state of a fit of a class at a path.

    Parameters
    ----------
    path : str
    every : int
        Iterations between two.
    resume : bool
        Whether ``load`` gives what is there.
    name : str
        Class of the estimator.
    """

    def __init__(self, path, every, resume, name):
        self.path, self.every, self.resume, self.name = path, every, resume, name
        folder = os.path.dirname(os.path.realpath(path))
        if not os.path.isdir(folder):
            # Now rather than after the first start, which may take long.
            raise FileNotFoundError(errno.ENOENT, "no folder for checkpoint", path)

    def load(self):
        """(values, arrays) of the file, or None: there is none, or it is not to be read."""
        remove_leftovers(self.path)
        if not self.resume or not os.path.exists(self.path):
            return None
        name, values, arrays = read(self.path, _FORMAT, lambda *state: state)
        if name != self.name:
            raise ValueError(
                f"resume=True, but the checkpoint {self.path} is of a {name}, not of a {self.name}"
            )
        return values, arrays

    def save(self, values, arrays):
        """Put a state in the place of the one before, whole or not at all."""
        try:
            write(self.path, _FORMAT, self.name, values, arrays)
        except Refusal as error:
            raise ValueError(f"the state of the fit cannot be saved: {error}") from None
