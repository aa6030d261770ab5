# SPDX-License-Identifier: BSD-3-Clause
"""KMeans in Python: why a fit stops and what it reports, callbacks, frames, pickles.

What a fit computes is in test_kmeans.py; scikit-learn's own checks are in test_estimator_checks.py.
"""

import io
import pickle
import re
import signal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn.cluster
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastmix
import reference
from fastmix import KMeans, kmeans
from fastmix.callbacks import ProgressLine, TimeLimit


def bits(model):
    return model.cluster_centers_.tobytes(), model.labels_.tobytes(), model.inertia_


@pytest.fixture
def X(blobs):
    return blobs(500)


# Why a fit stops, and its report.


STOPS = {
    "strict": {"tol": 0},
    "tol": {"tol": 0.5},
    "max_iter": {"tol": 0, "max_iter": 2},
    "callback": {"tol": 0, "callbacks": lambda state: state.iteration == 1},
}


@pytest.mark.parametrize("reason", STOPS)
def test_report_says_why_the_fit_stopped(X, reason):
    model = KMeans(5, init=X[:5], **STOPS[reason]).fit(X)
    assert model.fit_report_["stopped"] == reason


@pytest.mark.parametrize("reason", STOPS)
def test_report_counts_rows_and_products(X, reason):
    model = KMeans(5, init=X[:5], **STOPS[reason]).fit(X)
    # One more E-step, unless the last one changed nothing.
    scans = model.n_iter_ + (reason != "strict")
    report = model.fit_report_
    assert (report["rows_scanned"], report["products"]) == (scans * 500, scans * 500 * 5)
    assert report["rows_shortlisted"] == 0


@pytest.mark.parametrize("reason", STOPS)
def test_labels_are_predictions_whatever_stopped_the_fit(X, reason):
    model = KMeans(5, init=X[:5], **STOPS[reason]).fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)


@pytest.mark.parametrize("algorithm", ["auto", "lloyd", "elkan"])
def test_report_says_what_ran(X, algorithm):
    report = KMeans(5, random_state=0, algorithm=algorithm, n_threads=1).fit(X).fit_report_
    found = {name: report[name] for name in ("algorithm", "isa", "n_threads", "dtype", "repairs")}
    isa = fastmix.core.versions()["isa"]
    ran = "yinyang" if algorithm == "elkan" else "lloyd"
    expected = {"algorithm": ran, "isa": isa, "n_threads": 1, "dtype": "float64", "repairs": []}
    assert found == expected
    assert isinstance(report["reason"], str)


def test_report_counts_the_rows_that_changed(X):
    changes = []
    hook = lambda state: changes.append(state.n_changed)  # noqa: E731
    report = KMeans(5, init=X[:5], tol=0, callbacks=hook).fit(X).fit_report_
    assert changes[0] == 500  # every row gets its first label
    assert changes[-1] == 0
    assert report["rows_changed"] == sum(changes)


def test_report_times_every_phase(X):
    seconds = KMeans(5, random_state=0).fit(X).fit_report_["seconds"]
    assert {"scan", "init", "assign", "update", "final"} <= set(seconds)
    assert all(value >= 0 for value in seconds.values())


def test_trace_has_two_values_an_iteration(X):
    model = KMeans(5, random_state=0, tol=0).fit(X)
    assert model.objective_trace_.shape == (2 * model.n_iter_,)
    assert model.objective_trace_.dtype == np.float64


# Callbacks.


def test_callback_is_given_the_state_of_each_iteration(X):
    states = []
    model = KMeans(5, init=X[:5], tol=0, callbacks=states.append).fit(X)
    assert [state.iteration for state in states] == list(range(model.n_iter_))
    assert [state.objective for state in states] == model.objective_trace_[1::2].tolist()
    assert {state.max_iter for state in states} == {300}
    np.testing.assert_array_equal(states[-1].centers, model.cluster_centers_)


def test_callback_is_given_centers_in_the_coordinates_of_the_rows(X):
    states = []
    KMeans(5, init=X[:5] + 100, tol=0, callbacks=states.append).fit(X + 100)
    centers = reference.lloyd(X + 100, X[:5] + 100, max_iter=1)[0]
    # 500 values of about 100 added up in float64 by the reference.
    np.testing.assert_allclose(states[0].centers, centers, rtol=500 * 2.0**-52)


def test_callback_is_given_the_shift_of_the_centers(X):
    states = []
    KMeans(5, init=X[:5], tol=0, callbacks=states.append).fit(X)
    shift = np.square(states[1].centers - states[0].centers).sum()
    # Differences of centres of about 5, each rounded: 15 of them.
    np.testing.assert_allclose(states[1].center_shift, shift, rtol=1e-12)


