# SPDX-License-Identifier: BSD-3-Clause
"""A mixture when signals, forks and other threads come between, in a child with a time limit."""

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest

from fastmix import GaussianMixture

PRELUDE = """
import os, signal, sys, threading, time, warnings
import numpy as np
from fastmix import GaussianMixture
warnings.simplefilter("ignore")
signal.signal(signal.SIGALRM, signal.default_int_handler)
rng = np.random.default_rng(0)
X = rng.normal(size=(100_000, 16)) + 3 * rng.integers(3, size=(100_000, 1))
small = X[:5000]

def interrupted(work, after):
    begun = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        work()
    except KeyboardInterrupt:
        late = time.monotonic() - begun - after
        assert late < 1, f"KeyboardInterrupt came {late:.2f} s late"
        return
    raise AssertionError("the work ended before the signal")

def fit(**options):
    return GaussianMixture(4, random_state=0, max_iter=5, tol=0, **options).fit(small)

def bits(model):
    return model.means_.tobytes() + model.covariances_.tobytes()

def in_fork(work):
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        status = 1
        try:
            status = not work()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0, "the forked process failed or hung"

"""


def run(code):
    done = subprocess.run(
        [sys.executable, "-P", "-c", PRELUDE + code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random"])
@pytest.mark.parametrize("when", ["initialisation", "iterations"])
def test_interrupt_of_fit_is_seen_and_leaves_whole_iterations(init, when):
    run(f"""
def arm(state):
    if state.iteration == 2 and {when == "iterations"}:
        signal.setitimer(signal.ITIMER_REAL, 0.05)

options = dict(init_params={init!r}, tol=0, random_state=0)
model = GaussianMixture(16, max_iter=100_000, callbacks=arm, **options)
interrupted(lambda: model.fit(X), {0.02 if when == "initialisation" else 60})
if {when == "iterations"} or hasattr(model, "means_"):
    assert model.fit_report_["stopped"] == "interrupt"
    assert model.n_iter_ == len(model.lower_bounds_) > 0
    again = GaussianMixture(16, max_iter=model.n_iter_, **options).fit(X)
    assert bits(again) == bits(model) and again.lower_bounds_ == model.lower_bounds_
""")


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score_samples", "icl"])
def test_interrupt_of_other_work_changes_nothing(method):
    run(f"""
model = fit()
before = dict(vars(model))
big = np.tile(X, (10, 1))
interrupted(lambda: [model.{method}(big) for _ in range(100)], 0.1)
assert vars(model).keys() == before.keys()
assert all(vars(model)[name] is before[name] for name in before)
""")


def test_child_forked_while_another_thread_fits_has_the_same_bits():
    run("""
expected = bits(fit(n_threads=2))
stop = threading.Event()
busy = GaussianMixture(16, tol=0, max_iter=10**6, n_threads=2, callbacks=lambda _: stop.is_set())
worker = threading.Thread(target=busy.fit, args=(X,))
worker.start()
for _ in range(3):
    time.sleep(0.1)
    in_fork(lambda: bits(fit(n_threads=2)) == expected)
stop.set()
worker.join()
assert bits(fit(n_threads=2)) == expected
""")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("call", ["final", "m_step"])
def test_interrupt_between_iterations_loses_nothing(blobs, monkeypatch, call):
    from fastmix.core import _em, _mixture_fit

    X = blobs(400, 2, 3)
    options = {"random_state": 0, "tol": 0, "callbacks": lambda state: state.iteration == 3}
    model, hit = GaussianMixture(3, **options), []
    expected = GaussianMixture(3, **options).fit(X)
    if call == "final":  # the pass for the likelihood, when the last iteration is done
        inner = _mixture_fit.log_likelihood
        target, name = _mixture_fit, "log_likelihood"
    else:
        inner, target, name = _em.settle, _em, "settle"

    def interrupt(*arguments, **keywords):
        if not hit and (call == "final" or arguments[-1] == 4):
            hit.append(1)
            raise KeyboardInterrupt
        return inner(*arguments, **keywords)

    if call == "m_step":  # not in the short runs before
        monkeypatch.setattr("fastmix.core._mixture_start.SHORT_RUNS", 1)
        expected = GaussianMixture(3, **options | {"callbacks": None, "max_iter": 3}).fit(X)
    monkeypatch.setattr(target, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.fit_report_["stopped"] == "interrupt"
    assert model.n_iter_ == len(model.lower_bounds_) == expected.n_iter_
    np.testing.assert_array_equal(model.covariances_, expected.covariances_)


# Memory beyond X.

PEAK = """
def status(name):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(name))

fit()
X = np.random.default_rng(0).normal(size=(500_000, 16))
X += 4 * np.random.default_rng(1).integers(8, size=(500_000, 1))
import ctypes
ctypes.CDLL(None).malloc_trim(0)  # what was freed is not there for the fit to take again
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts anew
before = status("VmRSS")
"""


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK)
    or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="needs Linux's /proc and glibc",
)
@pytest.mark.parametrize("kind", ["full", "diag"])
def test_peak_memory_of_a_fit_beyond_the_rows_is_within_64_mb(kind):
    run(
        PEAK
        + f"""
held = GaussianMixture(32, covariance_type={kind!r}, max_iter=1, random_state=0, n_threads=2).fit(X)
more = status("VmHWM") - before
assert 4 * len(X) < more <= 64_000_000, more  # ln p of every row is seen
"""
    )
