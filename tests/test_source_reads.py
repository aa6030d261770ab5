# SPDX-License-Identifier: BSD-3-Clause
"""How often the use of a model reads a source, and that bad rows are found in time."""

import numpy as np
import pytest

from fastmix import GaussianMixture, KMeans
from fastmix.core import _source, log_prob
from fastmix.core._moments import Moments
from fastmix.core._parameters import Parameters, factors_of, precision_factors
from source_cases import Blocks, D, N, Sliced, bits, rows, source_of

GIVEN = ([0.5, 0.5], [[0.0] * D, [9.0] * D], np.ones((2, D)), "diag")


def accumulated(X):
    """Moments of rows under given parameters."""
    weights, means, covariances, kind = GIVEN
    covariances, P, log_det = precision_factors(kind, covariances, D)
    parameters = Parameters(kind, np.array(weights), np.array(means), covariances)
    moments = Moments(kind, 2, D, factors=factors_of(parameters, P, log_det)).accumulate(X)
    return moments.weight, moments.first, moments.second


# What is called with rows, and how many times it reads them: where out is given first to find what
# is not finite, and for the objective of K-means first to find the grid of its exact sum.
ONCE, TWICE = 1, 2
CALLS = {
    "KMeans.predict": (lambda k, g, X: k.predict(X), ONCE),
    "KMeans.transform": (lambda k, g, X: k.transform(X), ONCE),
    "KMeans.score": (lambda k, g, X: k.score(X), TWICE),
    "KMeans.predict, out": (lambda k, g, X: k.predict(X, out=np.empty(N, np.int32)), TWICE),
    "predict": (lambda k, g, X: g.predict(X), ONCE),
    "predict_proba": (lambda k, g, X: g.predict_proba(X), ONCE),
    "score_samples": (lambda k, g, X: g.score_samples(X), ONCE),
    "score": (lambda k, g, X: g.score(X, sample_weight=np.arange(N)), ONCE),
    "bic": (lambda k, g, X: g.bic(X), ONCE),
    "icl": (lambda k, g, X: g.icl(X), TWICE),
    "predict, out": (lambda k, g, X: g.predict(X, out=np.empty(N, np.int32)), TWICE),
    "predict_proba, out": (lambda k, g, X: g.predict_proba(X, out=np.empty((N, 4))), TWICE),
    "score_samples, out": (lambda k, g, X: g.score_samples(X, out=np.empty(N)), TWICE),
    "log_prob": (lambda k, g, X: log_prob(X, *GIVEN, return_components=True), ONCE),
    "accumulate": (lambda k, g, X: accumulated(X), ONCE),
}
of_every_call = pytest.mark.parametrize("call", CALLS)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of at most 2,000 rows, of which a pass needs several."""
    monkeypatch.setattr(_source, "WINDOW_BYTES", 40_000)
    monkeypatch.setattr(_source, "MAP_WINDOW_BYTES", 40_000)


@pytest.fixture(scope="module", params=["float32", "float64"])
def models(request):
    """K-means and a mixture, with full covariances, of rows in memory."""
    X = rows(request.param)
    return KMeans(4, random_state=0).fit(X), GaussianMixture(4, random_state=0).fit(X)


class Counted(Sliced):
    """Rows that are sliced, and how many were."""

    def __init__(self, X):
        super().__init__(X)
        self.rows_read = 0

    def __getitem__(self, which):
        part = super().__getitem__(which)
        self.rows_read += len(part)
        return part


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@of_every_call
def test_rows_are_read_no_more_often_than_need_be(models, call, dtype):
    use, times = CALLS[call]
    source = Counted(rows(dtype))
    found = use(*models, source)
    assert source.rows_read == times * N
    wanted = use(*models, source.X)
    both = (found, wanted) if isinstance(found, tuple) else ((found,), (wanted,))
    assert bits(*both[0]) == bits(*both[1])


@of_every_call
def test_blocks_are_gone_through_no_more_often_than_need_be(models, call):
    class Counting(Blocks):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

    use, times = CALLS[call]
    source = Counting(rows("float32"))
    use(*models, source)
    # And one to see that it is no iterator, and one to count.
    assert source.passes == times + 2


BAD = {
    "NaN": ("float32", np.nan),
    "infinity": ("float64", -np.inf),
    "large integer": ("int64", 2**60),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("kind", ["memory map", "array", "blocks", "parquet"])
@of_every_call
def test_bad_rows_are_refused_as_those_in_memory(models, call, kind, bad, tmp_path):
    use, (dtype, value) = CALLS[call][0], BAD[bad]
    X = rows(dtype)
    X[3_333, 2], X[4_444, 1] = value, value * 2  # the largest of all is named
    with pytest.raises(ValueError) as wanted:
        use(*models, X)
    assert bad == "large integer" or "X[3333, 2] = " in str(wanted.value)
    with pytest.raises(ValueError) as found:
        use(*models, source_of(kind, X, tmp_path))
    assert str(found.value) == str(wanted.value)


@pytest.mark.parametrize("kind", ["memory map", "array", "blocks", "parquet"])
def test_nothing_is_written_to_out_where_a_row_is_bad(models, kind, tmp_path):
    X = rows("float32")
    X[N - 1, D - 1] = np.nan
    source = source_of(kind, X, tmp_path)
    labels, shares, densities = np.full(N, -7, np.int32), np.full((N, 4), -7.0), np.full(N, -7.0)
    clusters, mixture = models
    for call, out in (
        (clusters.predict, labels),
        (mixture.predict, labels),
        (mixture.predict_proba, shares),
        (mixture.score_samples, densities),
    ):
        with pytest.raises(ValueError, match=r"X\[5002, 4\] = nan"):
            call(source, out=out)
        assert (out == -7).all()


@pytest.mark.parametrize("estimator", [KMeans, GaussianMixture], ids=lambda e: e.__name__)
@pytest.mark.parametrize(("dtype", "far"), [("float32", 3e38), ("float64", 1.7e308)])
def test_finite_rows_whose_differences_are_not_are_no_error(estimator, dtype, far):
    # The pivot is at the one end of the dtype, and these rows are at the other.
    model = estimator(1).fit(np.full((10, 2), -far, dtype=dtype))
    X = np.full((300, 2), far, dtype=dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        found, wanted = model.predict(Sliced(X)), model.predict(X)
    np.testing.assert_array_equal(found, wanted)
