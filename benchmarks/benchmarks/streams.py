# SPDX-License-Identifier: BSD-3-Clause
"""Fits of a memory-mapped file beside those of the same rows in memory, in child processes (Linux).

``python -m benchmarks.streams FILE N_ROWS KIND PLACE`` is the child: it prints what it measured.
"""

import hashlib
import json
import statistics
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from benchmarks.measure import LEAST_SECONDS, timed

N_ROWS, N_FEATURES, N_CLUSTERS, N_COMPONENTS = 100_000_000, 16, 64, 8
KINDS = ("kmeans", "diag", "full")
PLACES = ("memory map", "memory")

# Bytes that a fit may keep beyond the file, and the part of the in-memory speed that it must have.
MOST_BYTES, LEAST_SPEED = 600e6, 0.8

_CHUNK = 2**20


def make(path, n_rows, seed=0):
    """Write separated clusters of N_FEATURES columns, float32, to a .npy file."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(scale=3, size=(N_CLUSTERS, N_FEATURES)).astype(np.float32)
    shape = (n_rows, N_FEATURES)
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, n_rows, _CHUNK):
        part = X[start : start + _CHUNK]
        part[...] = rng.standard_normal(part.shape, dtype=np.float32)
        part += centers[rng.integers(N_CLUSTERS, size=len(part))]


class Anonymous:
    """The most anonymous memory that the process has meanwhile, in bytes: what is no file's."""

    def __enter__(self):
        self.most, self.stop = 0, threading.Event()
        self.before = self._now()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def _watch(self):
        while not self.stop.wait(0.01):
            self.most = max(self.most, self._now() - self.before)

    @staticmethod
    def _now():
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise OSError("/proc/self/status has no line RssAnon")


def _model(X, kind, n_iter):
    from fastmix import GaussianMixture, KMeans

    if kind == "kmeans":
        return KMeans(N_CLUSTERS, init=X[:N_CLUSTERS], n_init=1, max_iter=n_iter, tol=0,
                      algorithm="lloyd")  # fmt: skip
    return GaussianMixture(
        N_COMPONENTS, covariance_type=kind, means_init=X[:N_COMPONENTS], max_iter=n_iter, tol=0,
        weights_init=np.full(N_COMPONENTS, 1 / N_COMPONENTS), bounds_memory=0,
        precisions_init=np.repeat(np.eye(N_FEATURES)[None], N_COMPONENTS, 0) if kind == "full"
        else np.ones((N_COMPONENTS, N_FEATURES)),
    )  # fmt: skip


def _measure(path, n_rows, kind, place):
    X = np.load(path, mmap_mode="r")[:n_rows]
    for start in range(0, n_rows, _CHUNK):  # into the page cache
        X[start : start + _CHUNK].max()
    if place == "memory":
        X = np.array(X)
    n_iter = 10 if kind == "kmeans" else 3
    timed(_model(X, kind, 1).fit, X[: 64 * 1024])
    # Fits of tenths of a second are repeated: the first of a process takes some percent longer.
    taken = []
    with Anonymous() as memory:
        while sum(taken) < LEAST_SECONDS:
            seconds, model = timed(_model(X, kind, n_iter).fit, X)
            taken.append(seconds)
    found = model.cluster_centers_ if kind == "kmeans" else model.covariances_
    return {
        "seconds": statistics.median(taken),
        "bytes": memory.most,
        "hash": hashlib.sha256(found.tobytes()).hexdigest(),
    }


def measure(path, n_rows, kind, place):
    """Seconds (the median of fits that take half a second together) and peak of anonymous memory of
    a fit of the file's first rows, and a hash of what it found."""
    command = [sys.executable, "-m", "benchmarks.streams", path, n_rows, kind, place]
    child = subprocess.run(
        [str(part) for part in command],
        cwd=Path(__file__).parents[1],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(child.stdout)


def whole_fit(X, **options):
    """A fit of K-means with bounds from k-means++ to convergence."""
    from fastmix import KMeans

    return KMeans(N_CLUSTERS, random_state=0, **options).fit(X)


def read_later(path, n_rows):
    """Iterations of a whole fit, and which part of the file's first rows an iteration of the later
    half of them reads."""
    X, read = np.load(path, mmap_mode="r")[:n_rows], [0]
    whole_fit(X, callbacks=lambda state: read.append(state.bytes_read))
    later = np.diff(read)[(len(read) - 1) // 2 :]
    return len(read) - 1, float(later.mean()) / X.nbytes


if __name__ == "__main__":
    path, n_rows, kind, place = sys.argv[1:]
    print(json.dumps(_measure(path, int(n_rows), kind, place)))
