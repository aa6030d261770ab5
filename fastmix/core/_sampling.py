# SPDX-License-Identifier: BSD-3-Clause
"""Random rows of a mixture."""

import numpy as np

from fastmix.core._parameters import cholesky

__all__ = ["sample"]


def sample(parameters, n, random_state):
    """n rows (n, d) float64 and their components (n,) int32, in random order.

    A component for every row first (PRML 9.10), then standard normal numbers, which the component's
    Cholesky factor turns into its own.
    """
    covariance_type, weights, means, covariances = parameters
    k, d = means.shape
    counts = random_state.multinomial(n, weights / np.cumsum(weights)[-1])
    labels = random_state.permutation(np.repeat(np.arange(k, dtype=np.int32), counts))
    noise = random_state.standard_normal(size=(n, d))
    rows = means[labels]
    if covariance_type in ("full", "tied"):
        stack = covariances if covariance_type == "full" else covariances[np.newaxis]
        for index, covariance in enumerate(stack):
            own = labels == index if covariance_type == "full" else slice(None)
            factor, part, drawn = cholesky(covariance), rows[own], noise[own]
            for column in range(d):
                part += drawn[:, column, np.newaxis] * factor[:, column]
            rows[own] = part
    else:
        deviations = np.sqrt(covariances if covariance_type == "diag" else covariances[:, None])
        rows += noise * deviations[labels]
    return rows, labels
