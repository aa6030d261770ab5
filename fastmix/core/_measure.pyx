# SPDX-License-Identifier: BSD-3-Clause
"""The machine's limits and rates of the kernels, measured in one process for the benchmarks."""

import time

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int32_t

from fastmix.core._kernels cimport (
    FM_MOMENT_SCRATCH, FM_MOMENT_STRIDE, FM_SECOND_SIZE, address, find_isa, fm_isa, fm_memory,
    fm_mixture_kernels, fm_moment_kernels, fm_tile_kernels,
)
from fastmix.core._mixture_memory cimport FULL, usual_rows
from fastmix.core._tiles cimport round_up

from fastmix.core._dense import DenseRows
from fastmix.core._kernels import aligned_empty

__all__ = ["assign_rate", "fma_peak", "mahalanobis_rate", "moments_rate", "read_bandwidth"]


cdef const fm_tile_kernels *_tile_kernels(dtype) except NULL:
    cdef const fm_isa *isa = find_isa(None)
    return isa.f32 if np.dtype(dtype) == np.float32 else isa.f64


def fma_peak(dtype, int n_threads, double seconds=0.5):
    """FLOP/s of independent multiply-adds in registers, two FLOPs each, on all threads together:
    the best of repeated runs."""
    cdef const fm_tile_kernels *kernels = _tile_kernels(dtype)
    cdef Py_ssize_t thread, flops
    cdef double[:, ::1] out = np.zeros((n_threads, 8))
    cdef double best = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        flops = 0
        for thread in prange(n_threads, nogil=True, num_threads=n_threads, schedule="static"):
            flops += kernels.multiply_add_flops(200_000, &out[thread, 0])
        best = max(best, flops / (time.perf_counter() - start))
    return best


