# SPDX-License-Identifier: BSD-3-Clause
"""partial_fit after a model was saved and loaded: the bits of the model that was not."""

import json
import warnings

import numpy as np
import pytest

import fastmix
from archives import archive_of, edit_manifest, members_of, refusal_of
from fastmix import GaussianMixture, HalfLife, KMeans, MiniBatchKMeans, PowerLaw
from fastmix._state import ARRAYS, LATER
from fastmix.core._parameters import COVARIANCE_TYPES
from fastmix.model_file import FORMAT_VERSION

K, D = 3, 4
RATES = [None, "mean", 0.25, PowerLaw(0.8), HalfLife(300)]


def rows(n=300, seed=0, mean=0.0):
    rng = np.random.default_rng(seed)
    which = rng.integers(K, size=n)
    return rng.normal(size=(n, D)) * (1 + which[:, None]) + 9 * which[:, None] + mean


def reloaded(model, folder):
    model.save(folder / "model.npz")
    return fastmix.load(folder / "model.npz")


def copies(n=400):
    """Copies of one row beside others: their component ends on the floor."""
    others = np.random.default_rng(0).normal(size=(n, D)) + 50
    return np.concatenate([np.zeros((100, D)), others])


def fit(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X)


def of_mixture(model):
    arrays = model.weights_, model.means_, model.covariances_, model.precisions_cholesky_
    report, bounds = model.fit_report_, (model.lower_bound_, model.lower_bounds_)
    values = model.n_iter_, bounds, report["seen"], report["step"], report["held"]
    return [array.tobytes() for array in arrays], values


def of_centers(model):
    values = model.counts_.tobytes(), model.labels_.tobytes(), model.inertia_, model.n_steps_
    return model.cluster_centers_.tobytes(), values


def assert_goes_on(model, folder, batches, state):
    """The loaded model, saved and loaded again between batches, has the bits of the other."""
    loaded = reloaded(model, folder)
    for batch in batches:
        model.partial_fit(batch)
        loaded.partial_fit(batch)
        assert state(loaded) == state(model)
        loaded = reloaded(loaded, folder)


@pytest.mark.parametrize("averaging", [False, True], ids=["last", "averages"])
@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_a_mixture_goes_on(kind, rate, averaging, tmp_path):
    model = GaussianMixture(
        K, covariance_type=kind, random_state=0, learning_rate=rate, averaging=averaging,
        reg_covar=1e-3,
    )  # fmt: skip
    for seed in range(3):
        model.partial_fit(rows(seed=seed))
    assert_goes_on(model, tmp_path, [rows(seed=3), rows(50, 4, mean=1e4), rows(seed=5)], of_mixture)


@pytest.mark.parametrize("reg_covar", [1e-3, "auto"])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_a_fit_goes_on_with_its_floor(kind, reg_covar, tmp_path):
    X = copies()
    options = {"reg_covar": reg_covar, "learning_rate": 0.5, "random_state": 0}
    model = fit(GaussianMixture(2, covariance_type=kind, **options), X)
    if reg_covar == "auto" and kind != "tied":
        assert model.fit_report_["held"]
    assert_goes_on(model, tmp_path, [X, X[:150], X], of_mixture)


def test_a_mixture_with_repairs_goes_on(tmp_path):
    X = copies()
    options = {"reg_covar": "auto", "averaging": True, "random_state": 0, "learning_rate": 0.9}
    model = GaussianMixture(2, covariance_type="diag", **options)
    for _ in range(8):
        model.partial_fit(X)
    assert {what for _, _, what in model.fit_report_["repairs"]} == {"re-seeded"}
    assert_goes_on(model, tmp_path, [X, X + 1], of_mixture)


@pytest.mark.parametrize("averaging", [False, True], ids=["last", "averages"])
@pytest.mark.parametrize("n_before", [1, 2])
def test_a_mixture_with_steps_of_zero_goes_on(n_before, averaging, tmp_path):
    # A first step of zero leaves a start and no statistics; a later one the floor that there was.
    def rate(seen, weight):
        return np.where(seen == 0 if n_before == 2 else seen < 0, 0.5, 0.0)

    options = {"averaging": averaging, "random_state": 0, "learning_rate": rate}
    model = GaussianMixture(K, covariance_type="diag", **options)
    for _ in range(n_before):
        model.partial_fit(rows())
    loaded = reloaded(model, tmp_path).set_params(learning_rate=rate)
    for batch in (rows(seed=1), rows(seed=2)):
        assert of_mixture(loaded.partial_fit(batch)) == of_mixture(model.partial_fit(batch))
    for one in (model, loaded):
        one.set_params(learning_rate=0.5).partial_fit(rows(seed=3))
    assert of_mixture(loaded) == of_mixture(model)


