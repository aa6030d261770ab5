# SPDX-License-Identifier: BSD-3-Clause
"""The kernels, as fractions of what this machine can do, both measured in one process."""

from benchmarks import data, rates
from benchmarks.measure import DTYPES


class Assign:
    """The assign kernel on tiles in cache, beside chains of independent FMAs in registers."""

    params = (DTYPES, tuple(f"{d}x{k}" for d, k in rates.ASSIGN_SHAPES))
    param_names = ("dtype", "n_features x n_clusters")
    timeout = 120

    def track_fraction_of_fma_peak(self, dtype, shape):
        rate, peak = rates.assign_rates(dtype, *map(int, shape.split("x")))
        return rate / peak

    track_fraction_of_fma_peak.unit = "fraction"

    def track_fma_rate(self, dtype, shape):
        return rates.assign_rates(dtype, *map(int, shape.split("x")))[0]

    track_fma_rate.unit = "FLOP/s"


class Mahalanobis:
    """The mixture's E-step kernel for full covariances, beside the same peak."""

    params = (DTYPES, tuple(f"{d}x{k}" for d, k in rates.MAHALANOBIS_SHAPES))
    param_names = ("dtype", "n_features x n_components")
    timeout = 120

    def track_fraction_of_fma_peak(self, dtype, shape):
        rate, peak = rates.mahalanobis_rates(dtype, *map(int, shape.split("x")))
        return rate / peak

    track_fraction_of_fma_peak.unit = "fraction"

    def track_fma_rate(self, dtype, shape):
        return rates.mahalanobis_rates(dtype, *map(int, shape.split("x")))[0]

    track_fma_rate.unit = "FLOP/s"


class Moments:
    """The mixture's M-step kernel for full covariances, in float64, beside the same peak."""

    params = tuple(f"{d}x{k}" for d, k in rates.MOMENTS_SHAPES)
    param_names = ("n_features x n_components",)
    timeout = 120

    def track_fraction_of_fma_peak(self, shape):
        rate, peak = rates.moments_rates(*map(int, shape.split("x")))
        return rate / peak

    track_fraction_of_fma_peak.unit = "fraction"


class Bandwidth:
    """The passes that memory bounds, beside a plain read of a large array."""

    params = (DTYPES, rates.BANDWIDTH_WORKS)
    param_names = ("dtype", "work")
    timeout = 300

    def setup(self, dtype, work):
        self.X = data.named(work).make(dtype)

    def track_scan_fraction_of_read(self, dtype, work):
        scan, _, read = rates.bandwidths(self.X)
        return scan / read

    track_scan_fraction_of_read.unit = "fraction"

    def track_pack_fraction_of_read(self, dtype, work):
        _, pack, read = rates.bandwidths(self.X)
        return pack / read

    track_pack_fraction_of_read.unit = "fraction"
