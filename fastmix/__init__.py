# SPDX-License-Identifier: BSD-3-Clause
"""K-means and Gaussian mixtures for large data.

The estimators load scikit-learn when they are first used; ``fastmix.core`` never does.
"""

from importlib import import_module

_LAZY = {
    "ArrowSource": "fastmix.core._arrow",
    "GMM": "fastmix._mixture",
    "GaussianMixture": "fastmix._mixture",
    "HalfLife": "fastmix.core._rates",
    "KMeans": "fastmix._kmeans",
    "MiniBatchKMeans": "fastmix._minibatch",
    "ModelFileError": "fastmix.model_file",
    "PowerLaw": "fastmix.core._rates",
    "assign": "fastmix.core",
    "kmeans": "fastmix.core",
    "kmeans_plusplus": "fastmix.core",
    "load": "fastmix.model_file",
    "log_prob": "fastmix.core",
    "show_versions": "fastmix.core",
}
_MODULES = ("callbacks", "core", "model_file")

__all__ = sorted([*_LAZY, *_MODULES])


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _MODULES:
        return import_module(f"fastmix.{name}")
    if name == "__version__":
        return import_module("importlib.metadata").version("fastmix")
    raise AttributeError(f"module 'fastmix' has no attribute {name!r}")


def __dir__():
    return [*globals(), *__all__, "__version__"]
