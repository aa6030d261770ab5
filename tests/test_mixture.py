# SPDX-License-Identifier: BSD-3-Clause
"""What a mixture's fit computes: published optima, laws, singularities, offsets."""

import importlib.resources
import pickle
import warnings

import numpy as np
import pytest
import sklearn.mixture
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris

from fastmix import GaussianMixture
from fastmix.core._parameters import component_variances

TYPES = ("full", "tied", "diag", "spherical")
TIGHT = {"tol": 1e-10, "max_iter": 2000, "reg_covar": 0, "n_init": 10}


@pytest.fixture(scope="module")
def faithful():
    source = importlib.resources.files("fastmix") / "data" / "old_faithful.csv"
    return np.loadtxt(source.open(encoding="ascii"), delimiter=",", skiprows=1)


@pytest.fixture(scope="module")
def iris():
    return load_iris().data


# Published optima (MATH.md): to be reached within 1e-5, or passed.

OPTIMA = [
    ("faithful", "full", 2, -1130.263960),
    ("faithful", "tied", 2, -1140.186759),
    ("faithful", "tied", 3, -1126.315928),
    ("faithful", "diag", 2, -1147.806353),
    ("faithful", "spherical", 2, -1709.529282),
    ("faithful", "full", 3, -1114.439873),
    ("iris", "full", 2, -214.354704),
    ("iris", "full", 3, -180.185477),
    ("iris", "tied", 3, -256.354043),
    ("iris", "diag", 3, -306.860461),
]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("data, kind, k, best", OPTIMA)
def test_fit_reaches_the_best_known_optimum(request, data, kind, k, best, seed):
    X = request.getfixturevalue(data)
    model = GaussianMixture(k, covariance_type=kind, random_state=seed, **TIGHT).fit(X)
    assert model.log_likelihood_ >= best - 1e-5
    # Not by a component that collapses.
    assert model.fit_report_["repairs"] == []