def test_every_callback_is_called_though_the_first_stops(X):
    states = []
    model = KMeans(5, init=X[:5], tol=0, callbacks=[lambda _: True, states.append]).fit(X)
    assert len(states) == model.n_iter_ == 1


def test_callback_that_stops_ends_all_starts(X):
    states = []
    stop = lambda state: states.append(state) or len(states) == 2  # noqa: E731
    KMeans(5, init="random", n_init=4, tol=0, random_state=0, callbacks=stop).fit(X)
    assert [state.init for state in states] == [0, 0]


@pytest.mark.parametrize("callbacks", [3, [3], ["x"]], ids=repr)
def test_callback_that_is_not_callable_raises(X, callbacks):
    with pytest.raises((TypeError, ValueError), match="callbacks"):
        KMeans(5, callbacks=callbacks).fit(X)


@pytest.mark.parametrize("seconds, stopped", [(1e-9, "callback"), (1e9, "strict")], ids=str)
def test_time_limit_stops_when_its_time_is_up(X, seconds, stopped):
    model = KMeans(5, init=X[:5], tol=0, callbacks=TimeLimit(seconds)).fit(X)
    assert model.fit_report_["stopped"] == stopped


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "1", True, None])
def test_time_limit_that_is_not_positive_raises(seconds):
    error = ValueError if isinstance(seconds, int | float) and seconds is not True else TypeError
    with pytest.raises(error, match="seconds must be a positive number"):
        TimeLimit(seconds)


def test_progress_line_prints_one_line_an_iteration(X):
    file = io.StringIO()
    model = KMeans(5, init=X[:5], tol=0, callbacks=ProgressLine(file)).fit(X)
    lines = file.getvalue().splitlines()
    assert len(lines) == model.n_iter_
    assert lines[-1].startswith(f"iteration {model.n_iter_}/300  objective ")


def test_progress_line_erases_the_one_before_on_a_terminal(X):
    file = io.StringIO()
    file.isatty = lambda: True
    model = KMeans(5, init=X[:5], tol=0, callbacks=ProgressLine(file)).fit(X)
    # Up one line, and erase it.
    assert file.getvalue().count("\x1b[1A\x1b[2K") == model.n_iter_ - 1


# Interrupts.  A real signal, raised between two iterations; test_hostile_faults.py has the others.


def interrupt(after, init=0):
    def callback(state):
        if (state.init, state.iteration) == (init, after):
            signal.raise_signal(signal.SIGINT)

    return callback


def test_interrupt_leaves_the_state_of_its_iteration(X):
    model = KMeans(5, init=X[:5], tol=0, callbacks=interrupt(2))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    shorter = KMeans(5, init=X[:5], tol=0, max_iter=3).fit(X)
    assert model.fit_report_["stopped"] == "interrupt"
    assert model.n_iter_ == 3
    np.testing.assert_array_equal(model.cluster_centers_, shorter.cluster_centers_)


def test_interrupt_of_a_later_start_leaves_the_best_finished_one(X):
    options = {"init": "random", "tol": 0, "random_state": 0}
    model = KMeans(5, n_init=3, callbacks=interrupt(0, init=2), **options)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert bits(model) == bits(KMeans(5, n_init=2, **options).fit(X))


def test_interrupt_in_the_start_leaves_a_fitted_estimator_as_it_was(X):
    model = KMeans(5, random_state=0).fit(X)
    before = dict(vars(model))

    def init(X, n_clusters, random_state):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        model.set_params(init=init).fit(X + 1)
    assert {**vars(model), "init": "k-means++"} == before


# Verbose.


@pytest.mark.parametrize("options", [{"tol": 0}, {"tol": 0.01}], ids=["strict", "tol"])
def test_verbose_prints_the_lines_of_scikit_learn(X, capsys, options):
    printed = []
    for estimator in (KMeans, sklearn.cluster.KMeans):
        estimator(5, init=X[:5], n_init=1, verbose=1, **options).fit(X)
        printed.append(capsys.readouterr().out.splitlines())
    numbers = [[float(n) for n in re.findall(r"\d+\.\d+", "\n".join(lines))] for lines in printed]
    words = [[re.sub(r"\d+\.\d+\S*", "", line) for line in lines] for lines in printed]
    assert words[0] == words[1]
    # Inertias of 500 rows and shifts, which scikit-learn computes in float64 in its own order.
    np.testing.assert_allclose(*numbers, rtol=1e-9)


# Frames, names, output.


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_data_frame_gives_the_fit_of_its_values_and_keeps_names(X, frame):
    columns = ["a", "b", "c"]
    model = KMeans(5, init=X[:5]).fit(frame(dict(zip(columns, X.T, strict=True))))
    assert bits(model) == bits(KMeans(5, init=X[:5]).fit(X))
    assert model.feature_names_in_.tolist() == columns


