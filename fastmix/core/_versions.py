# SPDX-License-Identifier: BSD-3-Clause
"""What runs: versions, kernel table, OpenMP, threads."""

import platform
from importlib.metadata import version

import numpy as np

from fastmix.core._kernels import has_shortlists, isa, supported_isas
from fastmix.core._threads import openmp_runtime, thread_limit

__all__ = ["show_versions", "versions"]


def versions():
    """Versions and the machine's abilities, as a dict.

    Returns
    -------
    dict
        fastmix, python, numpy : versions; isa : the kernel table in use; isas : those that this
        processor runs; shortlists : whether it multiplies bytes fast enough for them; openmp : the
        compiler's OpenMP version (yyyymm) or None; n_threads : the default.
    """
    return {
        "fastmix": version("fastmix"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "isa": isa(),
        "isas": supported_isas(),
        "shortlists": "yes" if has_shortlists() else "no",
        "openmp": openmp_runtime(),
        "n_threads": thread_limit(),
    }


def show_versions():
    """Print versions, the kernel table (ISA), the OpenMP runtime and the default threads."""
    facts = versions()
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:>{width}}: {', '.join(value) if isinstance(value, list) else value}")