def test_parameters_are_those_published(faithful):
    model = GaussianMixture(2, random_state=0, **(TIGHT | {"tol": 1e-15})).fit(faithful)
    order = np.argsort(-model.weights_)
    # What the published digits are worth, by the change from one iteration to the next there.
    assert_allclose(model.weights_[order], [0.644127142, 0.355872858], atol=1e-8)
    means = [[4.289661975, 79.968115194], [2.036388457, 54.478516396]]
    assert_allclose(model.means_[order], means, atol=1e-6)
    covariances = [
        [[0.169968434, 0.940609292], [0.940609292, 36.046211012]],
        [[0.069167674, 0.435167640], [0.435167640, 33.697282180]],
    ]
    assert_allclose(model.covariances_[order], covariances, atol=2e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_more_starts_are_no_worse(faithful):
    one, ten = (
        GaussianMixture(4, n_init=n, max_iter=3, random_state=0).fit(faithful) for n in (1, 10)
    )
    assert len(ten.fit_report_["starts"]) == 10
    assert ten.fit_report_["starts"][0] == one.lower_bound_
    assert ten.lower_bound_ == max(ten.fit_report_["starts"]) > one.lower_bound_


# Against scikit-learn, from the same start.


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", TYPES)
def test_iterations_are_those_of_scikit_learn(blobs, kind, dtype):
    X = blobs(700, 3, 3, dtype)
    first = sklearn.mixture.GaussianMixture(
        3, covariance_type=kind, max_iter=2, random_state=0
    ).fit(X.astype("f8"))
    start = {
        "weights_init": first.weights_,
        "means_init": first.means_,
        "precisions_init": first.precisions_,
        "covariance_type": kind,
        "tol": 1e-5,
        "max_iter": 500,
    }
    mine = GaussianMixture(3, **start).fit(X)
    theirs = sklearn.mixture.GaussianMixture(3, **start).fit(X.astype("f8"))
    assert abs(mine.n_iter_ - theirs.n_iter_) <= (0 if dtype == "f8" else 1)
    # float32: the E-step's rounding, carried along by a slow last phase of EM.
    rtol = 1e-9 if dtype == "f8" else 2e-3
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert_allclose(getattr(mine, name), getattr(theirs, name), rtol=rtol, atol=rtol)
    n = min(mine.n_iter_, theirs.n_iter_)
    assert_allclose(mine.lower_bounds_[:n], theirs.lower_bounds_[:n], rtol=1e-10 + 1e-5 * rtol)


@pytest.mark.parametrize("kind", TYPES)
def test_given_parameters_come_back_without_iterations(kind, rng):
    factor = rng.normal(size=(2, 3, 3))
    full = factor @ factor.transpose(0, 2, 1) + np.eye(3)
    precisions = {
        "full": full,
        "tied": full[0],
        "diag": np.abs(rng.normal(size=(2, 3))) + 0.1,
        "spherical": np.array([0.5, 3.0]),
    }[kind]
    means, weights = rng.normal(size=(2, 3)), np.array([0.25, 0.75])
    model = GaussianMixture(
        2,
        covariance_type=kind,
        weights_init=weights,
        means_init=means,
        precisions_init=precisions,
        max_iter=0,
    ).fit(rng.normal(size=(20, 3)))
    # Triangular factors of matrices whose condition is below 100.
    assert_allclose(model.precisions_, precisions, rtol=1e-13)
    assert_allclose(model.means_, means, rtol=1e-14)
    assert_array_equal(model.weights_, weights)
    if kind in ("full", "tied"):
        assert_allclose(model.covariances_, np.linalg.inv(precisions), rtol=1e-12, atol=1e-13)
        assert_array_equal(model.precisions_cholesky_, np.triu(model.precisions_cholesky_))
    else:
        assert_allclose(model.covariances_, 1 / precisions, rtol=1e-15)


# Laws.


@pytest.mark.parametrize("kind", TYPES)
def test_likelihood_never_falls(iris, kind):
    model = GaussianMixture(
        3, covariance_type=kind, init_params="random", random_state=1, tol=0, max_iter=300,
        reg_covar=0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="did not converge"):
        model.fit(iris)
    # By more than rounding: 150 terms of a few units each.
    assert np.diff(model.objective_trace_).min() >= -1e-13
    assert model.log_likelihood_ / 150 >= model.lower_bound_ - 1e-13


@pytest.mark.parametrize("kind", TYPES)
def test_one_component_is_the_sample_mean_and_covariance(iris, kind):
    model = GaussianMixture(1, covariance_type=kind, reg_covar=0).fit(iris)
    covariance = np.cov(iris.T, bias=True)
    expected = {
        "full": covariance[np.newaxis],
        "tied": covariance,
        "diag": np.diag(covariance)[np.newaxis],
        "spherical": np.array([np.trace(covariance) / 4]),
    }[kind]
    assert_allclose(model.covariances_, expected, rtol=1e-12)
    assert_allclose(model.means_[0], iris.mean(axis=0), rtol=1e-14)


@pytest.mark.parametrize("kind", TYPES)
def test_reg_covar_is_added_to_the_variances(iris, kind):
    plain, more = (
        GaussianMixture(1, covariance_type=kind, reg_covar=reg).fit(iris).covariances_
        for reg in (0, 1e-3)
    )
    ridge = {"full": np.eye(4), "tied": np.eye(4)}.get(kind, 1.0)
    assert_allclose(more, plain + 1e-3 * ridge, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random_from_data"])
@pytest.mark.parametrize("kind", TYPES)
def test_weights_are_repetitions(blobs, rng, kind, init):
    X, counts = blobs(200, 2, 3), rng.integers(0, 4, size=200)
    options = {"covariance_type": kind, "init_params": init, "random_state": 3, "tol": 1e-8}
    if init == "random_from_data":
        # Rows are drawn by number, not by weight, where there are no weights.
        options |= {"init_params": "kmeans", "means_init": X[:3]}
    weighted = GaussianMixture(3, max_iter=500, **options).fit(X, sample_weight=counts)
    rows = np.repeat(X, counts, axis=0)
    repeated = GaussianMixture(3, max_iter=500, **options).fit(rows)
    assert weighted.n_iter_ == repeated.n_iter_
    assert_allclose(weighted.means_, repeated.means_, rtol=1e-7)
    assert_allclose(weighted.covariances_, repeated.covariances_, rtol=1e-6, atol=1e-8)
    assert_allclose(weighted.log_likelihood_, repeated.log_likelihood_, rtol=1e-11)
    for name in ("score", "bic", "aic", "icl"):
        mine = getattr(weighted, name)(X, sample_weight=counts)
        assert_allclose(mine, getattr(repeated, name)(rows), rtol=1e-8)


def test_weights_count_only_relative_to_one_another(blobs, rng):
    X, weights = blobs(300, 2, 3), rng.uniform(size=300)
    fits = [
        GaussianMixture(3, random_state=0).fit(X, sample_weight=weights * unit)
        for unit in (1.0, 2.0**-200, 2.0**300)
    ]
    for other in fits[1:]:
        assert_allclose(other.means_, fits[0].means_, rtol=1e-9)
    # The likelihood is that of so many rows.
    assert_allclose(fits[1].log_likelihood_ * 2.0**200, fits[0].log_likelihood_, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@given(seed=st.integers(0, 2**20), k=st.integers(1, 4), kind=st.sampled_from(TYPES))
def test_scaling_and_shifting_columns_changes_nothing_but_the_units(seed, k, kind):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(120, 2)) + 4 * rng.integers(k, size=(120, 1))
    scale = np.exp2(rng.integers(-8, 8, size=1 if kind == "spherical" else 2))
    shift = rng.integers(-8, 8, size=2)
    options = {"covariance_type": kind, "random_state": 0, "reg_covar": "auto", "max_iter": 30}
    here = GaussianMixture(k, **options).fit(X)
    there = GaussianMixture(k, **options).fit(X * scale + shift)
    moved = here.log_likelihood_ - 120 * np.log(np.broadcast_to(scale, 2)).sum()
    # Sums of 120 terms, over 30 iterations of EM.
    assert_allclose(there.log_likelihood_, moved, rtol=1e-8, atol=1e-6)
    assert_allclose(here.predict_proba(X), there.predict_proba(X * scale + shift), atol=1e-5)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("dtype, offset, rtol", [("f8", 1e8, 1e-6), ("f4", 1e4, 1e-3)])
def test_offset_does_not_change_covariances(rng, kind, dtype, offset, rtol):
    X = rng.normal(size=(2000, 3)) + np.where(rng.uniform(size=(2000, 1)) < 0.4, 6, 0)
    # Values that both places hold exactly, so that only the computing can differ.
    X = np.rint(X * 64) / 64
    options = {"covariance_type": kind, "random_state": 0, "reg_covar": 0, "tol": 1e-8}
    here = GaussianMixture(2, **options).fit(X.astype(dtype))
    there = GaussianMixture(2, **options).fit((X + offset).astype(dtype))
    assert_array_equal((X + offset).astype(dtype).astype("f8") - offset, X)
    assert_allclose(there.covariances_, here.covariances_, rtol=rtol, atol=rtol)


# Singularities (PRML 9.2.1).


@pytest.mark.parametrize("k", [4, 5, 8])
def test_automatic_floor_finishes_every_start(iris, k):
    for seed in range(5):
        model = GaussianMixture(
            k, reg_covar="auto", random_state=seed, init_params="random_from_data", max_iter=300
        ).fit(iris)
        report = model.fit_report_
        assert np.isfinite([*model.weights_, model.log_likelihood_]).all()
        assert np.isfinite(model.precisions_).all()
        assert {what for _, _, what in report["repairs"]} <= {"re-seeded", "held"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("reg", ["auto", 1e-6, 1e-300])
def test_collapse_is_recorded_and_finite(rng, kind, reg):
    # A cluster of copies of one row, and one along a line.
    line = rng.normal(size=(50, 1)) * [1.0, 2.0, -1.0]
    X = np.concatenate([np.full((30, 3), 5.0), line])
    model = GaussianMixture(4, covariance_type=kind, reg_covar=reg, random_state=0, max_iter=50)
    model.fit(X)
    for name in ("weights_", "means_", "covariances_", "precisions_", "lower_bounds_"):
        assert np.isfinite(getattr(model, name)).all()
    assert np.isfinite(model.log_likelihood_)
    if reg != 1e-6 and kind == "full":
        assert model.fit_report_["repairs"]
        assert model.fit_report_["held"]


def test_reseeded_component_comes_first_then_held(rng):
    # The first component has nothing but copies of one row to sit on.
    X = np.concatenate([np.zeros((50, 2)), rng.normal(size=(50, 2)) + 9])
    start = {"weights_init": [0.5, 0.5], "means_init": [[0.0, 0.0], [9.0, 9.0]]}
    start["precisions_init"] = np.repeat(np.eye(2)[np.newaxis], 2, axis=0)
    model = GaussianMixture(2, reg_covar="auto", max_iter=200, **start).fit(X)
    repairs = model.fit_report_["repairs"]
    assert repairs[0] == (1, 0, "re-seeded")
    assert repairs[-1][2] == "held"
    seeded = [component for _, component, what in repairs if what == "re-seeded"]
    assert len(seeded) == len(set(seeded))
    assert len(model.fit_report_["held"]) == 1


@pytest.mark.parametrize("kind", TYPES)
def test_no_regularisation_raises_and_names_the_component(kind):
    X = np.array([[0.0, 0.0]] * 5 + [[1.0, 1.0]] * 5)
    named = "the shared covariance" if kind == "tied" else "component [01]"
    with pytest.raises(ValueError, match=f"ill-defined empirical covariance.*{named}.*reg_covar=0"):
        GaussianMixture(2, covariance_type=kind, reg_covar=0, random_state=0).fit(X)


def test_one_collapsed_start_does_not_lose_the_fit(iris):
    failed = 0
    for seed in range(4):
        model = GaussianMixture(
            6, reg_covar=0, n_init=6, random_state=seed, init_params="random", max_iter=400
        ).fit(iris)
        failed += model.fit_report_["failed"]
        assert model.fit_report_["starts"].count(None) == model.fit_report_["failed"]
        assert np.isfinite(model.log_likelihood_)
    assert failed > 0


def test_collapse_is_an_error_that_other_processes_can_send():
    with pytest.raises(ValueError, match="ill-defined empirical covariance") as caught:
        GaussianMixture(2, reg_covar=0, random_state=0).fit(np.ones((9, 2)))
    sent = pickle.loads(pickle.dumps(caught.value))
    assert type(sent) is type(caught.value)
    assert str(sent) == str(caught.value)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("reg", ["auto", 1e-6])
def test_more_components_than_distinct_rows_fit(kind, reg):
    X = np.repeat([[0.0, 1.0], [2.0, 3.0]], 5, axis=0)
    model = GaussianMixture(10, covariance_type=kind, reg_covar=reg, random_state=0).fit(X)
    assert np.isfinite(model.score(X))
    assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-14)


def test_all_rows_equal_fit():
    X = np.full((12, 2), 7.0)
    model = GaussianMixture(2, reg_covar="auto", random_state=0).fit(X)
    assert_array_equal(model.means_, np.full((2, 2), 7.0))
    assert np.isfinite(model.log_likelihood_)


def test_constant_column_is_no_trouble(rng):
    X = np.column_stack([rng.normal(size=100), np.full(100, 3.0)])
    model = GaussianMixture(2, reg_covar="auto", random_state=0).fit(X)
    assert_array_equal(model.means_[:, 1], [3.0, 3.0])
    assert np.isfinite(model.log_likelihood_)


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
@pytest.mark.parametrize(
    "dtype, exponent, computed",
    [(np.float32, -60, "float32"), (np.float32, -104, "float64"), (np.float64, -480, "float64")],
)
def test_a_column_however_thin_beside_another_is_fitted(kind, dtype, exponent, computed, rng):
    # Spherical covariances do not know of columns' units.
    X = rng.normal(size=(500, 2)).astype(dtype)
    X[::2, 1] += 6
    reference = GaussianMixture(2, covariance_type=kind, reg_covar="auto", random_state=0).fit(X)
    units = np.array([1.0, 2.0**exponent])
    thin = GaussianMixture(2, covariance_type=kind, reg_covar="auto", random_state=0)
    thin.fit((X * units).astype(dtype))
    assert thin.fit_report_["dtype"] == computed
    variances = component_variances(kind, thin.covariances_, 2, 2) / units / units
    expected = component_variances(kind, reference.covariances_, 2, 2)
    assert_allclose(thin.means_ / units, reference.means_, rtol=1e-4, atol=1e-4)
    assert_allclose(variances, expected, rtol=1e-4)
    lost = -np.log(units[1])
    assert_allclose(thin.lower_bound_, reference.lower_bound_ + lost, rtol=1e-5)
    assert np.isfinite(thin.precisions_).all()
    # float32 where it holds variances and precisions.
    assert thin.covariances_.dtype == (np.float32 if exponent == -60 else np.float64)


@pytest.mark.parametrize("kind", ["full", "tied", "diag"])
@pytest.mark.parametrize("init", ["kmeans", "random"])
@pytest.mark.parametrize(
    "unit, constant, dtype", [(1e-20, 1e20, "f4"), (1e-200, 1e120, "f8"), (1e-100, 1e300, "f8")]
)
def test_a_large_constant_column_changes_nothing(kind, init, unit, constant, dtype, rng):
    X = np.column_stack([rng.normal(size=200), np.zeros(200)])
    X[::2, 0] += 3
    options = {"covariance_type": kind, "reg_covar": "auto", "init_params": init, "max_iter": 300}
    here = GaussianMixture(2, **options, random_state=0).fit(X)
    there = (X * unit + [0, constant]).astype(dtype)
    model = GaussianMixture(2, **options, random_state=0).fit(there)
    tolerance = 1e-2 if dtype == "f4" else 1e-9
    assert_allclose(model.means_[:, 0] / unit, here.means_[:, 0], rtol=tolerance, atol=tolerance)
    assert_array_equal(model.means_[:, 1], there[:2, 1])
    assert_allclose(model.predict_proba(there), here.predict_proba(X), atol=tolerance)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("first, then", [(1e160, 1e-160), (1e-200, 1e200), (1e90, 1e-90)])
def test_warm_start_from_any_other_scale_is_finite(kind, first, then, rng):
    X = rng.normal(size=(200, 2))
    X[::2] += 6
    options = {"covariance_type": kind, "reg_covar": "auto", "random_state": 0, "max_iter": 300}
    model = GaussianMixture(2, warm_start=True, **options).fit(X * first)
    with np.errstate(divide="raise", invalid="raise"):
        model.fit(X * then)
    assert np.isfinite(model.means_).all()
    assert np.isfinite(model.score(X * then))
    assert_allclose(model.weights_.sum(), 1, rtol=1e-12)
    assert_allclose(model.weights_ @ model.means_ / then, X.mean(axis=0), rtol=1e-9)


def test_mean_of_a_small_constant_beside_a_wide_column_is_kept(rng):
    X = np.column_stack([np.full(100, 1e-200), rng.normal(size=100) * 1e150])
    model = GaussianMixture(1, covariance_type="diag", reg_covar="auto").fit(X)
    assert model.means_[0, 0] == 1e-200


@pytest.mark.parametrize("unit, reg_covar", [(1e-150, 1e300), (1e-290, 1e-6)])
def test_reg_covar_that_drowns_all_warns(unit, reg_covar, rng):
    with pytest.warns(UserWarning, match="is a tenth or more of the variance"):
        GaussianMixture(1, reg_covar=reg_covar).fit(rng.normal(size=(100, 1)) * unit)


@pytest.mark.parametrize("unit", [1e-160, 1e-300])
@pytest.mark.parametrize("reg_covar", [1e-6, 1e200])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.filterwarnings("ignore:reg_covar=")
def test_reg_covar_beyond_any_scale_of_the_rows_is_the_variance(kind, reg_covar, unit, rng):
    X = rng.normal(size=(100, 3)) * unit
    model = GaussianMixture(2, covariance_type=kind, reg_covar=reg_covar, random_state=0).fit(X)
    assert_allclose(component_variances(kind, model.covariances_, 2, 3), reg_covar, rtol=1e-12)
    assert_allclose(model.score(X), -1.5 * np.log(2 * np.pi * reg_covar), rtol=1e-12)


def test_large_reg_covar_warns(rng):
    X = rng.normal(size=(100, 2)) * [1.0, 1e-3]
    with pytest.warns(UserWarning, match="reg_covar=1e-06 is a tenth or more of the variance"):
        GaussianMixture(1).fit(X)


@pytest.mark.parametrize("kind, warns", list(zip(TYPES, (True, True, False, False), strict=True)))
@pytest.mark.parametrize("n_rows", [4, 5])
def test_rows_too_few_for_full_rank_warn_once(rng, kind, warns, n_rows):
    X, weights = rng.normal(size=(8, 4)), (np.arange(8) < n_rows).astype(float)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        GaussianMixture(1, covariance_type=kind, n_init=2).fit(X, sample_weight=weights)
    texts = [str(warning.message) for warning in caught if "full rank" in str(warning.message)]
    expected = ["no covariance of 4 rows in 4 columns has full rank"]
    # Five rows about their mean span four columns.
    assert [text.partition(":")[0] for text in texts] == (expected if warns and n_rows == 4 else [])
    assert all(warning.filename == __file__ for warning in caught)


@pytest.mark.parametrize("unit", [1e-160, 1e160])
def test_extreme_units_fit(rng, unit):
    X = rng.normal(size=(200, 2)) + 5 * rng.integers(2, size=(200, 1))
    options = {"reg_covar": "auto", "random_state": 0}
    here, there = GaussianMixture(2, **options).fit(X), GaussianMixture(2, **options).fit(X * unit)
    assert_allclose(there.means_ / unit, here.means_, rtol=1e-9)
    moved = here.log_likelihood_ - 400 * np.log(unit)
    assert_allclose(there.log_likelihood_, moved, rtol=1e-12)
    assert_allclose(there.score_samples(X * unit).sum(), moved, rtol=1e-12)


def test_offset_of_one_column_beside_a_wide_one_costs_nothing(rng):
    X = rng.normal(size=(500, 2)) * [1.0, 1e9]
    X[:, 0] = np.rint(X[:, 0] * 2**20) / 2**20
    options = {"reg_covar": 0}
    here = GaussianMixture(1, **options).fit(X)
    there = GaussianMixture(1, **options).fit(X + np.array([1e9, 0]))
    assert_allclose(there.covariances_, here.covariances_, rtol=1e-12)


@pytest.mark.parametrize("kind", TYPES)
def test_permuted_components_and_rows_give_the_permuted_fit(blobs, rng, kind):
    X = blobs(500, 2, 3)
    start = {"covariance_type": kind, "weights_init": [0.2, 0.3, 0.5], "means_init": X[:3]}
    start["precisions_init"] = {
        "full": np.repeat(np.eye(2)[np.newaxis], 3, axis=0),
        "tied": np.eye(2),
        "diag": np.ones((3, 2)),
        "spherical": np.ones(3),
    }[kind]
    here = GaussianMixture(3, **start).fit(X)
    order, rows = np.array([2, 0, 1]), rng.permutation(500)
    start |= {"weights_init": np.array([0.2, 0.3, 0.5])[order], "means_init": X[:3][order]}
    there = GaussianMixture(3, **start).fit(X[rows])
    # Sums of 500 terms in another order, carried through some tens of iterations.
    assert there.n_iter_ == here.n_iter_
    assert_allclose(there.means_, here.means_[order], rtol=1e-9)
    assert_allclose(there.predict_proba(X), here.predict_proba(X)[:, order], atol=1e-9)


def test_zero_weights_are_rows_left_out(blobs, rng):
    X, weights = blobs(300, 2, 3), rng.integers(0, 2, size=300)
    kept = X[weights == 1]
    options = {"n_components": 3, "init_params": "kmeans", "random_state": 0, "tol": 1e-8}
    weighted = GaussianMixture(max_iter=500, **options).fit(X, sample_weight=weights)
    left = GaussianMixture(max_iter=500, **options).fit(kept)
    assert_allclose(weighted.means_, left.means_, rtol=1e-9)
    assert_allclose(weighted.log_likelihood_, left.log_likelihood_, rtol=1e-12)


def test_float32_rows_give_the_fit_of_float64(blobs):
    X = blobs(2000, 3, 4, "f4")
    options = {"random_state": 0, "tol": 1e-6, "max_iter": 300}
    single, double = (GaussianMixture(4, **options).fit(rows) for rows in (X, X.astype("f8")))
    # The last gain of EM is 1e-6 in the likelihood, which parameters answer with its root.
    assert_allclose(single.means_, double.means_, atol=0.02)
    assert_allclose(single.log_likelihood_, double.log_likelihood_, rtol=1e-6)


def test_densities_are_right_to_many_digits():
    # ln N(x; 0, [[4, 1], [1, 9]]) and a second component, by hand in rational arithmetic and ln.
    model = GaussianMixture.from_parameters(
        [0.5, 0.5], [[0.0, 0.0], [1e4, 0.0]], [[[4.0, 1.0], [1.0, 9.0]], [[1.0, 0.0], [0.0, 1.0]]]
    )
    # x = (2, 3): (9 * 4 - 2 * 6 + 4 * 9) / 35 = 60 / 35; the other component is 1e4 away.
    expected = np.log(0.5) - np.log(2 * np.pi) - np.log(35) / 2 - 60 / 35 / 2
    assert_allclose(model.score_samples([[2.0, 3.0]]), expected, rtol=1e-14)
    assert_array_equal(model.predict_proba([[2.0, 3.0]]), [[1.0, 0.0]])
    # So far out that no density is a float64: responsibilities still add up.
    assert_allclose(model.predict_proba([[1e150, -1e150]]).sum(), 1.0)
    assert np.isfinite(model.score_samples([[1e150, -1e150]])).all()
