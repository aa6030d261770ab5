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

from fastmix.core._kmeans import KMeansResult, assign, kmeans, kmeans_plusplus
from fastmix.core._versions import show_versions, versions

__all__ = ["KMeansResult", "assign", "kmeans", "kmeans_plusplus", "show_versions", "versions"]
