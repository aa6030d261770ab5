# SPDX-License-Identifier: BSD-3-Clause
"""GaussianMixture in Python: report, callbacks, interrupts, output, sampling, bad input.

What a fit computes is in test_mixture.py; scikit-learn's checks are in test_estimator_checks.py.
"""

import io
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import fastmix
from fastmix import GaussianMixture
from fastmix.callbacks import ProgressLine, TimeLimit
from fastmix.core._kernels import isa

TYPES = ("full", "tied", "diag", "spherical")
ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def X(blobs):
    return blobs(400, 2, 3)


def bits(model):
    return [getattr(model, name).tobytes() for name in ATTRIBUTES] + [model.lower_bounds_]


# Report.


@pytest.mark.parametrize(
    "reason, options",
    [
        ("tol", {}),
        ("max_iter", {"tol": 0, "max_iter": 3}),
        ("callback", {"tol": 0, "callbacks": lambda state: state.iteration == 1}),
    ],
)
def test_report_says_why_the_fit_stopped(X, reason, options):
    model = GaussianMixture(3, random_state=0, **options).fit(X)
    report = model.fit_report_
    assert report["stopped"] == reason
    assert report["n_iter"] == model.n_iter_ == len(model.lower_bounds_)
    assert report["rows_scanned"] == 400 * model.n_iter_
    assert model.converged_ == (reason == "tol")


def test_report_says_what_ran(X):
    model = GaussianMixture(3, random_state=0, n_init=3, n_threads=1).fit(X)
    report = model.fit_report_
    found = {name: report[name] for name in ("algorithm", "isa", "n_threads", "dtype", "failed")}
    expected = {"algorithm": "em", "isa": isa(), "n_threads": 1, "dtype": "float64", "failed": 0}
    assert found == expected
    assert len(report["starts"]) == 3
    assert max(report["starts"]) == model.lower_bound_ == report["objective_trace"][-1]
    assert report["agreed"] == sum(abs(np.array(report["starts"]) - model.lower_bound_) < 0.1)
    assert "short runs on 400 rows" in report["reason"]
    assert {"scan", "init", "em", "final", "total"} <= set(report["seconds"])


def test_unconverged_fit_warns(X):
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        GaussianMixture(3, tol=0, max_iter=2, random_state=0).fit(X)


def test_log_likelihood_is_that_of_the_fitted_parameters(X, rng):
    weights = rng.uniform(size=400)
    model = GaussianMixture(3, random_state=0).fit(X, sample_weight=weights)
    assert_allclose(model.log_likelihood_, weights @ model.score_samples(X), rtol=1e-12)
    assert_allclose(
        model.score(X, sample_weight=weights), model.log_likelihood_ / weights.sum(), rtol=1e-12
    )


def test_verbose_prints_starts_and_iterations(X, capsys):
    GaussianMixture(3, verbose=2, verbose_interval=2, tol=0, max_iter=4, random_state=0).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Initialization 0"
    assert [line.split("\t")[0] for line in lines[1:3]] == ["  Iteration 2", "  Iteration 4"]
    assert lines[3].startswith("Initialization did not converge. time lapse")


# Callbacks and interrupts.


def test_callback_is_given_the_state_of_each_iteration(X):
    states = []
    model = GaussianMixture(3, random_state=0, callbacks=states.append).fit(X)
    assert [state.iteration for state in states] == list(range(model.n_iter_))
    assert [state.objective for state in states] == model.lower_bounds_
    assert_allclose([state.change for state in states[1:]], np.diff(model.lower_bounds_))
    assert {(state.init, state.max_iter) for state in states} == {(0, 100)}
    assert_array_equal(states[-1].means, model.means_)
    assert_array_equal(states[-1].covariances, model.covariances_)
    assert_array_equal(states[-1].weights, model.weights_)


def test_progress_line_and_time_limit_serve_mixtures(X):
    text = io.StringIO()
    callbacks = [ProgressLine(text), TimeLimit(1e-9)]
    model = GaussianMixture(3, random_state=0, callbacks=callbacks, tol=0).fit(X)
    assert model.n_iter_ == 1
    assert text.getvalue().startswith("iteration 1/100  objective -")
    assert "changed" not in text.getvalue()


def interrupt_at(iteration):
    def callback(state):
        if (state.init, state.iteration) == iteration:
            raise KeyboardInterrupt

    return callback


def test_interrupt_keeps_the_parameters_so_far(X):
    model = GaussianMixture(3, random_state=0, tol=0, callbacks=interrupt_at((0, 4)))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    expected = GaussianMixture(3, random_state=0, tol=0, max_iter=5).fit(X)
    assert bits(model) == bits(expected)
    assert model.fit_report_["stopped"] == "interrupt"
    assert_array_equal(model.predict(X), expected.predict(X))


