# SPDX-License-Identifier: BSD-3-Clause
"""The compiled core and its functions; imports without scikit-learn."""

try:
    import fastmix.core._kernels  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "fastmix.core._kernels":
        raise
    raise ImportError(
        "fastmix is not compiled here: this is the folder of its sources. Install it "
        "(`pip install .` in the checkout) and start Python in another folder."
    ) from None

from importlib import import_module

from fastmix.core._kmeans import KMeansResult, assign, kmeans, kmeans_plusplus
from fastmix.core._versions import show_versions, versions

_LAZY = {
    "Moments": "fastmix.core._moments",
    "canonical_order": "fastmix.core._gaussians",
    "conditional": "fastmix.core._gaussians",
    "log_prob": "fastmix.core._mixture_density",
    "marginal": "fastmix.core._gaussians",
}

__all__ = [
    "KMeansResult",
    "Moments",
    "assign",
    "canonical_order",
    "conditional",
    "kmeans",
    "kmeans_plusplus",
    "log_prob",
    "marginal",
    "show_versions",
    "versions",
]


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fastmix.core' has no attribute {name!r}")
