# SPDX-License-Identifier: BSD-3-Clause
"""partial_fit of GaussianMixture: stepwise EM."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone

import fastmix
from fastmix import GaussianMixture, HalfLife, PowerLaw
from fastmix.core._parameters import COVARIANCE_TYPES, component_variances

K, D = 3, 4


def rows(n=600, dtype=np.float64, seed=0, mean=0.0):
    rng = np.random.default_rng(seed)
    which = rng.integers(K, size=n)
    return (rng.normal(size=(n, D)) * (1 + which[:, None]) + 9 * which[:, None] + mean).astype(
        dtype
    )


def given(X, kind, **options):
    precisions = {
        "full": np.repeat(np.eye(D)[None], K, 0),
        "tied": np.eye(D),
        "diag": np.ones((K, D)),
        "spherical": np.ones(K),
    }[kind]
    return GaussianMixture(
        K, covariance_type=kind, weights_init=np.full(K, 1 / K), means_init=X[:K],
        precisions_init=precisions, tol=0, **options,
    )  # fmt: skip


def bits(model):
    arrays = model.weights_, model.means_, model.covariances_, model.precisions_cholesky_
    return [array.tobytes() for array in arrays]


def fit(model, X, weights=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, sample_weight=weights)


@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "weights"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_one_call_with_step_one_is_one_iteration_of_fit(kind, dtype, weighted):
    X = rows(dtype=dtype)
    weights = np.random.default_rng(1).random(len(X)) if weighted else None
    expected = fit(given(X, kind, max_iter=1), X, weights)
    for n_threads in (1, 3):
        model = given(X, kind, learning_rate=1.0, n_threads=n_threads)
        model.partial_fit(X, sample_weight=weights)
        assert bits(model) == bits(expected)
        assert model.lower_bound_ == expected.lower_bound_
    # The first step of a power law and of the mean of all rows is 1.
    for rate in (None, "mean", PowerLaw(0.7)):
        again = given(X, kind, learning_rate=rate).partial_fit(X, sample_weight=weights)
        assert bits(again) == bits(expected)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_calls_with_all_rows_and_step_one_are_a_fit(kind):
    X = rows()
    model = given(X, kind, learning_rate=1.0)
    for _ in range(4):
        model.partial_fit(X)
    assert bits(model) == bits(fit(given(X, kind, max_iter=4), X))
    assert model.n_iter_ == len(model.lower_bounds_) == 4


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mean_rate_of_one_component_is_the_mean_of_all_rows(kind, dtype):
    X = rows(dtype=dtype, mean=100.0)
    model = GaussianMixture(1, covariance_type=kind, learning_rate="mean", reg_covar=0)
    for part in np.split(X, [100, 130, 131, 400]):
        model.partial_fit(part)
    wanted = X.astype(np.float64)
    # Of float32 attributes a few roundings; else one for every row that was added up, twice.
    tolerance = 4 * np.finfo("f4").eps if dtype == "float32" else 2 * len(X) * 2.0**-52
    np.testing.assert_allclose(model.means_[0], wanted.mean(axis=0), rtol=tolerance)
    covariance = np.cov(wanted.T, bias=True)
    expected = {
        "full": covariance[None],
        "tied": covariance,
        "diag": np.diag(covariance)[None],
        "spherical": np.array([np.trace(covariance) / D]),
    }[kind]
    np.testing.assert_allclose(model.covariances_, expected, rtol=tolerance)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_a_stream_comes_near_the_optimum_of_all_rows(kind):
    X = rows(30_000)
    best = fit(GaussianMixture(K, covariance_type=kind, random_state=0, tol=1e-9), X)
    model = GaussianMixture(K, covariance_type=kind, random_state=0)
    for part in np.split(X, 100):
        model.partial_fit(part)
    assert best.score(X) - model.score(X) < 0.02
    assert model.converged_ is False
    assert not hasattr(model, "log_likelihood_")


def test_averages_vary_less_than_the_last_batch():
    X = rows(20_000)
    parts = np.split(X, 200)
    options = {"random_state": 0, "covariance_type": "diag"}
    last, mean = (GaussianMixture(K, averaging=averaging, **options) for averaging in (False, True))
    seen = {False: [], True: []}
    for at, part in enumerate(parts):
        for model in (last, mean):
            model.partial_fit(part)
            if at >= 100:
                seen[model.averaging].append(np.sort(model.means_[:, 0]))
    spread = {averaging: np.std(values, axis=0).max() for averaging, values in seen.items()}
    assert spread[True] < spread[False] / 2


def test_a_half_life_forgets():
    old, new = np.zeros((500, 1)) - 7, np.zeros((500, 1)) + 5
    rng = np.random.default_rng(0)
    old, new = old + rng.normal(size=old.shape), new + rng.normal(size=new.shape)
    model = GaussianMixture(1, learning_rate=HalfLife(500)).partial_fit(old).partial_fit(new)
    np.testing.assert_allclose(model.means_[0, 0], (old.mean() + new.mean()) / 2, rtol=1e-12)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_a_fit_goes_on(kind, tmp_path):
    X, more = rows(3_000), rows(1_000, seed=5)
    model = fit(GaussianMixture(K, covariance_type=kind, random_state=0, learning_rate="mean"), X)
    model.save(tmp_path / "model.npz")
    means, score = model.means_, model.score(np.vstack([X, more]))
    model.partial_fit(more)
    assert model.n_iter_ == 1
    # A quarter of the rows are new, of the same mixture.
    assert np.abs(model.means_ - means).max() < 0.5
    assert model.score(np.vstack([X, more])) > score - 0.01
    loaded = fastmix.load(tmp_path / "model.npz").set_params(learning_rate="mean")
    assert bits(loaded.partial_fit(more)) == bits(model)
    again = pickle.loads(pickle.dumps(model))
    assert bits(again.partial_fit(X)) == bits(clone_of(model).partial_fit(X))


def clone_of(model):
    """Another estimator in the same state."""
    other = clone(model)
    other.__dict__.update(model.__dict__)
    return other


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_odd_batches_are_learnt(kind):
    X = rows(dtype="float32", mean=1e3)
    model = GaussianMixture(K, covariance_type=kind, random_state=0)
    model.partial_fit(X)
    for batch in (X[:1], X[:2], np.full((5, D), 1e7, dtype=np.float32), X[:0:-50]):
        model.partial_fit(batch)
        assert np.isfinite(model.means_).all()
        assert np.isfinite(model.covariances_).all()
    before = bits(model)
    model.set_params(learning_rate=lambda seen, weight: 0.0 * weight).partial_fit(X)
    assert bits(model) == before


@pytest.mark.parametrize(
    ("X", "options", "match"),
    [
        (np.ones((2, D)), {}, "Expected n_samples >= n_components"),
        (np.full((9, D), np.nan), {}, "contains NaN"),
        (rows(), {"learning_rate": 0.0}, "learning_rate"),
        (rows(), {"learning_rate": lambda seen, weight: 2 + weight}, "gave a step of 602"),
    ],
    ids=["few", "nan", "rate", "step"],
)
def test_bad_input_is_refused_and_changes_nothing(X, options, match):
    model = GaussianMixture(K, **options)
    before = vars(model).copy()
    with pytest.raises(ValueError, match=match):
        model.partial_fit(X)
    assert vars(model) == before
    good = GaussianMixture(K, random_state=0).partial_fit(rows())
    before = vars(good).copy()
    with pytest.raises(ValueError, match="X has 3 features"):
        good.partial_fit(np.ones((5, 3)))
    assert vars(good) == before


def test_a_batch_that_leaves_float64_is_refused_and_changes_nothing():
    X = rows()
    model = GaussianMixture(K, random_state=0).partial_fit(X)
    before = vars(model).copy()
    far = X[:20].copy()
    far[3, 1] = 1e160
    with pytest.raises(ValueError, match="so far from the batches before"):
        model.partial_fit(far)
    assert vars(model) == before


def test_a_column_that_begins_to_vary_too_little_for_float32_is_learnt():
    X = rows(dtype=np.float32) * np.array([1, 1, 1, 1e-35], dtype=np.float32)
    first = X[:100].copy()
    first[:, 3] = 0
    options = {"covariance_type": "diag", "reg_covar": "auto", "learning_rate": "mean"}
    scores = []
    for dtype in (np.float32, np.float64):
        model = GaussianMixture(K, random_state=0, **options).partial_fit(first.astype(dtype))
        for _ in range(20):
            model.partial_fit(X[100:].astype(dtype))
        scores.append(model.score(X.astype(dtype)))
    np.testing.assert_allclose(*scores, rtol=1e-4)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("unit", [1e-10, 1e-160, 1e-300])
@pytest.mark.filterwarnings("ignore:reg_covar=")
def test_another_reg_covar_is_what_batches_add(kind, unit, tmp_path):
    X = rows(200) * unit
    model = GaussianMixture(K, covariance_type=kind, reg_covar="auto", random_state=0).fit(X)
    model.set_params(reg_covar=1e-6).save(tmp_path / "model.npz")
    for each in (model, fastmix.load(tmp_path / "model.npz")):
        for _ in range(2):
            each.partial_fit(X)
            variances = component_variances(kind, each.covariances_, K, D)
            assert (variances >= 1e-6 * (1 - 1e-12)).all()
            assert np.isfinite(each.score(X))
    given = GaussianMixture.from_parameters([1.0], [[0.0]], [[unit * unit or 1e-320]], "diag")
    assert given.partial_fit(X[:, :1]).covariances_ >= 1e-6 * (1 - 1e-12)


def test_a_first_step_of_zero_keeps_the_start():
    X = rows()
    options = {"learning_rate": lambda seen, weight: 0.0 * weight, "averaging": True}
    model = given(X, "diag", **options).partial_fit(X)
    np.testing.assert_allclose(model.means_, X[:K], rtol=1e-12)


@pytest.mark.parametrize("change", [{"n_components": 4}, {"covariance_type": "diag"}], ids=str)
def test_another_kind_of_mixture_is_refused_between_calls(change):
    model = GaussianMixture(K, random_state=0).partial_fit(rows()).set_params(**change)
    with pytest.raises(ValueError, match="the model has 3 components of type 'full', but"):
        model.partial_fit(rows())
