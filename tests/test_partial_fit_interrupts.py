# SPDX-License-Identifier: BSD-3-Clause
"""Ctrl-C during partial_fit: seen soon, and the estimator goes on as if it had not been called."""

import copy
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from scipy import sparse

from fastmix import GaussianMixture, KMeans, MiniBatchKMeans
from fastmix import _minibatch as minibatch_estimator
from fastmix import _sequential as sequential_estimator
from fastmix import _stepwise as stepwise_estimator
from fastmix.core import _sequential
from fastmix.core._sequential import Learner

# An interval timer raises KeyboardInterrupt by the path that SIGINT takes, in a child with a time
# limit.  The bound is a promise to the user (0.2 s), with room for a busy machine.
CHILD = """
import copy, signal, time, warnings
import numpy as np
from fastmix import GaussianMixture, KMeans, MiniBatchKMeans

warnings.simplefilter("ignore")
signal.signal(signal.SIGALRM, signal.default_int_handler)
rng = np.random.default_rng(0)
centers = 6 * rng.normal(size=(8, 16)).astype("f4")

def batch(n):
    return centers[rng.integers(8, size=n)] + rng.normal(size=(n, 16)).astype("f4")

big, small, next_ = batch({n}), batch(3_000), batch(3_000)

def bits(model):
    names = "cluster_centers_", "counts_", "labels_", "weights_", "means_", "covariances_"
    return [getattr(model, name).tobytes() for name in names if hasattr(model, name)]

def interrupted(work, after):
    begun = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        work()
        signal.setitimer(signal.ITIMER_REAL, 0)
        return False  # the work ended before
    except KeyboardInterrupt:
        late = time.monotonic() - begun - after
        assert late < 1, f"KeyboardInterrupt came {{late:.2f}} s late"
        return True

for first in True, False:
    model = {model}
    if not first:
        model.partial_fit(small)
    twin, begun, hits = copy.deepcopy(model), time.monotonic(), 0
    copy.deepcopy(model).partial_fit(big)
    took = time.monotonic() - begun
    for part in 0.1, 0.35, 0.6, 0.85:
        before = dict(vars(model))
        if interrupted(lambda: model.partial_fit(big), part * took):
            hits += 1
            assert vars(model).keys() == before.keys()
            assert all(vars(model)[name] is before[name] for name in before)
        else:
            model = copy.deepcopy(twin)
    assert hits, f"no signal of 4 came in the {{took:.2f}} s of the work"
    for each in model, twin:
        each.partial_fit(next_).partial_fit(small)
    assert bits(model) == bits(twin)
"""
WORK = {
    "KMeans": ("KMeans(64, random_state=draws)", 400_000),
    "KMeans, constant rate": ("KMeans(8, random_state=draws, learning_rate=0.1)", 400_000),
    "KMeans, row by row": ("KMeans(8, random_state=draws, batch_size=1)", 400_000),
    "MiniBatchKMeans": (
        "MiniBatchKMeans(64, random_state=draws, reassignment_ratio=0.5)", 400_000
    ),
    "GaussianMixture": ("GaussianMixture(8, random_state=draws)", 300_000),
    "GaussianMixture, averages": (
        "GaussianMixture(16, covariance_type='diag', random_state=draws, averaging=True)",
        300_000,
    ),
}  # fmt: skip


@pytest.mark.parametrize("work", WORK)
def test_interrupts_are_seen_and_leave_an_estimator_that_goes_on(work):
    model, n = WORK[work]
    model = model.replace("draws", "np.random.RandomState(0)")
    code = textwrap.dedent(CHILD).format(model=model, n=n)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rows(n=600, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)) + 9 * rng.integers(4, size=(n, 1))


