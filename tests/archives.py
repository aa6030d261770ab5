# SPDX-License-Identifier: BSD-3-Clause
"""Members of model files and checkpoints, for tests that forge these, and how the result is read.

Both are zip archives of a ``manifest.json`` and stored arrays.
"""

import io
import json
import tracemalloc
import zipfile
from contextlib import contextmanager

import pytest

from fastmix.model_file import ModelFileError

__all__ = ["archive_of", "edit_manifest", "little_memory", "members_of", "refusal_of"]


def members_of(data):
    """The members of an archive: name to bytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(members, compression=zipfile.ZIP_STORED):
    """An archive of members, with CRC-32 that are right."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def edit_manifest(members, *keys, **values):
    """Set values in the manifest, or in the object inside it that keys lead to."""
    manifest = json.loads(members["manifest.json"])
    inner = manifest
    for key in keys:
        inner = inner[key]
    inner.update(values)
    members["manifest.json"] = json.dumps(manifest).encode()


def refusal_of(load, path, data):
    """Write data to path and return the message of the ModelFileError of load(path), without the
    path; it is one line."""
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@contextmanager
def little_memory():
    """Assert that Python takes less than 4 MiB in the block."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
