# SPDX-License-Identifier: BSD-3-Clause
"""The frame of some rows and the grids of their exact sums, as the kernels read them."""

from fastmix.core._kernels cimport fm_grid


cdef inline fm_grid grid_of(double[::1] offset, double scale, double[:, ::1] grids):
    """Of a frame x * scale - offset, with grids (2, stride); points into both arrays."""
    cdef fm_grid grid
    grid.d, grid.stride, grid.scale = offset.shape[0], grids.shape[1], scale
    grid.offset = &offset[0]
    grid.coarse, grid.fine = &grids[0, 0], &grids[1, 0]
    return grid