# Where a call has drawn all that it draws, and has not ended.
LAST = {
    KMeans: (sequential_estimator._sequential, "learn"),
    MiniBatchKMeans: (minibatch_estimator._lloyd, "inertia"),
    GaussianMixture: (stepwise_estimator._stepwise, "learn"),
}


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("seed", ["number", "RandomState", "RandomState of PCG64"])
@pytest.mark.parametrize("n_before", [0, 1, 2])
@pytest.mark.parametrize("estimator", LAST, ids=lambda e: e.__name__)
def test_draws_of_a_call_that_failed_are_drawn_again(estimator, n_before, seed, error, monkeypatch):
    def stop(*arguments, **options):
        inner(*arguments, **options)
        raise error

    draws = {
        "number": 0,
        "RandomState": np.random.RandomState(0),
        "RandomState of PCG64": np.random.RandomState(np.random.PCG64(0)),
    }[seed]
    options = {"reassignment_ratio": 0.9} if estimator is MiniBatchKMeans else {}
    model = estimator(30, random_state=draws, **options)
    for index in range(n_before):
        model.partial_fit(rows(seed=index))
    twin = copy.deepcopy(model)
    (module, name), before = LAST[estimator], vars(model).copy()
    inner = getattr(module, name)
    monkeypatch.setattr(module, name, stop)
    with pytest.raises(error):
        model.partial_fit(rows(seed=7))
    monkeypatch.undo()
    assert vars(model) == before
    for each in (model, twin):
        each.partial_fit(rows(seed=8)).partial_fit(rows(seed=9))
    assert model.predict(rows()).tobytes() == twin.predict(rows()).tobytes()
    if seed != "number":
        assert model.random_state.random() == twin.random_state.random()


@pytest.mark.parametrize("estimator", LAST, ids=lambda e: e.__name__)
def test_draws_of_a_fit_that_failed_are_drawn_again(estimator):
    def fail(state):
        raise RuntimeError("from the callback")

    model = estimator(4, random_state=np.random.RandomState(0), callbacks=fail)
    with pytest.raises(RuntimeError, match="from the callback"):
        model.fit(rows())
    assert model.random_state.random() == np.random.RandomState(0).random()


# Calls.


class Calls:
    """Running means that count the rows of each call."""

    def __init__(self, means):
        self.means, self.counts = means, []

    def __getattr__(self, name):
        return getattr(self.means, name)

    def add(self, rows, start, stop, *arguments):
        self.counts.append(stop - start)
        self.means.add(rows, start, stop, *arguments)

    def learn(self, start, stop, *arguments):
        self.counts.append(stop - start)
        self.means.learn(start, stop, *arguments)


@pytest.mark.parametrize("d", [1, 16, 300])
@pytest.mark.parametrize(
    ("batch_size", "most"), [(None, 20_000_000), (1, 6_000_000)], ids=["batch", "row by row"]
)
def test_calls_are_of_few_rows(batch_size, most, d, monkeypatch):
    calls = []

    class Counting(Learner):
        def __init__(self, frame, means, *arguments):
            super().__init__(frame, Calls(means), *arguments)
            calls.append(self.means.counts)

    monkeypatch.setattr(_sequential, "Learner", Counting)
    n = 2 * most // (d + 10)
    X = np.broadcast_to(np.arange(d, dtype=np.float32), (n, d))
    KMeans(1, init=X[:1], batch_size=batch_size).partial_fit(X)
    assert sum(calls[0]) == n
    # A row takes 3 ns for d + 10 elements, or 8 row by row: within a factor of two 50 ms.
    assert max(calls[0]) * (d + 10) < most


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unit", "weighted"])
@pytest.mark.parametrize("rate", ["mean", 0.25])
@pytest.mark.parametrize("batch_size", [None, 250, 1], ids=str)
def test_cuts_into_calls_change_no_bit(batch_size, rate, weighted, make, monkeypatch):
    X = make(np.where(rows() > 0, rows(), 0))
    weights = np.random.default_rng(1).random(600) if weighted else None

    def learnt():
        model = KMeans(4, random_state=0, learning_rate=rate, batch_size=batch_size, n_threads=3)
        for _ in range(2):
            model.partial_fit(X, sample_weight=weights)
        return [a.tobytes() for a in (model.cluster_centers_, model.counts_, model.labels_)]

    wanted = learnt()
    monkeypatch.setattr(_sequential, "CALL_NANOSECONDS", 1000.0)
    monkeypatch.setattr(_sequential, "RENEWED_NANOSECONDS", 0.0)
    assert learnt() == wanted
