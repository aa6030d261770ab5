# SPDX-License-Identifier: BSD-3-Clause
"""What runs: versions, kernel table, OpenMP, threads."""

import platform
from importlib.metadata import version

import numpy as np

from fastmix.core._kernels import isa, supported_isas
from fastmix.core._threads import openmp_runtime, thread_limit

__all__ = ["show_versions", "versions"]


def versions():
    """Versions and the machine's abilities, as a dict.

    Returns
    -------
    dict
        fastmix, python, numpy : versions; isa : the kernel table in use; isas : those that this
        processor runs; openmp : the compiler's OpenMP version (yyyymm) or None; n_threads : the
        default.
    """
    return {
        "fastmix": version("fastmix"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "isa": isa(),
        "isas": supported_isas(),
        "openmp": openmp_runtime(),
        "n_threads": thread_limit(),
    }


def show_versions():
    """Print versions, the kernel table (ISA), the OpenMP runtime and the default threads."""
    for name, value in versions().items():
        print(f"{name:>10}: {', '.join(value) if isinstance(value, list) else value}")
