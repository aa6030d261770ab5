# SPDX-License-Identifier: BSD-3-Clause
"""`fastmix demo`: figures 9.1, 9.2, 9.3 and 9.8 of PRML, drawn from fits, and two tables.

One has the fits of K-means beside scikit-learn's, timed; the other the likelihoods of mixtures
beside reference values.

Old Faithful (data/old_faithful.csv) is 272 eruptions of the geyser in Yellowstone: how long each
lasted and how long the next was waited for, in minutes. It is from A. Azzalini and A. W. Bowman,
"A look at some data on the Old Faithful geyser", Applied Statistics 39 (1990), and is R's
`faithful`. The photographs are the two that scikit-learn ships.

PRML is C. M. Bishop, "Pattern Recognition and Machine Learning" (2006).
"""

import importlib.resources
import statistics
import time
from pathlib import Path

import numpy as np

import fastmix
from fastmix import _demo_figures as figures

__all__ = ["run"]

# The start of PRML figure 9.1 (a), read off the plot: standardised length and waiting time.
FIGURE_START = np.array([[-1.5, 1.0], [1.5, -1.0]])

# The iterations that PRML figure 9.8 shows after its start and first E step.
FIGURE_ITERATIONS = (1, 2, 5, 20)

# Covariance type, K and ln p(X) on Old Faithful in minutes: the best of 40 starts of a plain EM in
# float64, without regularisation. mclust's vignette prints -1126.326 for the third.
MIXTURES = (
    ("full", 2, -1130.263960),
    ("tied", 2, -1140.186759),
    ("tied", 3, -1126.315928),
    ("diag", 2, -1147.806353),
    ("spherical", 2, -1709.529282),
    ("full", 3, -1114.439873),
)
TO_THE_OPTIMUM = {"tol": 1e-10, "max_iter": 2000, "reg_covar": 0, "n_init": 10}

PHOTOGRAPHS = ("china", "flower")
COLOURS = (2, 3, 10)

REPEATS = 3


def run(out_dir="fastmix-demo"):
    """Draw the figures, write the quantised photographs, and print the tables.

    Parameters
    ----------
    out_dir : str or path-like
        The folder for the PNG files; it is created where it is missing.

    Returns
    -------
    files : list of Path
        The files written.

    Raises
    ------
    ImportError
        matplotlib or Pillow is missing: they come with ``fastmix[demo]``.
    """
    _require_extra()
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)

    minutes = _old_faithful()
    X = _standardised(minutes)
    files = [*_draw_kmeans(X, folder), _draw_mixture(X, folder)]
    print(_table_head(), flush=True)
    print(_compare("Old Faithful", X, FIGURE_START)[0], flush=True)
    for name in PHOTOGRAPHS:
        files += _quantise(name, folder)
    print(f"\nratio: scikit-learn's seconds / fastmix's, medians of {REPEATS} fits from one start")
    _print_mixtures(minutes)

    print(f"\nfiles in {folder.resolve()}:")
    for file in files:
        print(f"  {file.name}")
    return files


def _require_extra():
    try:
        import matplotlib.figure  # noqa: F401
        import PIL.Image  # noqa: F401
    except ImportError as error:
        name = (error.name or "a library").split(".")[0]
        raise ImportError(f"the demo needs {name}: pip install fastmix[demo]") from None


def _old_faithful():
    """The 272 rows, in minutes."""
    source = importlib.resources.files("fastmix") / "data" / "old_faithful.csv"
    with source.open(encoding="ascii") as file:
        return np.loadtxt(file, delimiter=",", skiprows=1)


def _standardised(X):
    """Rows with mean 0 and variance 1 in each column, as PRML uses them."""
    return (X - X.mean(axis=0)) / X.std(axis=0)


def _photograph(name):
    from sklearn.datasets import load_sample_image

    return load_sample_image(f"{name}.jpg")


def _table_head():
    import sklearn

    theirs = f"scikit-learn {sklearn.__version__}"
    names = f"{'objective':>11}{'iterations':>12}{'seconds':>10}"
    return f"{'':16}{'fastmix':>33}{theirs:>33}\n{'data':<13}{'K':>3}{names}{names}{'ratio':>8}"


def _compare(name, X, start):
    """Time fastmix and scikit-learn from one start; return a line of the table and the model."""
    import sklearn.cluster

    options = {"init": start, "n_init": 1, "max_iter": 300, "tol": 1e-4}
    models = [
        fastmix.KMeans(len(start), **options),
        sklearn.cluster.KMeans(len(start), algorithm="lloyd", **options),
    ]
    seconds = [[], []]
    for repeat in range(1 + REPEATS):
        for model, durations in zip(models, seconds, strict=True):
            started = time.perf_counter()
            model.fit(X)
            if repeat:  # the first fit of each starts its threads
                durations.append(time.perf_counter() - started)
    ours, theirs = (statistics.median(durations) for durations in seconds)
    # Five digits: some pixels (129 of china.jpg's at K = 10) are exactly as far from two centres of
    # the start; rounding decides who gets them, in either library, and moves J in the sixth.
    cells = [
        f"{_objective(X, model):>11.5g}{model.n_iter_:>12}{duration:>10.3g}"
        for model, duration in zip(models, (ours, theirs), strict=True)
    ]
    return f"{name:<13}{len(start):>3}{cells[0]}{cells[1]}{theirs / ours:>8.1f}", models[0]


