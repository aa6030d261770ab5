# SPDX-License-Identifier: BSD-3-Clause
"""Estimators that a failed call leaves as they were."""

from contextlib import contextmanager

__all__ = ["rollback"]


@contextmanager
def rollback(estimator):
    """Give an estimator back the attributes it had, should the block raise; also after Ctrl-C.

    Yields ``commit()``: after it the attributes stay what they are, whatever is raised.
    """
    before, committed = estimator.__dict__.copy(), []
    try:
        yield lambda: committed.append(True)
    except BaseException:
        if not committed:
            estimator.__dict__.clear()
            estimator.__dict__.update(before)
        raise