def test_interrupt_keeps_the_best_finished_start(X):
    model = GaussianMixture(3, random_state=0, n_init=5, callbacks=interrupt_at((1, 0)))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert bits(model) == bits(GaussianMixture(3, random_state=0).fit(X))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_before_an_iteration_leaves_the_estimator_as_it_was(X, monkeypatch, error):
    from fastmix.core import _mixture_fit

    model = GaussianMixture(3, random_state=0).fit(X)
    before = bits(model)

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(_mixture_fit, "expectation_maximisation", fail)
    with pytest.raises(error):
        model.fit(X + 1)
    assert bits(model) == before


# Reproducibility and warm starts.


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
def test_same_seed_gives_the_same_bits(X, init):
    fits = [
        GaussianMixture(3, init_params=init, random_state=5, n_init=2, n_threads=n).fit(X)
        for n in (1, 2, 2)
    ]
    assert bits(fits[0]) == bits(fits[1]) == bits(fits[2])


@pytest.mark.parametrize("kind", TYPES)
def test_warm_start_goes_on_where_the_fit_stopped(X, kind):
    options = {"covariance_type": kind, "random_state": 0, "tol": 0}
    once = GaussianMixture(3, max_iter=7, **options).fit(X)
    twice = GaussianMixture(3, max_iter=3, warm_start=True, **options).fit(X)
    twice.set_params(max_iter=4).fit(X)
    assert bits(twice)[:-1] == bits(once)[:-1]
    assert twice.lower_bounds_ == once.lower_bounds_[3:]


@pytest.mark.parametrize("kind", TYPES)
def test_warm_start_on_moved_rows_is_about_their_own_pivot(X, kind):
    X = np.rint(X * 64) / 64
    one = {"n_components": 1, "covariance_type": kind, "reg_covar": 0, "warm_start": True}
    model = GaussianMixture(**one).fit(X)
    expected = model.covariances_
    assert_allclose(model.fit(X + 1e8).covariances_, expected, rtol=1e-12, atol=1e-12)


# Output.


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_dtypes_follow_the_rows(X, kind, dtype):
    X = X.astype(dtype)
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    for name in ATTRIBUTES:
        assert getattr(model, name).dtype == dtype
    assert model.score_samples(X).dtype == model.predict_proba(X).dtype == dtype
    assert model.predict(X).dtype == np.int32
    assert type(model.score(X)) is float


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_predict_proba_writes_in_place(X, dtype, order):
    model = GaussianMixture(3, random_state=0).fit(X)
    expected = model.predict_proba(X)
    out = np.empty((400, 3), dtype=dtype, order=order)
    assert model.predict_proba(X, out=out) is out
    assert_array_equal(out, expected.astype(dtype))
    assert_array_equal(expected.argmax(axis=1), model.predict(X))


@pytest.mark.parametrize(
    "out", [np.empty((400, 2)), np.empty((399, 3)), np.empty((400, 3), "i4"), [[0.0]]]
)
def test_predict_proba_refuses_what_does_not_fit(X, out):
    model = GaussianMixture(3, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"out must be an ndarray of float32 or float64"):
        model.predict_proba(X, out=out)


def test_rows_are_scored_alike_alone_and_together(X):
    model = GaussianMixture(3, random_state=0).fit(X)
    alone = np.concatenate([model.score_samples(X[i : i + 7]) for i in range(0, 400, 7)])
    assert_allclose(alone, model.score_samples(X), rtol=1e-14)
    assert_array_equal(model.predict(X[:10]), model.predict(X)[:10])


@pytest.mark.parametrize("layout", ["F", "strided", "swapped", "read-only", "frame"])
def test_layout_of_the_rows_does_not_matter(X, layout):
    other = {
        "F": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "swapped": X.astype(X.dtype.newbyteorder()),
        "read-only": X.copy(),
        "frame": pd.DataFrame(X, columns=["a", "b"]),
    }[layout]
    if layout == "read-only":
        other.flags.writeable = False
    model = GaussianMixture(3, random_state=0).fit(other)
    assert bits(model) == bits(GaussianMixture(3, random_state=0).fit(X))
    if layout == "frame":
        assert model.feature_names_in_.tolist() == ["a", "b"]


@pytest.mark.parametrize("kind", TYPES)
def test_criteria_are_their_formulas(X, kind):
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    free = {"full": 3 * 3, "tied": 3, "diag": 3 * 2, "spherical": 3}[kind] + 3 * 2 + 2
    deviance = -2 * model.score_samples(X).sum()
    assert_allclose(model.aic(X), deviance + 2 * free, rtol=1e-12)
    assert_allclose(model.bic(X), deviance + math.log(400) * free, rtol=1e-12)
    certain = np.log(model.predict_proba(X).max(axis=1)).sum()
    assert_allclose(model.icl(X), model.bic(X) - 2 * certain, rtol=1e-12)