def read_bandwidth(int n_threads, double seconds=0.5, Py_ssize_t size=2**28):
    """Bytes/s of reading memory beyond the caches in order, on all threads together: the best of
    repeated runs."""
    cdef double[::1] data = np.ones(size // 8)
    cdef Py_ssize_t n = data.shape[0] // n_threads, thread
    cdef double best = 0, total
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        total = 0
        for thread in prange(n_threads, nogil=True, num_threads=n_threads, schedule="static"):
            total += _touch(&data[thread * n], n)
        best = max(best, n * n_threads * 8.0 / (time.perf_counter() - start))
        assert total > 0
    return best


cdef double _touch(const double *data, Py_ssize_t n) noexcept nogil:
    # One element of every cache line: the line is what is read.
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(0, n, 8):
        total += data[i]
    return total


def assign_rate(dtype, Py_ssize_t d, Py_ssize_t k, int n_threads, double seconds=0.5):
    """FLOP/s, 2 n k d a call, of the assign kernel on packed tiles that stay in the caches, as many
    rows a call as the driver gives it: the best of repeated runs on all threads together."""
    cdef const fm_tile_kernels *kernels = _tile_kernels(dtype)
    cdef Py_ssize_t rows = DenseRows(np.zeros((1, d), dtype), dtype).step(k), thread
    cdef Py_ssize_t width = kernels.panel_width, padded = round_up(k, width)
    cdef Py_ssize_t repeats = max(1, 200_000_000 // (rows * d * k))
    cdef Py_ssize_t tile_bytes = rows * d * kernels.itemsize
    cdef Py_ssize_t scratch_bytes = (kernels.assign_scratch(rows, d) + 63) // 64 * 64
    cdef int32_t[:, ::1] labels = np.empty((n_threads, rows), dtype=np.int32)
    rng = np.random.default_rng(0)
    x = aligned_empty((n_threads, rows * d), dtype)
    x[...] = rng.random(x.shape)
    cdef const double[:, ::1] centers = rng.random((k, d))
    panels, biases = aligned_empty(padded * d, dtype), aligned_empty(padded, dtype)
    memory = aligned_empty((n_threads, scratch_bytes), np.uint8)
    cdef char *tiles = <char *>address(x)
    cdef char *scratch = <char *>address(memory)
    cdef void *panel = address(panels)
    cdef void *bias = address(biases)
    cdef double best = 0
    kernels.pack_centers(&centers[0, 0], k, d, width, panel, bias)
    end = time.perf_counter() + seconds
    while best == 0 or time.perf_counter() < end:
        start = time.perf_counter()
        for thread in prange(n_threads, nogil=True, num_threads=n_threads, schedule="static"):
            _repeat(kernels, repeats, tiles + thread * tile_bytes, rows, d, panel, bias, k,
                    &labels[thread, 0], scratch + thread * scratch_bytes)
        taken = time.perf_counter() - start
        best = max(best, 2.0 * rows * d * k * repeats * n_threads / taken)
    return best


cdef void _repeat(const fm_tile_kernels *kernels, Py_ssize_t repeats, const void *tiles,
                  Py_ssize_t rows, Py_ssize_t d, const void *panel, const void *bias,
                  Py_ssize_t k, int32_t *labels, void *scratch) noexcept nogil:
    cdef Py_ssize_t _i
    cdef fm_memory nothing
    nothing.start, nothing.bytes = NULL, 0
    for _i in range(repeats):
        kernels.assign(tiles, rows, d, panel, bias, k, labels, NULL, nothing, scratch)


def mahalanobis_rate(dtype, Py_ssize_t d, Py_ssize_t k, int n_threads, double seconds=0.5):
    """FLOP/s, n k d (d + 1) a call (the triangle's multiply-adds alone), of the E-step kernel of
    full covariances on a packed block of the driver's: the best of repeated runs on all threads
    together."""
    cdef const fm_isa *isa = find_isa(None)
    cdef const fm_tile_kernels *kernels = _tile_kernels(dtype)
    cdef const fm_mixture_kernels *mixture = (
        isa.mixture_f32 if kernels.itemsize == 4 else isa.mixture_f64)
    cdef Py_ssize_t size = kernels.itemsize, rows = usual_rows(FULL, k, d, size), j, thread
    cdef Py_ssize_t panel_bytes = (d * (d + 3) // 2 * size + 63) // 64 * 64
    cdef Py_ssize_t flops = rows * k * d * (d + 1), repeats = max(1, 400_000_000 // flops)
    cdef Py_ssize_t tile_bytes = rows * d * size, out_bytes = k * rows * size
    cdef Py_ssize_t scratch_bytes = kernels.tile_rows * d * size
    rng = np.random.default_rng(0)
    x = aligned_empty((n_threads, rows * d), dtype)
    x[...] = rng.random(x.shape)
    cdef const double[:, ::1] factor = np.tril(rng.random((d, d)))
    cdef const double[:, ::1] means = rng.random((k, d))
    panels = aligned_empty(k * panel_bytes, np.uint8)
    distances = aligned_empty(n_threads * out_bytes, np.uint8)
    memory = aligned_empty(n_threads * scratch_bytes, np.uint8)
    cdef char *tiles = <char *>address(x)
    cdef char *panel = <char *>address(panels)
    cdef char *out = <char *>address(distances)
    cdef char *scratch = <char *>address(memory)
    cdef double best = 0
    for j in range(k):
        mixture.pack_factor(&factor[0, 0], &means[j, 0], d, panel + j * panel_bytes)
    end = time.perf_counter() + seconds
    while best == 0 or time.perf_counter() < end:
        start = time.perf_counter()
        for thread in prange(n_threads, nogil=True, num_threads=n_threads, schedule="static"):
            _repeat_mahalanobis(mixture, repeats, tiles + thread * tile_bytes, rows, d, panel,
                                panel_bytes, k, out + thread * out_bytes, rows * size,
                                scratch + thread * scratch_bytes)
        taken = time.perf_counter() - start
        best = max(best, <double>flops * repeats * n_threads / taken)
    return best


cdef void _repeat_mahalanobis(const fm_mixture_kernels *mixture, Py_ssize_t repeats,
                              const void *tiles, Py_ssize_t rows, Py_ssize_t d,
                              const char *panel, Py_ssize_t panel_bytes, Py_ssize_t k,
                              char *out, Py_ssize_t out_stride, void *scratch) noexcept nogil:
    cdef Py_ssize_t _i, j
    for _i in range(repeats):
        for j in range(k):
            mixture.mahalanobis(tiles, rows, d, panel + j * panel_bytes, out + j * out_stride,
                                scratch)


def moments_rate(Py_ssize_t d, Py_ssize_t k, int n_threads, double seconds=0.5):
    """FLOP/s, n k d (d + 1) a call (the triangle's multiply-adds alone), of the M-step kernel of
    full covariances with every row of a block of the driver's in every list: the best of repeated
    runs on all threads together.  Float64 whatever the dtype of X."""
    cdef const fm_moment_kernels *moments = find_isa(None).moments
    cdef Py_ssize_t rows = usual_rows(FULL, k, d, sizeof(double)), thread
    cdef Py_ssize_t stride = FM_MOMENT_STRIDE(d), first = k, second = first + k * stride
    cdef Py_ssize_t sums_size = (second + k * FM_SECOND_SIZE(d) + 7) // 8 * 8
    cdef Py_ssize_t flops = rows * k * d * (d + 1), repeats = max(1, 400_000_000 // flops)
    rng = np.random.default_rng(0)
    rows_of_y = aligned_empty((n_threads * rows, stride), np.float64)
    rows_of_y[:, :d] = rng.random((n_threads * rows, d))
    rows_of_y[:, d:] = 0
    sums_memory = aligned_empty(n_threads * sums_size, np.float64)
    sums_memory[...] = 0
    scratch_memory = aligned_empty(n_threads * FM_MOMENT_SCRATCH, np.float64)
    cdef const int32_t[::1] listed = np.arange(rows, dtype=np.int32)
    cdef const double[::1] shares = rng.random(rows)
    cdef double *y = <double *>address(rows_of_y)
    cdef double *sums = <double *>address(sums_memory)
    cdef double *scratch = <double *>address(scratch_memory)
    cdef double best = 0
    end = time.perf_counter() + seconds
    while best == 0 or time.perf_counter() < end:
        start = time.perf_counter()
        for thread in prange(n_threads, nogil=True, num_threads=n_threads, schedule="static"):
            _repeat_moments(moments, repeats, y + thread * rows * stride, d, &listed[0],
                            &shares[0], rows, k, sums + thread * sums_size, first, second,
                            scratch + thread * FM_MOMENT_SCRATCH)
        taken = time.perf_counter() - start
        best = max(best, <double>flops * repeats * n_threads / taken)
    return best


cdef void _repeat_moments(const fm_moment_kernels *moments, Py_ssize_t repeats, const double *y,
                          Py_ssize_t d, const int32_t *listed, const double *shares,
                          Py_ssize_t rows, Py_ssize_t k, double *sums, Py_ssize_t first,
                          Py_ssize_t second, double *scratch) noexcept nogil:
    cdef Py_ssize_t _i, j
    for _i in range(repeats):
        for j in range(k):
            moments.full(y, d, listed, shares, rows, sums + j,
                         sums + first + j * FM_MOMENT_STRIDE(d),
                         sums + second + j * FM_SECOND_SIZE(d), scratch)
