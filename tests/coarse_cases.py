# SPDX-License-Identifier: BSD-3-Clause
"""Rows for the tests of bounds that few bits give, and steps of K-means on them."""

import numpy as np
import pytest

from fastmix.core import kmeans
from fastmix.core._dense import DenseRows
from fastmix.core._kernels import supported_isas
from fastmix.core._row_codes import RowCodes
from fastmix.core._shortlist import use_shortlists

K = 40


@pytest.fixture(autouse=True)
def everywhere():
    """Kernels on codes, and shortlists, wherever there are any, fast or not."""
    before = use_shortlists(2)
    yield
    use_shortlists(before)


def tables():
    """Kernel tables that have the codes' kernels, as (name, dtype)."""
    before = use_shortlists(2)
    every = [(name, np.dtype(code)) for name in supported_isas() for code in ("f4", "f8")]
    found = [
        of for of in every if RowCodes.serves(DenseRows(np.zeros((1, 1), of[1]), of[1], of[0]))
    ]
    use_shortlists(before)
    return found


on_every_table = pytest.mark.parametrize("isa, dtype", tables(), ids=str)


def decaying(rng, n, d, exponent=1.0):
    """Clusters whose columns, after a rotation, fall off as a power of their number."""
    scale = np.arange(1, d + 1) ** -exponent
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    means = 3 * rng.standard_normal((K, d)) * scale
    return (means[rng.integers(K, size=n)] + rng.standard_normal((n, d)) * scale) @ rotation


def duplicates(rng, n, d):
    return decaying(rng, 60, d)[rng.integers(60, size=n)]


def integers(rng, n, d):
    X = np.zeros((n, d))
    X[:, :6] = rng.integers(-2, 3, size=(n, 6))
    return X


def outliers(rng, n, d):
    X = decaying(rng, n, d)
    X[:: n // 7] *= 1e3
    return X


DATA = {
    "decaying": decaying,
    "flat": lambda rng, n, d: rng.standard_normal((n, d)),
    "offset": lambda rng, n, d: decaying(rng, n, d) + 300.0,
    "duplicates": duplicates,
    "integers": integers,
    "outliers": outliers,
    "large": lambda rng, n, d: decaying(rng, n, d) * 2.0**20,
    "small": lambda rng, n, d: decaying(rng, n, d) * 2.0**-20,
    "on a line": lambda rng, n, d: rng.standard_normal((n, 1)) * np.ones(d),
}
data = pytest.mark.parametrize("make", DATA.values(), ids=DATA.keys())


def framed(X, isa=None, pivot=0.0):
    rows = DenseRows(X, X.dtype, isa)
    offset = np.full(rows.d, pivot).astype(X.dtype).astype(np.float64)
    rows.set_frame(offset, 1.0, np.zeros((2, rows.stride)))
    return rows, (X - offset.astype(X.dtype)).astype(np.float64)


def updated(Y, centers, labels):
    """The means of the labels, (k, d), and the old centre where there is none."""
    centers = centers.copy()
    for j in np.unique(labels):
        centers[j] = Y[labels == j].mean(axis=0)
    return centers


def whole(X, algorithm, **options):
    init = X[np.random.default_rng(1).choice(len(X), 120, replace=False)]
    return kmeans(X, 120, init=init, algorithm=algorithm, max_iter=25, n_threads=2, **options)
