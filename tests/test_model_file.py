# SPDX-License-Identifier: BSD-3-Clause
"""Model files: what is written comes back, and a failed write changes nothing."""

import hashlib
import io
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import fastmix
from fastmix.model_file import FORMAT_VERSION, load_model, save_model


def rows(dtype=np.float64, n_samples=200, n_features=3):
    return np.random.default_rng(7).normal(100, 3, size=(n_samples, n_features)).astype(dtype)


def fitted(dtype=np.float64):
    return fastmix.KMeans(4, random_state=0).fit(rows(dtype))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The bytes of a model file."""
    path = tmp_path_factory.mktemp("model") / "model.npz"
    save_model(fitted(), path)
    return path.read_bytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8], ids=lambda t: t.__name__)
def test_loaded_model_predicts_the_same_labels(tmp_path, dtype):
    model = fitted(dtype)
    save_model(model, tmp_path / "m.npz")
    # Rows near the boundaries, where one bit more or less in a centre shows.
    X = np.repeat(rows(dtype), 20, axis=0)
    X = (X + np.random.default_rng(1).normal(0, 4, X.shape)).astype(dtype)
    np.testing.assert_array_equal(load_model(tmp_path / "m.npz").predict(X), model.predict(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
def test_loaded_model_has_the_same_state_bit_for_bit(tmp_path, dtype):
    model = fitted(dtype)
    save_model(model, tmp_path / "m.npz")
    params, arrays = load_model(tmp_path / "m.npz")._get_state()
    expected_params, expected_arrays = model._get_state()
    assert params == expected_params
    assert {key: (array.dtype, array.tobytes()) for key, array in arrays.items()} == {
        key: (array.dtype, array.tobytes()) for key, array in expected_arrays.items()
    }


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
    save_model(fitted(), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == saved


def test_saving_a_loaded_model_gives_the_same_bytes(saved, tmp_path):
    (tmp_path / "a.npz").write_bytes(saved)
    save_model(load_model(tmp_path / "a.npz"), tmp_path / "b.npz")
    assert (tmp_path / "b.npz").read_bytes() == saved


def test_arrays_are_readable_with_numpy_alone(saved):
    model = fitted()
    with np.load(io.BytesIO(saved), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["cluster_centers"], model.cluster_centers_)


def test_manifest_says_what_the_file_is(saved):
    with np.load(io.BytesIO(saved)) as archive:
        manifest = json.loads(archive["manifest.json"])
    del manifest["params"], manifest["arrays"]
    assert manifest == {
        "format": "fastmix-model",
        "format_version": FORMAT_VERSION,
        "library_version": fastmix.__version__,
        "class": "KMeans",
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
    with pytest.raises(TypeError, match="model is a dict; expected one of: KMeans"):
        save_model({}, tmp_path / "m.npz")


def test_save_model_refuses_an_unfitted_model_and_writes_nothing(tmp_path):
    with pytest.raises((ValueError, AttributeError), match="not fitted"):
        save_model(fastmix.KMeans(3), tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


def test_save_model_refuses_centers_that_are_not_finite(tmp_path, monkeypatch):
    params, arrays = fitted()._get_state()
    arrays["centers"] = arrays["centers"].copy()
    arrays["centers"][2, 1] = np.nan
    monkeypatch.setattr(fastmix.KMeans, "_get_state", lambda self: (params, arrays))
    with pytest.raises(ValueError, match=r"centers.npy: value at \(2, 1\) is nan"):
        save_model(fitted(), tmp_path / "m.npz")


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
        save_model(fitted(np.float32), path)
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
