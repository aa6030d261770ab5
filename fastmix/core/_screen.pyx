# SPDX-License-Identifier: BSD-3-Clause
"""Centres in 16 bits, which tell the few that may be nearest to a sparse row."""

import numpy as np

cimport cython
from cython.parallel cimport prange
from libc.stdint cimport int16_t

from fastmix.core._kernels cimport FM_SCREEN_WIDTH, address, fm_exact_kernels
from fastmix.core._threads cimport enter, leave
from fastmix.core._tiles cimport round_up

from fastmix.core._kernels import aligned_empty

__all__ = ["Screen"]

# Columns of one piece of work.
cdef Py_ssize_t PIECE = 512


@cython.final
cdef class Screen:
    """fm_screen and its memory."""

    cdef void make(self, const fm_exact_kernels *kernels, double[:, ::1] centers,
                   const double[::1] bias, double unit, int n_threads):
        """Of centres (k, d) with biases -|c|^2 / 2; unit, a power of two or 0, is chosen if 0.

        Error bounds are in sparse_screen.inc.h.
        """
        cdef Py_ssize_t k = centers.shape[0], d = centers.shape[1], piece, last
        cdef Py_ssize_t padded = round_up(k, FM_SCREEN_WIDTH)
        each = np.asarray(centers)
        each = np.maximum(each.max(axis=1), -each.min(axis=1))
        if unit == 0:
            # Centres below 1.  Beyond 2^400 float64 may lose more to underflow than slack covers.
            unit = np.ldexp(1.0, max(-1000, min(400, -int(np.frexp(each.max())[1]))))
        steps, biases, slack = (aligned_empty(padded, np.float32) for _ in range(3))
        steps[k:], biases[k:], slack[k:] = 0, -np.inf, 0
        # Rounded up, and no smaller than leaves room for products with a relative error.
        exact = np.maximum(each * unit / 32767, 2.0**-100)
        steps[:k] = np.nextafter(exact.astype(np.float32), np.float32(np.inf))
        biases[:k] = np.asarray(bias)[:k] * unit * unit
        # 8 roundings and what underflow can cost, here and in float64.
        slack[:k] = np.abs(biases[:k]) * (2.0**-21 * (1 + 1e-6)) + 2.0**-120
        inverse = unit / steps[:k].astype(np.float64)
        cdef double[::1] by = inverse
        q = aligned_empty((d, padded), np.int16)
        self.memory = steps, biases, slack, q
        self.s.step, self.s.bias = <float *>address(steps), <float *>address(biases)
        self.s.slack, self.s.q = <float *>address(slack), <int16_t *>address(q)
        self.s.padded, self.s.unit = padded, unit
        enter()
        for piece in prange((d + PIECE - 1) // PIECE, nogil=True, num_threads=n_threads,
                            schedule="dynamic"):
            last = min(d, (piece + 1) * PIECE)
            kernels.screen_centers(&centers[0, 0], k, d, &by[0], piece * PIECE, last, padded,
                                   <int16_t *>self.s.q)
        leave()
