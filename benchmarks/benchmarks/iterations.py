# SPDX-License-Identifier: BSD-3-Clause
"""What the asv benchmarks of Lloyd's and of EM's iterations share.

The classes are private, since asv would run public ones as benchmarks of their own.
"""

import statistics

from benchmarks import data, measure
from benchmarks.measure import DTYPES


class _Iterations:
    """Iterations of one library; a subclass has task_class, more (iterations timed) and params."""

    param_names = ("work", "dtype", "library")
    timeout = 1800

    def setup(self, work, dtype, library):
        self.task = self.task_class(data.named(work), dtype)
        if library == "fastmix":
            measure.check_threads()
        self.task.warm_up(library)

    def _fit(self, library):
        return self.task.fit(library, 1 + self.more)[1]

    def track_seconds_per_iteration(self, work, dtype, library):
        timings = measure.timings(self.task, self.more, libraries=(library,))
        return statistics.median(timings[library].per_iteration)

    track_seconds_per_iteration.unit = "s"

    def time_fit(self, work, dtype, library):
        self._fit(library)

    # One fit is long against the clock, and a run of the table is long enough.
    time_fit.number = 1
    time_fit.repeat = (3, 5, 20.0)
    time_fit.warmup_time = 0.1

    def peakmem_fit(self, work, dtype, library):
        """Peak of the whole process, X included."""
        self._fit(library)


class _IterationRatio:
    """peer / fastmix, seconds per iteration, measured in one run; as _Iterations."""

    param_names = ("work", "dtype", "peer")
    timeout = 1800

    def track_ratio_per_iteration(self, work, dtype, peer):
        task = self.task_class(data.named(work), dtype)
        timings = measure.timings(task, self.more, libraries=("fastmix", peer))
        return measure.ratio(timings[peer].per_iteration, timings["fastmix"].per_iteration)[0]

    track_ratio_per_iteration.unit = "peer / fastmix"


def params(works, libraries):
    """Parameters of a subclass: the names of the works, the dtypes, the libraries or peers."""
    return tuple(works), DTYPES, tuple(libraries)
