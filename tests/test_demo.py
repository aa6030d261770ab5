# SPDX-License-Identifier: BSD-3-Clause
"""The demo: every figure is drawn, and the table says what was measured."""

import sys

import numpy as np
import pytest

from fastmix import demo
from fastmix.cli import main

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

FIGURES = {
    "old_faithful_frames.png": (1350, 1425),
    "old_faithful_objective.png": (960, 630),
    "china_quantised.png": (1350, 1020),
    "flower_quantised.png": (1350, 1020),
}
QUANTISED = {
    f"{name}_{colours}_colours.png": colours
    for name in ("china", "flower")
    for colours in (2, 3, 10)
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The demo's folder, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda text="", **_: lines.extend(text.splitlines()))
        status = main(["demo", "--out", str(folder)])
    assert status == 0
    return folder, lines


def test_demo_writes_its_figures_and_no_other_file(ran):
    folder, _ = ran
    assert {path.name for path in folder.iterdir()} == FIGURES.keys() | QUANTISED.keys()


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_its_size_and_is_not_blank(ran, name):
    with Image.open(ran[0] / name) as image:
        assert image.size == FIGURES[name]
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_photograph_has_its_number_of_colours(ran, name):
    with Image.open(ran[0] / name) as image:
        assert image.size == (640, 427)
        assert len(image.getcolors()) == QUANTISED[name]


def test_table_has_a_line_for_every_fit(ran):
    lines = [line.split() for line in ran[1] if line.startswith(("Old", "china.", "flower."))]
    # data, K, then three columns for each library, and the ratio.
    fits = [(" ".join(cells[:-8]), int(cells[-8])) for cells in lines]
    photographs = [(f"{name}.jpg", k) for name in ("china", "flower") for k in (2, 3, 10)]
    assert fits == [("Old Faithful", 2), *photographs]


def test_table_has_the_objective_of_the_best_two_clusters_of_old_faithful(ran):
    line = next(line for line in ran[1] if line.startswith("Old Faithful"))
    assert line.split()[3] == "79.576"


def test_last_lines_say_where_the_files_are(ran):
    folder, lines = ran
    start = lines.index(f"files in {folder}:")
    assert {line.strip() for line in lines[start + 1 :]} == FIGURES.keys() | QUANTISED.keys()


def test_old_faithful_is_complete_and_standardised():
    X = demo._old_faithful()
    assert X.shape == (272, 2)
    # 272 terms of size 1 in float64: rounding below 1e-13.
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(X.std(axis=0), 1, atol=1e-13)


@pytest.mark.parametrize("module", ["matplotlib", "PIL"])
def test_missing_library_names_the_extra_before_any_work(tmp_path, capsys, monkeypatch, module):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert capsys.readouterr().err == (
        f"fastmix: the demo needs {module}: pip install fastmix[demo]\n"
    )
    assert not (tmp_path / "demo").exists()
