# SPDX-License-Identifier: BSD-3-Clause
"""Estimators that a failed call leaves as they were."""

import numpy as np

__all__ = ["Rollback"]


class Rollback:
    """Give an estimator back the attributes it had, should a ``with`` block raise; also after
    Ctrl-C."""

    def __init__(self, estimator):
        self.estimator, self.before = estimator, estimator.__dict__.copy()
        self.committed, self.states = False, []

    def commit(self):
        """From now on all stays what it is, whatever is raised."""
        self.committed = True

    def draws(self, random_state):
        """The block is going to draw from this: a RandomState is to be put back, too.

        Not when the block begins: it takes 70 us to tell where it is.
        """
        if isinstance(random_state, np.random.RandomState):
            self.states.append((random_state, random_state.get_state(legacy=False)))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None or self.committed:
            return
        for random_state, state in reversed(self.states):
            random_state.set_state(state)
        self.estimator.__dict__.clear()
        self.estimator.__dict__.update(self.before)
