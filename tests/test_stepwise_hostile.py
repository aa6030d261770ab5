# SPDX-License-Identifier: BSD-3-Clause
"""Stepwise EM against a plain recursion, and on streams that are hard to learn from."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import fastmix
from fastmix import GaussianMixture, HalfLife
from fastmix.core import _stepwise
from fastmix.core._parameters import COVARIANCE_TYPES, as_matrices

K, D = 3, 2

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def rows(n=600, seed=0, dtype="f8", mean=0.0):
    rng = np.random.default_rng(seed)
    which = rng.integers(K, size=(n, 1))
    return (rng.normal(size=(n, D)) + [9.0, 4.0] * which + mean).astype(dtype)


def begun(kind="full", dtype="f8", **options):
    options = {"random_state": 0, "covariance_type": kind} | options
    return GaussianMixture(K, **options).partial_fit(rows(dtype=dtype))


def values(model):
    return model.weights_, model.means_, model.covariances_


def bits(model):
    return [array.tobytes() for array in values(model)]


def assert_same(model, before):
    """The estimator is that of ``before``, a copy of its attributes, to the bit."""
    assert model.__dict__.keys() == before.keys()
    assert all(model.__dict__[name] is value for name, value in before.items())


class Plain:
    """Stepwise EM in NumPy, with full covariances and sums about the origin."""

    def __init__(self, weights, means, covariances):
        self.parameters, self.s = (weights, means, covariances), None

    def expect(self, X, w):
        components = zip(*self.parameters, strict=True)
        logs = [np.log(p) + multivariate_normal(m, c).logpdf(X) for p, m, c in components]
        logs = np.stack(logs, axis=1)
        r = np.exp(logs - logsumexp(logs, axis=1, keepdims=True)) * w[:, None] / w.sum()
        return r.sum(axis=0), r.T @ X, np.einsum("nk,ni,nj->kij", r, X, X)

    def learn(self, X, w, step):
        new = self.expect(X, w)
        if self.s is not None:
            new = [(1 - step) * a + step * b for a, b in zip(self.s, new, strict=True)]
        self.s = new
        self.parameters = self.maximise(new)

    @staticmethod
    def maximise(s):
        weight, first, second = s
        means = first / weight[:, None]
        products = means[:, :, None] * means[:, None, :]
        return weight, means, second / weight[:, None, None] - products


GIVEN = {
    "weights_init": np.full(K, 1 / K),
    "means_init": np.arange(K)[:, None] * [8.0, 5.0],
    "precisions_init": np.repeat(np.eye(D)[None] / 4, K, 0),
}


@pytest.mark.parametrize("averaging", [False, True])
def test_batches_are_learnt_as_the_recursion_says(averaging):
    steps = [1.0, 0.4, 0.9, 0.01, 0.5]
    model = GaussianMixture(
        K, reg_covar=0, learning_rate=lambda seen, weight: steps[round(float(seen[0]) / 100)],
        averaging=averaging, **GIVEN,
    )  # fmt: skip
    plain = Plain(
        GIVEN["weights_init"], GIVEN["means_init"], np.linalg.inv(GIVEN["precisions_init"])
    )
    history, seen = [], 0.0
    for at, step in enumerate(steps):
        X, w = rows(200, seed=at), np.random.default_rng(at).uniform(size=200)
        w *= 100 / w.sum()
        model.partial_fit(X, sample_weight=w)
        plain.learn(X, w, step)
        history.append(plain.s)
        seen += 100
        wanted = plain.parameters
        if averaging:
            wanted = plain.maximise([np.mean(part, axis=0) for part in zip(*history, strict=True)])
        # Moments about the origin are up to 500, of which 1e-13 is rounding; EM doubles it at most
        # a few times over.
        for found, expected in zip(values(model), wanted, strict=True):
            assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
        assert model.fit_report_["step"] == step
        assert_allclose(model.fit_report_["seen"], seen, rtol=1e-12)


def test_average_of_one_component_is_that_of_its_means():
    model = GaussianMixture(1, learning_rate=0.3, averaging=True, reg_covar=0)
    running, means = None, []
    for seed in range(6):
        X = rows(50, seed)
        new = X.mean(axis=0)
        running = new if running is None else 0.7 * running + 0.3 * new
        means.append(running)
        model.partial_fit(X)
    assert_allclose(model.means_[0], np.mean(means, axis=0), rtol=1e-12)
    assert not np.allclose(model.means_[0], running, rtol=1e-3)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_rows_of_weight_zero_and_repeated_rows_count_as_they_should(kind):
    X, w = rows(300, 1), np.random.default_rng(0).integers(0, 3, 300).astype(float)
    models = [begun(kind) for _ in range(2)]
    models[0].partial_fit(X, sample_weight=w)
    models[1].partial_fit(np.repeat(X, w.astype(int), axis=0))
    for a, b in zip(*map(values, models), strict=True):
        assert_allclose(a, b, rtol=1e-11)
    before = models[0].__dict__.copy()
    with pytest.raises(ValueError, match="sample_weight is zero for every sample"):
        models[0].partial_fit(X, sample_weight=np.zeros(300))
    assert_same(models[0], before)


@pytest.mark.parametrize("averaging", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_threads_do_not_change_a_bit(kind, averaging):
    found = []
    for n_threads in (1, 2, 3):
        model = GaussianMixture(
            K, covariance_type=kind, random_state=0, n_threads=n_threads, averaging=averaging
        )
        for seed in range(3):
            model.partial_fit(rows(40_000, seed, "f4"))
        found.append(bits(model))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype, far", [("f4", 1e12), ("f8", 1e60)])
def test_far_rows_are_learnt(kind, dtype, far):
    model = begun(kind, dtype)
    for sign in (1, -1):
        model.partial_fit(np.full((2, D), sign * far, dtype=dtype))
    model.partial_fit(rows(seed=1, dtype=dtype))
    for value in values(model):
        assert np.isfinite(value).all()


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype, far", [("f4", 3e38), ("f8", 1e160), ("f8", -1.7e308)])
def test_rows_whose_squares_overflow_are_refused(kind, dtype, far):
    model, X = begun(kind, dtype), rows(5, dtype=dtype)
    X[3, 1] = far
    before, state = model.__dict__.copy(), bits(model)
    with pytest.raises(ValueError, match="in column 1, so far from the batches before"):
        model.partial_fit(X)
    assert_same(model, before)
    assert bits(model) == state


@pytest.mark.parametrize("reg_covar", [1e-6, "auto"])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_components_that_are_forgotten_stay_finite(kind, reg_covar):
    # Two components are not seen for 1200 half-lives, in which their weight leaves float64.
    X = np.full((200, D), 30.0) + np.random.default_rng(0).normal(size=(200, D))
    model = begun(
        kind, learning_rate=HalfLife(40), reg_covar=reg_covar, init_params="random_from_data"
    )
    for _ in range(240):
        model.partial_fit(X)
        for value in values(model):
            assert np.isfinite(value).all()
    # Each is repaired once, when it empties, and not again for digits that were lost.
    repairs = model.fit_report_["repairs"]
    assert [what for _, _, what in repairs] == 2 * ["held" if reg_covar == 1e-6 else "re-seeded"]
    assert_allclose(model.weights_.sum(), 1, rtol=1e-12)
    mean = model.weights_ @ model.means_
    assert_allclose(mean, X.mean(axis=0), rtol=1e-9)  # that of a mixture's M-step


@pytest.mark.parametrize(
    "rate", [HalfLife(1e300), HalfLife(1.7e308), lambda n, w: 5e-324], ids=["1e300", "max", "least"]
)
def test_steps_next_to_nothing_change_next_to_nothing(rate):
    model = begun(averaging=True)
    before = values(model)
    model.set_params(learning_rate=rate)
    for seed in range(3):
        model.partial_fit(rows(seed=seed))
    for found, expected in zip(values(model), before, strict=True):
        assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("averaging", [False, True])
def test_step_of_zero_leaves_the_start(averaging):
    model = begun(learning_rate=lambda n, w: 0.0, averaging=averaging)
    start = bits(model)
    assert bits(model.partial_fit(rows(seed=1))) == start
    assert model.n_iter_ == 2
    # The first batch that is learnt has step 1, whatever the rate.
    assert model.set_params(learning_rate=0.2).partial_fit(rows()).fit_report_["step"] == 1


@pytest.mark.parametrize("averaging", [False, True])
def test_statistics_are_those_of_a_component_that_was_moved(averaging):
    # With step 1 a batch far from two of the components empties these.
    model = begun("diag", reg_covar="auto", learning_rate=1.0, averaging=averaging)
    model.partial_fit(np.full((200, D), 30.0) + np.random.default_rng(0).normal(size=(200, D)))
    assert {what for _, _, what in model.fit_report_["repairs"]} == {"re-seeded"}
    before = values(model)
    assert before[0].min() > 0.1
    model.set_params(learning_rate=1e-12).partial_fit(rows())
    for found, expected in zip(values(model), before, strict=True):
        assert_allclose(found, expected, rtol=1e-8)  # a step of moments about 5000


def test_weights_whose_sum_leaves_float64_are_counted_up_to_a_limit(tmp_path):
    X, w = rows(), np.full(600, 1e306)
    model = begun(learning_rate="mean")
    for _ in range(3):
        model.partial_fit(X, sample_weight=w)
        assert model.fit_report_["seen"] == 2.0**1000
        assert np.isfinite(model.means_).all()
    fitted = GaussianMixture(K, random_state=0).fit(X, sample_weight=w)
    for one in (model, fitted):
        one.save(tmp_path / "model.npz")
        assert bits(fastmix.load(tmp_path / "model.npz")) == bits(one)


@pytest.mark.parametrize(
    "change", [{"n_components": K + 1}, {"covariance_type": "diag"}], ids=["k", "kind"]
)
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_parameters_of_another_model_are_refused(how, change):
    model = getattr(GaussianMixture(K, random_state=0), how)(rows()).set_params(**change)
    before = model.__dict__.copy()
    with pytest.raises(ValueError, match=f"the model has 3 .*{next(iter(change))}="):
        model.partial_fit(rows())
    assert_same(model, before)
    assert_array_equal(model.fit(rows()).means_.shape, [model.n_components, D])


def test_report_has_the_keys_of_a_fit():
    fitted = GaussianMixture(K, random_state=0).fit(rows())
    keys = set(fitted.fit_report_)
    assert len(fitted.lower_bounds_) > 1
    for calls in (1, 2):
        fitted.partial_fit(rows(50))
        assert set(fitted.fit_report_) == keys | {"step", "seen"}
        assert fitted.fit_report_["rows_scanned"] == 50
        assert fitted.fit_report_["seen"] == 600 + 50 * calls
        assert fitted.n_iter_ == len(fitted.lower_bounds_) == len(fitted.objective_trace_) == calls


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("where", ["collect", "settle"])
def test_interrupts_leave_the_estimator(monkeypatch, where, error):
    def stop(*arguments, **options):
        inner(*arguments, **options)
        raise error

    model, inner = begun(averaging=True), getattr(_stepwise, where)
    before, state = model.__dict__.copy(), bits(model)
    expected = bits(begun(averaging=True).partial_fit(rows(seed=2)))
    monkeypatch.setattr(_stepwise, where, stop)
    with pytest.raises(error):
        model.partial_fit(rows(seed=1))
    assert_same(model, before)
    assert bits(model) == state
    monkeypatch.undo()
    assert bits(model.partial_fit(rows(seed=2))) == expected


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_expanded_parameters_are_those_of_the_moments(kind):
    parameters = begun(kind)._model.parameters
    moments = _stepwise.moments_of(parameters, begun(kind)._model.frame)
    again = moments.parameters()
    assert_allclose(again.weights, parameters.weights, rtol=1e-14)
    assert_allclose(again.means, parameters.means, rtol=1e-13)
    found, expected = (as_matrices(kind, p.covariances, K, D) for p in (again, parameters))
    assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_float32_at_a_million_is_learnt():
    X = rows(20_000, dtype="f4", mean=1e6)
    model = GaussianMixture(K, random_state=0)
    for part in np.split(X, 20):
        model.partial_fit(part)
    best = GaussianMixture(K, random_state=0, tol=1e-9, max_iter=500).fit(X)
    assert best.score(X) - model.score(X) < 0.01  # 0.0005 with this seed


def drifting(n_batches, step, dtype):
    """Batches whose mean moves by ``step`` spreads in one column, and stays at the end."""
    rng = np.random.default_rng(0)
    for at in [*range(n_batches), *(n_batches for _ in range(160))]:
        yield (rng.normal(size=(50, D)) * [1.0, 3.0] + [step * at, 7.0]).astype(dtype)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize(
    "dtype, n_batches, step, rtol",
    [("f8", 100, 1e6, 1e-9), ("f8", 1, 1e8, 1e-9), ("f8", 1, 1e15, 1e-9), ("f4", 100, 1e3, 1e-5)],
)
def test_a_stream_that_wanders_off_is_learnt(kind, dtype, n_batches, step, rtol):
    rate = 0.5
    model = GaussianMixture(1, covariance_type=kind, learning_rate=rate, reg_covar=0.0)
    mean = spread = None
    for X in drifting(n_batches, step, dtype):
        model.partial_fit(X)
        # The recursion about the mean, which in the end is small: nothing cancels.
        X = X.astype(np.longdouble) - [step * n_batches, 0.0]
        new, w = X.mean(axis=0), 1.0 if mean is None else rate
        centred = X - new
        own = centred.T @ centred / len(X)
        if mean is None:
            mean, spread = new, own
        else:
            between = np.outer(new - mean, new - mean)
            mean, spread = mean + w * (new - mean), (1 - w) * (spread + w * between) + w * own
    mean = np.add(mean, [step * n_batches, 0.0]).astype(dtype)
    assert_allclose(model.means_[0], mean, rtol=1e-15 if dtype == "f8" else 1e-7)
    expected = spread.astype(float)
    if kind == "spherical":
        expected = np.array([np.trace(expected) / D])
    elif kind == "diag":
        expected = np.diag(expected)
    assert_allclose(model.covariances_.reshape(expected.shape), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_reg_covar_is_that_of_the_call(kind):
    models = [begun(kind, learning_rate=1.0, reg_covar=first) for first in (1e-6, 0.5)]
    for model in models:
        model.set_params(reg_covar=0.5).partial_fit(rows(seed=1))
    changed, kept = (as_matrices(kind, m.covariances_, K, D) for m in models)
    raw = begun(kind, learning_rate=1.0, reg_covar=1e-6).partial_fit(rows(seed=1))
    more = changed - as_matrices(kind, raw.covariances_, K, D)
    assert_allclose(more, np.broadcast_to(np.eye(D) * (0.5 - 1e-6), more.shape), atol=1e-12)
    assert_allclose(changed, kept, rtol=0.2)  # the E-steps had other covariances


@pytest.mark.parametrize("kind", ["full", "diag", "spherical"])
def test_floor_of_a_held_component_is_not_learnt(kind):
    # Copies of one row: their component is on the floor, which each M-step adds, and adds once.
    X = np.concatenate([np.zeros((100, D)), rows(400) + 50])
    model = GaussianMixture(
        2, covariance_type=kind, reg_covar="auto", random_state=0, learning_rate=0.5
    ).fit(X)
    assert [what for _, _, what in model.fit_report_["repairs"]][-1] == "held"
    at = model.predict(np.zeros((1, D)))[0]
    before = as_matrices(kind, model.covariances_, 2, D)[at]
    for _ in range(3):
        model.partial_fit(X)
    after = as_matrices(kind, model.covariances_, 2, D)[at]
    assert model.fit_report_["held"] == [at]
    assert_allclose(after, before, rtol=1e-6)


@pytest.mark.parametrize("reg_covar", [1e-6, "auto"])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("averaging", [False, True])
def test_rows_that_outgrow_the_first_ones_leave_a_mixture(kind, reg_covar, averaging):
    # Collinear columns, then in units of 1e-6: a floor of the first rows would be lost in rounding.
    z = np.random.default_rng(0).normal(size=(500, 1))
    X = np.c_[z, 2 * z]
    model = GaussianMixture(
        2, covariance_type=kind, random_state=0, reg_covar=reg_covar, averaging=averaging
    )
    model.fit(X)
    for _ in range(10):
        model.partial_fit(X * 1e6)
        log_det = np.linalg.slogdet(as_matrices(kind, model.precisions_, 2, D))[1]
        assert np.isfinite(log_det).all()
        far = model.score_samples([[1e9, -1e9]])
        assert far < model.score_samples([[0.0, 0.0]]) - 100
        assert np.isfinite(model.sample(10)[0]).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_a_jump_of_the_rows_leaves_a_mixture(kind, seed):
    rng = np.random.default_rng(seed)
    model = GaussianMixture(2, covariance_type=kind, random_state=seed, learning_rate=0.5)
    model.partial_fit(rng.normal(size=(200, D)))
    for _ in range(5):
        model.partial_fit(rng.normal(size=(200, D)) + 1.7e9)
    X = rng.normal(size=(200, D)) + 1.7e9
    assert model.score(X) > model.score(X + 1e10) + 1  # a density, and not the same everywhere
    assert (np.linalg.eigvalsh(as_matrices(kind, model.precisions_, 2, D)) > 0).all()


def test_floor_follows_the_rows():
    rng = np.random.default_rng(0)
    model = GaussianMixture(
        1, reg_covar="auto", random_state=0, learning_rate=HalfLife(500)
    ).partial_fit(rng.normal(size=(500, D)) * 1e5)
    for _ in range(200):
        model.partial_fit(rng.normal(size=(500, D)))
    assert_allclose(model.covariances_[0], np.eye(D), atol=0.2)


@pytest.mark.parametrize(
    "step, message",
    [
        ("x", "learning_rate gave 'x'; expected a number"),
        (
            [0.1, 0.2],
            r"learning_rate gave \[0.1, 0.2\]; expected a number, or an array of the shape",
        ),
        (np.nan, "learning_rate gave a step of nan"),
    ],
)
def test_steps_that_are_none_are_refused(step, message):
    for model in (GaussianMixture(K, random_state=0), fastmix.KMeans(3, random_state=0)):
        model.partial_fit(rows())
        before = model.__dict__.copy()
        model.set_params(learning_rate=lambda seen, weight: step)
        with pytest.raises(ValueError, match=message):
            model.partial_fit(rows())
        assert model.__dict__.keys() == before.keys()


def test_a_copy_goes_its_own_way():
    model = begun()
    other = copy.copy(model).partial_fit(rows(seed=1))
    assert len(model.lower_bounds_) == model.n_iter_ == 1
    assert len(other.lower_bounds_) == other.n_iter_ == 2
