# SPDX-License-Identifier: BSD-3-Clause
"""The machine's limits and the assign kernel's rate, measured in one process for the benchmarks."""

import time

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int32_t

from fastmix.core._kernels cimport address, find_isa, fm_isa, fm_memory, fm_tile_kernels

from fastmix.core._dense import DenseRows
from fastmix.core._kernels import aligned_empty

__all__ = ["assign_rate", "fma_peak", "read_bandwidth"]


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
    cdef Py_ssize_t width = kernels.panel_width, padded = (k + width - 1) // width * width
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
