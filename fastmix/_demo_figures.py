# SPDX-License-Identifier: BSD-3-Clause
"""The figures of `fastmix demo`: PRML 9.1, 9.2, 9.3 and 9.8, from what the fits gave."""

import numpy as np

import fastmix

__all__ = [
    "DPI",
    "kmeans_frames_figure",
    "kmeans_trace_figure",
    "mixture_frames_figure",
    "photograph_figure",
]

# Okabe and Ito's vermilion, blue, bluish green and reddish purple: told apart by any eye.
RED, BLUE, GREEN, PURPLE = "#D55E00", "#0072B2", "#009E73", "#CC79A7"
DPI = 150

KMEANS_LIMIT = 2.3  # the farthest row is at 2.13
MIXTURE_LIMIT = 2.65  # the circles of the start reach 2.5


def kmeans_frames_figure(X, centers):
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
        plot.set(xlim=(-KMEANS_LIMIT, KMEANS_LIMIT), ylim=(-KMEANS_LIMIT, KMEANS_LIMIT))
        plot.set(xticks=(-2, 0, 2), yticks=(-2, 0, 2), aspect="equal")
    figure.supxlabel("length of the eruption (standardised)", fontsize=11)
    figure.supylabel("waiting time to the next (standardised)", fontsize=11)
    return figure


def _draw_bisector(plot, centers):
    """Draw the points equally far from both centres."""
    middle, (across, up) = centers.mean(axis=0), centers[1] - centers[0]
    plot.axline(middle, middle + np.array([-up, across]), color=PURPLE, linewidth=1.5)


def kmeans_trace_figure(trace):
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


def mixture_frames_figure(X, frames):
    """Draw PRML figure 9.8: ellipses of one standard deviation, responsibilities as colours.

    Each frame is (title, means, covariances, responsibilities or None).
    """
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.6), layout="constrained")
    figure.suptitle("EM on Old Faithful (PRML figure 9.8)", fontsize=13)
    palette = np.array([to_rgb(BLUE), to_rgb(RED)])
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    axes = figure.subplots(2, 3, sharex=True, sharey=True).flat
    for plot, letter, frame in zip(axes, "abcdef", frames, strict=True):
        title, means, covariances, responsibilities = frame
        colours = GREEN if responsibilities is None else responsibilities @ palette
        plot.scatter(*X.T, s=16, c=colours, alpha=0.55, linewidths=0)
        for mean, covariance, colour in zip(means, covariances, (BLUE, RED), strict=True):
            ellipse = mean[:, np.newaxis] + np.linalg.cholesky(covariance) @ circle
            plot.plot(*ellipse, color="white", linewidth=4.5)
            plot.plot(*ellipse, color=colour, linewidth=2.5)
        plot.set_title(f"({letter}) {title}", fontsize=11)
        plot.set(xlim=(-MIXTURE_LIMIT, MIXTURE_LIMIT), ylim=(-MIXTURE_LIMIT, MIXTURE_LIMIT))
        plot.set(xticks=(-2, 0, 2), yticks=(-2, 0, 2), aspect="equal")
    figure.supxlabel("length of the eruption (standardised)", fontsize=11)
    figure.supylabel("waiting time to the next (standardised)", fontsize=11)
    return figure


def photograph_figure(name, photograph, quantised):
    """Draw PRML figure 9.3 for one photograph; quantised maps the number of colours to images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.8), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    figure.suptitle(f"Colours of {name}.jpg by K-means (PRML figure 9.3)", fontsize=13)
    panels = {f"K = {k}": image for k, image in quantised.items()} | {"original": photograph}
    for plot, (title, image) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        plot.imshow(image, interpolation="antialiased")
        plot.set_title(title, fontsize=11)
        plot.axis("off")
    return figure
