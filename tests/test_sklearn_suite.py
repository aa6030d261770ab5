# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's own tests of K-means, its users and mixtures, with fastmix's classes in place.

One test here for each test function there, over all its parameters; sklearn_suite.py runs them.
"""

import ast
import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(importlib.util.find_spec("sklearn").origin).parent
FILES = (
    "cluster/tests/test_k_means.py",
    "cluster/tests/test_spectral.py",
    "preprocessing/tests/test_discretization.py",
    "mixture/tests/test_gaussian_mixture.py",
    "mixture/tests/test_mixture.py",
)
# What of each file must at least have run: guards against a suite that is silently off.
AT_LEAST = dict(zip(FILES, (250, 20, 60, 50, 2), strict=True))

if not all((ROOT / file).exists() for file in FILES):
    pytest.skip("scikit-learn is installed without its tests", allow_module_level=True)


def functions(file):
    """Names of the test functions of a file of scikit-learn."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if name.startswith("test_")]


@functools.lru_cache
def outcomes(folder, file):
    """The report of sklearn_suite.py on one file."""
    report = folder / (Path(file).stem + ".json")
    script = Path(__file__).with_name("sklearn_suite.py")
    done = subprocess.run(
        [sys.executable, script, report, file],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert report.exists(), done.stdout + done.stderr
    return json.loads(report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sklearn_suite")


@pytest.mark.parametrize(
    "file, function",
    [
        pytest.param(file, name, id=f"{Path(file).stem}-{name}")
        for file in FILES
        for name in functions(file)
    ],
)
def test_sklearn_suite_passes(folder, file, function):
    key = f"{Path(file).name}::{function}"

    def own(tests):
        return {name: tests[name] for name in tests if name.partition("[")[0] == key}

    report = outcomes(folder, file)
    tests = own(report["tests"])
    failed = [f"{name}\n{text}" for name, (what, text) in tests.items() if what == "failed"]
    assert not failed, "\n\n".join([f"{len(failed)} of {len(tests)} fail", *failed])
    if not any(what == "passed" for what, _ in tests.values()):
        skipped = {text for _, text in tests.values()} | set(own(report["deselected"]).values())
        assert skipped, "the test did not run"
        pytest.skip("; ".join(sorted(skipped)))


@pytest.mark.parametrize("file", FILES)
def test_sklearn_suite_runs_enough_tests(folder, file):
    tests = outcomes(folder, file)["tests"]
    assert sum(what == "passed" for what, _ in tests.values()) >= AT_LEAST[file]


@pytest.mark.parametrize("file", FILES)
def test_sklearn_suite_has_no_stale_rule(folder, file):
    assert outcomes(folder, file)["stale"] == []
