# SPDX-License-Identifier: BSD-3-Clause
"""C declarations of _screen.pyx."""

from fastmix.core._kernels cimport fm_exact_kernels, fm_screen


cdef class Screen:
    cdef fm_screen s
    cdef object memory
    cdef void make(self, const fm_exact_kernels *kernels, double[:, ::1] centers,
                   const double[::1] bias, double unit, int n_threads)
