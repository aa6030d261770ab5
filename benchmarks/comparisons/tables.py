# SPDX-License-Identifier: BSD-3-Clause
"""Markdown tables: the heading that says where a table is from, and its cells."""

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import N_THREADS, measure

__all__ = ["Table", "fraction_cell", "ratio_cell", "shape_cell", "target_cell"]


def cpu_model():
    """Name, family and model: a virtual machine's name alone does not tell the generation."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in pairs}
    if "model name" not in cpu:
        return platform.machine()
    return f"{cpu['model name']} (family {cpu['cpu family']}, model {cpu['model']})"


def _installed(package):
    try:
        return [f"{package} {version(package)}"]
    except PackageNotFoundError:
        return []


def heading():
    from fastmix.core import versions

    ours = versions()
    parts = [
        str(datetime.date.today()),
        cpu_model(),
        f"{N_THREADS} threads on {os.cpu_count()} CPUs",
        f"fastmix {ours['fastmix']} ({ours['isa']}, OpenMP {ours['openmp']})",
        f"scikit-learn {version('scikit-learn')}",
        *_installed("scikit-learn-intelex"),
        f"NumPy {version('numpy')}",
        f"Python {platform.python_version()}",
    ]
    return ", ".join(parts)


class Table:
    """A Markdown table, printed row by row: a long run shows what it has."""

    def __init__(self, *columns):
        print(f"\n{heading()}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)

    def row(self, *cells):
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def shape_cell(X, n_clusters):
    return f"{X.shape[0]:,} x {X.shape[1]:,}, K={n_clusters}"


def ratio_cell(slow, fast):
    middle, low, high = measure.ratio(slow, fast)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def fraction_cell(rate, limit):
    # A kernel that beats the limit says that something disturbed the measurement of the limit.
    return f"{rate / limit:.2f}" + (", disturbed: run again" if rate > limit else "")


def target_cell(value):
    return "" if value is None else f"at least {value:g}"
