# SPDX-License-Identifier: BSD-3-Clause
"""The command `fastmix`: demo, fit and predict on files.

Exit status: 0, or 2 with one line on stderr, 130 after Ctrl-C, or 141 where the reader of stdout
has gone. Output files are written whole or not at all, and only after the work that they hold has
succeeded.
"""

import argparse
import csv
import os
import sys
import time
import warnings
from typing import NamedTuple

import numpy as np

import fastmix
from fastmix._rows import check_names
from fastmix._tables import LABEL_SUFFIXES, read_table, write_labels

__all__ = ["main"]


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str or None
        The arguments; None means those of the process.

    Returns
    -------
    status : int
        The exit status.
    """
    arguments = _parser().parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):  # names of files and columns may hold anything
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            arguments.run(arguments)
        return 0
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:  # the reader of the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 2
    except (ValueError, TypeError, OverflowError, ImportError, MemoryError) as error:
        _complain(str(error) or type(error).__name__)
        return 2


class _Model(NamedTuple):
    """What --model chooses: a class, and what it calls the things that the options are about."""

    name: str
    size: str  # K
    objective: tuple  # its name in the summary, and the attribute
    inits: tuple  # what --init can be
    parameters: dict  # of each option


_COMMON = {"max_iter": "max_iter", "tol": "tol", "n_init": "n_init"}
_MODELS = {
    "kmeans": _Model(
        "KMeans",
        "n_clusters",
        ("objective", "inertia_"),
        ("k-means++", "random"),
        _COMMON | {"init": "init"},
    ),
    "gmm": _Model(
        "GaussianMixture",
        "n_components",
        ("log-likelihood", "log_likelihood_"),
        ("kmeans", "k-means++", "random", "random_from_data"),
        _COMMON
        | {"init": "init_params", "covariance_type": "covariance_type", "reg_covar": "reg_covar"},
    ),
}


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message):
        _complain(f"{message} (see {self.prog} --help)")
        self.exit(2)


def _parser():
    parser = _OneLineParser(
        prog="fastmix", description="K-means and Gaussian mixtures for large tables of numbers."
    )
    parser.add_argument("--version", action="version", version=f"fastmix {fastmix.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    demo = commands.add_parser("demo", help="figures of PRML chapter 9, and tables")
    demo.add_argument("--out", metavar="DIR", default="fastmix-demo", help="default: %(default)s")
    demo.set_defaults(run=_demo)

    fit = commands.add_parser("fit", help="cluster the rows of a table")
    _add_table_arguments(fit)
    fit.add_argument(
        "--model",
        choices=list(_MODELS),
        default="kmeans",
        help="what to fit (default: %(default)s)",
    )
    fit.add_argument("-k", metavar="K", type=int, required=True, help="clusters or components")
    fit.add_argument(
        "-o", "--output", metavar="FILE", help="model to write (default: DATA's .model.npz)"
    )
    fit.add_argument("--seed", metavar="N", type=int, default=0, help="default: %(default)s")
    # Without a default here, what is not given is the estimator's own.
    fit.add_argument("--max-iter", metavar="N", type=int, help="default: 300; of gmm 100")
    fit.add_argument("--tol", metavar="X", type=float, help="default: 1e-4; of gmm 1e-3")
    fit.add_argument("--n-init", metavar="N", type=int, help="starts, the best of which is kept")
    fit.add_argument("--init", metavar="WAY", help="how a start begins: " + _ways_to_begin())
    fit.add_argument(
        "--covariance-type",
        choices=["full", "tied", "diag", "spherical"],
        help="of gmm only (default: full)",
    )
    fit.add_argument(
        "--reg-covar",
        metavar="X",
        type=_number_or_auto,
        help="what is added to every variance, or auto: of gmm only (default: 1e-6)",
    )
    fit.add_argument(
        "--checkpoint", metavar="FILE", help="where to keep the state of the fit after iterations"
    )
    fit.add_argument(
        "--resume",
        action="store_true",
        help="go on from the state in --checkpoint, if there is one",
    )
    fit.set_defaults(run=_fit)

    predict = commands.add_parser("predict", help="label the rows of a table by a fitted model")
    predict.add_argument("model", metavar="MODEL", help="a file that fit wrote")
    _add_table_arguments(predict)
    predict.set_defaults(run=_predict)
    return parser


def _add_table_arguments(parser):
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a .csv file (its first line is a header where no field of it is a number), a .npy or "
        "a .parquet file",
    )
    parser.add_argument(
        "--columns",
        metavar="A,B,C",
        type=_column_list,
        help="columns to use, in this order: names, or numbers from 0 where DATA has no names "
        "(default: all)",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="labels to write: .npy, .csv or .txt (default: DATA's .labels.npy, in this folder)",
    )
    parser.add_argument("--threads", metavar="N", type=int, help="default: as many as are free")


def _ways_to_begin():
    ways = [f"{', '.join(model.inits)} ({kind})" for kind, model in _MODELS.items()]
    return f"{'; '.join(ways)}; default: the first"


def _number_or_auto(text):
    return text if text == "auto" else float(text)


_number_or_auto.__name__ = "number or auto"  # for argparse's message


def _column_list(text):
    try:
        return next(csv.reader([text])) or [""]
    except csv.Error as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _demo(arguments):
    from fastmix import demo

    demo.run(arguments.out)


def _fit(arguments):
    from fastmix.model_file import save_model

    labels_path = arguments.labels or _beside(arguments.data, ".labels.npy")
    model_path = arguments.output or _beside(arguments.data, ".model.npz")
    kind = _MODELS[arguments.model]
    parameters = _given_parameters(arguments, kind)
    _check_labels_name(labels_path)
    outputs = {"--labels": labels_path, "--output": model_path}
    if arguments.checkpoint is not None:
        outputs["--checkpoint"] = arguments.checkpoint
    elif arguments.resume:
        raise ValueError("--resume needs --checkpoint FILE, the state to go on from")
    _check_outputs(outputs, [arguments.data])
    X, names = read_table(arguments.data, arguments.columns)
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    model = getattr(fastmix, kind.name)(
        arguments.k,
        random_state=arguments.seed,
        n_threads=arguments.threads,
        callbacks=fastmix.callbacks.ProgressLine() if on_terminal else None,
        checkpoint=arguments.checkpoint,
        resume=arguments.resume,
        **parameters,
    )
    started = time.perf_counter()
    labels = model.fit_predict(X)
    seconds = time.perf_counter() - started
    if names is not None:
        model.feature_names_in_ = np.array(names, dtype=object)
    save_model(model, model_path)
    write_labels(labels, labels_path)
    name, attribute = kind.objective
    _summarise(
        X,
        names,
        **_size(model),
        **{name: f"{getattr(model, attribute):.10g}"},
        iterations=f"{model.n_iter_} (stopped: {model.fit_report_['stopped']})",
        seconds=f"{seconds:.3g}",
        labels=labels_path,
        model=model_path,
    )


def _given_parameters(arguments, kind):
    """The options that were given, as parameters of a kind of model that has them all."""
    options = sorted(set().union(*(model.parameters for model in _MODELS.values())))
    given = {name: vars(arguments)[name] for name in options if vars(arguments)[name] is not None}
    for name in given:
        if name not in kind.parameters:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is not an option of --model {arguments.model}")
    if arguments.init not in [None, *kind.inits]:
        raise ValueError(
            f"--init {arguments.init}: of {arguments.model} expected {', '.join(kind.inits)}"
        )
    return {kind.parameters[name]: value for name, value in given.items()}


def _predict(arguments):
    from fastmix.model_file import load_model

    labels_path = arguments.labels or _beside(arguments.data, ".labels.npy")
    _check_labels_name(labels_path)
    _check_outputs({"--labels": labels_path}, [arguments.data, arguments.model])
    model = load_model(arguments.model)
    model.n_threads = arguments.threads
    X, names = read_table(arguments.data, arguments.columns)
    check_names(model, names)
    # Compared as far as there are any; the array of a .csv file has none to be compared again.
    vars(model).pop("feature_names_in_", None)
    started = time.perf_counter()
    labels = model.predict(X)
    seconds = time.perf_counter() - started
    write_labels(labels, labels_path)
    _summarise(X, names, **_size(model), seconds=f"{seconds:.3g}", labels=labels_path)


def _size(model):
    """Line of the summary for K, in the words of the model."""
    kind = next(kind for kind in _MODELS.values() if kind.name == type(model).__name__)
    return {kind.size.removeprefix("n_"): getattr(model, kind.size)}


def _beside(data, suffix):
    """Return the default output file for `data`, in the current folder."""
    return os.path.splitext(os.path.basename(data))[0] + suffix


def _check_labels_name(path):
    if not path.lower().endswith(LABEL_SUFFIXES):
        raise ValueError(f"--labels {path}: expected a file named *{', *'.join(LABEL_SUFFIXES)}")


def _check_outputs(outputs, inputs):
    """Refuse, before any work, an output that cannot be written or would replace another file."""
    taken = {os.path.realpath(path): path for path in inputs}
    for option, path in outputs.items():
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise ValueError(f"{option} {path}: the folder {folder} does not exist")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"{option} {path}: the folder {folder} cannot be written to")
        if os.path.isdir(path):
            raise ValueError(f"{option} {path}: is a folder; expected a file")
        if os.path.realpath(path) in taken:
            raise ValueError(f"{option} {path}: would replace {taken[os.path.realpath(path)]}")
        taken[os.path.realpath(path)] = f"the file of {option}"


def _summarise(X, names, **lines):
    columns = f"{X.shape[1]}" if names is None else f"{X.shape[1]} ({', '.join(names):.60})"
    for name, value in {"rows": X.shape[0], "columns": columns, **lines}.items():
        print(f"{name:<16}{value}", flush=True)


def _print_warning(message, *_):
    _complain(f"warning: {message}")


def _complain(message):
    """Print one line on stderr, whatever the message holds."""
    print("fastmix:", " ".join(str(message).split()), file=sys.stderr)
