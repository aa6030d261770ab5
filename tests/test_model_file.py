# SPDX-License-Identifier: BSD-3-Clause
"""Model files: what is written comes back, and a failed write changes nothing."""

import hashlib
import io
import json
import os
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from sklearn.base import clone

import fastmix
from fastmix import _container
from fastmix.model_file import FORMAT_VERSION, load_model, save_model


def rows(dtype=np.float64, n_samples=200, n_features=3):
    return np.random.default_rng(7).normal(100, 3, size=(n_samples, n_features)).astype(dtype)


MODELS = {
    "KMeans": fastmix.KMeans(4, random_state=0),
    "MiniBatchKMeans": fastmix.MiniBatchKMeans(4, random_state=0),
    **{
        kind: fastmix.GaussianMixture(4, covariance_type=kind, tol=0.1, random_state=0)
        for kind in ("full", "tied", "diag", "spherical")
    },
}


def fitted(name="KMeans", dtype=np.float64):
    return clone(MODELS[name]).fit(rows(dtype))


@pytest.fixture(params=MODELS)
def name(request):
    """Name of each kind of model."""
    return request.param


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory):
    """The bytes of a model file of each kind."""
    path = tmp_path_factory.mktemp("model") / "model.npz"
    found = {}
    for name in MODELS:
        save_model(fitted(name), path)
        found[name] = path.read_bytes()
    return found


@pytest.fixture
def saved(saved_models):
    """The bytes of a model file of K-means."""
    return saved_models["KMeans"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8], ids=lambda t: t.__name__)
