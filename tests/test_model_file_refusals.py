# SPDX-License-Identifier: BSD-3-Clause
"""Model files that are damaged, forged or of another kind: one line each, and no memory taken."""

import hashlib
import io
import json
import math
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmix
from archives import archive_of, edit_manifest, little_memory, members_of, refusal_of
from fastmix._state import ARRAYS, learnt_arrays, shape_of
from fastmix.model_file import FORMAT_VERSION, ModelFileError, load_model, save_model

# Every array of every class, and the one of each that has 4 x 3 values.
CASES = [(name, key) for name, arrays in ARRAYS.items() for key in arrays]
TABLES = [("KMeans", "cluster_centers"), ("GaussianMixture", "means")]


def of_every_class(names, cases):
    """Parametrise by a model file's class and more."""
    return pytest.mark.parametrize(("saved", *names), cases, indirect=["saved"])


@pytest.fixture(scope="module", params=ARRAYS)
def saved(request, tmp_path_factory):
    """The bytes of a model file of each class: 4 clusters or components, 3 features, float64."""
    path = tmp_path_factory.mktemp("model") / "model.npz"
    X = np.random.default_rng(7).normal(100, 3, size=(200, 3))
    save_model(getattr(fastmix, request.param)(4, tol=0.1, random_state=0).fit(X), path)
    return path.read_bytes()


@pytest.fixture
def members(saved):
    """The members of a model file: name to bytes."""
    return members_of(saved)


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=True)
    return file.getvalue()


def put_array(members, key, array):
    """Replace an array so that manifest and bytes agree: only what it holds can be at fault."""
    members[f"{key}.npy"] = npy(array)
    entry = {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "bytes": array.nbytes,
        "sha256": hashlib.sha256(np.ascontiguousarray(array)).hexdigest(),
    }
    edit_manifest(members, "arrays", key, **entry)


def refusal(data, folder):
    """Load data as a model file and return the message of the ModelFileError, without the path."""
    return refusal_of(load_model, folder / "bad.npz", data)


# Damaged bytes


@pytest.mark.parametrize("kept", [0, 1, 21, 22, 100, 700, -1, -22, -23, -300], ids=str)
def test_truncated_file_is_refused(saved, tmp_path, kept):
    assert refusal(saved[:kept], tmp_path).startswith("zip directory: ")


