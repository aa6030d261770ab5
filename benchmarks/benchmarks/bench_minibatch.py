# SPDX-License-Identifier: BSD-3-Clause
"""MiniBatchKMeans beside scikit-learn's, in one process: the same batches, and whole fits."""

from benchmarks import data, measure, minibatch
from benchmarks.measure import DTYPES

# Of many clusters from the same start, and of few to convergence.
CASES = {
    "200kx32_k1000": (200_000, 32, 1000, 1024, 200, 3),
    "200kx16_k8": (200_000, 16, 8, 1024, None, 1),
}


class MiniBatch:
    """Mini-batches of fastmix and scikit-learn, interleaved."""

    params = (list(CASES), DTYPES)
    param_names = ("work", "dtype")
    timeout = 1800

    def _results(self, work, dtype, repeats=1, libraries=("fastmix",)):
        return minibatch.results(CASES[work], dtype, data.SCALE, repeats, 0, libraries)[0]

    def track_milliseconds_per_step(self, work, dtype):
        return minibatch.step_milliseconds(self._results(work, dtype)["fastmix"])

    track_milliseconds_per_step.unit = "ms"

    def track_ratio(self, work, dtype):
        """scikit-learn / fastmix, seconds of whole fits."""
        found = self._results(work, dtype, 3, minibatch.LIBRARIES)
        return measure.ratio(found["scikit-learn"][0], found["fastmix"][0])[0]

    track_ratio.unit = "scikit-learn / fastmix"

    def track_mean_squared_distance(self, work, dtype):
        return self._results(work, dtype)["fastmix"][2]

    track_mean_squared_distance.unit = "objective"
