# SPDX-License-Identifier: BSD-3-Clause
"""The axes along which rows vary most, from a sample, and what they would rule out.

All of it steers work and reaches no result: _prefix.pyx proves what any axes can prove.
"""

import numpy as np

from fastmix.core._groups import group_centers
from fastmix.core._prefix import Prefix

__all__ = ["COUNTS", "Leading"]

# Numbers of axes that are tried.
COUNTS = [8, 12, 16, 24, 32, 48, 64, 96, 128]

# Rows of the sample: so many that the leading axes hold nearly what those of all rows do (128 axes
# of definitions, d=384: 97 % of it with 8 d rows, 94 % with 4 d), at most so many elements, which
# take so many bytes meanwhile, and so few that to find the axes takes no longer than an E-step.
ROWS_PER_COLUMN = 8
SAMPLE_ELEMENTS = 2**22
SAMPLE_BYTES = 24

# Passes of the subspace iteration.  The axes need not be eigenvectors: after two they held within
# 1 % of the variance that a third finds (the same data).
PASSES = 2

# Operations between two looks at pending signals.
CALL_FLOPS = 4e8

# Rows beyond this many times the largest norm of the sample have no coordinates.
REACH = 1.5

# Rows on which the axes are tried.
TRIED_ROWS = 128


class Leading:
    """Leading axes of framed rows about their mean.

    Parameters
    ----------
    rows : DenseRows
    k : int
        Clusters, which bound the work.
    memory : int
        Bytes that the sample may take, and the coordinates after it.
    """

    def __init__(self, rows, k, memory):
        n, d = rows.n, rows.d
        self.rows = rows
        self.counts = [m for m in COUNTS if m <= d // 2 and Prefix.row_bytes(m) < memory // n]
        count = max(self.counts, default=1)
        size = min(
            n,
            ROWS_PER_COLUMN * d,
            SAMPLE_ELEMENTS // d,
            n * k // (4 * PASSES * count),
            int(memory // (SAMPLE_BYTES * d)),
        )
        if size < 2 * count:
            self.counts = []
        if not self.counts:
            return
        self.index = np.arange(size) * n // size
        sample = rows.take(self.index)
        self.shift = sample.mean(axis=0)
        sample -= self.shift
        self.reach = REACH * np.sqrt(np.square(sample).sum(axis=1).max())
        if not self.reach > 0:
            self.counts = []
            return
        sample /= self.reach
        self.axes = _axes(sample.astype(np.float32), count)

    def groups_left(self, centers, labels, n_groups):
        """Of the rows' other groups of centres those that m axes leave, on average over a few rows,
        for centres (k, d) and labels (n,): counts m, and a list."""
        if not self.counts:
            return [], []
        index = self.index[:: -(-len(self.index) // TRIED_ROWS)]
        x, c = self.rows.take(index) - self.shift, centers - self.shift
        groups = group_centers(centers, n_groups)
        order = np.concatenate(groups)
        starts = np.cumsum([0] + [len(members) for members in groups[:-1]])
        group_of = np.empty(len(c), dtype=np.intp)
        group_of[order] = np.repeat(np.arange(len(groups)), [len(members) for members in groups])
        own = group_of[labels[index]]
        near = np.square(x - c[labels[index]]).sum(axis=1)
        x_left, c_left = np.square(x).sum(axis=1), np.square(c).sum(axis=1)
        y, z = x @ self.axes.T, c[order] @ self.axes.T
        c_left = c_left[order]
        apart, done, left = np.zeros((len(x), len(c))), 0, []
        for m in self.counts:
            u, v = y[:, done:m], z[:, done:m]
            u_square, v_square = np.square(u).sum(axis=1), np.square(v).sum(axis=1)
            apart += u_square[:, np.newaxis] + v_square - 2 * (u @ v.T)
            x_left, c_left, done = x_left - u_square, c_left - v_square, m
            rest = np.sqrt(np.maximum(x_left, 0))[:, np.newaxis] - np.sqrt(np.maximum(c_left, 0))
            least = np.minimum.reduceat(apart + rest * rest, starts, axis=1)
            open_ = least < near[:, np.newaxis]
            open_[np.arange(len(x)), own] = False
            left.append(open_.sum() / len(x))
        return self.counts, left

    def prefix(self, rows, m, n_threads):
        """The leading m coordinates of rows of the same frame."""
        return Prefix(rows, self.axes[:m], self.reach, self.shift, n_threads)


def _axes(sample, count):
    """Orthonormal axes (count, d), float64, by falling variance: subspace iteration."""
    n, d = sample.shape
    step = max(1, int(CALL_FLOPS / (4 * d * count)))
    basis = sample[np.arange(count) * n // count].T
    for _ in range(PASSES):
        basis = np.linalg.qr(basis.astype(np.float64))[0].astype(np.float32)
        product = np.zeros((d, count), dtype=np.float32)
        for start in range(0, n, step):
            part = sample[start : start + step]
            product += part.T @ (part @ basis)
        basis = product
    basis = np.linalg.qr(basis.astype(np.float64))[0]
    gram = np.zeros((count, count))
    for start in range(0, n, step):
        part = (sample[start : start + step] @ basis.astype(np.float32)).astype(np.float64)
        gram += part.T @ part
    return np.ascontiguousarray((basis @ np.linalg.eigh(gram)[1][:, ::-1]).T)
