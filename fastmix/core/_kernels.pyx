# SPDX-License-Identifier: BSD-3-Clause
"""The kernel tables: which exist, and the one that this process uses, chosen at import.

The only extension that links ``src/``; the drivers reach the kernels through it.
"""

import os

import numpy as np

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport fabs
from libc.stdint cimport int32_t

__all__ = [
    "GROUP_WIDTH",
    "aligned_empty",
    "at_least",
    "column_variance",
    "distinct_labels",
    "element_type",
    "exact_column_grid",
    "exact_sum_grid",
    "has_shortlists",
    "intel",
    "isa",
    "residual_bound",
    "sum_stride",
    "supported_isas",
    "update_centers",
]

# Centres in the lanes of the kernels that meet a group of them.
GROUP_WIDTH = FM_GROUP_WIDTH

_TYPES = {
    np.dtype(np.float64): FM_F64, np.dtype(np.float32): FM_F32, np.dtype(np.float16): FM_F16,
    np.dtype(np.int8): FM_I8, np.dtype(np.uint8): FM_U8, np.dtype(np.bool_): FM_U8,
    np.dtype(np.int16): FM_I16, np.dtype(np.uint16): FM_U16, np.dtype(np.int32): FM_I32,
    np.dtype(np.uint32): FM_U32, np.dtype(np.int64): FM_I64, np.dtype(np.uint64): FM_U64,
}
_TYPES.setdefault(np.dtype(np.longdouble), FM_LONG_DOUBLE)


def element_type(dtype):
    """The kernels' code for a NumPy dtype in native byte order, or None."""
    dtype = np.dtype(dtype)
    code = _TYPES.get(dtype)
    return _TYPES.get(dtype.newbyteorder("=")) if code is None else code


cdef const fm_isa *_chosen = NULL


def supported_isas():
    """Names of the kernel tables that this processor runs, best last."""
    cdef int count
    cdef const fm_isa *const *tables = fm_isas(&count)
    return [tables[i].name.decode() for i in range(count) if fm_isa_supported(tables[i])]


def isa():
    """Name of the kernel table in use."""
    return _chosen.name.decode()


cdef const fm_isa *find_isa(name) except NULL:
    """The kernel table of that name; None: the one in use."""
    cdef int count
    cdef const fm_isa *const *tables = fm_isas(&count)
    if name is None:
        return _chosen
    for i in range(count):
        if tables[i].name.decode() == name and fm_isa_supported(tables[i]):
            return tables[i]
    names = ", ".join(supported_isas())
    raise ValueError(f"{name!r} is no kernel table that this processor runs: it runs {names}")


def has_shortlists():
    """Whether products of bytes are fast in the table in use."""
    return fm_shortlists(find_isa(None)) == 2


def intel():
    """Whether this processor is Intel's: for what pays, never for what is computed."""
    return fm_intel() != 0


cdef int shortlists_of(const fm_isa *isa) noexcept:
    """Whether this processor runs the table's shortlists (1), and fast (2)."""
    return fm_shortlists(isa)


cdef int _choose() except -1:
    global _chosen
    try:
        _chosen = find_isa(os.environ.get("FASTMIX_ISA") or supported_isas()[-1])
    except ValueError as error:
        raise ImportError(f"FASTMIX_ISA={error}") from None
    return 0


_choose()


def aligned_empty(shape, dtype):
    """np.empty on a cache line's boundary, so that no vector of the kernels splits a line."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize
    for n in shape if isinstance(shape, tuple) else (shape,):
        size *= n
    buffer = np.empty(size + 64, dtype=np.uint8)
    start = -<Py_ssize_t>address(buffer) & 63
    return buffer[start : start + size].view(dtype).reshape(shape)


def at_least(memory, Py_ssize_t size):
    """The memory, from here or None, if it has so many bytes; else new memory, aligned."""
    return memory if memory is not None and memory.size >= size else aligned_empty(size, np.uint8)


def sum_stride(Py_ssize_t d):
    """Columns of the statistics of one cluster: d sums, weight, squares, padding."""
    return FM_SUM_STRIDE(d)


def exact_sum_grid(double[::1] largest, double largest_weight, Py_ssize_t n):
    """Coarse and fine grids, each (stride,), for n rows within ``largest`` (d,)."""
    cdef Py_ssize_t d = largest.shape[0]
    grids = np.empty((2, FM_SUM_STRIDE(d)))
    cdef double *coarse = <double *>address(grids)
    fm_grid_units(&largest[0], largest_weight, n, d, coarse, coarse + FM_SUM_STRIDE(d))
    return grids


def exact_column_grid(double largest, Py_ssize_t n):
    """Coarse and fine grid for n addends of at most ``largest``."""
    cdef double coarse, fine
    fm_grid_column(largest, n, &coarse, &fine)
    return coarse, fine


def residual_bound(const double[::1] largest, const double[:, ::1] centers):
    """A bound of the squared distance of any row within ``largest`` (d,) to any centre."""
    cdef double reach, square = 0
    for t in range(largest.shape[0]):
        reach = 0
        for j in range(centers.shape[0]):
            reach = max(reach, fabs(centers[j, t]))
        reach += largest[t]
        square += reach * reach
    return square * 1.001  # for the rounding of both


def column_variance(const double[:, :, ::1] sums, Py_ssize_t d):
    """Mean of the columns' (weighted) variances, at least 0, from exact sums (k, 2, stride)."""
    cdef double weight = _column_total(sums, d), variance = _column_total(sums, d + 1) / weight
    cdef double mean
    for t in range(d):
        mean = _column_total(sums, t) / weight
        variance -= mean * mean
    return max(0.0, variance) / d


cdef double _column_total(const double[:, :, ::1] sums, Py_ssize_t t) noexcept:
    cdef double total = 0
    for j in range(sums.shape[0]):
        total += sums[j, 0, t]
        total += sums[j, 1, t]
    return total


def distinct_labels(const int32_t[::1] labels, Py_ssize_t k):
    """How many of the k labels occur."""
    seen = np.zeros(k, dtype=np.uint8)
    cdef unsigned char *found = <unsigned char *>address(seen)
    cdef Py_ssize_t i, n = 0
    for i in range(labels.shape[0]):
        n += not found[labels[i]]
        found[labels[i]] = True
        if n == k:
            break
        if i % 2**24 == 0:
            PyErr_CheckSignals()
    return n


def update_centers(double[:, :, ::1] sums, const double[:, ::1] old):
    """M-step (PRML 9.4) from exact sums (k, 2, stride).

    Returns centers (k, d), weights (k,), the objective with the old centres, the objective
    with the new ones, the sum of the squared shifts, and the least weight.
    """
    cdef Py_ssize_t k = old.shape[0], d = old.shape[1], j
    centers, weights = np.empty((k, d)), np.empty(k)
    cdef double *weight = <double *>address(weights)
    cdef double *to = <double *>address(centers)
    cdef double[3] report
    with nogil:
        _chosen.exact.update_centers(&sums[0, 0, 0], k, d, sums.shape[2], &old[0, 0], to, weight,
                                     report)
    cdef double least = weight[0]
    for j in range(1, k):
        least = min(least, weight[j])
    return centers, weights, report[0], report[1], report[2], least
