# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints under SIGKILL and on full disks: the file is the old or the new one, and whole.

What is killed is a fork of a child that has fitted nothing yet, so that there are no threads.
"""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from checkpoint_cases import CASES, digest, fit
from fastmix import KMeans

PRELUDE = """
import io, os, random, resource, signal, sys, time, traceback
sys.path.insert(0, sys.argv[1])
import numpy as np
from checkpoint_cases import CASES, digest, fit
from fastmix import _atomic

name, folder = sys.argv[2], sys.argv[3]
path = os.path.join(folder, "fit.ckpt")
short = {}  # further parameters, for fewer iterations

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def start(work):
    # A fork that does work(); its process id.
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

def killed(pid):
    # Whether a fork was killed; else it must have ended well.
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return True
    assert os.waitstatus_to_exitcode(status) == 0, status
    return False

def finish():
    # The digest of a fit that goes on, in a fork: this process has no threads yet.
    def work():
        model = fit(name, checkpoint=path, resume=True, **short)
        print(digest(model), flush=True)
    pid = start(work)
    assert not killed(pid)
"""


@pytest.fixture
def child(tmp_path):
    """Run code on a case after the prelude, in a process of its own; the lines it printed."""

    def run(code, name):
        folder = tmp_path / "checkpoints"
        folder.mkdir()
        tests = str(Path(__file__).parent)
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(code), tests, name, str(folder)],
            cwd=tmp_path,  # not the checkout, whose fastmix is not compiled
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.splitlines()

    return run


# SIGKILL.

# Each piece of a file's bytes is an event, and so is every call that makes the file lasting; what
# is killed dies before one of them, or half-way through a piece.
KILL_AT_EVERY_WRITE = """
    short = {"n_init": 2, "max_iter": 2}
    events, kill_at = 0, None
    contents = []  # of the checkpoint, after each one is written

    def event():
        global events
        events += 1
        if events == kill_at:
            die()

    class File(io.FileIO):
        def write(self, data):
            data = bytes(data)
            event()
            written = super().write(data[: len(data) // 2])
            event()
            return written + super().write(data[len(data) // 2 :])

    def calling(function):
        def call(*args):
            event()
            done = function(*args)
            event()
            return done
        return call

    _atomic.open = lambda path, mode: io.BufferedWriter(File(path, mode), 4096)
    os.fsync, os.replace = calling(os.fsync), calling(os.replace)

    def through():
        # The bytes and the last event of every checkpoint of a whole fit.
        from fastmix import _checkpoint
        write = _checkpoint.write
        def note(*args):
            write(*args)
            with open(path, "rb") as file:
                contents.append((events, file.read()))
        _checkpoint.write = note
        fit(name, checkpoint=path, **short)
        with open(os.path.join(folder, "..", "contents"), "wb") as file:
            import pickle
            pickle.dump(contents, file)

    assert not killed(start(through))
    import pickle
    with open(os.path.join(folder, "..", "contents"), "rb") as file:
        contents = pickle.load(file)
    assert len(contents) >= 4
    # All events of the first two checkpoints, and of one in the second start.
    ends = [end for end, _ in contents]
    chosen = {0, 1, len(ends) - 2}
    outcomes = {"old": 0, "new": 0, "none": 0}
    for index in sorted(chosen):
        for kill_at in range(ends[index - 1] + 1 if index else 1, ends[index] + 1):
            if os.path.exists(path):
                os.unlink(path)
            assert killed(start(lambda: fit(name, checkpoint=path, **short))), kill_at
            old = contents[index - 1][1] if index else None
            found = None
            if os.path.exists(path):
                with open(path, "rb") as file:
                    found = file.read()
            assert found in (old, contents[index][1]), (index, kill_at)
            what = "none" if found is None else "old" if found == old else "new"
            outcomes[what] += 1
            kill_at = None
            finish()
            assert os.listdir(folder) == ["fit.ckpt"]
    assert min(outcomes.values()) >= 3, outcomes
"""


@pytest.mark.parametrize("name", ["starts", "diag"])
def test_kill_at_any_write_leaves_a_whole_checkpoint_that_goes_on(child, name):
    lines = child(KILL_AT_EVERY_WRITE, name)
    assert len(lines) > 30  # kills
    assert set(lines) == {digest(fit(name, n_init=2, max_iter=2))}


@pytest.mark.parametrize("name", ["bounds", "sparse", "starts", "full", "diag"])
def test_twenty_fits_killed_at_random_iterations_have_one_hash(child, name):
    code = """
        draws, kills = random.Random(5), 0
        for _ in range(20):
            while True:
                left = draws.randint(2, 40)
                def count(state):
                    global left
                    left -= 1
                    if left == 0:
                        die()
                def work():
                    model = fit(name, checkpoint=path, resume=True, callbacks=count)
                    print(digest(model), flush=True)
                if not killed(start(work)):
                    break
                kills += 1
            os.unlink(path)
        assert kills >= 10, kills
    """
    lines = child(code, name)
    assert len(lines) == 20
    assert set(lines) == {digest(fit(name))}


@pytest.mark.parametrize("name", ["starts", "diag"])
def test_fits_killed_at_random_times_go_on(child, name):
    code = """
        draws = random.Random(6)
        def work():
            fit(name, checkpoint=path, resume=True)
        for _ in range(20):
            pid = start(work)
            time.sleep(draws.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        finish()
    """
    assert child(code, name) == [digest(fit(name))]


# Full disks.


@pytest.mark.parametrize("name", ["starts", "full"])
def test_full_disk_keeps_the_checkpoint_before_and_the_best_state(child, name):
    code = """
        def work():
            unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
            before = []
            def fill(state):
                if state.iteration == 3:
                    with open(path, "rb") as file:
                        before.append(file.read())
                    # Python ignores SIGXFSZ, so that a write beyond fails with EFBIG, where a full
                    # disk says ENOSPC.
                    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))
            cls, options, X, _ = CASES[name]
            options = {"random_state": 3, "max_iter": 40, **options}
            model = cls(**options, checkpoint=path, callbacks=fill)
            try:
                model.fit(X)
            except OSError as error:
                print(error.errno, error.filename)
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            print(model.fit_report_["stopped"], model.n_iter_)
            with open(path, "rb") as file:
                print(file.read() == before[0], os.listdir(folder))
            options |= {"max_iter": 4, "n_init": 1}
            shorter = cls(**options).fit(X)
            attribute = "cluster_centers_" if hasattr(shorter, "cluster_centers_") else "means_"
            print((getattr(model, attribute) == getattr(shorter, attribute)).all())
            print(digest(fit(name, checkpoint=path, resume=True)))
        assert not killed(start(work))
    """
    lines = child(code, name)
    assert lines[0].startswith(f"{errno.EFBIG} ")
    assert lines[1:] == [
        "checkpoint failed 4",
        "True ['fit.ckpt']",
        "True",
        digest(fit(name)),
    ]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("name", ["plain", "full"])
def test_failing_write_of_the_first_checkpoint_leaves_the_estimator_as_it_was(
    name, call, tmp_path, monkeypatch
):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    cls, options, X, _ = CASES[name]
    model = cls(**{"random_state": 3, **options}, checkpoint=tmp_path / "fit.ckpt")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        model.fit(X)
    assert not hasattr(model, "fit_report_")
    assert not hasattr(model, "n_features_in_")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["starts", "diag"])
def test_failing_write_in_a_later_start_keeps_the_best_one(name, tmp_path, monkeypatch):
    replace, calls = os.replace, []

    def fail(*args):
        if calls:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*args)

    def later(state):
        if state.init == 1:
            calls.append(state)

    cls, options, X, _ = CASES[name]
    options = {"random_state": 3, "max_iter": 40, **options}
    model = cls(**options, checkpoint=tmp_path / "fit.ckpt", callbacks=later)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        model.fit(X)
    assert model.fit_report_["stopped"] == "checkpoint failed"
    monkeypatch.undo()
    first = cls(**{**options, "n_init": 1}).fit(X)
    if cls is KMeans:
        assert model.cluster_centers_.tobytes() == first.cluster_centers_.tobytes()
    else:
        assert model.lower_bound_ >= first.lower_bound_
    assert digest(fit(name, checkpoint=tmp_path / "fit.ckpt", resume=True)) == digest(fit(name))


def test_error_of_a_callback_is_not_a_failing_checkpoint(tmp_path):
    def fail(state):
        if state.iteration == 2:
            raise OSError("the callback's own")

    model = KMeans(3, random_state=0, tol=0, checkpoint=tmp_path / "fit.ckpt", callbacks=fail)
    with pytest.raises(OSError, match="own"):
        model.fit(CASES["plain"][2])
    assert not hasattr(model, "fit_report_")
