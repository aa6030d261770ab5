# SPDX-License-Identifier: BSD-3-Clause
"""How libraries are timed beside one another: in one process, interleaved, from the same start.

Nothing here may be named ``time_``, ``track_`` or ``peakmem_``: asv would run it as a benchmark.
"""

import statistics
import time
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from benchmarks import N_THREADS

DTYPES = ("float32", "float64")

# A pair of fits that takes less, in seconds, is repeated: one of some milliseconds says little.
LEAST_SECONDS = 0.5


def check_threads():
    """Raise RuntimeError where fastmix would not run on the threads that are promised here."""
    from fastmix.core import versions

    if versions()["n_threads"] != N_THREADS:
        raise RuntimeError(f"n_threads={versions()['n_threads']}: expected {N_THREADS}")


def timed(call, *arguments):
    """Seconds and the value of a call, without its warnings: few iterations do not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begin = time.perf_counter()
        value = call(*arguments)
        return time.perf_counter() - begin, value


class Task(ABC):
    """One work on its data, for each library from the same start with tolerance 0.

    Attributes
    ----------
    libraries : tuple of str
        fastmix, then its peers.
    work : Work
    X : array or sparse matrix (n_samples, n_features)
    """

    libraries = ("fastmix", "scikit-learn")

    def __init__(self, work, dtype, seed=0):
        self.work = work
        self.X = work.make(dtype, seed)

    @abstractmethod
    def fit(self, library, n_iter, n_rows=None):
        """Seconds and the fitted model, which has n_iter_, of the first n_rows rows (all)."""

    @abstractmethod
    def objective(self, model):
        """The objective of what a fit returned, in float64, by one function for all libraries."""

    def warm_up(self, library):
        """One fit of a small slice: imports and thread pools cost up to a second, once."""
        self.fit(library, 2, max(10_000, self.work.least_rows))


@dataclass
class Timing:
    """Seconds of one library, one entry per repeat, and its last model."""

    per_iteration: list = field(default_factory=list)
    whole: list = field(default_factory=list)
    model: object = None


def _measure_once(task, library, more, timing):
    """Add one entry to a timing."""
    per_iteration, wholes = [], []
    spent = 0.0
    # Memory that the library before gave back is taken anew: 2.5 s of scikit-learn's first fit at
    # (500,000, 32, 64), which would be subtracted from the second.
    task.fit(library, 1)
    while spent < LEAST_SECONDS:
        timing.model = None  # two models of a wide work need not fit in memory
        first, _ = task.fit(library, 1)
        whole, timing.model = task.fit(library, 1 + more)
        # A fit that converged strictly stops early, in every library at the same iteration.
        per_iteration.append((whole - first) / max(timing.model.n_iter_ - 1, 1))
        wholes.append(whole)
        spent += first + whole
    timing.per_iteration.append(statistics.median(per_iteration))
    timing.whole.append(statistics.median(wholes))


def timings(task, more, repeats=3, libraries=None):
    """{library: Timing} on the same work, the libraries interleaved within each repeat.

    The time per iteration is (a fit of 1 + more iterations - a fit of 1 iteration) / more, so that
    what a fit does once cancels: validation, copies, the scan, and the last E-step that libraries
    add unless they converged strictly.
    """
    results = {library: Timing() for library in libraries or task.libraries}
    for library in results:
        task.warm_up(library)
    for repeat in range(repeats):
        # Alternating the order shares a drift of the machine's speed between the libraries.
        for library in list(results) if repeat % 2 == 0 else list(results)[::-1]:
            _measure_once(task, library, more, results[library])
    return results


def ratio(slow, fast):
    """(ratio of the medians, lowest and highest ratio within one repeat)."""
    pairs = [a / b for a, b in zip(slow, fast, strict=True)]
    return statistics.median(slow) / statistics.median(fast), min(pairs), max(pairs)