def test_record_batch_keeps_names_and_others_are_refused(X):
    batch = pa.RecordBatch.from_arrays(list(X.T), names=["a", "b", "c"])
    model = KMeans(5, init=X[:5]).fit(batch)
    assert bits(model) == bits(KMeans(5, init=X[:5]).fit(X))
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(batch.select(["b", "a", "c"]))


def test_data_frame_with_other_names_is_refused(X):
    model = KMeans(5, init=X[:5]).fit(pd.DataFrame(X, columns=["a", "b", "c"]))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pd.DataFrame(X, columns=["a", "b", "x"]))


@pytest.mark.parametrize("library, kind", [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_set_output_gives_named_columns(X, library, kind):
    found = KMeans(3, init=X[:3]).set_output(transform=library).fit_transform(X)
    assert isinstance(found, kind)
    assert list(found.columns) == ["kmeans0", "kmeans1", "kmeans2"]


def test_transform_gives_distances_to_every_center(X, dtype):
    model = KMeans(5, init=X[:5]).fit(X.astype(dtype))
    found = model.transform(X.astype(dtype))
    exact = np.sqrt(reference.squared_distances(X.astype(dtype), model.cluster_centers_))
    # Rows and centres within 20 of the origin, each rounded to dtype about the pivot, in 3 columns.
    assert found.dtype == dtype
    np.testing.assert_allclose(found, exact, rtol=0, atol=8 * 20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_score_is_minus_the_objective(X, rng, weighted):
    weights = rng.random(200) if weighted else None
    model = KMeans(5, init=X[:5]).fit(X)
    exact = reference.objective(X[:200], model.cluster_centers_, model.predict(X[:200]), weights)
    # Centres and rows about the pivot are off by a few roundings of values below 20.
    np.testing.assert_allclose(-model.score(X[:200], sample_weight=weights), float(exact), 1e-13)


# Pickles, clones, attributes.


def test_pickle_keeps_every_bit(X):
    model = KMeans(5, random_state=0).fit((1e6 + X).astype(np.float32))
    twin = pickle.loads(pickle.dumps(model))
    assert bits(twin) == bits(model)
    assert twin.predict(X + 1e6).tobytes() == model.predict(X + 1e6).tobytes()
    assert twin.transform(X + 1e6).tobytes() == model.transform(X + 1e6).tobytes()


def test_clone_has_the_parameters_and_no_fit(X):
    model = KMeans(5, tol=0.1, n_threads=2, random_state=0).fit(X)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "cluster_centers_")


@pytest.mark.parametrize("method", ["predict", "transform", "score", "get_feature_names_out"])
def test_unfitted_estimator_refuses_use(X, method):
    arguments = () if method == "get_feature_names_out" else (X,)
    with pytest.raises(NotFittedError):
        getattr(KMeans(), method)(*arguments)


def test_assigned_centers_are_those_that_predict_uses(X, rng):
    model, centers = KMeans(5, init=X[:5]).fit(X), rng.normal(size=(3, 3))
    model.cluster_centers_ = centers
    np.testing.assert_array_equal(model.predict(X), reference.assign(X, centers))
    # What a fit said of others is over.
    assert not {"inertia_", "objective_trace_", "fit_report_"} & set(vars(model))


def test_fit_predict_returns_labels(X):
    model = KMeans(5, init=X[:5])
    labels = model.fit_predict(X)
    assert labels is model.labels_
    assert labels.dtype == np.int32


def test_function_gives_the_fit_of_the_estimator(X, rng):
    weights = rng.random(500)
    result = kmeans(X, 5, sample_weight=weights, random_state=1)
    model = KMeans(5, random_state=1).fit(X, sample_weight=weights)
    assert (result.centers.tobytes(), result.labels.tobytes(), result.inertia) == bits(model)
    assert result.n_iter == model.n_iter_


def test_centers_are_replaced_as_a_whole_and_not_written_to(X):
    model = KMeans(5, random_state=0).fit(X)
    distances, labels = model.transform(X), model.predict(X)
    model.cluster_centers_[0] = 100.0  # of a copy
    np.testing.assert_array_equal(model.transform(X), distances)
    np.testing.assert_array_equal(model.predict(X), labels)
    given = model.cluster_centers_ + 1.0
    model.cluster_centers_ = given
    given[...] = np.nan
    assert np.isfinite(model.transform(X)).all()
    for wrong in given[0], given[:, :-1], given[np.newaxis]:
        with pytest.raises(ValueError, match="cluster_centers_ must have the shape"):
            model.cluster_centers_ = wrong
    assert model.cluster_centers_.shape == given.shape


def test_a_callback_can_neither_write_to_labels_nor_to_the_fit(X):
    def write(state):
        with pytest.raises(ValueError, match="read-only"):
            state.labels[0] = 0
        state.centers[...] = 0.0

    model = KMeans(5, init=X[:5], n_init=1, callbacks=write).fit(X)
    expected = KMeans(5, init=X[:5], n_init=1).fit(X)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)


def test_score_is_a_float_and_out_has_the_byte_order_of_the_machine(X):
    model = KMeans(5, random_state=0, n_threads=2**40).fit(X)
    assert type(model.score(X)) is float
    swapped = np.empty(len(X), dtype=np.dtype("i4").newbyteorder())
    with pytest.raises(ValueError, match="out must be an ndarray of int32"):
        model.predict(X, out=swapped)


@pytest.mark.parametrize("algorithm", ["lloyd", "elkan", "auto"])
def test_labels_are_those_of_predict_where_clusters_come_to_share_a_centre(algorithm, rng):
    # The last M-step moves an empty cluster's centre onto another's, and no label has changed.
    X, init = np.array([[0.0], [0.0], [0.0], [1.0], [1.0]]), [[2.0], [2.0], [0.0], [0.0]]
    with pytest.warns(ConvergenceWarning, match="distinct"):
        model = KMeans(4, init=init, algorithm=algorithm).fit(X)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    np.testing.assert_array_equal(model.labels_, [1, 1, 1, 0, 0])
    for seed in range(100):
        rows = np.random.default_rng(seed).integers(0, 2, (40, 2)).astype(float)
        with pytest.warns(ConvergenceWarning, match="distinct"):
            model = KMeans(8, init="random", algorithm=algorithm, random_state=seed).fit(rows)
        np.testing.assert_array_equal(model.labels_, model.predict(rows))


def test_assigned_centers_far_from_the_rows_of_the_fit_are_used_in_float64(rng):
    X = rng.normal(size=(100, 3)).astype("f4")
    centers = np.array([[1.0, 0, 0], [-1, 0, 0], [0.5, 0, 0]]) * 1e20
    model = KMeans(2, random_state=0).fit(X)
    model.cluster_centers_ = centers
    for rows in X, (X * 1e20).astype("f4"):
        square = np.square(rows[:, np.newaxis].astype(float) - centers).sum(axis=2)
        np.testing.assert_array_equal(model.predict(rows), square.argmin(axis=1))
        np.testing.assert_allclose(model.score(rows), -square.min(axis=1).sum(), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("fitted_at", [None, 0.0, 1e6])
@pytest.mark.parametrize("scale, offset", [(1, 0), (1, 1e4), (1, 1e6), (1e-25, 0), (1e25, 1)])
def test_assigned_centers_are_used_where_they_are(dtype, fitted_at, scale, offset, rng):
    X = ((rng.normal(size=(500, 5)) + offset) * scale).astype(dtype)
    centers = ((rng.normal(size=(20, 5)) + offset) * scale).astype(dtype)
    model = KMeans(2, random_state=0)
    if fitted_at is not None:
        model.fit((rng.normal(size=(100, 5)) + fitted_at).astype(dtype))
    model.cluster_centers_ = centers
    square = np.square(X[:, np.newaxis].astype("f8") - centers.astype("f8")).sum(axis=2)
    np.testing.assert_array_equal(model.predict(X), square.argmin(axis=1))
    np.testing.assert_allclose(model.score(X), -square.min(axis=1).sum(), rtol=1e-5)


@pytest.mark.parametrize(
    "centers, error, message",
    [
        ([[np.nan, 0.0, 0.0]], ValueError, "contains NaN"),
        ([[np.inf, 0.0, 0.0]], ValueError, "contains infinity"),
        (np.empty((0, 3)), ValueError, "0 sample"),
        (np.zeros((2, 3)) * 1j, ValueError, "Complex data"),
        ([["1", "2", "3"]], TypeError, "must be numeric"),
        (np.ma.array([[1.0, 2.0, 3.0]], mask=[[True, False, False]]), TypeError, "masked array"),
    ],
)
@pytest.mark.parametrize("fitted", [True, False])
def test_centers_that_cannot_be_are_not_assigned(X, centers, error, message, fitted):
    model = KMeans(2, random_state=0)
    if fitted:
        model.fit(X)
    with pytest.raises(error, match=message):
        model.cluster_centers_ = centers
    assert hasattr(model, "cluster_centers_") == fitted


def test_rows_are_compared_with_centers_assigned_before_any_fit():
    model = KMeans(3)
    model.cluster_centers_ = np.zeros((3, 1))
    for method in model.predict, model.transform, model.score, model.partial_fit:
        with pytest.raises(ValueError, match="X has 4000 features, but KMeans is expecting 1"):
            method(np.zeros((20, 4000)))
