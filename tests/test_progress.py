# SPDX-License-Identifier: BSD-3-Clause
"""The progress line: what it says of a state, in a log and on terminals of any width."""

import io
import os
import re
from types import SimpleNamespace

import pytest

from fastmix import callbacks
from fastmix.callbacks import AGAIN, ProgressLine


def state(iteration, *, seconds=None, init=0, max_iter=10, **values):
    """A state of K-means in its so-manieth second, of a million rows an iteration."""
    given = {"objective": 12345.678, "n_changed": 77, "rows": 10**6 * (iteration + 1)}
    given |= {"bytes_read": 0, "seconds": iteration + 1.0 if seconds is None else seconds}
    given |= {"iteration": iteration, "init": init, "max_iter": max_iter}
    return SimpleNamespace(**{**given, **values})


def shown(*states, columns=None, monkeypatch=None):
    """What a progress line prints of states, on a terminal of so many columns or in a log."""
    file = io.StringIO()
    if columns is not None:
        file.isatty = lambda: True
        monkeypatch.setattr(callbacks, "_columns", lambda _: columns)
    line = ProgressLine(file)
    for each in states:
        assert not line(each)  # a true value would end the fit
    return file.getvalue().splitlines()


def test_log_has_a_line_an_iteration_with_rate_and_time_left():
    assert shown(state(0), state(1), state(2, seconds=5)) == [
        "iteration 1/10  objective 12345.7  1.0 s  changed 77  1 Mrows/s",
        "iteration 2/10  objective 12345.7  2.0 s  changed 77  1 Mrows/s  up to 8.0 s left",
        # 0.7 of 1 s and 0.3 of 3 s, seven times: 11.2, rounded up.
        "iteration 3/10  objective 12345.7  5.0 s  changed 77  333 krows/s  up to 12 s left",
    ]


def test_first_iteration_has_no_estimate_and_the_last_nothing_left():
    lines = shown(*map(state, range(10)))
    assert ["left" in line for line in lines] == [False, *[True] * 8, False]


def test_bytes_a_second_are_those_since_the_line_before():
    lines = shown(state(0, bytes_read=2e9), state(1, bytes_read=3.5e9), state(2, bytes_read=3.5e9))
    assert [re.search(r"([\d.]+ .?)B/s", line)[1] for line in lines] == ["2 G", "1.5 G", "0 "]


def test_mixture_has_no_labels_that_change():
    mixture = state(0)
    del mixture.n_changed
    assert "changed" not in shown(mixture)[0]


def test_later_start_and_next_fit_begin_anew(monkeypatch):
    states = [state(0), state(1), state(0, init=1, seconds=3), state(1, init=1, seconds=4)]
    lines = shown(*states, state(0), columns=80, monkeypatch=monkeypatch)
    assert [line.startswith(AGAIN) for line in lines] == [False, True, False, True, False]
    assert ["start 2  iteration" in line for line in lines] == [False, False, True, True, False]


def test_fit_that_goes_on_does_not_erase_what_was_there(monkeypatch):
    lines = shown(state(6), state(7), columns=80, monkeypatch=monkeypatch)
    assert [line.startswith(AGAIN) for line in lines] == [False, True]


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200])
def test_line_never_wraps_and_keeps_the_iteration(monkeypatch, columns):
    lines = shown(*map(state, range(10)), columns=columns, monkeypatch=monkeypatch)
    for i, line in enumerate(lines):
        text = line.removeprefix(AGAIN)
        assert len(text) < columns
        assert f"iteration {i + 1}/10" in text


def test_bar_fills_up(monkeypatch):
    lines = shown(*map(state, range(10)), columns=121, monkeypatch=monkeypatch)
    filled = [line.count("#") for line in lines]
    assert filled == list(range(3, 31, 3))
    assert {line.count("#") + line.split("]")[0].count(".") for line in lines} == {30}


def test_wide_terminal_shows_everything(monkeypatch):
    line = shown(state(0), state(1, bytes_read=10), columns=200, monkeypatch=monkeypatch)[1]
    for part in ("objective 12345.7", "changed 77", "1 Mrows/s", "10 B/s", "up to 8.0 s left"):
        assert part in line


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0.1 s"), (0.31, "0.4 s"), (59.5, "1 min 0 s"), (61, "1 min 1 s"), (7380, "2 h 3 min")],
)
def test_time_left_is_rounded_up(seconds, text):
    assert callbacks._duration(seconds) == text


@pytest.mark.parametrize(
    "value, text", [(0, "0 "), (999, "999 "), (999.6, "1 k"), (12.3e6, "12.3 M"), (4e12, "4 T")]
)
def test_rates_have_three_digits_and_a_prefix(value, text):
    assert callbacks._short(value) == text


def test_width_is_that_of_the_terminal_that_is_written_to():
    pty = pytest.importorskip("pty")
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 30, 47, 0, 0))
        with open(theirs, "w", closefd=False) as file:
            assert callbacks._columns(file) == 47
            ProgressLine(file)(state(0))
        assert os.read(ours, 1000) == b"[#..........]  iteration 1/10\r\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_no_console_is_no_error(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    assert not ProgressLine()(state(0))
