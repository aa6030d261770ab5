# SPDX-License-Identifier: BSD-3-Clause
"""What importing fastmix needs, loads, chooses and refuses."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastmix


def run(code, cwd, **environment):
    """Run code in a process of its own, in a folder that is first on its path."""
    command, environment = [sys.executable, "-c", code], {**os.environ, **environment}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_core_works_with_scikit_learn_blocked(tmp_path):
    code = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sklearn":
            raise ImportError("blocked")
sys.meta_path.insert(0, Blocker())
import fastmix, fastmix.core
print(fastmix.core.kmeans([[0.0], [1.0], [9.0]], 2, init=[[0.0], [9.0]]).labels.tolist())
try:
    fastmix.KMeans
except ImportError as error:
    print(error)
"""
    assert run(code, tmp_path).stdout.split("\n") == ["[0, 0, 1]", "blocked", ""]


def test_import_loads_neither_scikit_learn_nor_extras(tmp_path):
    code = "import sys, fastmix; print({'sklearn', 'pandas', 'matplotlib'} & set(sys.modules))"
    assert run(code, tmp_path).stdout == "set()\n"


@pytest.mark.parametrize("use", ["fastmix.core", "fastmix.KMeans", "fastmix.kmeans"])
def test_uncompiled_folder_says_what_to_do(tmp_path, use):
    source = Path(fastmix.__file__).parent
    only_python = lambda folder, names: [  # noqa: E731
        name for name in names if "." in name and not name.endswith(".py")
    ]
    shutil.copytree(source, tmp_path / "fastmix", ignore=only_python)
    done = run(f"import fastmix, fastmix.callbacks; {use}", tmp_path)
    assert done.returncode == 1
    assert "ImportError: fastmix is not compiled here" in done.stderr
    assert "pip install" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["x86", "sse2"])
def test_unknown_kernel_table_is_an_import_error(tmp_path, name):
    done = run("import fastmix.core", tmp_path, FASTMIX_ISA=name)
    assert f"ImportError: FASTMIX_ISA='{name}'" in done.stderr
    assert "scalar" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", fastmix.core.versions()["isas"])
def test_kernel_table_can_be_forced(tmp_path, name):
    code = "import fastmix.core; print(fastmix.core.versions()['isa'])"
    assert run(code, tmp_path, FASTMIX_ISA=name).stdout.strip() == name


def test_show_versions_prints_every_version():
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        fastmix.show_versions()
    for name in ("fastmix", "python", "numpy", "isa", "isas", "shortlists", "openmp", "n_threads"):
        text.getvalue().index(f"{name}: ")
