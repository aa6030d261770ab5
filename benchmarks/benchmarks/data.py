# SPDX-License-Identifier: BSD-3-Clause
"""The data that speed is measured on: seeded generators, and the table of shapes."""

import os
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

# Rows are generated in blocks, so that making X takes little memory beyond X: the peak of a fit is
# measured against it.
_BLOCK = 65_536


def _rotation(n_features, rng):
    """An orthogonal matrix, uniform over all of them."""
    q, r = np.linalg.qr(rng.standard_normal((n_features, n_features)))
    # Without the signs of R's diagonal, Q is not uniform (Mezzadri 2007).
    return q * np.sign(np.diag(r))


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


def normal(n_samples, n_features, n_clusters, rng):
    """Independent standard normal columns: no structure, and distances that are nearly equal."""
    return rng.standard_normal((n_samples, n_features), dtype=np.float32)


def decay(n_samples, n_features, n_clusters, rng):
    """Like descriptors: standard deviation (i + 1)^-0.5 on axis i, then one random rotation."""
    scale = (np.arange(n_features) + 1.0) ** -0.5
    centers = rng.standard_normal((n_clusters, n_features)) * (2 * scale)
    X = _gaussians(n_samples, centers, scale, rng)
    rotation = _rotation(n_features, rng).astype(np.float32)
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


def _mixture(n_samples, n_features, n_components, rng, spread):
    """Gaussians with covariances of random orientation and eigenvalues uniform in [0.5, 1.5),
    weights from a Dirichlet(5), means uniform in a cube; rows in random order."""
    c = spread / np.sqrt(2 * n_features / 3)
    means = rng.uniform(-c, c, size=(n_components, n_features)).astype(np.float32)
    weights = rng.dirichlet(np.full(n_components, 5.0))
    # z @ root has the covariance root.T @ root.
    roots = [
        (
            np.sqrt(rng.uniform(0.5, 1.5, n_features))[:, np.newaxis] * _rotation(n_features, rng)
        ).astype(np.float32)
        for _ in range(n_components)
    ]
    X = np.empty((n_samples, n_features), dtype=np.float32)
    for start in range(0, n_samples, _BLOCK):
        block = X[start : start + _BLOCK]
        rng.standard_normal(out=block, dtype=np.float32)
        component = rng.choice(n_components, size=len(block), p=weights)
        for j in range(n_components):
            rows = component == j
            block[rows] = block[rows] @ roots[j] + means[j]
    return X


def sep(n_samples, n_features, n_clusters, rng):
    """A mixture of well separated components: two means about 12 apart."""
    return _mixture(n_samples, n_features, n_clusters, rng, spread=12)


def over(n_samples, n_features, n_clusters, rng):
    """A mixture of overlapping components: two means about 3 apart."""
    return _mixture(n_samples, n_features, n_clusters, rng, spread=3)


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
    target_fit: float | None = None  # of a whole fit: scikit-learn, the fastest of all peers
    target_fit_peers: float | None = None

    def target_for(self, dtype, peer="scikit-learn"):
        """The ratio peer / fastmix to reach, or None."""
        if peer != "scikit-learn":
            return None
        if np.dtype(dtype) == np.float64 and self.target_float64 is not None:
            return self.target_float64
        return self.target

    @property
    def least_rows(self):
        """Rows that a trial run and a warm-up have at least."""
        return 2 * self.n_clusters

    def scaled(self, factor):
        """The same work on `factor` of the rows (for a trial run, not for a claim)."""
        n_samples = min(self.n_samples, max(round(self.n_samples * factor), self.least_rows))
        return replace(self, n_samples=n_samples)

    def make(self, dtype="float32", seed=0):
        """X (n_samples, n_features); float64 holds the float32 values, widened."""
        rng = np.random.default_rng(seed)
        X = self.generator(self.n_samples, self.n_features, self.n_clusters, rng)
        # Data from a file or a photograph comes whole, also when a part of it is asked for.
        return X[: self.n_samples].astype(dtype, copy=False)


