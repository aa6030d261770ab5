# SPDX-License-Identifier: BSD-3-Clause
"""Gaussian mixtures end to end, beside the same work by scikit-learn and, where present, oneDAL.

As for K-means, the ratios time the libraries in one process.  The kernels of the mixture are in
bench_kernels.py.
"""

from benchmarks import data, iterations, memory, mixtures
from benchmarks.measure import DTYPES
from benchmarks.mixtures import LIBRARIES

# scikit-learn takes 5 to 7 s an iteration on some works.
MORE_ITERATIONS = 3


class EM(iterations._Iterations):
    """Whole EM iterations, from the same rough K-means' centres, tolerance 0."""

    task_class = mixtures.EMTask
    more = MORE_ITERATIONS
    params = iterations.params(data.MIXTURES, LIBRARIES)

    def track_log_likelihood(self, work, dtype, library):
        """Mean over the rows, recomputed in float64 from the returned parameters."""
        return self.task.objective(self._fit(library))

    track_log_likelihood.unit = "nat"


class EMRatio(iterations._IterationRatio):
    """peer / fastmix, seconds per EM iteration, measured in one run."""

    task_class = mixtures.EMTask
    more = MORE_ITERATIONS
    params = iterations.params(data.MIXTURES, LIBRARIES[1:])


class MixtureMemory:
    """Peak memory of a fit beyond X, in a child process."""

    params = (DTYPES, LIBRARIES)
    param_names = ("dtype", "library")
    timeout = 600

    def track_peak_beyond_data(self, dtype, library):
        return memory.peak_beyond_data(library, memory.MIXTURE_WORK, dtype)

    track_peak_beyond_data.unit = "byte"
