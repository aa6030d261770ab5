# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks for ``callbacks=``: each is called with the state after every iteration, and a true
value ends the fit."""

import math
import numbers
import os
import shutil
import sys

__all__ = ["ProgressLine", "TimeLimit"]

# The last iteration's part in the time that one takes: iterations become shorter as bounds hold,
# and one can be longer by chance.
LATEST = 0.3

# Columns of the bar, a quarter of the terminal's, where that is enough.
LEAST_BAR, MOST_BAR = 10, 30

# Erases the line above the cursor.
AGAIN = "\x1b[1A\x1b[2K"


class TimeLimit:
    """End the fit after the iteration in which the time is up.

    Parameters
    ----------
    seconds : float
        Wall time since fit was called.  A fit that was ended so is exempt from the promise of equal
        bits; ``fit_report_["stopped"]`` says "callback", and its checkpoint goes on.

    Raises
    ------
    ValueError, TypeError
        For what is no positive number.
    """

    def __init__(self, seconds):
        if isinstance(seconds, bool) or not isinstance(seconds, numbers.Real):
            raise TypeError(f"seconds must be a positive number, got {seconds!r}")
        if not seconds > 0:
            raise ValueError(f"seconds must be a positive number, got {seconds!r}")
        self.seconds = seconds

    def __call__(self, state):
        return state.seconds >= self.seconds


class ProgressLine:
    """Show the iterations of a fit: as a bar on a terminal, as a line for each one elsewhere.

    Iterations of ``max_iter``, objective, labels that changed, rows and bytes a second, and how
    long this start would take to ``max_iter``, before which most end.

    Parameters
    ----------
    file : text file, optional
        Where to print; default: standard error at the time of the call.
    """

    def __init__(self, file=None):
        self.file = file
        self._last = None  # what was shown before
        self._pace = None  # seconds an iteration, once there are two

    def __call__(self, state):
        file = sys.stderr if self.file is None else self.file
        now, last = _Shown(state), self._last
        if last is not None and not last.before(now):
            last = None
        self._last = now
        self._take_time(now, last)
        if file is None:  # no console, as under pythonw
            return
        parts = now.parts(last, self._pace)
        if file.isatty():
            # The line before is erased rather than this one left open: nobody tells a callback
            # which iteration is the last.
            again = "" if last is None else AGAIN
            print(again + _bar(now.done, parts, _columns(file)), file=file, flush=True)
        else:
            parts.insert(2, (0, f"{state.seconds:.1f} s"))
            print("  ".join(text for _, text in parts), file=file, flush=True)

    def _take_time(self, now, last):
        if last is None:
            self._pace = None  # the first time has the scan and the start in it
            return
        latest = (now.seconds - last.seconds) / (now.iteration - last.iteration)
        before = latest if self._pace is None else self._pace
        self._pace = (1 - LATEST) * before + LATEST * latest


class _Shown:
    """What is shown of a state, without its arrays."""

    def __init__(self, state):
        self.iteration, self.max_iter = state.iteration, state.max_iter
        self.seconds, self.objective, self.rows = state.seconds, state.objective, state.rows
        # Mini-batches have one start and rows in memory, a mixture has no labels that change.
        self.init = getattr(state, "init", 0)
        self.bytes_read = getattr(state, "bytes_read", 0)
        self.changed = getattr(state, "n_changed", None)

    def before(self, other):
        """Whether the other is of a later iteration of the same start."""
        return (self.init, self.max_iter) == (other.init, other.max_iter) and (
            self.iteration < other.iteration and self.seconds <= other.seconds
        )

    @property
    def done(self):
        """The part of the iterations that is done, at least."""
        return min(1.0, (self.iteration + 1) / self.max_iter)

    def parts(self, last, pace):
        """The line in parts (rank, text), of which those of high rank may be left out.

        Rates are those since the last line, or since fit was called.
        """
        start = f"start {self.init + 1}  " if self.init else ""
        parts = [
            (0, f"{start}iteration {self.iteration + 1}/{self.max_iter}"),
            (1, f"objective {self.objective:.6g}"),
        ]
        if self.changed is not None:
            parts.append((5, f"changed {self.changed}"))
        rows, read, seconds = self.rows, self.bytes_read, self.seconds
        if last is not None:
            rows, read = rows - last.rows, read - last.bytes_read
            seconds -= last.seconds
        if seconds > 0 and rows > 0:
            parts.append((3, f"{_short(rows / seconds)}rows/s"))
        if seconds > 0 and self.bytes_read > 0:
            parts.append((4, f"{_short(read / seconds)}B/s"))
        left = self.max_iter - self.iteration - 1
        if pace is not None and left > 0:
            parts.append((2, f"up to {_duration(pace * left)} left"))
        return parts


def _short(value):
    """A number in three digits and the prefix of its unit."""
    for prefix in ("", "k", "M", "G"):
        if value < 999.5:
            return f"{value:.3g} {prefix}"
        value /= 1000
    return f"{value:.3g} T"


def _duration(seconds):
    """A time in its two largest units, rounded up."""
    if seconds < 10:
        return f"{max(1, math.ceil(10 * seconds)) / 10:.1f} s"
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _columns(file):
    """Width of the terminal that file is."""
    try:
        columns = os.get_terminal_size(file.fileno()).columns
    except (AttributeError, OSError, ValueError):
        columns = 0
    return columns or shutil.get_terminal_size().columns


def _bar(done, parts, columns):
    """One line of fewer columns: a longer one would wrap, and could not be erased."""
    columns -= 1
    width = min(MOST_BAR, columns // 4)
    bar = ""
    if width >= LEAST_BAR:
        filled = int(done * width)
        bar = f"[{'#' * filled}{'.' * (width - filled)}]  "
    while len(bar) + len("  ".join(text for _, text in parts)) > columns and len(parts) > 1:
        parts.remove(max(parts))
    return (bar + "  ".join(text for _, text in parts))[:columns]
