# SPDX-License-Identifier: BSD-3-Clause
"""E-steps of one run of K-means: what all ways to compute them share."""

import numpy as np

from fastmix.core._frame import passes
from fastmix.core._source import Source

__all__ = ["Assignment", "default_memory"]

# Statistics of the threads beyond this are shared under locks instead.
SUMS_BYTES = 2**28

# So are those of an E-step, where the last one moved fewer rows a cluster: to add up the threads'
# takes longer than their turns.
PART_ROWS = 2

# Bytes a row that bounds may take where half of a row is less, and all of them where the rows
# themselves are not in memory.
LEAST_BOUND_BYTES, SOURCE_BOUND_BYTES = 24, 2**31


def default_memory(X):
    """Bytes that bounds may take where the caller does not say: half of X, or 24 a row; of rows
    that are not in memory at most 2 GiB."""
    size = X.shape[0] * max(LEAST_BOUND_BYTES, X.shape[1] * X.dtype.itemsize // 2)
    return min(size, SOURCE_BOUND_BYTES) if isinstance(X, Source) else size


class Assignment:
    """The E-steps of one run, by plain scans; subclasses look at less, to the same labels.

    Parameters
    ----------
    rows : DenseRows or SparseRows
    weights : ndarray of shape (n,) or None
    k : int
    why : str
        The report's reason.

    Attributes
    ----------
    products : int
        Row-centre products so far, of floats or of whole numbers that find a label: every one of D
        multiplications and additions.  A scan counts once, whether it is of floats, of whole
        numbers or both; what rules centres out by codes of few bits or some coordinates only does
        not count.
    rows_scanned, rows_shortlisted : int
        Rows that were read so far, because nothing proved their labels; and those of them whose
        labels were found in whole numbers.
    """

    algorithm = "lloyd"
    serving = False  # whether margins do
    in_whole = False  # whether scans are of whole numbers

    def __init__(self, rows, weights, k, why):
        self.rows, self.weights, self.k, self.why = rows, weights, k, why
        self.products = self.rows_scanned = self.steps = self.bounded_steps = 0
        self.rows_shortlisted = 0
        self.packed = False  # whether a scan has packed the centres of this E-step
        self.bounds = None
        self.changed = rows.n  # rows whose label the last E-step changed

    def __call__(self, centers, labels, n_threads, spread, sums=None):
        """Labels (n,) for framed centres, in place; returns how many changed.

        sums (k, 2, stride), where given, follow the labels.  spread: about the distance of a row to
        its centre, zero before the first E-step.
        """
        self.packed = False
        fresh = self._prepare(centers, labels, n_threads, spread)
        self.steps += 1
        n_changed, parts = 0, None
        wanted = self._wanted(fresh, labels, n_threads)
        for start, stop, threads in passes(self.rows, self._centers_met(fresh), n_threads, *wanted):
            if sums is not None and parts is None:
                n_parts = max(1, min(threads, self._most_parts(sums)))
                if self.changed < PART_ROWS * self.k:
                    n_parts = 1
                parts = self.rows.empty_sums(n_parts, self.k) if n_parts > 1 else sums[np.newaxis]
            n_changed += self._assign(start, stop, centers, labels, threads, parts)
        if parts is not None and len(parts) > 1:
            for part in parts:
                sums += part
        self.changed = n_changed
        self.rows_shortlisted += self.rows.take_served()
        self._count(fresh)
        return n_changed

    def _prepare(self, centers, labels, n_threads, spread):
        """Whatever these centres need first; returns whether bounds begin anew."""
        return False

    def _wanted(self, fresh, labels, n_threads):
        """Which pages of how many rows are looked at: a mask, or None for all."""
        return None, 0

    def _centers_met(self, fresh):
        """About how many centres a row meets, by which the work is cut into calls."""
        return self.k

    def _most_parts(self, sums):
        """How many threads may have statistics of their own."""
        return SUMS_BYTES // sums.nbytes

    def _assign(self, start, stop, centers, labels, threads, parts):
        """Rows start .. stop; returns how many labels changed."""
        return self._scan(start, stop, centers, labels, threads, parts)

    def _scan(self, start, stop, centers, labels, threads, parts, **options):
        """The same by comparing all of them with all centres."""
        again, self.packed = self.packed, True
        return self.rows.assign(
            start, stop, centers, labels, threads, parts, self.weights, again=again, **options
        )

    def _count(self, fresh):
        """Adds up what the E-step did, and decides how the next is to be done."""
        self.products += self.rows.n * self.k
        self.rows_scanned += self.rows.n

    def reason(self):
        """Why these E-steps were computed as they were."""
        return self.why
