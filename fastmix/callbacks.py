# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks for ``callbacks=``: each is called with the state after every iteration, and a true
value ends the fit."""

import sys

__all__ = ["ProgressLine", "TimeLimit"]


class TimeLimit:
    """End the fit after the iteration in which the time is up.

    Parameters
    ----------
    seconds : float
        Wall time since fit started.  A fit that was ended so is exempt from the promise of equal
        bits; ``fit_report_["stopped"]`` says "callback".
    """

    def __init__(self, seconds):
        if not seconds > 0:
            raise ValueError(f"seconds must be a positive number, got {seconds!r}")
        self.seconds = seconds

    def __call__(self, state):
        return state.seconds >= self.seconds


class ProgressLine:
    """Print one line per iteration: rewritten in place on a terminal, appended elsewhere.

    Parameters
    ----------
    file : text file, optional
        Where to print; default: standard error at the time of the call.
    """

    def __init__(self, file=None):
        self.file = file

    def __call__(self, state):
        file = sys.stderr if self.file is None else self.file
        if file is None:  # no console, as under pythonw
            return
        # A mixture has no labels that change.
        changed = f"  changed {state.n_changed}" if hasattr(state, "n_changed") else ""
        line = (
            f"iteration {state.iteration + 1}/{state.max_iter}  objective {state.objective:.6g}"
            f"{changed}  {state.seconds:.1f} s"
        )
        if file.isatty():
            # The line before is erased rather than this one left open: nobody tells a callback
            # which iteration is the last.
            again = "\x1b[1A\x1b[2K" if state.iteration else ""
            print(f"{again}{line}", file=file, flush=True)
        else:
            print(line, file=file, flush=True)
