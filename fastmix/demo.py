# SPDX-License-Identifier: BSD-3-Clause
"""`fastmix demo`: figures 9.1, 9.2 and 9.3 of PRML, drawn from fits that are timed on the way.

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

__all__ = ["run"]

# Okabe and Ito's vermilion, blue, bluish green and reddish purple: told apart by any eye.
RED, BLUE, GREEN, PURPLE = "#D55E00", "#0072B2", "#009E73", "#CC79A7"
DPI = 150

# The start of PRML figure 9.1 (a), read off the plot: standardised length and waiting time.
FIGURE_START = np.array([[-1.5, 1.0], [1.5, -1.0]])
FIGURE_LIMIT = 2.3  # the farthest row is at 2.13

PHOTOGRAPHS = ("china", "flower")
COLOURS = (2, 3, 10)

REPEATS = 3


def run(out_dir="fastmix-demo"):
    """Draw the figures, write the quantised photographs, and print the table.

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

    X = _old_faithful()
    files = _draw_old_faithful(X, folder)
    print(_table_head(), flush=True)
    print(_compare("Old Faithful", X, FIGURE_START)[0], flush=True)
    for name in PHOTOGRAPHS:
        photograph = _photograph(name)
        pixels = photograph.reshape(-1, 3).astype(np.float32) / 255
        quantised = {}
        for n_clusters in COLOURS:
            start, _ = fastmix.kmeans_plusplus(pixels, n_clusters, random_state=0)
            line, model = _compare(f"{name}.jpg", pixels, start)
            print(line, flush=True)
            palette = np.rint(model.cluster_centers_ * 255).astype(np.uint8)
            quantised[n_clusters] = palette[model.labels_].reshape(photograph.shape)
        files += _draw_photograph(name, photograph, quantised, folder)

    print(f"\nratio: scikit-learn's seconds / fastmix's, medians of {REPEATS} fits from one start")
    print(f"files in {folder.resolve()}:")
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
    """Return the 272 rows with mean 0 and variance 1 in each column, as PRML uses them."""
    source = importlib.resources.files("fastmix") / "data" / "old_faithful.csv"
    with source.open(encoding="ascii") as file:
        X = np.loadtxt(file, delimiter=",", skiprows=1)
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


def _draw_old_faithful(X, folder):
    centers = [FIGURE_START]
    model = fastmix.KMeans(
        2,
        init=FIGURE_START,
        n_init=1,
        tol=0,
        callbacks=[lambda state: centers.append(state.centers.copy())],
    ).fit(X)
    frames, trace = folder / "old_faithful_frames.png", folder / "old_faithful_objective.png"
    _frames_figure(X, centers).savefig(frames, dpi=DPI)
    _trace_figure(model.objective_trace_).savefig(trace, dpi=DPI)
    return [frames, trace]


def _frames_figure(X, centers):
    """Draw PRML figure 9.1: the start, then E and M steps in turn, four of each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9.5), layout="constrained")
    figure.suptitle("K-means on Old Faithful (PRML figure 9.1)", fontsize=13)
    axes = figure.subplots(3, 3, sharex=True, sharey=True).flat
    for frame, plot in enumerate(axes):
        before = centers[min(max(frame - 1, 0) // 2, len(centers) - 1)]
        shown = centers[min(frame // 2, len(centers) - 1)]
        if frame == 0:
            title, colours = "start", GREEN
        else:
            title = "E step" if frame % 2 else "M step"
            colours = np.array([BLUE, RED])[fastmix.assign(X, before)]
        plot.scatter(*X.T, s=16, c=colours, alpha=0.55, linewidths=0)
        if frame % 2:
            _draw_bisector(plot, before)
        for center, colour in zip(shown, (BLUE, RED), strict=True):
            plot.plot(*center, "x", color="white", markersize=17, markeredgewidth=8)
            plot.plot(*center, "x", color=colour, markersize=13, markeredgewidth=3.5)
        plot.set_title(f"({'abcdefghi'[frame]}) {title}", fontsize=11)
        plot.set(xlim=(-FIGURE_LIMIT, FIGURE_LIMIT), ylim=(-FIGURE_LIMIT, FIGURE_LIMIT))
        plot.set(xticks=(-2, 0, 2), yticks=(-2, 0, 2), aspect="equal")
    figure.supxlabel("length of the eruption (standardised)", fontsize=11)
    figure.supylabel("waiting time to the next (standardised)", fontsize=11)
    return figure


def _draw_bisector(plot, centers):
    """Draw the points equally far from both centres."""
    middle, (across, up) = centers.mean(axis=0), centers[1] - centers[0]
    plot.axline(middle, middle + np.array([-up, across]), color=PURPLE, linewidth=1.5)


def _trace_figure(trace):
    """Draw PRML figure 9.2: J after each E step (blue) and after each M step (red)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12)
    plot = figure.subplots()
    step = 1 + np.arange(len(trace)) / 2
    plot.plot(step, trace, color="0.6", linewidth=1, zorder=1)
    plot.scatter(step[::2], trace[::2], s=55, color=BLUE, label="after the E step", zorder=2)
    marks = {"s": 55, "color": RED, "marker": "s"}
    plot.scatter(step[1::2], trace[1::2], label="after the M step", zorder=2, **marks)
    plot.set(xlabel="iteration", ylim=(0, None), xticks=range(1, 1 + len(trace) // 2))
    plot.set_ylabel("J", rotation=0)
    plot.set_title("The objective on Old Faithful (PRML figure 9.2)", fontsize=12)
    plot.spines[["top", "right"]].set_visible(False)
    plot.legend(frameon=False)
    return figure


def _draw_photograph(name, photograph, quantised, folder):
    """Write PRML figure 9.3 for one photograph, and each quantised image by itself."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(9, 6.8), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    figure.suptitle(f"Colours of {name}.jpg by K-means (PRML figure 9.3)", fontsize=13)
    panels = {f"K = {k}": image for k, image in quantised.items()} | {"original": photograph}
    for plot, (title, image) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        plot.imshow(image, interpolation="antialiased")
        plot.set_title(title, fontsize=11)
        plot.axis("off")
    files = [folder / f"{name}_quantised.png"]
    figure.savefig(files[0], dpi=DPI)
    for n_clusters, image in quantised.items():
        files.append(folder / f"{name}_{n_clusters}_colours.png")
        Image.fromarray(image).save(files[-1])
    return files