def test_loaded_model_predicts_the_same_labels(tmp_path, name, dtype):
    model = fitted(name, dtype)
    save_model(model, tmp_path / "m.npz")
    # Rows near the boundaries, where one bit more or less in a centre shows.
    X = np.repeat(rows(dtype), 20, axis=0)
    X = (X + np.random.default_rng(1).normal(0, 4, X.shape)).astype(dtype)
    np.testing.assert_array_equal(load_model(tmp_path / "m.npz").predict(X), model.predict(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_loaded_mixture_is_the_same_bit_for_bit(tmp_path, kind, dtype):
    model, X = fitted(kind, dtype), rows(dtype)
    save_model(model, tmp_path / "m.npz")
    loaded = load_model(tmp_path / "m.npz")
    for attribute in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        found, expected = getattr(loaded, attribute), getattr(model, attribute)
        assert (found.dtype, found.tobytes()) == (expected.dtype, expected.tobytes())
    for attribute in ("converged_", "n_iter_", "lower_bound_", "lower_bounds_", "log_likelihood_"):
        assert getattr(loaded, attribute) == getattr(model, attribute)
    assert loaded.objective_trace_.tobytes() == model.objective_trace_.tobytes()
    assert loaded.score_samples(X).tobytes() == model.score_samples(X).tobytes()
    assert loaded.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()
    assert (loaded.bic(X), loaded.aic(X)) == (model.bic(X), model.aic(X))


def test_mixture_of_given_parameters_survives(tmp_path):
    # It has no likelihood, no iteration, and a lower bound of minus infinity.
    parameters = [0.25, 0.75], [[0.0, 1.0], [5.0, 5.0]], [np.eye(2), 2 * np.eye(2)]
    model = fastmix.GaussianMixture.from_parameters(*parameters)
    save_model(model, tmp_path / "m.npz")
    loaded = load_model(tmp_path / "m.npz")
    assert (loaded.n_iter_, loaded.lower_bound_, loaded.lower_bounds_) == (0, -np.inf, [])
    assert not hasattr(loaded, "log_likelihood_")
    X = rows(n_features=2) / 50
    assert loaded.score_samples(X).tobytes() == model.score_samples(X).tobytes()


def test_a_lower_bound_of_minus_infinity_survives(tmp_path):
    # Squares from means this far off, in units of variances this small, leave float64.
    model = fastmix.GaussianMixture(
        1, covariance_type="diag", means_init=[[0.0] * 3], precisions_init=[[1e307] * 3]
    ).fit(rows())
    assert model.lower_bounds_[0] == -np.inf
    save_model(model, tmp_path / "m.npz")
    assert load_model(tmp_path / "m.npz").lower_bounds_ == model.lower_bounds_


def test_warm_start_goes_on_from_a_loaded_mixture(tmp_path):
    X = rows()
    options = {"tol": 0, "max_iter": 3, "random_state": 0, "warm_start": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three iterations do not converge
        model = fastmix.GaussianMixture(4, **options).fit(X)
        save_model(model, tmp_path / "m.npz")
        loaded = load_model(tmp_path / "m.npz").set_params(**options).fit(X)
        model.fit(X)
    assert loaded.means_.tobytes() == model.means_.tobytes()
    assert loaded.lower_bounds_ == model.lower_bounds_


def test_names_of_columns_survive(tmp_path, name):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows(), columns=["a", "b", "c"])
    save_model(clone(MODELS[name]).fit(frame), tmp_path / "m.npz")
    assert load_model(tmp_path / "m.npz").feature_names_in_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
def test_loaded_model_has_the_same_state_bit_for_bit(tmp_path, name, dtype):
    model = fitted(name, dtype)
    save_model(model, tmp_path / "m.npz")
    params, arrays = load_model(tmp_path / "m.npz")._get_state()
    expected_params, expected_arrays = model._get_state()
    assert params == expected_params
    assert {key: (array.dtype, array.tobytes()) for key, array in arrays.items()} == {
        key: (array.dtype, array.tobytes()) for key, array in expected_arrays.items()
    }


def test_saving_twice_gives_the_same_bytes(saved_models, tmp_path, name):
    save_model(fitted(name), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == saved_models[name]


def test_saving_a_loaded_model_gives_the_same_bytes(saved_models, tmp_path, name):
    (tmp_path / "a.npz").write_bytes(saved_models[name])
    save_model(load_model(tmp_path / "a.npz"), tmp_path / "b.npz")
    assert (tmp_path / "b.npz").read_bytes() == saved_models[name]


def test_arrays_are_readable_with_numpy_alone(saved):
    model = fitted()
    with np.load(io.BytesIO(saved), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["cluster_centers"], model.cluster_centers_)


def test_manifest_says_what_the_file_is(saved_models, name):
    with np.load(io.BytesIO(saved_models[name])) as archive:
        manifest = json.loads(archive["manifest.json"])
    del manifest["params"], manifest["arrays"]
    assert manifest == {
        "format": "fastmix-model",
        "format_version": FORMAT_VERSION,
        "library_version": fastmix.__version__,
        "class": name if name.endswith("KMeans") else "GaussianMixture",
    }


@pytest.mark.parametrize("key", ["centers", "cluster_centers", "pivot"])
def test_manifest_describes_the_array(saved, key):
    with np.load(io.BytesIO(saved)) as archive:
        entry = json.loads(archive["manifest.json"])["arrays"][key]
        array = archive[key]
    digest = hashlib.sha256(array).hexdigest()
    shape = list(array.shape)
    assert entry == {"dtype": "<f8", "shape": shape, "bytes": array.nbytes, "sha256": digest}


def test_save_model_refuses_a_foreign_class(tmp_path):
    with pytest.raises(
        TypeError, match="is a dict; expected one of: KMeans, MiniBatchKMeans, GaussianMixture"
    ):
        save_model({}, tmp_path / "m.npz")


def test_save_model_refuses_an_unfitted_model_and_writes_nothing(tmp_path, name):
    with pytest.raises((ValueError, AttributeError), match="not fitted"):
        save_model(clone(MODELS[name]), tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


def test_save_model_refuses_centers_that_are_not_finite(tmp_path, monkeypatch):
    params, arrays = fitted()._get_state()
    arrays["centers"] = arrays["centers"].copy()
    arrays["centers"][2, 1] = np.nan
    monkeypatch.setattr(fastmix.KMeans, "_get_state", lambda self: (params, arrays))
    with pytest.raises(ValueError, match=r"centers.npy: value at \(2, 1\) is nan"):
        save_model(fitted(), tmp_path / "m.npz")


def test_save_and_load_are_those_of_model_files(saved_models, tmp_path, name):
    fitted(name).save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").read_bytes() == saved_models[name]
    loaded = fastmix.load(tmp_path / "m.npz")
    assert type(loaded) is type(MODELS[name])
    np.testing.assert_array_equal(loaded.predict(rows()), fitted(name).predict(rows()))


def test_save_refuses_an_unfitted_model_and_writes_nothing(tmp_path, name):
    with pytest.raises((ValueError, AttributeError), match="not fitted"):
        clone(MODELS[name]).save(tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


# Writing whole or not at all


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_save_leaves_the_old_file_and_no_other(saved, tmp_path, monkeypatch, call, error):
    def fail(*_):
        raise error

    path = tmp_path / "model.npz"
    path.write_bytes(saved)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        save_model(fitted(dtype=np.float32), path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.npz", saved)]


def test_full_disk_leaves_the_old_file_and_no_other(saved, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(saved)
    program = """
        import resource, sys
        import numpy as np
        import fastmix
        from fastmix.model_file import save_model
        X = np.random.default_rng(0).normal(size=(300, 50))
        model = fastmix.KMeans(100, random_state=0, n_init=1, max_iter=2).fit(X)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            save_model(model, sys.argv[1])
        except OSError as error:
            sys.exit(f"OSError {error.errno}")
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), str(path)]
    # Elsewhere than the checkout, whose fastmix is not compiled.
    child = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert child.stderr.strip() == "OSError 27"  # EFBIG, where a full disk says ENOSPC
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.npz", saved)]


def test_save_model_replaces_the_file_behind_a_link(saved, tmp_path):
    (tmp_path / "real.npz").write_bytes(b"old")
    (tmp_path / "link.npz").symlink_to("real.npz")
    save_model(fitted(), tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert (tmp_path / "real.npz").read_bytes() == saved


def test_saved_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        save_model(fitted(), tmp_path / "m.npz")
    finally:
        os.umask(before)
    assert (tmp_path / "m.npz").stat().st_mode & 0o777 == 0o640


def test_save_model_into_a_missing_folder_names_the_path(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        save_model(fitted(), tmp_path / "none" / "m.npz")
    assert caught.value.filename == str(tmp_path / "none" / "m.npz")


def test_save_model_onto_a_device_is_refused():
    with pytest.raises(OSError, match="not a regular file"):
        save_model(fitted(), os.devnull)


def test_many_names_of_columns_are_kept_and_too_many_refused_before_anything_is_lost(
    tmp_path, monkeypatch
):
    names = [f"ENSG{i:011d}" for i in range(50_000)]
    model = fastmix.KMeans(1).fit(np.zeros((2, len(names))))
    model.feature_names_in_ = np.array(names, dtype=object)
    model.save(tmp_path / "m.npz")
    assert fastmix.load(tmp_path / "m.npz").feature_names_in_.tolist() == names
    whole = (tmp_path / "m.npz").read_bytes()
    monkeypatch.setattr(_container, "_MAX_MANIFEST_BYTES", 1 << 20)
    with pytest.raises(ValueError, match=r"manifest\.json: is larger than 1048576 bytes"):
        model.save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").read_bytes() == whole
