# SPDX-License-Identifier: BSD-3-Clause
"""What the kernels reach of what this machine can do, both measured in this process."""

import math
import time

from benchmarks import N_THREADS

# (n_features, n_clusters): the fraction of the FMA peak that the assign kernel is to reach.
ASSIGN_SHAPES = {(128, 1000): 0.90, (32, 256): 0.80, (16, 64): 0.65}

# (n_features, n_components): the same of the mixture's kernels for full covariances, in float64.
MAHALANOBIS_SHAPES = {(16, 32): 0.50, (64, 32): 0.70, (128, 16): 0.75}
MOMENTS_SHAPES = {(16, 32): None, (64, 32): 0.60, (128, 16): 0.60}

# Passes that memory bounds are measured on X far larger than any cache.
BANDWIDTH_WORKS = ("blobs_10Mx2_k8", "blobs_2Mx16_k64", "blobs_1Mx32_k256")

# Seconds that a kernel and its limit each run before the other has its turn.
BURST = 0.02


def _beside_peak(rate, dtype, seconds, repeats):
    """(rate(burst), FLOP/s of the FMA peak), the best of each in `repeats` times `seconds`.

    The two alternate in short bursts, so that a change of the clock, or a neighbour who comes and
    goes within a second, meets both.  The best, not the median: a busy neighbour only ever lowers a
    rate, and a limit that it lowered would flatter the kernel.
    """
    from fastmix.core import _measure

    bursts = math.ceil(repeats * seconds / BURST)
    rates, peaks = [], []
    for _ in range(bursts):
        peaks.append(_measure.fma_peak(dtype, N_THREADS, BURST))
        rates.append(rate(BURST))
    return max(rates), max(peaks)


def assign_rates(dtype, n_features, n_clusters, seconds=0.5, repeats=3):
    """(FLOP/s of the assign kernel on tiles in cache, FLOP/s of the FMA peak), the best of each."""
    from fastmix.core._measure import assign_rate

    return _beside_peak(
        lambda span: assign_rate(dtype, n_features, n_clusters, N_THREADS, span),
        *(dtype, seconds, repeats),
    )


def mahalanobis_rates(dtype, n_features, n_components, seconds=0.5, repeats=3):
    """The same of the E-step kernel of full covariances; exp and log are not in it."""
    from fastmix.core._measure import mahalanobis_rate

    return _beside_peak(
        lambda span: mahalanobis_rate(dtype, n_features, n_components, N_THREADS, span),
        *(dtype, seconds, repeats),
    )


def moments_rates(n_features, n_components, seconds=0.5, repeats=3):
    """The same of the M-step kernel of full covariances, which is float64 for every dtype."""
    from fastmix.core._measure import moments_rate

    return _beside_peak(
        lambda span: moments_rate(n_features, n_components, N_THREADS, span),
        *("float64", seconds, repeats),
    )


def _seconds(call, *arguments):
    begin = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begin


def bandwidths(X, seconds=0.5, repeats=3):
    """Bytes/s of X that the scan reads, that pack reads, and that a plain read reaches, the best.

    Pack is timed by the pass that finds the extremes of the columns of packed tiles, and does
    nothing else.  The scan is that pass and one that sums: X counts twice.
    """
    from fastmix.core import _measure
    from fastmix.core._frame import extremes, scan
    from fastmix.core._validation import as_rows

    extremes(as_rows(X[:10_000]), N_THREADS)
    scans, packs, reads = [], [], []
    for _ in range(repeats):
        reads.append(_measure.read_bandwidth(N_THREADS, seconds))
        packs.append(X.nbytes / _seconds(extremes, as_rows(X), N_THREADS))
        scans.append(2 * X.nbytes / _seconds(scan, as_rows(X), None, N_THREADS))
    return max(scans), max(packs), max(reads)