@dataclass(frozen=True)
class MixtureWork(Work):
    """One line of the table of mixtures; n_clusters is the number of components."""

    covariance_type: str = "full"
    target_onedal: float | None = None

    def target_for(self, dtype, peer="scikit-learn"):
        """The ratio peer / fastmix to reach, or None: float64 alone has targets."""
        if np.dtype(dtype) != np.float64:
            return None
        return {"scikit-learn": self.target, "oneDAL": self.target_onedal}[peer]

    @property
    def least_rows(self):
        # Fewer rows of a component than columns make its covariance singular.
        return 8 * self.n_clusters * self.n_features


_ALL = [
    Work("blobs_10Mx2_k8", blobs, 10_000_000, 2, 8, target=5, target_fit=8, target_fit_peers=7),
    Work("blobs_2Mx16_k64", blobs, 2_000_000, 16, 64, target=3, target_fit=12, target_fit_peers=10),
    Work(
        "blobs_1Mx32_k256",
        blobs,
        1_000_000,
        32,
        256,
        target=2.8,
        target_fit=12,
        target_fit_peers=10,
    ),
    Work(
        "uniform_1Mx32_k256",
        uniform,
        1_000_000,
        32,
        256,
        target=2.8,
        target_fit=6,
        target_fit_peers=5,
    ),
    Work("normal_100kx128_k256", normal, 100_000, 128, 256),
    Work(
        "decay_200kx128_k1000",
        decay,
        200_000,
        128,
        1000,
        target=1.6,
        target_float64=1.45,
        target_fit=8,
        target_fit_peers=3,
    ),
    Work(
        "decay_100kx768_k1000",
        decay,
        100_000,
        768,
        1000,
        target=2,
        target_fit=8,
        target_fit_peers=2.5,
    ),
    Work("pixels_k64", pixels, 546_560, 3, 64, target=8, target_fit=14, target_fit_peers=12),
    Work("patches_k256", patches, 133_140, 192, 256, target=1.7, target_fit=10, target_fit_peers=8),
    Work("tall_20Mx1_k5", blobs, 20_000_000, 1, 5),
    Work("wide_2kx4000_k10", blobs, 2_000, 4_000, 10),
    Work("sparse_100kx10k_k100", sparse, 100_000, 10_000, 100, target_fit=3),
]
if os.environ.get("FASTMIX_BENCH_DEFINITIONS"):
    _ALL += [
        Work("definitions_k500", definitions, 50_000, 384, 500, target_fit=10, target_fit_peers=3),
        Work(
            "definitions_k1000", definitions, 50_000, 384, 1000, target_fit=10, target_fit_peers=3
        ),
    ]

WORKS = {work.name: work for work in _ALL}
TINY = Work("tiny_150x4_k3", blobs, 150, 4, 3, target=3)

MIXTURES = {
    work.name: work
    for work in (
        MixtureWork("sep_1Mx2_k8", sep, 1_000_000, 2, 8, 90, target_onedal=3),
        MixtureWork("over_500kx16_k32", over, 500_000, 16, 32, 28, target_onedal=2.5),
        MixtureWork("sep_500kx16_k32", sep, 500_000, 16, 32, 60, target_onedal=6),
        MixtureWork("over_200kx64_k32", over, 200_000, 64, 32, 11, target_onedal=2.5),
        MixtureWork("over_50kx128_k16", over, 50_000, 128, 16, 7, target_onedal=2.2),
        MixtureWork(
            "over_500kx32_k64_diag",
            *(over, 500_000, 32, 64, 25),
            covariance_type="diag",
            target_onedal=2.8,
        ),
    )
}

# asv has no options of its own: a scale below 1 makes a trial run of the whole suite short.
SCALE = float(os.environ.get("FASTMIX_BENCH_SCALE", "1"))


def named(name, scale=SCALE):
    """The work of this name, on `scale` of its rows."""
    return (WORKS | MIXTURES)[name].scaled(scale)