@pytest.mark.parametrize("batch_size", [None, 1, 64], ids=str)
@pytest.mark.parametrize("rate", RATES[1:], ids=str)
@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_k_means_goes_on(first, rate, batch_size, tmp_path):
    model = KMeans(K, random_state=0, n_init=1, learning_rate=rate, batch_size=batch_size)
    getattr(model, first)(rows(mean=1e3))
    batches = [rows(100, seed, mean=1e3) for seed in (1, 2, 3)]
    assert_goes_on(model, tmp_path, batches, of_centers)


SEEDS = {
    "0": 0,
    "none": None,
    "RandomState": np.random.RandomState(3),
    "RandomState of PCG64": np.random.RandomState(np.random.PCG64(3)),
}


@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_mini_batches_go_on(first, seed, tmp_path):
    # Small clusters are reassigned to rows drawn at random, every 10 K rows or more.
    options = {"reassignment_ratio": 0.5, "batch_size": 40, "n_init": 1}
    model = MiniBatchKMeans(12, random_state=seed, **options)
    getattr(model, first)(rows())
    if seed is None:
        model.set_params(reassignment_ratio=0.0)  # without a seed nothing repeats
    assert_goes_on(model, tmp_path, [rows(100, seed) for seed in range(1, 6)], of_centers)


@pytest.mark.parametrize(
    "model", [GaussianMixture(K, random_state=0), KMeans(K, random_state=0)], ids=["mixture", "k"]
)
def test_a_rate_that_is_a_function_must_be_set_anew(model, tmp_path):
    def rate(seen, weight):
        return 0.5 + 0 * weight

    model.set_params(learning_rate=rate).partial_fit(rows())
    loaded = reloaded(reloaded(model, tmp_path), tmp_path)
    np.testing.assert_array_equal(loaded.predict(rows()), model.predict(rows()))
    with pytest.raises(ValueError, match="learning_rate was a function when the model was saved"):
        loaded.partial_fit(rows(seed=1))
    loaded.set_params(learning_rate=rate).partial_fit(rows(seed=1))
    assert loaded.score(rows()) == model.partial_fit(rows(seed=1)).score(rows())


# Files of older versions


def older(version, model, folder, *lacking):
    """The bytes of a file of an older version."""
    name = type(model).__name__
    model.save(folder / "model.npz")
    members = members_of((folder / "model.npz").read_bytes())
    manifest = json.loads(members["manifest.json"])
    for later in range(version + 1, FORMAT_VERSION + 1):
        for key in LATER[later].get(name, ()):
            del manifest["params"][key]
    arrays = set(ARRAYS[name]) if version == 1 else set(manifest["arrays"])
    if version < 3:
        arrays -= {"lower_bounds"}
    for key in set(manifest["arrays"]) - arrays | set(lacking):
        members.pop(f"{key}.npy", None)
        manifest["arrays"].pop(key, None)
        manifest["params"].pop(key, None)
    members["manifest.json"] = json.dumps(manifest).encode()
    edit_manifest(members, format_version=version)
    return archive_of(members)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_of_an_older_version_is_read(name, version, tmp_path):
    model = fit(getattr(fastmix, name)(K, random_state=0), rows())
    (tmp_path / "old.npz").write_bytes(older(version, model, tmp_path))
    loaded = fastmix.load(tmp_path / "old.npz")
    np.testing.assert_array_equal(loaded.predict(rows()), model.predict(rows()))
    # The weight of the rows behind the model is there: new ones do not take it over.
    before = np.sort(model.predict(rows()))
    loaded.set_params(learning_rate="mean").partial_fit(rows(30, seed=1))
    assert np.count_nonzero(np.sort(loaded.predict(rows())) != before) < 20