def assert_refused_or_harmless(damaged, saved, folder):
    # The bits that may change unseen are those that nothing reads, such as the members' dates.
    path = folder / "damaged.npz"
    path.write_bytes(damaged)
    try:
        model = load_model(path)
    except ModelFileError:
        return
    save_model(model, path)
    assert path.read_bytes() == saved


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_flipped_bit_is_refused_or_harmless(saved, tmp_path_factory, data):
    damaged = bytearray(saved)
    damaged[data.draw(st.integers(0, len(saved) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert_refused_or_harmless(damaged, saved, tmp_path_factory.mktemp("flip"))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_overwritten_stretch_is_refused_or_harmless(saved, tmp_path_factory, data):
    start = data.draw(st.integers(0, len(saved)))
    stop = data.draw(st.integers(start, len(saved)))
    damaged = saved[:start] + data.draw(st.binary(max_size=60)) + saved[stop:]
    assert_refused_or_harmless(damaged, saved, tmp_path_factory.mktemp("stretch"))


@of_every_class(["key"], CASES)
def test_changed_array_is_refused_by_its_sha256(members, tmp_path, key):
    data = bytearray(members[f"{key}.npy"])
    data[-3] ^= 1  # archive_of writes a new CRC-32
    members[f"{key}.npy"] = bytes(data)
    assert refusal(archive_of(members), tmp_path) == (
        f"{key}.npy: SHA-256 differs from the manifest's"
    )


# Archives that are not model files


def test_pickled_object_array_is_refused_and_not_run(members, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    members["pivot.npy"] = npy(np.array([Bomb()], dtype=object))
    edit_manifest(members, "arrays", "pivot", dtype="|O", shape=[1], bytes=8)
    assert "has dtype '|O'" in refusal(archive_of(members), tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_pickled_object_array_behind_an_honest_manifest_is_refused(members, tmp_path):
    header = npy(np.array([0.0], dtype=object))[:128]
    members["pivot.npy"] = header + pickle.dumps([0.0])
    assert refusal(archive_of(members), tmp_path).startswith("pivot.npy: its header says")


def test_deflated_members_are_refused(members, tmp_path):
    data = archive_of(members, zipfile.ZIP_DEFLATED)
    assert "is compressed" in refusal(data, tmp_path)


@pytest.mark.parametrize("bomb", ["manifest.json", "centers.npy", "more.npy"])
def test_zip_bomb_is_refused_in_little_memory(members, tmp_path, bomb):
    members[bomb] = bytes(64 << 20)
    data = archive_of(members, zipfile.ZIP_DEFLATED)
    with little_memory():
        message = refusal(data, tmp_path)
    assert "is compressed" in message


@pytest.mark.parametrize("shape", [[10**6, 10**6], [2**62, 3], [2**400, 1]], ids=str)
def test_lying_shape_is_refused_before_memory_is_taken(members, tmp_path, shape):
    name = json.loads(members["manifest.json"])["class"]
    count = "n_components" if name == "GaussianMixture" else "n_clusters"
    edit_manifest(members, "params", **{count: shape[0], "n_features": shape[1]})
    params = json.loads(members["manifest.json"])["params"]
    arrays = ARRAYS[name] | learnt_arrays(name, params)
    for key, (_, axes) in arrays.items():
        lie = shape_of(axes, params)
        edit_manifest(members, "arrays", key, shape=lie, bytes=8 * math.prod(lie))
        if key != "pivot":
            header = io.BytesIO()
            described = {"descr": "<f8", "fortran_order": False, "shape": tuple(lie)}
            np.lib.format.write_array_header_1_0(header, described)
            members[f"{key}.npy"] = header.getvalue() + bytes(96)
    with little_memory():
        message = refusal(archive_of(members), tmp_path)
    assert message.split(".npy: ")[0] in arrays


@pytest.mark.parametrize(
    "name",
    ["../escaped.npy", "/etc/escaped", "centers.npy/../x", "C:\\x.npy", "extra.npy", "a\nb.npy"],
    ids=ascii,
)
def test_unknown_member_name_is_refused(members, tmp_path, name):
    message = refusal(archive_of(members | {name: npy(np.zeros(2))}), tmp_path)
    assert message.endswith(": is not a member of a model file")


@pytest.mark.parametrize("name", ["manifest.json", "pivot.npy"])
def test_duplicate_member_is_refused(members, tmp_path, name):
    file = io.BytesIO(archive_of(members))
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")  # zipfile's own "Duplicate name"
        archive.writestr(name, members[name])
    assert refusal(file.getvalue(), tmp_path) == f"{name}: is there twice"


@of_every_class(["key"], CASES)
def test_missing_array_is_refused(members, tmp_path, key):
    del members[f"{key}.npy"]
    assert refusal(archive_of(members), tmp_path) == f"{key}.npy: is missing"


def test_missing_manifest_is_refused(members, tmp_path):
    del members["manifest.json"]
    assert refusal(archive_of(members), tmp_path) == "manifest.json: is missing"


def test_thousands_of_members_are_refused_before_they_are_listed(members, tmp_path):
    more = {f"{i}.npy": b"" for i in range(5000)}
    message = refusal(archive_of(members | more), tmp_path)
    assert message.startswith(f"zip directory: {5000 + len(members)} members")


def test_encrypted_member_is_refused(saved, tmp_path):
    data = bytearray(saved)
    data[data.index(b"PK\1\2") + 8] |= 1
    assert "is encrypted" in refusal(data, tmp_path)


@pytest.mark.parametrize(("before", "after"), [(b"#!/bin/sh\n", b""), (b"", b"\0")])
def test_bytes_around_the_archive_are_refused(saved, tmp_path, before, after):
    assert refusal(before + saved + after, tmp_path).startswith("zip directory: ")


# Manifests and arrays that do not fit


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"format_version": FORMAT_VERSION + 1}, f"format_version {FORMAT_VERSION + 1} is newer"),
        ({"format_version": "1"}, "format_version is '1'"),
        ({"format_version": 0}, "format_version is 0"),
        ({"format": "other"}, "does not say that this is a fastmix-model"),
        ({"class": "SVC"}, "class is 'SVC'; expected one of: KMeans, MiniBatchKMeans"),
        ({"class": ["KMeans"]}, "class is ['KMeans']"),
        ({"params": []}, "its params are not exactly"),
        ({"more": 1}, "its keys are not exactly"),
        ({"params": {}}, "its params are not exactly"),
        ({"arrays": {}}, "its arrays are not exactly"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_manifest_that_lies_is_refused(members, tmp_path, values, reason):
    edit_manifest(members, **values)
    assert refusal(archive_of(members), tmp_path).startswith(f"manifest.json: {reason}")


@of_every_class(["other"], [("KMeans", "GaussianMixture"), ("GaussianMixture", "KMeans")])
def test_manifest_of_another_class_is_refused(members, tmp_path, other):
    edit_manifest(members, **{"class": other})
    message = refusal(archive_of(members), tmp_path)
    assert message.startswith("manifest.json: its params are not exactly")


@of_every_class(
    ["name", "value"],
    [
        ("KMeans", "n_clusters", 0),
        ("KMeans", "n_clusters", True),
        ("KMeans", "n_clusters", 4.0),
        ("KMeans", "inertia", float("nan")),
        ("KMeans", "inertia", -1.0),
        ("KMeans", "n_iter", None),
        ("KMeans", "n_iter", -1),
        ("GaussianMixture", "n_components", 0),
        ("GaussianMixture", "covariance_type", "square"),
        ("GaussianMixture", "covariance_type", ["full"]),
        ("GaussianMixture", "attribute_dtype", "float16"),
        ("GaussianMixture", "converged", 1),
        ("GaussianMixture", "n_iter", -1),
        ("GaussianMixture", "lower_bound", float("nan")),
        ("GaussianMixture", "lower_bound", None),
        ("GaussianMixture", "log_likelihood", "-1"),
        *[
            (name, *case)
            for name in ARRAYS
            for case in [
                ("n_features", "3"),
                ("dtype", "object"),
                ("scale", 0.0),
                ("scale", 3.0),
                ("scale", float("inf")),
                ("feature_names", "abc"),
                ("feature_names", [1, 2, 3]),
            ]
        ],
    ],
)
def test_parameter_that_cannot_be_is_refused(members, tmp_path, name, value):
    edit_manifest(members, "params", **{name: value})
    message = refusal(archive_of(members), tmp_path)
    kind = json.loads(members["manifest.json"])["class"]
    assert message == f"manifest.json: {name} of {kind} cannot be {value!r}"


@of_every_class(
    ["kind", "expected"],
    [
        ("GaussianMixture", "tied", [3, 3]),
        ("GaussianMixture", "diag", [4, 3]),
        ("GaussianMixture", "spherical", [4]),
    ],
)
def test_covariances_of_another_type_are_refused(members, tmp_path, kind, expected):
    edit_manifest(members, "params", covariance_type=kind)
    message = refusal(archive_of(members), tmp_path)
    assert message == f"covariances.npy: has shape [4, 3, 3]; expected {expected}"


@of_every_class([], [("KMeans",)])
def test_infinite_objective_survives(members, tmp_path):
    # Data near 1e160 have an objective that float64 cannot hold; the model is sound all the same.
    edit_manifest(members, "params", inertia=float("inf"))
    (tmp_path / "m.npz").write_bytes(archive_of(members))
    assert load_model(tmp_path / "m.npz").inertia_ == float("inf")


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff\xfe\xfd", b"[]", b"{", b"[" * 100_000, b"NaN", b"9" * 5000],
    ids=["empty", "binary", "list", "cut", "deep", "nan", "long number"],
)
def test_manifest_that_is_not_one_is_refused(members, tmp_path, text):
    members["manifest.json"] = text
    assert refusal(archive_of(members), tmp_path).startswith("manifest.json: ")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"dtype": ">f8"}, "has dtype '>f8'; expected <f8"),
        ({"dtype": ["<f8"]}, "has dtype ['<f8']"),
        ({"dtype": "<f4", "bytes": 12}, "has dtype '<f4'"),
        ({"dtype": "<i8"}, "has dtype '<i8'"),
        ({"shape": 3}, "has shape 3; expected [3]"),
        ({"shape": [-3]}, "has shape [-3]"),
        ({"shape": [1, 3]}, "has shape [1, 3]"),
        ({"shape": [4], "bytes": 32}, "has shape [4]"),
        ({"bytes": 23}, "declares 23 bytes; its shape needs 24"),
        ({"sha256": None}, "SHA-256 differs"),
        ({"more": 1}, "its keys in the manifest are not exactly"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_manifest_entry_that_lies_is_refused(members, tmp_path, values, reason):
    edit_manifest(members, "arrays", "pivot", **values)
    assert refusal(archive_of(members), tmp_path).startswith(f"pivot.npy: {reason}")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@of_every_class(["key"], CASES)
def test_array_that_is_not_finite_is_refused(members, tmp_path, key, value):
    array = np.load(io.BytesIO(members[f"{key}.npy"]))
    array.flat[1] = value
    put_array(members, key, array)
    assert refusal(archive_of(members), tmp_path).endswith(f"is {value}; expected finite values")


@of_every_class(["key"], TABLES)
def test_array_in_column_order_is_refused(members, tmp_path, key):
    table = np.load(io.BytesIO(members[f"{key}.npy"]))
    put_array(members, key, np.asfortranarray(table))
    assert refusal(archive_of(members), tmp_path).startswith(f"{key}.npy: its header says")


@of_every_class(["key"], TABLES)
def test_array_with_another_number_of_clusters_is_refused(members, tmp_path, key):
    put_array(members, key, np.zeros((5, 3)))
    message = refusal(archive_of(members), tmp_path)
    assert message == f"{key}.npy: has shape [5, 3]; expected [4, 3]"


@pytest.mark.parametrize(
    "change",
    [lambda data: data + b"\0" * 8, lambda data: data[:-8], lambda data: b"\x93NUMPY\2" + data[7:]],
    ids=["longer", "shorter", "version 2.0"],
)
def test_array_member_of_another_size_or_version_is_refused(members, tmp_path, change):
    members["pivot.npy"] = change(members["pivot.npy"])
    assert refusal(archive_of(members), tmp_path).startswith("pivot.npy: ")


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none.npz")


def test_pipe_is_refused_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ModelFileError, match="not a regular file"):
        load_model(tmp_path / "pipe.npz")
