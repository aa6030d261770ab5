# SPDX-License-Identifier: BSD-3-Clause
"""The data that speed is measured on: seeded generators, and the table of shapes."""

import os
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

# Rows are generated in blocks, so that making X takes little memory beyond X: the peak of a fit is
# measured against it.
_BLOCK = 65_536


def _gaussians(n_samples, centers, scale, rng):
    """Equally likely Gaussians, rows in random order; standard deviation `scale[i]` on axis i."""
    centers = centers.astype(np.float32)
    scale = np.asarray(scale, dtype=np.float32)
    X = np.empty((n_samples, centers.shape[1]), dtype=np.float32)
    for start in range(0, n_samples, _BLOCK):
        block = X[start : start + _BLOCK]
        rng.standard_normal(out=block, dtype=np.float32)
        block *= scale
        block += centers[rng.integers(len(centers), size=len(block))]
    return X


def blobs(n_samples, n_features, n_clusters, rng):
    """Unit-variance spherical Gaussians, two centres about 4 standard deviations apart."""
    c = 4 / np.sqrt(2 * n_features / 3)
    centers = rng.uniform(-c, c, size=(n_clusters, n_features))
    return _gaussians(n_samples, centers, np.ones(n_features), rng)


def uniform(n_samples, n_features, n_clusters, rng):
    """Rows uniform in [0, 1)^D: no structure."""
    return rng.random((n_samples, n_features), dtype=np.float32)


def decay(n_samples, n_features, n_clusters, rng):
    """Like descriptors: standard deviation (i + 1)^-0.5 on axis i, then one random rotation."""
    scale = (np.arange(n_features) + 1.0) ** -0.5
    centers = rng.standard_normal((n_clusters, n_features)) * (2 * scale)
    X = _gaussians(n_samples, centers, scale, rng)
    q, r = np.linalg.qr(rng.standard_normal((n_features, n_features)))
    # Without the signs of R's diagonal, Q is not uniform over the rotations (Mezzadri 2007).
    rotation = (q * np.sign(np.diag(r))).astype(np.float32)
    for start in range(0, n_samples, _BLOCK):
        X[start : start + _BLOCK] = X[start : start + _BLOCK] @ rotation
    return X


def _photographs():
    from sklearn.datasets import load_sample_images

    return load_sample_images().images


def pixels(n_samples, n_features, n_clusters, rng):
    """All pixels of the two photographs that scikit-learn ships, RGB / 255."""
    return np.concatenate([image.reshape(-1, 3) for image in _photographs()]).astype("f4") / 255


def patches(n_samples, n_features, n_clusters, rng):
    """The 8 x 8 RGB patches of the two photographs, with stride 2, / 255."""
    windows = [
        np.lib.stride_tricks.sliding_window_view(image, (8, 8, 3))[::2, ::2, 0].reshape(-1, 192)
        for image in _photographs()
    ]
    return np.concatenate(windows).astype("f4") / 255


def sparse(n_samples, n_features, n_clusters, rng):
    """A CSR matrix with 1 % of its entries filled, uniform in [0, 1)."""
    return scipy.sparse.random_array(
        (n_samples, n_features), density=0.01, format="csr", dtype=np.float32, rng=rng
    )


def definitions(n_samples, n_features, n_clusters, rng):
    """Sentence embeddings of WordNet definitions: a file, since it is too large to ship."""
    return np.load(os.environ["FASTMIX_BENCH_DEFINITIONS"]).astype(np.float32)


@dataclass(frozen=True)
class Work:
    """One line of the table: which data, its shape, and the ratio to scikit-learn to reach."""

    name: str
    generator: callable
    n_samples: int
    n_features: int
    n_clusters: int
    target: float | None = None
    target_float64: float | None = None

    def target_for(self, dtype):
        if np.dtype(dtype) == np.float64 and self.target_float64 is not None:
            return self.target_float64
        return self.target

    def scaled(self, factor):
        """The same work on `factor` of the rows (for a trial run, not for a claim)."""
        n_samples = min(self.n_samples, max(round(self.n_samples * factor), 2 * self.n_clusters))
        return replace(self, n_samples=n_samples)

    def make(self, dtype="float32", seed=0):
        """X (n_samples, n_features); float64 holds the float32 values, widened."""
        rng = np.random.default_rng(seed)
        X = self.generator(self.n_samples, self.n_features, self.n_clusters, rng)
        # Data from a file or a photograph comes whole, also when a part of it is asked for.
        return X[: self.n_samples].astype(dtype, copy=False)


_ALL = [
    Work("blobs_10Mx2_k8", blobs, 10_000_000, 2, 8, target=5),
    Work("blobs_2Mx16_k64", blobs, 2_000_000, 16, 64, target=3),
    Work("blobs_1Mx32_k256", blobs, 1_000_000, 32, 256, target=2.8),
    Work("uniform_1Mx32_k256", uniform, 1_000_000, 32, 256, target=2.8),
    Work("decay_200kx128_k1000", decay, 200_000, 128, 1000, target=1.6, target_float64=1.45),
    Work("decay_100kx768_k1000", decay, 100_000, 768, 1000, target=2),
    Work("pixels_k64", pixels, 546_560, 3, 64, target=8),
    Work("patches_k256", patches, 133_140, 192, 256, target=1.7),
    Work("tall_20Mx1_k5", blobs, 20_000_000, 1, 5),
    Work("wide_2kx4000_k10", blobs, 2_000, 4_000, 10),
    Work("sparse_100kx10k_k100", sparse, 100_000, 10_000, 100),
]
if os.environ.get("FASTMIX_BENCH_DEFINITIONS"):
    _ALL += [
        Work("definitions_k500", definitions, 50_000, 384, 500),
        Work("definitions_k1000", definitions, 50_000, 384, 1000),
    ]

WORKS = {work.name: work for work in _ALL}
TINY = Work("tiny_150x4_k3", blobs, 150, 4, 3, target=3)

# asv has no options of its own: a scale below 1 makes a trial run of the whole suite short.
SCALE = float(os.environ.get("FASTMIX_BENCH_SCALE", "1"))


def named(name, scale=SCALE):
    """The work of this name, on `scale` of its rows."""
    return WORKS[name].scaled(scale)
