# SPDX-License-Identifier: BSD-3-Clause
"""What a verbose mixture prints, in scikit-learn's words."""

import time

__all__ = ["Printer"]


class Printer:
    """Prints starts, every interval-th iteration, and how each start ended; times with verbose 2.

    Parameters
    ----------
    verbose : int
    interval : int
    """

    def __init__(self, verbose, interval):
        self.timed, self.interval = int(verbose) > 1, interval
        self.began = self.last = time.perf_counter()

    def begin(self, index):
        """A start begins."""
        print(f"Initialization {index}")
        self.began = self.last = time.perf_counter()

    def iteration(self, n_iter, change):
        """An iteration is done."""
        if n_iter % self.interval:
            return
        line = f"  Iteration {n_iter}"
        if self.timed:
            now = time.perf_counter()
            line += f"\t time lapse {now - self.last:.5f}s\t ll change {change:.5f}"
            self.last = now
        print(line)

    def end(self, lower_bound, converged):
        """A start is done."""
        line = f"Initialization {'converged' if converged else 'did not converge'}."
        if self.timed:
            lapse = time.perf_counter() - self.began
            line += f" time lapse {lapse:.5f}s\t lower bound {lower_bound:.5f}."
        print(line)
