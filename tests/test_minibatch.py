# SPDX-License-Identifier: BSD-3-Clause
"""MiniBatchKMeans: scikit-learn's batches, means to the last bit, and fastmix's promises.

scikit-learn's own tests of the class run in test_sklearn_suite.py.
"""

import time

import numpy as np
import pytest
import sklearn.cluster
from scipy import sparse

from fastmix import MiniBatchKMeans
from fastmix.callbacks import ProgressLine, TimeLimit
from fastmix.core._minibatch import drawer


def blobs(n=2000, d=6, k=5, dtype=np.float64):
    rng = np.random.default_rng(5)
    return (rng.standard_normal((n, d)) + 9 * rng.integers(0, k, (n, 1))).astype(dtype)


@pytest.mark.parametrize("n", [1, 2, 7, 1000, 99_991])
@pytest.mark.parametrize("weighted", [False, True], ids=["unit", "weighted"])
def test_batches_are_those_of_random_state_choice(n, weighted):
    weights = np.random.default_rng(2).integers(1, 9, n).astype(float) if weighted else None
    p = (np.ones(n) if weights is None else weights) / (n if weights is None else weights.sum())
    draw, other = drawer(n, weights, np.random.RandomState(3)), np.random.RandomState(3)
    for size in (1, 50, 4096):
        np.testing.assert_array_equal(draw(size), other.choice(n, size, p=p, replace=True))


@pytest.mark.parametrize("tol, patience", [(0, None), (0, 3), (1e-3, None)])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unit", "weighted"])
def test_fit_takes_the_steps_of_scikit_learn(tol, patience, make, weighted):
    X = blobs()
    weights = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    options = {"n_clusters": 7, "init": X[:7], "n_init": 1, "batch_size": 100, "max_iter": 5}
    options |= {"tol": tol, "max_no_improvement": patience, "random_state": 1}
    ours = MiniBatchKMeans(**options).fit(make(X), sample_weight=weights)
    theirs = sklearn.cluster.MiniBatchKMeans(**options).fit(make(X), sample_weight=weights)
    assert (ours.n_steps_, ours.n_iter_) == (theirs.n_steps_, theirs.n_iter_)
    # scikit-learn rounds sums of at most 1e4 values of at most 40 in every step.
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-10)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-10)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.counts_, theirs._counts, rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fit_has_the_same_bits_for_threads_and_layouts(dtype):
    X = blobs(5000, 40, dtype=dtype)
    found = set()
    for rows, threads in [(X, 1), (X, 2), (X, 3), (np.asfortranarray(X), 2)]:
        model = MiniBatchKMeans(60, random_state=0, n_threads=threads, batch_size=700).fit(rows)
        found.add((model._model.centers.tobytes(), model.labels_.tobytes(), model.inertia_))
    assert len(found) == 1


def test_fit_predicts_its_labels_and_reports():
    X = blobs()
    model = MiniBatchKMeans(5, random_state=0).fit(X)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    assert model.fit_report_["n_steps"] == model.n_steps_
    assert model.fit_report_["stopped"] in ("no_improvement", "max_iter")


def test_report_has_the_threads_that_ran():
    X = np.random.default_rng(0).random((50, 3))
    assert MiniBatchKMeans(2, n_threads=500, random_state=0).fit(X).fit_report_["n_threads"] == 1


def test_callback_stops_and_sees_the_batches():
    seen = []

    def callback(state):
        seen.append(state.iteration)
        return state.iteration == 2

    model = MiniBatchKMeans(5, random_state=0, callbacks=callback).fit(blobs())
    assert seen == [0, 1, 2]
    assert model.n_steps_ == 3
    assert model.fit_report_["stopped"] == "callback"


def test_interrupted_fit_keeps_what_it_has():
    def interrupt(state):
        if state.iteration == 3:
            raise KeyboardInterrupt

    model = MiniBatchKMeans(5, random_state=0, callbacks=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(blobs())
    assert model.n_steps_ == 4
    assert model.fit_report_["stopped"] == "interrupt"
    assert model.predict(blobs()).max() < 5


def test_interrupted_fit_of_other_columns_keeps_their_names():
    def interrupt(state):
        raise KeyboardInterrupt

    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(0).normal(size=(300, 3)), columns=list("abc"))
    model = MiniBatchKMeans(5, random_state=0).fit(X[["a", "b"]])
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=interrupt).fit(X)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.n_features_in_ == model.cluster_centers_.shape[1] == 3
    assert not hasattr(model, "labels_")


def test_failed_fit_leaves_the_estimator():
    X = blobs()
    model = MiniBatchKMeans(5, random_state=0).fit(X)
    centers, names = model.cluster_centers_, set(vars(model))
    X[7, 1] = np.inf
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"X\[7, 1\]"):
            call(X)
    np.testing.assert_array_equal(model.cluster_centers_, centers)
    assert set(vars(model)) == names


@pytest.mark.parametrize("ratio", [0.5, 1.0, 5.0])
def test_large_reassignment_ratio_is_no_error(ratio):
    model = MiniBatchKMeans(30, random_state=0, reassignment_ratio=ratio, batch_size=90)
    model.fit(blobs(300))
    assert np.isfinite(model.cluster_centers_).all()


def test_progress_and_time_limits_serve_mini_batches(capsys):
    X = blobs()
    MiniBatchKMeans(3, max_iter=1, batch_size=1000, callbacks=ProgressLine()).fit(X)
    shown = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in shown] == ["iteration 1/2", "iteration 2/2"]

    def slow(X, k, random_state):
        time.sleep(0.2)  # the limit counts from when fit was called
        return X[:k]

    limited = MiniBatchKMeans(3, init=slow, n_init=1, callbacks=TimeLimit(0.1)).fit(X)
    assert (limited.n_steps_, limited.fit_report_["stopped"]) == (1, "callback")


@pytest.mark.parametrize("scale", [2.0**532, 2.0**-540])
@pytest.mark.parametrize(
    "options", [{"tol": 1e-2, "max_no_improvement": None}, {"init": "random", "n_init": 10}]
)
def test_decisions_do_not_depend_on_the_scale(scale, options):
    X = blobs()
    plain, scaled = (
        MiniBatchKMeans(8, random_state=0, batch_size=32, **options).fit(rows)
        for rows in (X, X * scale)
    )
    assert scaled.n_steps_ == plain.n_steps_
    np.testing.assert_array_equal(scaled.cluster_centers_, plain.cluster_centers_ * scale)


def test_labels_of_other_rows_do_not_stay():
    X = blobs()
    for method in "fit", "partial_fit":
        model = MiniBatchKMeans(3, random_state=0).fit(X).set_params(compute_labels=False)
        getattr(model, method)(X[:30])
        assert not hasattr(model, "labels_")
    assert not hasattr(model, "fit_report_")
