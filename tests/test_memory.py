# SPDX-License-Identifier: BSD-3-Clause
"""Peak memory beyond X, at its promise: 8 bytes a row and 64 MB."""

import os
import subprocess
import sys

import pytest

N = 2_000_000
ALLOWED = 8 * N + 64_000_000
CHILD = """
import numpy as np
from fastmix import KMeans, kmeans_plusplus

def status(name):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(name))

KMeans(2, n_threads=2).fit(np.arange(20_000.0)[:, None])  # what is loaded once
X = np.random.default_rng(0).random(({n}, {d}), dtype=np.float32){layout}
weights = {weights}
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts anew
before = status("VmRSS")
{work}
print(status("VmHWM") - before)
"""
WORK = {
    "fit": "result = KMeans(8, n_threads=2, max_iter=2, random_state=0).fit(X, None, weights)",
    "fit_random": "result = KMeans(8, init='random', n_init=3, max_iter=2, n_threads=2).fit(X)",
    "kmeans_plusplus": "result = kmeans_plusplus(X, 8, n_threads=2, random_state=0)",
    "repair": "result = KMeans(3, init=[[0, 0], [9, 9], [8, 8]], max_iter=2, n_threads=2).fit(X)",
}

pytestmark = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc/self/clear_refs"
)


def peak(work, n=N, d=2, layout="", weights="None"):
    """Bytes that a child's resident memory rose by, at most, while it worked."""
    code = CHILD.format(n=n, d=d, layout=layout, weights=weights, work=work)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_peak_sees_memory_that_is_held():
    # A guard for the tests below: 24 bytes a row, all touched.
    assert peak("result = np.ones(3 * len(X))") > 24 * N


@pytest.mark.parametrize("work", WORK)
def test_peak_memory_is_within_8_bytes_a_row_and_64_mb(work):
    assert peak(WORK[work]) <= ALLOWED


@pytest.mark.parametrize("layout", [".T.copy().T", "[::-1].astype('>f4')"])
def test_peak_memory_does_not_depend_on_the_layout(layout):
    assert peak(WORK["fit"], layout=layout) <= ALLOWED


def test_weights_that_are_float64_are_not_copied():
    assert peak(WORK["fit"], weights="np.ones(len(X))") <= ALLOWED


def test_peak_memory_of_many_columns_does_not_grow_with_them():
    # 200 MB of rows, of which nothing is copied.
    assert peak(WORK["fit"], n=500_000, d=100) <= 8 * 500_000 + 64_000_000


@pytest.mark.parametrize("d", [4, 32])
def test_peak_memory_of_a_pruned_seeding_is_within_8_bytes_a_row_and_64_mb(d):
    # The steps after the first eight or so use a sketch of the rows, which has a budget of its own.
    work = "result = kmeans_plusplus(X, 64, n_threads=2, random_state=0)"
    assert peak(work, n=1_000_000, d=d) <= 8 * 1_000_000 + 64_000_000


SOURCE = """
class Rows:
    shape, dtype = ({n}, 16), np.dtype(np.float32)

    def __init__(self):
        # Values of a thousand clusters, none of which has all of them.
        self.base = np.random.default_rng(0).random((1009, 16), dtype=np.float32)

    def __getitem__(self, rows):
        return self.base[np.arange(rows.start, rows.stop) % 1009]

X = Rows()
"""


@pytest.mark.parametrize(
    "work",
    [
        "KMeans(8, init='random', n_init=1, max_iter=2, algorithm='lloyd').fit(X)",
        "GaussianMixture(3, max_iter=2, init_params='random_from_data', bounds_memory=0).fit(X)",
    ],
    ids=["kmeans", "mixture"],
)
def test_rows_that_are_not_in_memory_stay_out_of_it(work):
    # 384 MB of rows: three windows of 32 MB at a time, the labels, and the scratch.
    n = 6_000_000
    code = SOURCE.format(n=n) + "from fastmix import GaussianMixture\nbefore = status('VmRSS')\n"
    assert peak(code + work, n=10) <= 3 * 2**25 + 4 * n + 64_000_000
