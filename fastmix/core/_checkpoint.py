# SPDX-License-Identifier: BSD-3-Clause
"""What the checkpoints of K-means and of mixtures share.

``checkpoint=`` of a fit is an object with ``every`` (iterations between two), ``save(values,
arrays)`` and ``load() -> (values, arrays) or None``: JSON-able values and arrays by name, which it
keeps wherever it likes.
"""

import hashlib
import numbers

import numpy as np

__all__ = [
    "Checkpoints",
    "argument",
    "made_random_state",
    "other_data",
    "random_state_values",
    "restore_random_state",
    "table",
    "why_stopped",
]

_BIT_GENERATORS = (
    np.random.MT19937,
    np.random.PCG64,
    np.random.PCG64DXSM,
    np.random.Philox,
    np.random.SFC64,
)


def argument(value):
    """An argument of a fit as JSON has it, equal where the argument is: arrays by their digest."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, np.ndarray | list | tuple):
        value = np.ascontiguousarray(value, dtype=np.float64)
        return f"array {hashlib.sha256(repr(value.shape).encode() + value.tobytes()).hexdigest()}"
    if callable(value):
        return "a callable"
    return type(value).__name__


def _shown(value):
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}...{text[-1]}"


def table(rows, width):
    """Tuples of integers as an array (m, width) int64."""
    return np.array(rows, dtype=np.int64).reshape(-1, width)


def random_state_values(draws):
    """The state of a RandomState or Generator, or None, as JSON has it."""
    if draws is None:
        return None
    if isinstance(draws, np.random.Generator):
        return _plain(draws.bit_generator.state)
    return _plain(draws.get_state(legacy=False))


def restore_random_state(draws, values):
    """Put a RandomState or Generator where ``random_state_values`` found one."""
    if draws is None or values is None:
        return
    if isinstance(draws, np.random.Generator):
        draws.bit_generator.state = _as_arrays(values)
    else:
        draws.set_state(_as_arrays(values))


def made_random_state(values):
    """A new RandomState or Generator in a state that ``random_state_values`` gave."""
    kinds = {kind.__name__: kind for kind in _BIT_GENERATORS}
    bits = kinds[values["bit_generator"]](0)
    draws = np.random.RandomState(bits) if "gauss" in values else np.random.Generator(bits)
    restore_random_state(draws, values)
    return draws


def _plain(state):
    """A state as JSON has it."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_plain(value) for value in state]
    if isinstance(state, np.ndarray):
        return {"dtype": str(state.dtype), "values": state.tolist()}
    return state.item() if isinstance(state, np.generic) else state


def _as_arrays(values):
    if not isinstance(values, dict):
        return values
    if set(values) == {"dtype", "values"}:
        return np.array(values["values"], dtype=values["dtype"])
    return {key: _as_arrays(value) for key, value in values.items()}


def other_data(what):
    """ValueError: the checkpoint's rows or weights are not those that fit was given."""
    return ValueError(
        f"resume=True, but the checkpoint is of other data: {what} of X and sample_weight differs "
        "from what was saved; fit the same rows, or resume=False"
    )


class Checkpoints:
    """The checkpoints of one fit, before its rows are known; subclasses know the model.

    Parameters
    ----------
    file : object with every, save and load
    arguments : dict
        What must be the same in a fit that goes on, by name: values of ``argument``.
    """

    def __init__(self, file, arguments):
        self.file, self.arguments = file, arguments
        self.failed = False  # whether the last save did
        self.saved = file.load()
        if self.saved is None:
            return
        theirs = self.saved[0]["arguments"]
        differs = [name for name in arguments if theirs.get(name) != arguments[name]]
        if differs:
            what = ", ".join(
                f"{name} is {_shown(theirs.get(name))} there and {_shown(arguments[name])} here"
                for name in differs
            )
            raise ValueError(
                f"resume=True, but the checkpoint is of another fit: {what}; take other values, "
                "another file, or resume=False"
            )

    @property
    def resumed(self):
        """Iteration of the checkpoint from which the fit went on, or None."""
        return None if self.saved is None else self.saved[0]["n_iter"]

    def begin(self, frame, draws, sample):
        """The frame, random state and fingerprint (arrays by name) of this fit's rows.

        ValueError where they are not the checkpoint's, to whose random state draws is put else.
        """
        self.draws = draws
        self.values = {"scale": frame.scale}
        self.arrays = {"pivot": frame.pivot, "largest": frame.largest, **sample}
        if self.saved is None:
            return
        values, arrays = self.saved
        same = {"the range": values["scale"] == frame.scale}
        for name, what in (("pivot", "the mean"), ("largest", "the range"), *self.fingerprints):
            same[what] = same.get(what, True) and _same_bits(arrays[name], self.arrays[name])
        for what, holds in same.items():
            if not holds:
                raise other_data(what)
        restore_random_state(draws, values["random_state"])

    # Names of the arrays in sample, and what they are in words.
    fingerprints: tuple[tuple[str, str], ...] = ()

    def due(self, n_iter, stopped, max_iter):
        """Whether there is a checkpoint after this iteration: every so many, and the last one."""
        return n_iter % self.file.every == 0 or stopped != "max_iter" or n_iter >= max_iter

    def write(self, values, arrays):
        """Hand a state to the file."""
        self.failed = True
        values = _plain({"arguments": self.arguments, **self.values, **values})
        values["random_state"] = random_state_values(self.draws)
        try:
            self.file.save(values, {**self.arrays, **arrays})
        except KeyboardInterrupt:
            self.failed = False
            raise
        self.failed = False


def why_stopped(error, saving):
    """What ``stopped`` of a report says of a fit with these checkpoints, or None, that an error
    ended; None where no state of it is worth keeping."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupt"
    return "checkpoint failed" if saving is not None and saving.failed else None


def _same_bits(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()
