# SPDX-License-Identifier: BSD-3-Clause
"""The compiled passes of a mixture against the same passes in NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mixture_reference
from fastmix.core import _mixture
from fastmix.core._frame import Frame
from fastmix.core._moments import Moments
from fastmix.core._parameters import Parameters, factors_of, whiten
from mixture_reference import ReferenceRows

pytestmark = pytest.mark.skipif(
    _mixture.MixtureRows is ReferenceRows, reason="the driver is not compiled here"
)

TYPES = ("full", "tied", "diag", "spherical")
# About the sizes of slots and tiles.
SIZES = (1, 63, 1023, 1024, 1025, 2500)
SUMS = ("weight", "first", "second", "log_likelihood", "entropy", "total")


def some_factors(kind, k, d, rng):
    A = rng.normal(size=(k, d, d)) / np.sqrt(d)
    full = A @ A.transpose(0, 2, 1) + 0.3 * np.eye(d)
    covariances = {
        "full": full,
        "tied": full[0],
        "diag": rng.uniform(0.3, 2, size=(k, d)),
        "spherical": rng.uniform(0.3, 2, size=k),
    }[kind]
    parameters = Parameters(kind, rng.dirichlet(np.ones(k)), rng.normal(size=(k, d)), covariances)
    P, log_det, _ = whiten(kind, covariances, d)
    return factors_of(parameters, P, log_det)


def both(X, dtype, pivot):
    for make in (_mixture.MixtureRows, ReferenceRows):
        rows = make(X, dtype)
        rows.set_frame(pivot, 1.0, np.zeros((2, rows.stride)))
        yield rows


def assert_same(a, b, rtol):
    for name in SUMS:
        mine, its = getattr(a, name), getattr(b, name)
        if name == "second" and a.covariance_type in ("full", "tied"):
            mine, its = np.tril(mine), np.tril(its)
        assert_allclose(mine, its, rtol=rtol, atol=rtol * np.abs(its).max(), err_msg=name)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("d", [1, 2, 5, 17])
@pytest.mark.parametrize("kind", TYPES)
def test_expectation_is_that_of_the_reference(rng, dtype, kind, d, weighted):
    k, rtol = 4, 2e-4 if dtype == np.float32 else 1e-11
    factors = some_factors(kind, k, d, rng)
    for n in SIZES:
        X = (rng.normal(size=(n, d)) * 1.5 + 0.5).astype(dtype)
        w = rng.uniform(size=n) if weighted else None
        found = []
        for rows in both(X, dtype, np.full(d, 0.5)):
            moments = Moments(kind, k, d, Frame(np.full(d, 0.5), 1.0, dtype, np.zeros(d)))
            out = np.full(n, np.nan), np.full((n, k), np.nan), np.full(n, -1, dtype=np.int32)
            rows.expect(0, n, factors, 2, weights=w, moments=moments, log_prob=out[0],
                        responsibilities=out[1], labels=out[2])  # fmt: skip
            found.append((moments, *out))
        mine, its = found
        assert_same(mine[0], its[0], rtol)
        assert_allclose(mine[1], its[1], rtol=rtol, atol=rtol)
        assert_allclose(mine[2], its[2], rtol=rtol, atol=rtol)
        assert_array_equal(mine[3], mine[2].argmax(axis=1))


@pytest.mark.parametrize("kind", TYPES)
def test_given_labels_and_responsibilities_make_the_moments(rng, dtype, kind):
    n, k, d, cut = 5000, 3, 4, 4096
    X, w = rng.normal(size=(n, d)).astype(dtype), rng.uniform(size=n)
    labels, r = rng.integers(-1, k, size=n).astype(np.int32), rng.dirichlet(np.ones(k), size=n)
    found = []
    for rows in both(X, dtype, np.zeros(d)):
        hard, soft = Moments(kind, k, d), Moments(kind, k, d)
        for start, stop in ((0, cut), (cut, n)):
            rows.gather(start, stop, labels, 2, moments=hard, weights=w)
            rows.absorb(start, stop, r[start:stop], 2, moments=soft, weights=w)
        found.append((hard, soft))
    # Rows are rounded to dtype on both sides; sums are float64.
    for mine, its in zip(*found, strict=True):
        assert_same(mine, its, 1e-12)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("d", [3, 9])
def test_threads_and_cuts_change_no_bit(rng, dtype, kind, d):
    n, k = 10_000, 5
    X, factors = rng.normal(size=(n, d)).astype(dtype), some_factors(kind, k, d, rng)
    rows = _mixture.MixtureRows(X, dtype)
    found = []
    for threads, step in ((1, n), (2, n), (3, rows.slot_rows), (7, 2 * rows.slot_rows)):
        moments = Moments(kind, k, d)
        for start in range(0, n, step):
            rows.expect(start, min(n, start + step), factors, threads, moments=moments)
        found.append([np.asarray(getattr(moments, name)).tobytes() for name in SUMS])
    assert all(bits == found[0] for bits in found[1:])


@pytest.mark.parametrize("n", [16_384, 16_385, 50_000, 99_999, 200_000, 262_143, 500_000])
@pytest.mark.parametrize("threads", [2, 4, 16])
def test_slots_are_shared_evenly(n, threads):
    rows = _mixture.MixtureRows(np.zeros((n, 1)), np.float64)
    slots = -(-n // rows.slot_rows)
    assert -(-slots // threads) * rows.slot_rows <= 1.08 * n / threads


@pytest.mark.parametrize("d", [1, 2, 8, 33])
def test_factor_is_the_inverse_of_the_cholesky_factor(rng, d):
    A = rng.normal(size=(d, 2 * d + 2))
    covariance = A @ A.T
    (P,), (log_det,), (failed,) = _mixture.factors(covariance[np.newaxis])
    expected, its_log_det, _ = mixture_reference.factor(covariance)
    assert failed == -1
    assert_array_equal(P, np.tril(P))
    # Condition below 1e3 for these.
    assert_allclose(P, expected, rtol=1e-10, atol=1e-12)
    assert_allclose(log_det, its_log_det, rtol=1e-12, atol=1e-12)


def test_factor_names_the_failed_pivot():
    failing = np.stack([np.eye(4), np.diag([1.0, 2.0, -1.0, 3.0]), np.zeros((4, 4))])
    for n_threads in (1, 3):
        assert _mixture.factors(failing, n_threads)[2].tolist() == [-1, 2, 0]


def test_log_is_the_logarithm(rng):
    values = np.concatenate([np.exp2(rng.uniform(-1000, 1000, 500)), [1.0, 2.0**-1000]])
    # 2 ulp.
    assert_allclose(_mixture.log(values), np.log(values), rtol=4.5e-16)