def test_a_mixture_of_version_2_goes_on_without_its_lower_bounds(tmp_path):
    model = GaussianMixture(K, random_state=0, averaging=True).partial_fit(rows())
    (tmp_path / "old.npz").write_bytes(older(2, model, tmp_path))
    loaded = fastmix.load(tmp_path / "old.npz")
    assert not hasattr(loaded, "lower_bounds_")
    loaded = reloaded(loaded, tmp_path)  # as one of this version, in which they are not known
    assert not hasattr(loaded, "lower_bounds_")
    for each in (model, loaded):
        each.partial_fit(rows(seed=1))
    assert loaded.lower_bounds_ == model.lower_bounds_[1:]
    loaded.lower_bounds_ = model.lower_bounds_
    assert of_mixture(loaded) == of_mixture(model)


@pytest.mark.parametrize(
    ("version", "name", "lacking"),
    [
        (1, "KMeans", "counts"),
        (1, "MiniBatchKMeans", "counts"),
        (1, "GaussianMixture", "seen"),
        (2, "GaussianMixture", "held"),
    ],
)
def test_a_file_of_an_older_version_that_says_too_little_is_refused(
    version, name, lacking, tmp_path
):
    model = fit(getattr(fastmix, name)(K, random_state=0), rows())
    data = older(version, model, tmp_path, lacking)
    message = refusal_of(fastmix.load, tmp_path / "old.npz", data)
    assert message.startswith("manifest.json: its ")
    reads = f"this fastmix reads {FORMAT_VERSION}"
    assert message.endswith(f"it is of the older format_version {version}, and {reads}")


# Files that were forged


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("learning_rate",), 2.0),
        (("learning_rate",), {"power": 0.1}),
        (("learning_rate",), {"power": 0.6, "half_life": 3.0}),
        (("learning_rate",), {"code": "f"}),
        (("learning_rate",), ["mean"]),
        (("reg_covar",), -1.0),
        (("averaging",), 1),
        (("held",), [K]),
        (("n_lower_bounds",), -1),
        (("n_lower_bounds",), True),
        (("n_lower_bounds",), None),
        (("held",), [-1]),
        (("stepwise",), {}),
        (("stepwise", "total"), float("inf")),
        (("stepwise", "total"), None),
        (("stepwise", "averaged"), 0),
        (("stepwise", "average_total"), None),
        (("stepwise", "dead"), [2**70]),
        (("stepwise", "reseeded"), [True]),
    ],
    ids=str,
)
def test_values_that_cannot_be_are_refused(keys, value, tmp_path):
    model = GaussianMixture(K, random_state=0, averaging=True).partial_fit(rows())
    model.save(tmp_path / "model.npz")
    members = members_of((tmp_path / "model.npz").read_bytes())
    edit_manifest(members, "params", *keys[:-1], **{keys[-1]: value})
    message = refusal_of(fastmix.load, tmp_path / "bad.npz", archive_of(members))
    assert message.startswith("manifest.json: ")


@pytest.mark.parametrize("key", ["sums", "sums_weights"])
def test_sums_that_are_missing_are_refused(key, tmp_path):
    KMeans(K, random_state=0).partial_fit(rows()).save(tmp_path / "model.npz")
    members = members_of((tmp_path / "model.npz").read_bytes())
    del members[f"{key}.npy"]
    message = refusal_of(fastmix.load, tmp_path / "bad.npz", archive_of(members))
    assert message == f"{key}.npy: is missing"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_lower_bounds_that_cannot_be_are_refused(value, tmp_path):
    model = GaussianMixture(K, random_state=0).partial_fit(rows()).partial_fit(rows())
    model.lower_bounds_[1] = value
    with pytest.raises(ValueError, match=rf"lower_bounds.npy: value at \(1,\) is {value}"):
        model.save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_another_number_of_lower_bounds_is_refused(tmp_path):
    GaussianMixture(K, random_state=0).partial_fit(rows()).save(tmp_path / "model.npz")
    members = members_of((tmp_path / "model.npz").read_bytes())
    edit_manifest(members, "params", n_lower_bounds=2)
    message = refusal_of(fastmix.load, tmp_path / "bad.npz", archive_of(members))
    assert message == "lower_bounds.npy: has shape [1]; expected [2]"