def _objective(X, model):
    """J (PRML 9.1) of the centres returned, in float64, for either library alike."""
    rows = X.astype(np.float64)
    distances = [((rows - center) ** 2).sum(axis=1) for center in model.cluster_centers_]
    return np.min(distances, axis=0).sum()


def _draw_kmeans(X, folder):
    """Draw PRML figures 9.1 and 9.2."""
    centers = [FIGURE_START]
    model = fastmix.KMeans(
        2,
        init=FIGURE_START,
        n_init=1,
        tol=0,
        callbacks=[lambda state: centers.append(state.centers.copy())],
    ).fit(X)
    frames, trace = folder / "old_faithful_frames.png", folder / "old_faithful_objective.png"
    figures.kmeans_frames_figure(X, centers).savefig(frames, dpi=figures.DPI)
    figures.kmeans_trace_figure(model.objective_trace_).savefig(trace, dpi=figures.DPI)
    return [frames, trace]


def _draw_mixture(X, folder):
    """Draw PRML figure 9.8, from the means of figure 9.1 and unit covariances."""
    unit = np.stack([np.eye(2)] * 2)
    steps = [(np.full(2, 0.5), FIGURE_START, unit)]  # the start, then after each iteration

    def record(state):
        steps.append((state.weights.copy(), state.means.copy(), state.covariances.copy()))
        return len(steps) > FIGURE_ITERATIONS[-1]

    fastmix.GaussianMixture(
        2,
        tol=0,
        reg_covar=0,
        weights_init=steps[0][0],
        means_init=FIGURE_START,
        precisions_init=unit,
        callbacks=record,
    ).fit(X)
    # As in PRML, the colours after an iteration are those of its E-step, which came before its
    # M-step.
    responsibilities = [
        fastmix.GaussianMixture.from_parameters(*step).predict_proba(X) for step in steps
    ]
    frames = [
        ("start", *steps[0][1:], None),
        ("first E step", *steps[0][1:], responsibilities[0]),
    ]
    for n in FIGURE_ITERATIONS:
        title = f"after {n} iteration{'s' if n > 1 else ''}"
        frames.append((title, *steps[n][1:], responsibilities[n - 1]))
    path = folder / "old_faithful_mixture.png"
    figures.mixture_frames_figure(X, frames).savefig(path, dpi=figures.DPI)
    return path


def _print_mixtures(X):
    """Print what the likelihoods of mixtures are and ought to be, with their free parameters."""
    print(f"\n{'':35}{'ln p(X)':>15}{'ln p(X)':>15}{'starts':>20}")
    names = f"{'reference':>15}{'fastmix':>15}{'iterations':>12}{'agreed':>8}"
    print(f"{'mixture':<15}{'K':>3}{'free parameters':>17}{names}", flush=True)
    for covariance_type, k, reference in MIXTURES:
        model = fastmix.GaussianMixture(
            k, covariance_type=covariance_type, random_state=0, **TO_THE_OPTIMUM
        ).fit(X)
        reached = model.log_likelihood_
        parameters = round((model.aic(X) + 2 * reached) / 2)  # Akaike's is -2 ln p(X) + 2 of them
        agreed = f"{model.fit_report_['agreed']}/{TO_THE_OPTIMUM['n_init']}"
        cells = f"{reference:>15.6f}{reached:>15.6f}{model.n_iter_:>12}{agreed:>8}"
        print(f"{covariance_type:<15}{k:>3}{parameters:>17}{cells}", flush=True)
    options = ", ".join(f"{name}={value:g}" for name, value in TO_THE_OPTIMUM.items())
    print(f"\nfits of Old Faithful in minutes: {options}")
    print("reference: the best of 40 starts of a plain EM")


def _quantise(name, folder):
    """Quantise the colours of a photograph: lines of the table, PRML figure 9.3, and the images."""
    from PIL import Image

    photograph = _photograph(name)
    pixels = photograph.reshape(-1, 3).astype(np.float32) / 255
    quantised = {}
    for n_clusters in COLOURS:
        start, _ = fastmix.kmeans_plusplus(pixels, n_clusters, random_state=0)
        line, model = _compare(f"{name}.jpg", pixels, start)
        print(line, flush=True)
        palette = np.rint(model.cluster_centers_ * 255).astype(np.uint8)
        quantised[n_clusters] = palette[model.labels_].reshape(photograph.shape)
    files = [folder / f"{name}_quantised.png"]
    figures.photograph_figure(name, photograph, quantised).savefig(files[0], dpi=figures.DPI)
    for n_clusters, image in quantised.items():
        files.append(folder / f"{name}_{n_clusters}_colours.png")
        Image.fromarray(image).save(files[-1])
    return files
