# SPDX-License-Identifier: BSD-3-Clause
"""partial_fit of KMeans: sequential K-means (PRML 9.5) and mini-batches."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
from scipy import sparse

import fastmix
from fastmix import ArrowSource, KMeans, MiniBatchKMeans
from fastmix.core._rates import HalfLife, PowerLaw


def blobs(n=300, d=5, dtype=np.float64, mean=0.0, seed=3):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) + 6 * rng.integers(0, 4, (n, 1)) + mean
    return X.astype(dtype)


def exact_means(X, labels, k, weights=None):
    """Means of the rows of each label in rational arithmetic, rounded once to float64."""
    weights = np.ones(len(X)) if weights is None else weights
    means = np.full((k, X.shape[1]), np.nan)
    for j in range(k):
        total = sum((Fraction(float(w)) for w in weights[labels == j]), Fraction(0))
        if not total:
            continue
        for t in range(X.shape[1]):
            pairs = zip(X[labels == j, t], weights[labels == j], strict=True)
            means[j, t] = float(
                sum(Fraction(float(x)) * Fraction(float(w)) for x, w in pairs) / total
            )
    return means


@pytest.mark.parametrize("batch_size", [None, 1, 7, 64])
@pytest.mark.parametrize("mean", [0.0, 1e6], ids=["centred", "far"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unit", "weighted"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_partial_fit_centers_are_the_means_of_their_rows_to_the_last_bit(
    batch_size, mean, weighted, dtype
):
    X = blobs(dtype=dtype, mean=mean)
    weights = np.random.default_rng(1).uniform(0.1, 3, len(X)) if weighted else None
    model = KMeans(4, init=X[:4], batch_size=batch_size)
    labels = []
    for start in range(0, len(X), 100):
        own = None if weights is None else weights[start : start + 100]
        labels.append(model.partial_fit(X[start : start + 100], sample_weight=own).labels_)
    labels = np.concatenate(labels)
    expected = exact_means(X, labels, 4, weights)
    met = ~np.isnan(expected[:, 0])
    np.testing.assert_array_equal(model.cluster_centers_[met], expected[met].astype(dtype))
    counts = np.bincount(labels, weights, 4)
    np.testing.assert_allclose(model.counts_, counts, rtol=1e-14)  # bincount adds in order


def reference(X, centers, rate, weights=None):
    """PRML 9.5 row by row."""
    centers, counts = centers.astype(np.float64), np.zeros(len(centers))
    labels = np.empty(len(X), dtype=np.int32)
    for i, row in enumerate(X.astype(np.float64)):
        w = 1.0 if weights is None else weights[i]
        j = labels[i] = np.argmin(((row - centers) ** 2).sum(axis=1))
        step = float(np.ravel(rate(counts[j : j + 1], np.array([w])))[0])
        centers[j] += step * (row - centers[j])
        counts[j] += w
    return centers, counts, labels


@pytest.mark.parametrize("d, k", [(1, 1), (3, 2), (5, 9), (17, 130), (64, 33)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "rate",
    ["mean", 0.25, 1.0, PowerLaw(0.7), HalfLife(20), lambda n, w: 1 / (2 + n)],
    ids=["mean", "constant", "one", "power", "half_life", "callable"],
)
def test_row_by_row_is_the_sequential_update_of_prml(rate, dtype, d, k):
    X = blobs(max(200, k), d, dtype)
    function = {"mean": lambda n, w: w / (n + w), 0.25: lambda n, w: 0.25, 1.0: lambda n, w: 1.0}
    expected, counts, labels = reference(X, X[:k], function.get(rate, rate))
    model = KMeans(k, init=X[:k], batch_size=1, learning_rate=rate).partial_fit(X)
    np.testing.assert_array_equal(model.labels_, labels)
    np.testing.assert_array_equal(model.counts_, counts)
    # The reference rounds every update to float64: n 2^-52 of the data's size 30; float32 public.
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(model.cluster_centers_, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("batch_size", [None, 1, 50])
@pytest.mark.parametrize("rate", ["mean", 0.3], ids=["mean", "constant"])
def test_partial_fit_has_the_same_bits_for_threads_and_layouts(batch_size, rate):
    X = blobs(20_000 if batch_size is None else 500, 7)
    found = []
    reversed_twice = X[::-1].copy()[::-1]
    layouts = [(X, 1), (X, 2), (X, 3), (np.asfortranarray(X), 2), (reversed_twice, 1)]
    for rows, threads in layouts:
        model = KMeans(9, random_state=0, batch_size=batch_size, learning_rate=rate)
        model.set_params(n_threads=threads).partial_fit(rows[:250]).partial_fit(rows[250:])
        found.append((model._model.centers.tobytes(), model.counts_.tobytes(), model.inertia_))
    assert len(set(found)) == 1


@pytest.mark.parametrize("cuts", [(100, 200), (1, 2, 3, 299), (64, 128)])
def test_row_by_row_does_not_depend_on_how_calls_cut_the_rows(cuts):
    X = blobs()
    first = KMeans(4, init=X[:4], batch_size=1).partial_fit(X[:50])
    one = pickle.loads(pickle.dumps(first)).partial_fit(X)
    many = pickle.loads(pickle.dumps(first))
    for part in np.split(X, cuts):
        many.partial_fit(part)
    np.testing.assert_array_equal(one._model.centers, many._model.centers)
    np.testing.assert_array_equal(one.counts_, many.counts_)


def test_partial_fit_goes_on_after_fit_with_the_weights_of_its_clusters():
    X = blobs()
    model = KMeans(4, random_state=0, tol=0).fit(X)
    assert model.fit_report_["stopped"] == "strict"
    np.testing.assert_array_equal(model.counts_, np.bincount(model.labels_, minlength=4))
    before, labels = model.cluster_centers_.copy(), model.labels_
    more = blobs(50, seed=9)
    model.partial_fit(more)
    expected = exact_means(np.vstack([X, more]), np.append(labels, model.labels_), 4)
    assert not np.array_equal(before, model.cluster_centers_)
    # The centres of fit were rounded once: 2^-53 of 30 each way.
    np.testing.assert_allclose(model.cluster_centers_, expected, rtol=0, atol=1.5e-14)


@pytest.mark.parametrize("batch_size", [None, 1, 40])
@pytest.mark.parametrize("rate", ["mean", 0.3], ids=["mean", "constant"])
def test_sparse_rows_learn_as_dense_ones(batch_size, rate):
    X = blobs() * (np.random.default_rng(0).random((300, 5)) < 0.5)
    options = {"init": X[:4], "batch_size": batch_size, "learning_rate": rate}
    dense = KMeans(4, **options).partial_fit(X)
    other = KMeans(4, **options).partial_fit(sparse.csr_array(X))
    np.testing.assert_array_equal(dense.labels_, other.labels_)
    # The frames differ, by which a centre's rounding does: 2^-52 of 20.
    np.testing.assert_allclose(dense.cluster_centers_, other.cluster_centers_, atol=1e-14)
    dense.partial_fit(sparse.csr_array(X))
    other.partial_fit(X)
    np.testing.assert_allclose(dense.cluster_centers_, other.cluster_centers_, atol=1e-14)


@pytest.mark.parametrize(
    "bad, error",
    [
        ({"X": np.full((9, 5), np.nan)}, ValueError),
        ({"X": np.ones((9, 4))}, ValueError),
        ({"sample_weight": -np.ones(9)}, ValueError),
        ({"learning_rate": lambda n, w: 2.0}, ValueError),
        ({"learning_rate": 0}, ValueError),
        ({"learning_rate": lambda n, w: 1 / 0}, ZeroDivisionError),
        ({"batch_size": 0}, ValueError),
    ],
    ids=["nan", "columns", "weights", "step", "rate", "callable", "batch"],
)
def test_partial_fit_that_fails_leaves_the_state(bad, error):
    X = blobs()
    model = KMeans(4, random_state=0).partial_fit(X)
    model.set_params(**{key: bad[key] for key in bad if key in ("learning_rate", "batch_size")})
    centers, counts, labels = model.cluster_centers_.copy(), model.counts_, model.labels_.copy()
    with pytest.raises(error):
        model.partial_fit(bad.get("X", X[:9]), sample_weight=bad.get("sample_weight"))
    np.testing.assert_array_equal(model.cluster_centers_, centers)
    np.testing.assert_array_equal(model.counts_, counts)
    np.testing.assert_array_equal(model.labels_, labels)


@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans])
def test_another_number_of_clusters_than_the_model_has_is_refused(estimator):
    X = blobs()
    model = estimator(4, random_state=0).fit(X).set_params(n_clusters=5)
    with pytest.raises(ValueError, match="the model has 4 clusters, but n_clusters=5"):
        model.partial_fit(X)
    model.set_params(n_clusters=4).partial_fit(X)


def test_interrupted_partial_fit_leaves_the_state():
    X = blobs()
    model = KMeans(4, random_state=0, batch_size=10).partial_fit(X)
    centers, counts = model.cluster_centers_.copy(), model.counts_
    calls = []

    def interrupt(seen, weight):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return np.full(len(seen), 0.5)

    with pytest.raises(KeyboardInterrupt):
        model.set_params(learning_rate=interrupt).partial_fit(X)
    assert len(calls) == 3
    np.testing.assert_array_equal(model.cluster_centers_, centers)
    np.testing.assert_array_equal(model.counts_, counts)


def test_rates_are_those_of_numpy():
    seen = np.concatenate([np.zeros(3), np.logspace(-3, 9, 50)])
    weight = np.concatenate([[0.0, 1e-9, 1.0], np.logspace(4, -4, 50)])
    total = np.where(seen + weight > 0, seen + weight, 1)
    # Logarithm and exponential are off by 2 ulp each, and the power by |ln r| <= 30 times as much.
    np.testing.assert_allclose(PowerLaw(0.7)(seen, weight), (weight / total) ** 0.7, rtol=2e-14)
    expected = -np.expm1(-weight * np.log(2) / 50)
    np.testing.assert_allclose(HalfLife(50)(seen, weight), expected, rtol=1e-15 * 4)


def test_a_loaded_model_goes_on(tmp_path):
    rng = np.random.default_rng(0)
    X, more = rng.normal(size=(300, 3)), rng.normal(size=(40, 3))
    for estimator in (KMeans(4, random_state=0), fastmix.MiniBatchKMeans(4, random_state=0)):
        estimator.partial_fit(X)
        estimator.save(tmp_path / "model.npz")
        loaded = fastmix.load(tmp_path / "model.npz")
        np.testing.assert_array_equal(loaded.counts_, estimator.counts_)
        estimator.partial_fit(more)
        loaded.partial_fit(more)
        np.testing.assert_array_equal(loaded.counts_, estimator.counts_)
        assert loaded.cluster_centers_.tobytes() == estimator.cluster_centers_.tobytes()


@pytest.mark.parametrize("estimator", [KMeans, fastmix.MiniBatchKMeans], ids=lambda e: e.__name__)
def test_memory_maps_are_learnt_from(estimator, tmp_path):
    X = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found, wanted = (estimator(4, random_state=0).partial_fit(Y) for Y in (mapped, X))
    np.testing.assert_array_equal(found.cluster_centers_, wanted.cluster_centers_)


class Sliced:
    """Rows that can only be sliced, and must not be."""

    shape, dtype = (300, 3), np.dtype(np.float32)

    def __getitem__(self, rows):
        raise AssertionError("was read")


class Blocks:
    """Blocks that must not be read."""

    def __iter__(self):
        raise AssertionError("was read")


def arrow():
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.dataset")
    return pyarrow.dataset.dataset(pyarrow.table({"x": [0.0, 1.0, 9.0]}))


@pytest.mark.parametrize(
    ("made", "parts"),
    [
        (Sliced, r"got a Sliced: call partial_fit with slices of its rows, X\[start:stop\]"),
        (Blocks, "got a Blocks: call partial_fit with its blocks"),
        (lambda: [np.ones((9, 3)), np.ones((9, 3))], "got a list: call partial_fit with its bl"),
        (lambda: (np.ones((9, 3)) for _ in range(3)), "got a generator: call partial_fit with its"),
        (arrow, r"got a InMemoryDataset: call partial_fit with .* pyarrow's to_batches\(\)"),
        (lambda: ArrowSource(arrow()), "got a ArrowSource: call partial_fit with the batches of"),
    ],
    ids=["sliced", "blocks", "list", "generator", "dataset", "ArrowSource"],
)
@pytest.mark.parametrize(
    "call",
    [KMeans(2).partial_fit, fastmix.MiniBatchKMeans(2).partial_fit, fastmix.MiniBatchKMeans(2).fit],
    ids=["KMeans", "MiniBatchKMeans", "fit"],
)
def test_other_sources_are_refused_with_what_to_do_and_unread(call, made, parts):
    X, before = made(), vars(call.__self__).copy()
    with pytest.raises(TypeError, match=f"takes rows in memory or in a memory map, {parts}"):
        call(X)
    assert vars(call.__self__) == before


def test_batches_of_an_arrow_dataset_are_learnt():
    model = KMeans(2, random_state=0)
    for batch in arrow().to_batches():
        model.partial_fit(batch)
    assert model.counts_.sum() == 3


def test_mini_batches_of_a_memory_map_have_the_bits_of_memory(tmp_path):
    X = np.random.default_rng(0).normal(size=(3_000, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found, wanted = (
        fastmix.MiniBatchKMeans(4, batch_size=100, random_state=0).fit(Y) for Y in (mapped, X)
    )
    np.testing.assert_array_equal(found.cluster_centers_, wanted.cluster_centers_)
    np.testing.assert_array_equal(found.labels_, wanted.labels_)


@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_rows_or_weights_that_leave_float64_are_refused_and_leave_the_state(batch_size):
    model = KMeans(2, init=[[1.0], [5.0]], batch_size=batch_size).partial_fit([[1.0], [5.0]])
    before = dict(vars(model))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="leave float64"):
        model.partial_fit([[3.0], [7.0]] * 20, sample_weight=[1e307] * 40)
    assert vars(model) == before
    model.partial_fit([[3.0]])
    assert np.isfinite(model.cluster_centers_).all()


def test_steps_are_counted_from_the_last_fit(rng):
    X = rng.normal(size=(50, 2))
    model = KMeans(2, random_state=0).partial_fit(X).partial_fit(X)
    assert model.n_steps_ == 2
    assert not hasattr(model.fit(X), "n_steps_")
    assert model.partial_fit(X).n_steps_ == 1