# From parameters, pickles, sampling.


@pytest.mark.parametrize("kind", TYPES)
def test_model_from_parameters_is_the_model(X, kind):
    model = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    parameters = (model.weights_, model.means_, model.covariances_)
    copy = GaussianMixture.from_parameters(*parameters, kind, random_state=0)
    for name in ATTRIBUTES:
        assert_allclose(getattr(copy, name), getattr(model, name), rtol=1e-11, atol=1e-13)
    assert_allclose(copy.score_samples(X), model.score_samples(X), rtol=1e-11)
    assert copy.n_features_in_ == 2
    more = copy.set_params(warm_start=True, max_iter=1).fit(X)
    assert more.n_iter_ == 1


def test_model_from_parameters_has_the_attributes_of_a_fit(X):
    fitted = GaussianMixture(2, random_state=0).fit(X)
    model = GaussianMixture.from_parameters(
        fitted.weights_, fitted.means_, fitted.covariances_, random_state=0
    )
    # All but the likelihood of rows that it has never seen.
    assert set(vars(fitted)) - set(vars(model)) == {"log_likelihood_"}
    assert set(model.fit_report_) == set(fitted.fit_report_)
    assert model.fit_report_["stopped"] == "given"
    assert model.objective_trace_.shape == (0,)
    assert model.lower_bounds_ == []
    assert_allclose(model.bic(X), fitted.bic(X), rtol=1e-11)
    assert model.sample(3)[0].shape == (3, 2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weights": [0.5, 0.6]}, "should be normalized"),
        ({"weights": [0.5, np.nan]}, "'weights' is not finite: nan at"),
        ({"means": [0.0, 1.0]}, "means must have the shape"),
        ({"means": [[np.inf], [0.0]]}, "'means' is not finite: inf at"),
        ({"covariances": [[[1.0]], [[-1.0]]]}, "should be symmetric, positive-definite"),
        ({"covariances": [1.0, 1.0]}, "'full covariance' should have the shape of"),
        ({"weights": ["a", "b"]}, "'weights' must be numeric"),
        ({"covariance_type": "round"}, "covariance_type must be one of"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    good = {"weights": [0.5, 0.5], "means": [[0.0], [1.0]], "covariances": [[[1.0]], [[1.0]]]}
    with pytest.raises((ValueError, TypeError), match=message):
        GaussianMixture.from_parameters(**(good | change))


def test_parameters_cannot_be_assigned(X):
    model = GaussianMixture(3, random_state=0).fit(X)
    with pytest.raises(AttributeError):
        model.means_ = np.zeros((3, 2))


def test_pickle_and_clone(X):
    model = GaussianMixture(3, random_state=0).fit(X)
    again = pickle.loads(pickle.dumps(model))
    assert bits(again) == bits(model)
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    with pytest.raises(NotFittedError):
        clone(model).predict(X)
    assert not hasattr(clone(model), "means_")


@pytest.mark.parametrize("kind", TYPES)
def test_sample_has_the_moments_of_the_mixture(rng, kind):
    full = np.array([[[2.0, 0.9], [0.9, 1.0]], [[0.5, -0.3], [-0.3, 0.4]]])
    diagonal = np.diagonal(full, axis1=1, axis2=2)
    covariances = {"full": full, "tied": full[0], "diag": diagonal, "spherical": diagonal[:, 0]}
    weights, means = [0.3, 0.7], np.array([[0.0, 0.0], [5.0, -5.0]])
    model = GaussianMixture.from_parameters(weights, means, covariances[kind], kind, random_state=0)
    rows, labels = model.sample(40_000)
    # Five standard errors of 12,000 rows.
    assert_allclose(np.bincount(labels) / 40_000, weights, atol=0.0125)
    for j in (0, 1):
        mine = rows[labels == j]
        expected = {
            "full": full[j],
            "tied": full[0],
            "diag": np.diag(diagonal[j]),
            "spherical": np.eye(2) * diagonal[j, 0],
        }[kind]
        assert_allclose(mine.mean(axis=0), means[j], atol=0.07)
        assert_allclose(np.cov(mine.T), expected, atol=0.14)
    # Shuffled: neighbours share a component as often as two rows drawn at random.
    assert abs((labels[1:] == labels[:-1]).mean() - (0.3**2 + 0.7**2)) < 0.02


# Bad input.


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_rows_are_named_and_leave_the_estimator(X, bad):
    model = GaussianMixture(3, random_state=0).fit(X)
    before = bits(model)
    broken = X.copy()
    broken[7, 1] = bad
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity).*X\[7, 1\]"):
        model.fit(broken)
    assert bits(model) == before
    for method in ("predict", "predict_proba", "score_samples", "score", "bic", "icl"):
        with pytest.raises(ValueError, match=r"X\[7, 1\]"):
            getattr(model, method)(broken)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_components": 0}, "n_components"),
        ({"n_components": True}, "n_components must be a positive integer"),
        ({"reg_covar": "none"}, "reg_covar"),
        ({"reg_covar": -1.0}, "reg_covar"),
        ({"covariance_type": "round"}, "covariance_type"),
        ({"init_params": "zeros"}, "init_params"),
        ({"tol": -1.0}, "tol"),
        ({"n_threads": 0}, "n_threads"),
        ({"callbacks": [3]}, "callbacks must be callable"),
        ({"weights_init": [0.5, 0.6, 0.1]}, "should be normalized"),
        ({"means_init": [[0.0, np.nan]] * 3}, "'means' is not finite: nan at"),
        ({"precisions_init": [[[1.0, 2.0], [2.0, 1.0]]] * 3}, "symmetric, positive-definite"),
    ],
)
def test_bad_arguments_are_refused(X, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        GaussianMixture(**({"n_components": 3} | options)).fit(X)


@pytest.mark.parametrize("weights", [[-1.0] * 400, [0.0] * 400, [1.0] * 3, [np.nan] * 400])
def test_bad_weights_are_refused(X, weights):
    with pytest.raises(ValueError, match=r"[Ss]ample_?[ w]"):
        GaussianMixture(3).fit(X, sample_weight=weights)


def test_alias_is_the_class():
    assert fastmix.GMM is fastmix.GaussianMixture


@pytest.mark.parametrize("weight", [1e306, 2.0**1023, 1e-310, 5e-324])
def test_criteria_of_weights_at_the_ends_of_float64(weight):
    model = GaussianMixture.from_parameters([1.0], [[0.0]], [0.16], "spherical")
    X, weights = np.full((30, 1), 0.3), np.full(30, weight)
    assert model.score(X, sample_weight=weights) == pytest.approx(model.score(X), rel=1e-12)
    log_n, total = np.log(weight) + np.log(30), 30 * model.score(X) * weight
    expected = {"bic": 2 * log_n - 2 * total, "aic": 4 - 2 * total, "icl": 2 * log_n - 2 * total}
    for name, value in expected.items():
        assert getattr(model, name)(X, sample_weight=weights) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("count", [2.5, 3.0, True, "3", None])
def test_sample_wants_an_integer(count):
    model = GaussianMixture.from_parameters([1.0], [[0.0]], [[[1.0]]])
    with pytest.raises(TypeError, match=r"n_samples must be a positive integer, got"):
        model.sample(count)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_samples_at_scales_whose_squares_leave_float64(kind, rng):
    X = rng.normal(size=(200, 2)) * [1.0, 0.5] + [3.0, -1.0]
    settings = {"covariance_type": kind, "reg_covar": "auto", "random_state": 0}
    plain, _ = GaussianMixture(1, **settings).fit(X).sample(50)
    assert np.isfinite(plain).all()
    for scale in 2.0**-560, 2.0**560:
        sampled, _ = GaussianMixture(1, **settings).fit(X * scale).sample(50)
        np.testing.assert_allclose(sampled / scale, plain, rtol=1e-9)


@pytest.mark.parametrize("mapped", [False, True])
def test_results_are_not_written_over_the_rows_that_are_read(mapped, tmp_path, rng):
    model = GaussianMixture.from_parameters(
        [0.5, 0.5], [[0.0] * 2, [1.0] * 2], [1.0] * 2, "spherical"
    )
    table = rng.normal(size=(50, 3))
    if mapped:
        np.save(tmp_path / "x.npy", table)
        table = np.load(tmp_path / "x.npy", mmap_mode="r+")
    before = table.copy()
    for method, out in (("predict_proba", table[:, 1:]), ("score_samples", table[:, 1])):
        with pytest.raises(ValueError, match="shares memory with X"):
            getattr(model, method)(table[:, :2], out=out)
    np.testing.assert_array_equal(table, before)
    with pytest.raises(ValueError, match="shares memory with X"):
        model.score_samples([table[:20, :2], table[20:, :2]], out=table[::-1, 1])
    model.score_samples(table[:, :2], out=table[:, 2])  # a column that is not read
    np.testing.assert_array_equal(table[:, 2], model.score_samples(table[:, :2]))
