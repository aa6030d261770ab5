# SPDX-License-Identifier: BSD-3-Clause
"""Learning rates of sequential estimates (Robbins and Monro 1951; PRML 2.3.5 and 9.1): how far an
estimate moves towards what new rows say."""

import numbers

import numpy as np

from fastmix.core._mixture import exp, log

__all__ = [
    "HalfLife",
    "PowerLaw",
    "as_rate",
    "is_constant",
    "made_rate",
    "mean_rate",
    "rate_values",
    "steps_of",
]

# Logarithms from here on: ours takes normal numbers.
LEAST = 2.0**-1000


def mean_rate(seen, weight):
    """w / (n + w): the estimate is the mean of all rows, each by its weight."""
    total = seen + weight
    return np.divide(weight, total, out=np.zeros(np.shape(total)), where=total > 0)


class PowerLaw:
    """Rate (w / (n + w))^exponent: t^-exponent in the t-th of equal updates.

    Parameters
    ----------
    exponent : float, default=0.6
        In (0.5, 1], for which sequential estimates converge (Robbins and Monro 1951); 1 is the
        mean of the rows.

    Raises
    ------
    ValueError, TypeError
        For an exponent that is no such number.
    """

    def __init__(self, exponent=0.6):
        if isinstance(exponent, bool) or not isinstance(exponent, numbers.Real):
            raise TypeError(f"exponent must be a number in (0.5, 1], got {exponent!r}")
        if not 0.5 < exponent <= 1:
            raise ValueError(f"exponent must be a number in (0.5, 1], got {exponent!r}")
        self.exponent = float(exponent)

    def __call__(self, seen, weight):
        rate = mean_rate(seen, weight)
        if self.exponent == 1:
            return rate
        power = exp(log(np.maximum(rate, LEAST)) * self.exponent)
        return np.where(rate > 0, np.minimum(power, 1.0), 0.0)

    def __repr__(self):
        return f"PowerLaw({self.exponent})"


class HalfLife:
    """Rate 1 - 2^(-w / rows): what a row counted for halves with every so many later rows.

    Parameters
    ----------
    rows : float
        A positive number, in units of weight.

    Raises
    ------
    ValueError, TypeError
        For what is no such number.
    """

    def __init__(self, rows):
        if isinstance(rows, bool) or not isinstance(rows, numbers.Real):
            raise TypeError(f"rows must be a positive number, got {rows!r}")
        if not 0 < rows < np.inf:
            raise ValueError(f"rows must be a positive number, got {rows!r}")
        self.rows = float(rows)

    def __call__(self, seen, weight):
        return _decay(np.asarray(weight) * (0.6931471805599453 / self.rows))

    def __repr__(self):
        return f"HalfLife({self.rows})"


def _decay(x):
    """1 - e^-x for x >= 0, in bits of our own: a Taylor series where the difference cancels, whose
    18 terms leave less than 2^-53 of it for x < 1."""
    small = np.minimum(x, 1.0)
    series = np.ones(np.shape(x))
    for n in range(18, 1, -1):
        series = 1.0 - small * series / n
    return np.where(np.asarray(x) < 1, small * series, 1.0 - exp(-np.minimum(x, 700.0)))


class _Constant:
    def __init__(self, step):
        self.step = step

    def __call__(self, seen, weight):
        return np.where(np.asarray(weight) > 0, self.step, 0.0)


def is_constant(rate):
    """Whether a rate is the same step for every update."""
    return isinstance(rate, _Constant)


def as_rate(learning_rate):
    """A learning rate as a function (seen, weight) -> steps in [0, 1].

    seen is the weight of the rows before, weight that of the new ones, both arrays of one shape;
    "mean" is w / (n + w), a number in (0, 1] the same step for every update, a callable itself.
    """
    if isinstance(learning_rate, str):
        if learning_rate == "mean":
            return mean_rate
    elif callable(learning_rate):
        return learning_rate
    elif isinstance(learning_rate, numbers.Real) and not isinstance(learning_rate, bool):
        if 0 < learning_rate <= 1:
            return _Constant(float(learning_rate))
    else:
        raise TypeError(
            f"learning_rate must be 'mean', a number in (0, 1] or a callable, got {learning_rate!r}"
        )
    raise ValueError(
        f"learning_rate must be 'mean', a number in (0, 1] or a callable, got {learning_rate!r}"
    )


class _Lost:
    """The learning rate of a model whose own was a function, which no file holds."""

    def __call__(self, seen, weight):
        raise ValueError(
            "learning_rate was a function when the model was saved, and no model file holds one: "
            "set_params(learning_rate=...) before partial_fit"
        )

    def __repr__(self):
        return "<a function that was not saved>"


def rate_values(learning_rate):
    """The parameter learning_rate as JSON has it."""
    if type(learning_rate) is PowerLaw:
        return {"power": learning_rate.exponent}
    if type(learning_rate) is HalfLife:
        return {"half_life": learning_rate.rows}
    if callable(learning_rate):
        return "function"
    is_number = isinstance(learning_rate, numbers.Real)
    return float(learning_rate) if is_number else learning_rate


def made_rate(values):
    """The parameter learning_rate that ``rate_values`` gave; ValueError or TypeError for what it
    cannot have given."""
    if isinstance(values, dict):
        ((kind, value),) = values.items()
        return {"power": PowerLaw, "half_life": HalfLife}[kind](value)
    if values == "function":
        return _Lost()
    if values is not None:
        as_rate(values)
    return values


def steps_of(rate, seen, weight):
    """The steps of a rate for weights of one shape, of that shape; ValueError for what is none."""
    found = rate(seen, weight)
    try:
        steps = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        steps = None
    if steps is None or steps.shape not in ((), weight.shape):
        raise ValueError(
            f"learning_rate gave {found!r:.100}; expected a number, or an array of the shape "
            f"{weight.shape} of its arguments"
        )
    bad = ~((steps >= 0) & (steps <= 1))
    if bad.any():
        raise ValueError(f"learning_rate gave a step of {steps[bad].flat[0]}; expected [0, 1]")
    return np.broadcast_to(steps, weight.shape)
