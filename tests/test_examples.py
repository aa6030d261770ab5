# SPDX-License-Identifier: BSD-3-Clause
"""The examples of the docstrings and of README.md run, and print what they say."""

import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize(
    "name",
    [
        "fastmix._kmeans",
        "fastmix._mixture",
        "fastmix.callbacks",
        "fastmix.core._arrow",
        "fastmix.core._gaussians",
        "fastmix.core._kmeans",
        "fastmix.core._mixture_density",
        "fastmix.model_file",
    ],
)
def test_docstring_examples_print_what_they_say(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_docstring_examples_exist():
    import fastmix

    finder = doctest.DocTestFinder()
    without = [
        what.__name__
        for what in (
            fastmix.ArrowSource,
            fastmix.GaussianMixture,
            fastmix.KMeans,
            fastmix.assign,
            fastmix.kmeans,
            fastmix.kmeans_plusplus,
            fastmix.log_prob,
        )
        if not any(test.examples for test in finder.find(what))
    ]
    assert without == []


def test_readme_examples_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # they write files
    scope = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    *others, source, stream = blocks
    assert len(others) == 4
    exec("\n".join([*others, stream]), scope)
    assert scope["model"].fit_report_["stopped"] in ("strict", "tol")
    assert (scope["result"].labels == scope["labels"]).mean() > 0.999
    assert (scope["same"].predict(scope["X"]) == scope["model"].labels_).all()
    assert scope["job"].fit_report_["resumed"] is None
    assert scope["job"].fit(scope["X"]).fit_report_["resumed"] == scope["job"].n_iter_
    table = pyarrow.table({f"x{j}": column for j, column in enumerate(scope["X"].T)})
    pyarrow.parquet.write_table(table, "big.parquet")
    exec(source, scope)
    np.testing.assert_array_equal(np.load("labels.npy"), scope["model"].labels_)
    assert len(capsys.readouterr().out.splitlines()) >= 2
