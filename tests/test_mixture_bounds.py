# SPDX-License-Identifier: BSD-3-Clause
"""E-steps that leave out pairs by bounds, against E-steps of all pairs: the same bits."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmix import GaussianMixture
from fastmix.core import _mixture_bounds as bounding
from fastmix.core._frame import Frame
from fastmix.core._kernels import supported_isas
from fastmix.core._mixture import MixtureRows
from fastmix.core._moments import Moments
from fastmix.core._parameters import Parameters, factors_of, whiten

SUMS = ("weight", "first", "second")


def separated(n, d, k, spread, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    means = rng.uniform(-spread, spread, (k, d))
    shapes = rng.standard_normal((k, d, d)) / np.sqrt(d) + np.eye(d)
    z = rng.integers(k, size=n)
    X = means[z] + np.einsum("nij,nj->ni", shapes[z], rng.standard_normal((n, d)))
    return X.astype(dtype), means + rng.normal(0, 0.2, (k, d))


class Run:
    """EM step by step, every E-step with bounds and without."""

    def __init__(self, X, means, isa=None, weights=None, n_threads=2):
        (self.k, self.d), self.weights, self.n_threads = means.shape, weights, n_threads
        self.rows = MixtureRows(X, X.dtype, isa)
        self.frame = Frame(np.zeros(self.d), 1.0, X.dtype, np.abs(X).max(axis=0, initial=0))
        self.rows.set_frame(np.zeros(self.d), 1.0, np.zeros((2, self.rows.stride)))
        covariances = np.repeat(np.eye(self.d)[np.newaxis], self.k, axis=0)
        self.parameters = Parameters("full", np.full(self.k, 1 / self.k), means, covariances)
        self.bounds = self.white = None
        self.open = []

    def moments(self, factors, log_prob, **how):
        moments = Moments("full", self.k, self.d, self.frame)
        middle = self.rows.n // 2 // self.rows.slot_rows * self.rows.slot_rows
        for start, stop in ((0, middle), (middle, self.rows.n)):
            if start < stop:
                self.rows.expect(
                    start, stop, factors, self.n_threads, weights=self.weights, moments=moments,
                    log_prob=log_prob, **how,
                )  # fmt: skip
                self.open[-1] += self.rows.computed
        return moments

    def step(self, change=None):
        parameters = self.parameters if change is None else change(self.parameters)
        P, log_det, _ = whiten("full", parameters.covariances, self.d)
        factors = factors_of(parameters, P, log_det)
        white = bounding.Whitening(factors, self.rows.dtype)
        constants = factors.constants
        take = self.bounds is None
        if take:
            self.bounds = bounding.Bounds(self.rows, self.k)
            self.bounds.start(white, constants)
        else:
            self.bounds.move(bounding.Maps(self.white, white), white, constants)
        self.white = white
        self.open.append(0)
        plain, bounded = np.empty(self.rows.n), np.empty(self.rows.n)
        expected = self.moments(factors, plain)
        self.open.append(0)
        found = self.moments(factors, bounded, bounds=self.bounds, take=take)
        np.testing.assert_array_equal(bounded, plain)
        for name in SUMS:
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        np.testing.assert_array_equal(found.log_likelihood, expected.log_likelihood)
        self.parameters = expected.parameters(self.parameters)
        covariances = self.parameters.covariances + 1e-3 * np.eye(self.d)
        self.parameters = self.parameters._replace(covariances=covariances)
        return self.open.pop() / self.open.pop()


@pytest.mark.parametrize("isa", supported_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounded_steps_have_the_bits_of_plain_ones(isa, dtype):
    X, means = separated(5003, 9, 13, 6.0, dtype=dtype)
    run = Run(X, means, isa)
    shares = [run.step() for _ in range(8)]
    assert shares[0] == 1
    assert shares[-1] < 0.35  # pairs are left out at all


@pytest.mark.parametrize("isa", supported_isas())
@pytest.mark.parametrize("n_threads, dtype", [(1, np.float32), (3, np.float64)])
def test_weights_and_threads_change_nothing(isa, n_threads, dtype):
    X, means = separated(3000, 6, 8, 6.0, dtype=dtype)
    weights = np.random.default_rng(1).uniform(0, 2, len(X))
    weights[::7] = 0
    run = Run(X, means, isa, weights=weights, n_threads=n_threads)
    assert [run.step() for _ in range(6)][-1] < 0.6


def moved(parameters):
    means = parameters.means.copy()
    means[0] = means[1] + 0.5
    return parameters._replace(means=means)


def shrunk(parameters):
    covariances = parameters.covariances.copy()
    covariances[2] *= 1e-9
    return parameters._replace(covariances=covariances)


def grown(parameters):
    covariances = parameters.covariances.copy()
    covariances[3] *= 1e4
    return parameters._replace(covariances=covariances)


def singular(parameters):
    covariances = parameters.covariances.copy()
    covariances[4] = 1e-12 * np.eye(len(covariances[4]))
    covariances[4][0, 0] = 1e8
    return parameters._replace(covariances=covariances)


def weightless(parameters):
    weights = parameters.weights.copy()
    weights[5] = 0
    return parameters._replace(weights=weights)


@pytest.mark.parametrize("change", [moved, shrunk, grown, singular, weightless])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_that_jump_renew_the_bounds(change, dtype):
    X, means = separated(2000, 7, 9, 5.0, dtype=dtype)
    run = Run(X, means)
    for at in range(8):
        run.step(change if at in (3, 4) else None)


@pytest.mark.parametrize("isa", supported_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_beyond_all_range_have_the_same_bits(isa, dtype):
    X, means = separated(1500, 6, 8, 5.0, dtype=dtype)
    X[[3, 700]] *= np.sqrt(np.finfo(dtype).max)
    run = Run(X, means, isa)
    start = run.parameters
    for _ in range(3):
        run.step(lambda parameters: start)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 1400), st.integers(5, 20), st.integers(1, 20), st.floats(0.1, 20),
    st.integers(0, 99), st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_bounded_steps_of_any_shape_have_the_bits_of_plain_ones(n, d, k, spread, seed, dtype):
    X, means = separated(n, d, k, spread, seed, dtype)
    run = Run(X, means)
    for _ in range(4):
        run.step()


def fitted(X, means, **parameters):
    model = GaussianMixture(
        len(means),
        means_init=means,
        max_iter=8,
        tol=0,
        random_state=0,
        n_threads=2,
        **parameters,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X)


def test_a_fit_uses_bounds_where_they_pay_and_says_so():
    X, means = separated(20_000, 16, 24, 8.0)
    bounded, plain = fitted(X, means), fitted(X, means, bounds_memory=0)
    for name in ("weights_", "means_", "covariances_", "objective_trace_", "log_likelihood_"):
        np.testing.assert_array_equal(getattr(bounded, name), getattr(plain, name))
    assert bounded.fit_report_["bounds"].startswith("bounds in ")
    assert plain.fit_report_["bounds"] == "no memory for bounds"
    assert plain.fit_report_["pairs_evaluated"] == len(X) * 24 * plain.n_iter_
    assert bounded.fit_report_["pairs_evaluated"] < 0.7 * plain.fit_report_["pairs_evaluated"]


@pytest.mark.parametrize("n_init", [1, 3])
def test_the_likelihood_at_the_end_uses_the_bounds_of_the_last_start(monkeypatch, n_init):
    X, means = separated(20_000, 16, 24, 8.0)
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    last, used = bounding.Pruning.last, []

    def recorded(pruning, factors):
        used.append(last(pruning, factors))
        return used[-1]

    def fit(**parameters):
        model = GaussianMixture(
            len(means), init_params="random_from_data", max_iter=15, tol=0, n_init=n_init,
            random_state=3, **parameters,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(X, sample_weight=weights)

    monkeypatch.setattr(bounding.Pruning, "last", recorded)
    bounded, plain = fit(), fit(bounds_memory=0)
    assert bounded.log_likelihood_ == plain.log_likelihood_
    starts = bounded.fit_report_["starts"]
    assert (starts[-1] == max(starts)) == (n_init == 1)
    # The best start's are gone once another has begun.
    assert [list(how) for how in used] == ([["bounds"], []] if n_init == 1 else [])


def test_a_fit_of_components_that_overlap_takes_no_bounds():
    X, means = separated(16_000, 16, 8, 0.2)
    report = fitted(X, means).fit_report_
    assert report["bounds"] == "bounds would not have paid"
    assert report["pairs_evaluated"] == len(X) * 8 * report["n_iter"]


@pytest.mark.parametrize("covariance_type", ["tied", "diag", "spherical"])
def test_other_covariances_have_no_bounds(covariance_type):
    X, means = separated(3000, 3, 4, 8.0)
    report = fitted(X, means, covariance_type=covariance_type).fit_report_
    assert report["bounds"] == "there are no bounds for these covariances"


@pytest.mark.parametrize("d, wanted", [(4, {}), (6, {"labels": np.empty(3000, dtype=np.int32)})])
def test_bounds_are_refused_where_lists_of_pairs_do_not_serve(d, wanted):
    X, means = separated(3000, d, 4, 8.0)
    run = Run(X, means)
    P, log_det, _ = whiten("full", run.parameters.covariances, d)
    bounds, factors = bounding.Bounds(run.rows, 4), factors_of(run.parameters, P, log_det)
    with pytest.raises(ValueError, match="bounds serve"):
        run.rows.expect(0, 3000, factors, 1, bounds=bounds, take=True, **wanted)
