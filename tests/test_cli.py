# SPDX-License-Identifier: BSD-3-Clause
"""The command line: files in, files out, one line for what is wrong."""

import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastmix
from fastmix.cli import main
from fastmix.model_file import load_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def X():
    rng = np.random.default_rng(3)
    return np.concatenate([rng.normal(center, 1, size=(50, 2)) for center in (0, 20, 40)])


def write_table(name, X):
    if name.endswith(".npy"):
        np.save(name, X)
    elif name.endswith(".csv"):
        lines = (f"{a!r},{b!r}\n" for a, b in X.tolist())
        Path(name).write_text("a,b\n" + "".join(lines))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"a": X[:, 0], "b": X[:, 1]}), name)


# The estimator that each --model fits.
MODELS = {"kmeans": "KMeans", "gmm": "GaussianMixture"}


@pytest.fixture(params=MODELS)
def model(request):
    """What --model may be."""
    return request.param


def expected_labels(X, model="kmeans"):
    return getattr(fastmix, MODELS[model])(3, random_state=0).fit_predict(X)


def complaint(capsys, *arguments):
    """Run a command that must fail and return its one line on stderr."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as error:  # argparse
        status = error.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert captured.err.startswith("fastmix: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("fastmix: ").rstrip("\n")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# Fit and predict


@pytest.mark.parametrize("suffix", ["csv", "npy", "parquet"])
def test_fit_writes_the_labels_that_the_estimator_gives(folder, X, suffix, model):
    write_table(f"data.{suffix}", X)
    assert main(["fit", "--model", model, f"data.{suffix}", "-k", "3"]) == 0
    np.testing.assert_array_equal(np.load("data.labels.npy"), expected_labels(X, model))


def test_fit_without_a_model_is_k_means(folder, X):
    np.save("data.npy", X)
    main(["fit", "data.npy", "-k", "3"])
    assert type(load_model("data.model.npz")) is fastmix.KMeans


def test_fit_never_loads_a_whole_npy_file(folder, X, monkeypatch, model):
    seen = []
    estimator = getattr(fastmix, MODELS[model])
    fit = estimator.fit_predict
    monkeypatch.setattr(estimator, "fit_predict", lambda self, X: seen.append(X) or fit(self, X))
    np.save("data.npy", X)
    main(["fit", "--model", model, "data.npy", "-k", "3"])
    assert isinstance(seen[0], np.memmap)


def test_fit_uses_the_columns_asked_for(folder, X):
    write_table("data.csv", X)
    assert main(["fit", "data.csv", "-k", "3", "--columns", "b,a"]) == 0
    expected = fastmix.KMeans(3, random_state=0).fit(X[:, ::-1])
    found = load_model("data.model.npz")
    np.testing.assert_array_equal(found.cluster_centers_, expected.cluster_centers_)


@pytest.mark.parametrize("name", ["l.npy", "l.csv", "l.txt"])
def test_labels_are_written_as_the_name_says(folder, X, name):
    np.save("data.npy", X)
    assert main(["fit", "data.npy", "-k", "3", "--labels", name]) == 0
    if name == "l.npy":
        labels = np.load(name)
    else:
        labels = [int(line) for line in (folder / name).read_text().removeprefix("label\n").split()]
    np.testing.assert_array_equal(labels, expected_labels(X))


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("kmeans", "", {"n_clusters": 3, "random_state": 0, "n_threads": None}),
        (
            "kmeans",
            "--seed 5 --max-iter 7 --tol 0.5 --n-init 2 --init random --threads 1",
            {
                "n_clusters": 3,
                "random_state": 5,
                "max_iter": 7,
                "tol": 0.5,
                "n_init": 2,
                "init": "random",
                "n_threads": 1,
            },
        ),
        ("gmm", "", {"n_components": 3, "random_state": 0, "n_threads": None}),
        (
            "gmm",
            "--seed 5 --max-iter 7 --tol 0.5 --n-init 2 --init random_from_data --threads 1 "
            "--covariance-type diag --reg-covar 0.25",
            {
                "n_components": 3,
                "random_state": 5,
                "max_iter": 7,
                "tol": 0.5,
                "n_init": 2,
                "init_params": "random_from_data",
                "n_threads": 1,
                "covariance_type": "diag",
                "reg_covar": 0.25,
            },
        ),
        (
            "gmm",
            "--reg-covar auto",
            {"n_components": 3, "random_state": 0, "n_threads": None, "reg_covar": "auto"},
        ),
    ],
)
def test_fit_passes_on_what_is_given_and_no_more(folder, X, monkeypatch, model, options, expected):
    class Called(Exception):
        """Ends the command before there is anything to write."""

    def fit_predict(self, X):
        raise Called(self.get_params())

    estimator = getattr(fastmix, MODELS[model])
    monkeypatch.setattr(estimator, "fit_predict", fit_predict)
    np.save("data.npy", X)
    with pytest.raises(Called) as caught:
        main(["fit", "--model", model, "data.npy", "-k", "3", *options.split()])
    assert caught.value.args == (estimator().get_params() | expected,)


def test_fit_prints_a_summary(folder, X, capsys):
    write_table("data.csv", X)
    main(["fit", "data.csv", "-k", "3"])
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    model = load_model("data.model.npz")
    assert float(lines.pop("seconds")) > 0
    assert float(lines.pop("objective")) == pytest.approx(model.inertia_, rel=1e-9)  # 10 digits
    assert lines.pop("iterations").startswith(f"{model.n_iter_} (stopped: ")
    assert lines == {
        "rows": "150",
        "columns": "2 (a, b)",
        "clusters": "3",
        "labels": "data.labels.npy",
        "model": "data.model.npz",
    }


def test_fit_of_a_mixture_prints_a_summary(folder, X, capsys):
    write_table("data.csv", X)
    main(["fit", "data.csv", "-k", "3", "--model", "gmm", "-o", "m.npz"])
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    model = load_model("m.npz")
    assert float(lines.pop("seconds")) > 0
    likelihood = float(lines.pop("log-likelihood"))
    assert likelihood == pytest.approx(model.log_likelihood_, rel=1e-9)  # 10 digits
    assert lines == {
        "rows": "150",
        "columns": "2 (a, b)",
        "components": "3",
        "iterations": f"{model.n_iter_} (stopped: tol)",
        "labels": "data.labels.npy",
        "model": "m.npz",
    }


def test_fit_twice_gives_the_same_files(folder, X, model):
    np.save("data.npy", X)
    main(["fit", "--model", model, "data.npy", "-k", "3"])
    first = [(folder / f"data.{end}").read_bytes() for end in ("labels.npy", "model.npz")]
    main(["fit", "--model", model, "data.npy", "-k", "3"])
    second = [(folder / f"data.{end}").read_bytes() for end in ("labels.npy", "model.npz")]
    assert first == second


def test_predict_on_the_rows_of_the_fit_gives_its_labels(folder, X, capsys, model):
    write_table("data.csv", X)
    main(["fit", "--model", model, "data.csv", "-k", "3", "--tol", "1e-12"])
    capsys.readouterr()
    assert main(["predict", "data.model.npz", "data.csv", "--labels", "again.npy"]) == 0
    np.testing.assert_array_equal(np.load("again.npy"), np.load("data.labels.npy"))
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["clusters" if model == "kmeans" else "components"] == "3"


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_fit_goes_on_from_a_checkpoint_to_the_same_files(folder, X, suffix, model):
    write_table(f"data.{suffix}", X)
    fit = ["fit", f"data.{suffix}", "--model", model, "-k", "3", "--tol", "0"]
    assert main([*fit, "-o", "whole.npz", "--labels", "whole.npy", "--max-iter", "6"]) == 0
    state = ["--checkpoint", "state", "--resume"]
    assert main([*fit, "-o", "part.npz", "--labels", "part.npy", "--max-iter", "2", *state]) == 0
    part = Path("part.npz").read_bytes()
    assert main([*fit, "-o", "part.npz", "--labels", "part.npy", "--max-iter", "6", *state]) == 0
    whole = [Path(name).read_bytes() for name in ("whole.npz", "whole.npy")]
    assert [Path(name).read_bytes() for name in ("part.npz", "part.npy")] == whole
    if model == "gmm":
        assert part != whole[0]


def test_resume_without_a_checkpoint_is_refused(folder, X, capsys):
    write_table("data.npy", X)
    message = complaint(capsys, "fit", "data.npy", "-k", 3, "--resume")
    assert message == "--resume needs --checkpoint FILE, the state to go on from"


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert (caught.value.code, capsys.readouterr().out) == (0, f"fastmix {fastmix.__version__}\n")


# What is wrong


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("flat.npy", np.zeros(5), "flat.npy: has shape (5,); expected rows and columns"),
        ("text.npy", np.array([["a"]]), "text.npy: has dtype <U1; expected numbers"),
        ("nan.npy", np.array([[1.0], [np.nan]]), "X[1, 0] = nan"),
        ("object.npy", np.array([[{}]]), "Python objects"),
    ],
)
def test_array_that_cannot_be_clustered_is_refused(folder, capsys, model, name, array, reason):
    np.save(name, array)
    assert reason in complaint(capsys, "fit", "--model", model, name, "-k", 2)
    assert names_in(folder) == [name]


@pytest.mark.parametrize(("model", "reason"), [("kmeans", "n_samples=1"), ("gmm", "n_samples = 1")])
def test_too_few_rows_are_refused(folder, capsys, model, reason):
    np.save("data.npy", np.zeros((1, 2)))
    assert reason in complaint(capsys, "fit", "data.npy", "--model", model, "-k", 2)
    assert names_in(folder) == ["data.npy"]


@pytest.mark.parametrize("name", ["data.csv", "data.parquet", "data.xls"])
def test_missing_or_strange_data_is_refused(folder, capsys, name):
    assert complaint(capsys, "fit", name, "-k", 2).startswith(f"{name}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["cluster"],
        ["fit"],
        ["fit", "data.npy"],
        ["fit", "data.npy", "-k", "two"],
        ["fit", "data.npy", "-k", "0"],
        ["fit", "data.npy", "-k", "151"],
        ["fit", "data.npy", "-k", "3", "--tol", "-1"],
        ["fit", "data.npy", "-k", "3", "--max-iter", "0"],
        ["fit", "data.npy", "-k", "3", "--init", "best"],
        ["fit", "data.npy", "-k", "3", "--seed", "-1"],
        ["fit", "data.npy", "-k", "3", "--threads", "0"],
        ["fit", "data.npy", "-k", "9" * 30],
        ["fit", "data.npy", "-k", "3", "--n-init", "0"],
        ["fit", "data.npy", "-k", "3", "--init", "kmeans"],
        ["fit", "data.npy", "-k", "3", "--model", "data.model.npz"],
        ["fit", "data.npy", "-k", "3", "--covariance-type", "full"],
        ["fit", "data.npy", "-k", "3", "--reg-covar", "0"],
        *[
            ["fit", "data.npy", "--model", "gmm", *options.split()]
            for options in [
                "",
                "-k 0",
                "-k 151",
                "-k " + "9" * 30,
                "-k 3 --tol -1",
                "-k 3 --max-iter -1",
                "-k 3 --init best",
                "-k 3 --covariance-type square",
                "-k 3 --reg-covar -1",
                "-k 3 --reg-covar nan",
                "-k 3 --reg-covar much",
                "-k 3 --seed -1",
                "-k 3 --threads 0",
            ]
        ],
        ["fit", "data.npy", "-k", "3", "--columns", "0\n1"],
        ["fit", "data.npy", "-k", "3", "--columns", "0,2"],
        ["predict", "data.npy"],
        ["predict", "data.npy", "data.npy"],
        ["predict", "none.npz", "data.npy"],
    ],
    ids=" ".join,
)
def test_bad_arguments_are_refused_in_one_line(folder, X, capsys, arguments):
    np.save("data.npy", X)
    complaint(capsys, *arguments)
    assert names_in(folder) == ["data.npy"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--labels", "no/l.npy"], "--labels no/l.npy: the folder no does not exist"),
        (["--output", "no/m.npz"], "--output no/m.npz: the folder no does not exist"),
        (["-o", "sub"], "--output sub: is a folder; expected a file"),
        (["--labels", "l.bin"], "--labels l.bin: expected a file named *.npy, *.csv, *.txt"),
        (["--labels", "data.npy"], "--labels data.npy: would replace data.npy"),
        (["-o", "./data.npy"], "--output ./data.npy: would replace data.npy"),
        (
            ["--labels", "x.npy", "-o", "x.npy"],
            "--output x.npy: would replace the file of --labels",
        ),
        (["--init", "kmeans"], "--init kmeans: of kmeans expected k-means++, random"),
        (["--reg-covar", "auto"], "--reg-covar is not an option of --model kmeans"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_option_that_cannot_be_is_refused_before_the_fit(
    folder, X, capsys, monkeypatch, options, reason
):
    np.save("data.npy", X)
    (folder / "sub").mkdir()
    monkeypatch.setattr(fastmix.KMeans, "fit", lambda *_, **__: pytest.fail("fitted"))
    assert complaint(capsys, "fit", "data.npy", "-k", 2, *options).startswith(reason)


def test_predict_refuses_to_replace_the_model(folder, X, capsys):
    np.save("data.npy", X)
    main(["fit", "data.npy", "-k", "3", "-o", "m.npy"])
    capsys.readouterr()
    message = complaint(capsys, "predict", "m.npy", "data.npy", "--labels", "m.npy")
    assert message == "--labels m.npy: would replace m.npy"


def test_collapse_without_a_remedy_is_refused(folder, capsys):
    np.save("data.npy", np.zeros((10, 2)))
    message = complaint(capsys, "fit", "data.npy", "-k", 2, "--model", "gmm", "--reg-covar", 0)
    assert message.endswith("reg_covar=0.")
    assert names_in(folder) == ["data.npy"]


def test_predict_on_other_columns_is_refused(folder, X, capsys, model):
    np.save("data.npy", X)
    np.save("wide.npy", np.zeros((5, 3)))
    main(["fit", "--model", model, "data.npy", "-k", "3"])
    capsys.readouterr()
    message = complaint(capsys, "predict", "data.model.npz", "wide.npy")
    name = MODELS[model]
    assert message == f"X has 3 features, but {name} is expecting 2 features as input."


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predict_compares_the_names_of_the_columns(folder, X, capsys, model, suffix):
    write_table(f"data.{suffix}", X)
    main(["fit", "--model", model, f"data.{suffix}", "-k", "3", "--columns", "b,a"])
    capsys.readouterr()
    message = complaint(capsys, "predict", "data.model.npz", f"data.{suffix}", "--labels", "l.npy")
    assert message == (
        f"The columns of X are a, b, but {MODELS[model]} was fitted with b, a "
        "(column 0: 'a', not 'b')"
    )
    assert "l.npy" not in names_in(folder)
    again = ["predict", "data.model.npz", f"data.{suffix}", "--labels", "l.npy"]
    assert main([*again, "--columns", "b,a"]) == 0
    assert capsys.readouterr().err == ""  # no warning about the names either
    np.savetxt("none.csv", X[:, ::-1], delimiter=",")
    assert main(["predict", "data.model.npz", "none.csv", "--labels", "n.npy"]) == 0
    assert capsys.readouterr().err == ""  # no names, nothing to compare
    np.testing.assert_array_equal(np.load("n.npy"), np.load("l.npy"))


@pytest.mark.parametrize("error", [ValueError("two\nlines"), MemoryError(), OSError(28, "full")])
def test_failed_fit_leaves_older_outputs(folder, X, capsys, monkeypatch, error):
    def fail(*_, **__):
        raise error

    np.save("data.npy", X)
    (folder / "data.labels.npy").write_bytes(b"old labels")
    (folder / "data.model.npz").write_bytes(b"old model")
    monkeypatch.setattr(fastmix.KMeans, "fit", fail)
    complaint(capsys, "fit", "data.npy", "-k", 2)
    assert (folder / "data.labels.npy").read_bytes() == b"old labels"
    assert (folder / "data.model.npz").read_bytes() == b"old model"


@pytest.mark.parametrize(("model", "most"), [("kmeans", 300), ("gmm", 100)])
def test_progress_is_shown_on_a_terminal_only(folder, X, monkeypatch, model, most):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    np.save("data.npy", X)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(["fit", "--model", model, "data.npy", "-k", "3"]) == 0
    assert f"iteration 1/{most}" in sys.stderr.getvalue()


def test_warning_is_one_line_on_stderr(folder, capsys):
    np.save("data.npy", np.zeros((10, 2)))
    assert main(["fit", "data.npy", "-k", "3"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("fastmix: warning: Number of distinct clusters (1) found smaller")
    assert error.count("\n") == 1


# As a process


def test_module_runs_as_the_command(folder):
    command = [sys.executable, "-m", "fastmix", "fit", "none.csv", "-k", "2"]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (child.returncode, child.stdout) == (2, "")
    assert child.stderr == "fastmix: none.csv: No such file or directory\n"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("options", ["--init random", "--model gmm --init random_from_data"])
def test_ctrl_c_exits_130_and_writes_nothing(folder, options):
    np.save("data.npy", np.random.default_rng(0).random((200_000, 16), dtype=np.float32))
    program = """
        import os, signal, sys, threading
        from fastmix.cli import main
        threading.Timer(2.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        sys.exit(main(("fit data.npy -k 200 --tol 0 --max-iter 1000000 " + sys.argv[1]).split()))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), options]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (child.returncode, child.stderr) == (130, "fastmix: interrupted\n")
    assert names_in(folder) == ["data.npy"]
