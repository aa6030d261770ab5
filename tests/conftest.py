# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the test suite."""

import importlib
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from fastmix.core import _shortlist
from fastmix.core._kernels import supported_isas

# pytest's importlib mode leaves the folder of the tests off the path; reference.py is there.
sys.path.append(str(Path(__file__).parent))
importlib.import_module("mixture_reference").stand_in()

# The same examples in every run, none remembered on disk, and no test that depends on a clock.
hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("fixed")


@pytest.fixture
def rng():
    """A generator that every test gets in the same state."""
    return np.random.default_rng(20)


@pytest.fixture(params=supported_isas())
def isa(request):
    """Name of each kernel table that this processor runs."""
    return request.param


@pytest.fixture(params=["f4", "f8"])
def dtype(request):
    """Compute dtype."""
    return np.dtype(request.param)


@pytest.fixture
def blobs(rng):
    """Function: n rows of k unit-variance Gaussians in d columns, overlapping a little."""

    def make(n=1000, d=3, k=5, dtype=np.float64):
        centers = rng.uniform(-4, 4, size=(k, d))
        return (centers[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(dtype)

    return make


@pytest.fixture
def plain_scans():
    """Scans without shortlists, which are faster where a processor has them."""
    before = _shortlist.use_shortlists(0)
    yield
    _shortlist.use_shortlists(before)
