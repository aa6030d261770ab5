# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints that are damaged or forged: a ModelFileError that names the member."""

import zipfile

import numpy as np
import pytest

from archives import archive_of, edit_manifest, little_memory, members_of, refusal_of
from checkpoint_cases import fit
from fastmix._checkpoint import CHECKPOINT_VERSION, CheckpointFile
from fastmix.model_file import ModelFileError, load_model

NAMES = {"KMeans": "starts", "GaussianMixture": "diag"}


@pytest.fixture(scope="module", params=NAMES)
def kind(request):
    """Name of each class."""
    return request.param


@pytest.fixture(scope="module")
def saved(kind, tmp_path_factory):
    """The bytes of a checkpoint in a later start."""
    path = tmp_path_factory.mktemp("checkpoint") / "fit.ckpt"
    fit(
        NAMES[kind],
        checkpoint=path,
        callbacks=lambda state: (state.init, state.iteration) == (1, 3),
    )
    return path.read_bytes()


@pytest.fixture
def members(saved):
    """Its members: name to bytes."""
    return members_of(saved)


def read(path, kind):
    return CheckpointFile(str(path), 1, True, kind).load()


def load(data, kind, folder):
    (folder / "bad.ckpt").write_bytes(data)
    return read(folder / "bad.ckpt", kind)


def refusal(data, kind, folder):
    """The message of the ModelFileError, without the path, of a checkpoint of these bytes."""
    return refusal_of(lambda path: read(path, kind), folder / "bad.ckpt", data)


def same_state(a, b):
    return a[0] == b[0] and {key: array.tobytes() for key, array in a[1].items()} == {
        key: array.tobytes() for key, array in b[1].items()
    }


def test_checkpoint_is_read_as_it_was_written(saved, kind, tmp_path):
    values, arrays = load(saved, kind, tmp_path)
    assert (values["start"], values["n_iter"], values["stopped"]) == (1, 4, "callback")
    assert values["best"] is not None
    CheckpointFile(str(tmp_path / "again.ckpt"), 1, True, kind).save(values, arrays)
    assert (tmp_path / "again.ckpt").read_bytes() == saved


def test_fit_refuses_a_damaged_checkpoint_and_leaves_it(saved, kind, tmp_path):
    path = tmp_path / "fit.ckpt"
    path.write_bytes(saved[:-100])
    with pytest.raises(ModelFileError, match=r"fit\.ckpt: zip directory: "):
        fit(NAMES[kind], checkpoint=path, resume=True)
    assert path.read_bytes() == saved[:-100]


@pytest.mark.parametrize("part", [0, 0.001, 0.3, 0.6, 0.9, 0.999], ids=str)
def test_truncated_checkpoint_is_refused(saved, kind, tmp_path, part):
    data = saved[: int(part * len(saved))]
    assert refusal(data, kind, tmp_path).startswith("zip directory: ")


def test_flipped_bit_is_refused_or_harmless(saved, kind, tmp_path):
    # What may change unseen is what nothing reads, such as the members' dates.
    draws, expected = np.random.default_rng(7), load(saved, kind, tmp_path)
    refused = 0
    for position in draws.integers(len(saved), size=400):
        damaged = bytearray(saved)
        damaged[position] ^= 1 << draws.integers(8)
        try:
            found = load(damaged, kind, tmp_path)
        except ModelFileError:
            refused += 1
            continue
        assert same_state(found, expected), position
    assert refused > 300


def test_changed_array_is_refused_by_its_sha256(members, kind, tmp_path):
    for name in list(members):
        if name == "manifest.json" or len(members[name]) <= 128:  # no repairs, no data
            continue
        data = bytearray(members[name])
        data[-3] ^= 1
        changed = archive_of({**members, name: bytes(data)})
        assert refusal(changed, kind, tmp_path) == f"{name}: SHA-256 differs from the manifest's"


def test_missing_array_is_refused(members, kind, tmp_path):
    for name in members:
        rest = {other: data for other, data in members.items() if other != name}
        assert refusal(archive_of(rest), kind, tmp_path) == f"{name}: is missing"


def test_zip_bomb_is_refused_in_little_memory(members, kind, tmp_path):
    members["best_repairs.npy"] = bytes(64 << 20)
    data = archive_of(members, zipfile.ZIP_DEFLATED)
    with little_memory():
        message = refusal(data, kind, tmp_path)
    assert "is compressed" in message


@pytest.mark.parametrize("name", ["n_repairs", "n_iter"])
def test_lying_size_is_refused_before_memory_is_taken(members, kind, tmp_path, name):
    edit_manifest(members, "params", **{name: 2**40})
    with little_memory():
        message = refusal(archive_of(members), kind, tmp_path)
    assert "has shape" in message


@pytest.mark.parametrize(
    "name, value",
    [
        ("start", -1),
        ("n_iter", 1.5),
        ("stopped", "interrupt"),
        ("scale", 3.0),
        ("arguments", {}),
        ("arguments", None),
        ("best", {"n_iter": 3}),
    ],
    ids=repr,
)
def test_value_that_cannot_be_is_refused(members, kind, tmp_path, name, value):
    edit_manifest(members, "params", **{name: value})
    message = refusal(archive_of(members), kind, tmp_path)
    assert message == f"manifest.json: {name} of {kind} cannot be {value!r:.40}"


@pytest.mark.parametrize(
    "change",
    [
        {"bit_generator": "os.system"},
        {"state": {"key": {"dtype": "uint32", "values": [1, 2]}, "pos": 3}},
        {"state": 7},
    ],
    ids=repr,
)
def test_random_state_that_is_none_is_refused(members, kind, tmp_path, change):
    edit_manifest(members, "params", "random_state", **change)
    assert refusal(archive_of(members), kind, tmp_path).startswith("manifest.json: ")


def test_later_version_is_refused(members, kind, tmp_path):
    edit_manifest(members, format_version=CHECKPOINT_VERSION + 1)
    message = refusal(archive_of(members), kind, tmp_path)
    assert message.startswith(f"manifest.json: format_version {CHECKPOINT_VERSION + 1} is newer")


def test_checkpoint_is_no_model_and_a_model_no_checkpoint(saved, kind, tmp_path):
    (tmp_path / "fit.ckpt").write_bytes(saved)
    with pytest.raises(ModelFileError, match="does not say that this is a fastmix-model"):
        load_model(tmp_path / "fit.ckpt")
    fit(NAMES[kind]).save(tmp_path / "model.npz")
    data = (tmp_path / "model.npz").read_bytes()
    assert "does not say that this is a fastmix-checkpoint" in refusal(data, kind, tmp_path)
