# SPDX-License-Identifier: BSD-3-Clause
"""K-means end to end, beside the same work by scikit-learn.

The ratios (``track_ratio...``) time both libraries in one process, interleaved; they are what the
README claims.  The seconds of the two libraries come from two processes of asv, and differ by what
the machine did in between.
"""

from benchmarks import data, fits, iterations, kmeans, measure, memory
from benchmarks.kmeans import LIBRARIES
from benchmarks.measure import DTYPES


class Lloyd(iterations._Iterations):
    """Whole Lloyd iterations, from the same K distinct random rows, tolerance 0."""

    task_class = kmeans.LloydTask
    more = 10
    params = iterations.params(data.WORKS, LIBRARIES)

    def track_inertia(self, work, dtype, library):
        """The objective, recomputed in float64 from the returned centres."""
        return self.task.objective(self._fit(library))

    track_inertia.unit = "objective"

    def track_products(self, work, dtype, library):
        """Row-centre products of the fit: each of D multiplications and additions."""
        model = self._fit(library)
        if library == "fastmix":
            return model.fit_report_["products"]
        # All of them in every E-step, and one more E-step unless the fit converged strictly, the
        # only way to stop early with tolerance 0.
        e_steps = model.n_iter_ + (model.n_iter_ == 1 + self.more)
        return self.task.X.shape[0] * self.task.work.n_clusters * e_steps

    track_products.unit = "products"


class LloydRatio(iterations._IterationRatio):
    """scikit-learn / fastmix, seconds per Lloyd iteration, measured in one run."""

    task_class = kmeans.LloydTask
    more = 10
    params = iterations.params(data.WORKS, LIBRARIES[1:])


class Fits:
    """Whole fits of fastmix to convergence, from K distinct random rows."""

    params = (list(data.WORKS), DTYPES, ("lloyd", "auto"))
    param_names = ("work", "dtype", "algorithm")
    timeout = 1800

    def setup(self, work, dtype, algorithm):
        self.work = data.named(work)
        self.X = self.work.make(dtype)
        self.start = kmeans.starting_centers(self.X, self.work.n_clusters)

    def _fit(self, algorithm):
        return fits.fit("fastmix", self.X, self.start, algorithm)

    def track_seconds(self, work, dtype, algorithm):
        return self._fit(algorithm)[0]

    track_seconds.unit = "s"

    def track_products(self, work, dtype, algorithm):
        """Row-centre products of the fit: each of D multiplications and additions."""
        return self._fit(algorithm)[1].fit_report_["products"]

    track_products.unit = "products"


class Seeding:
    """Greedy k-means++, the seeding that both libraries use by default."""

    params = (DTYPES, LIBRARIES)
    param_names = ("dtype", "library")
    timeout = 1800
    number = 1
    repeat = (3, 3, 20.0)
    warmup_time = 0

    def setup(self, dtype, library):
        self.work = data.named("blobs_1Mx32_k256")
        self.X = self.work.make(dtype)
        kmeans.timed_seeding(library, self.X[:10_000], 8, 0)

    def _seed(self, library):
        return kmeans.timed_seeding(library, self.X, self.work.n_clusters, 0)

    def time_kmeans_plusplus(self, dtype, library):
        self._seed(library)

    def track_potential(self, dtype, library):
        return kmeans.objective(self.X, self._seed(library)[1])

    track_potential.unit = "objective"


class SeedingRatio:
    """scikit-learn / fastmix, seconds of the whole seeding, measured in one run."""

    params = DTYPES
    param_names = ("dtype",)
    timeout = 1800

    def track_ratio(self, dtype):
        work = data.named("blobs_1Mx32_k256")
        runs = kmeans.seeding_runs(work.make(dtype), work.n_clusters, seeds=3)
        return measure.ratio(runs["scikit-learn"][0], runs["fastmix"][0])[0]

    track_ratio.unit = "scikit-learn / fastmix"


class Tiny:
    """Whole fits of 150 x 4, K=3: what a call costs."""

    params = (("given rows", "k-means++"), DTYPES, LIBRARIES)
    param_names = ("init", "dtype", "library")

    def setup(self, init, dtype, library):
        self.X = data.TINY.make(dtype)
        start = kmeans.starting_centers(self.X, data.TINY.n_clusters)
        self.model = kmeans.estimator(
            library,
            data.TINY.n_clusters,
            init=start if init == "given rows" else init,
            tol=0,
            random_state=0,
        )
        self.model.fit(self.X)  # the first fit of a process starts the threads

    def time_fit(self, init, dtype, library):
        self.model.fit(self.X)


class TinyRatio:
    """scikit-learn / fastmix, seconds per whole fit of 150 x 4, measured in one run."""

    params = (("given rows", "k-means++"), DTYPES)
    param_names = ("init", "dtype")

    def track_ratio(self, init, dtype):
        X = data.TINY.make(dtype)
        if init == "given rows":
            init = kmeans.starting_centers(X, data.TINY.n_clusters)
        results = kmeans.tiny_timings(X, data.TINY.n_clusters, init)
        return measure.ratio(results["scikit-learn"][0], results["fastmix"][0])[0]

    track_ratio.unit = "scikit-learn / fastmix"


class Memory:
    """Peak memory of a fit beyond X, in a child process."""

    params = (DTYPES, LIBRARIES)
    param_names = ("dtype", "library")
    timeout = 300

    def track_peak_beyond_data(self, dtype, library):
        return memory.peak_beyond_data(library, memory.KMEANS_WORK, dtype)

    track_peak_beyond_data.unit = "byte"
