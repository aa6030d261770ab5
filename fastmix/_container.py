# SPDX-License-Identifier: BSD-3-Clause
"""The container of model files and checkpoints: a manifest and arrays in one checked file.

The file is a zip archive of stored (never compressed) members: ``manifest.json`` and one ``.npy``
member for each array, so `numpy.load` opens it too. Nothing in it is ever unpickled. The manifest
holds the format and its version, the library's version, the class, its parameters, and the dtype,
shape, byte size and SHA-256 of each array's data. One state gives one sequence of bytes: the
archive holds no time stamp.
"""

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import fastmix
from fastmix._atomic import replacing
from fastmix._stored_zip import Refusal, blaming, check_names, open_archive, refuse, write_member

__all__ = [
    "MANIFEST",
    "Expected",
    "Format",
    "ModelFileError",
    "check_keys",
    "check_values",
    "read",
    "write",
]

MANIFEST = "manifest.json"
_ENTRY_KEYS = {"dtype", "shape", "bytes", "sha256"}
_MANIFEST_KEYS = {"format", "format_version", "library_version", "class", "params", "arrays"}

# A manifest has about 1 kB, with the state of a Mersenne twister 10, and the names of the columns;
# NumPy writes 128 bytes of .npy header for so few axes.
_MAX_MANIFEST_BYTES = 1 << 26
_MAX_HEADER_BYTES = 1024


class ModelFileError(ValueError):
    """A file is not a model file, or checkpoint, that this version of fastmix can vouch for."""


class Expected(NamedTuple):
    """What an array of a container must be."""

    dtypes: tuple
    shape: list
    logarithms: bool = False  # of which minus infinity is one; other values are finite


class Format(NamedTuple):
    """One kind of container."""

    name: str
    version: int
    # From class and params to the arrays, {name: Expected}; it refuses what it does not know.
    arrays_of: Callable
    # From class, params and an older version to the params of this one, as far as they suffice.
    upgraded: Callable | None = None


def write(path, form, name, params, arrays):
    """Write the state of a class to `path`, whole or not at all; Refusal for what form forbids."""
    arrays = {key: _little_endian(array) for key, array in arrays.items()}
    manifest = {
        "format": form.name,
        "format_version": form.version,
        "library_version": fastmix.__version__,
        "class": name,
        "params": params,
        "arrays": {key: _describe(array) for key, array in arrays.items()},
    }
    expected = _check_manifest(manifest, form)
    for key, array in arrays.items():
        _check_finite(key, array, expected[key])
    text = json.dumps(manifest, indent=1).encode()
    _check_manifest_size(len(text))
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        write_member(archive, MANIFEST, text)
        for key, array in arrays.items():
            write_member(archive, _member_of(key), _npy_header(array), _bytes_of(array))


def read(path, form, build):
    """build(class, params, arrays) of the container at `path`.

    Every size, name, dtype and shape is checked against the bytes that are there before memory is
    taken for them, then the SHA-256 of each array. ModelFileError names the member at fault.
    """
    try:
        with open_archive(path) as archive:
            manifest = _read_manifest(archive)
            expected = _check_manifest(manifest, form)
            entries = manifest["arrays"]
            check_names(archive, {MANIFEST, *map(_member_of, entries)})
            arrays = {
                key: _read_array(archive, key, entry, expected[key])
                for key, entry in entries.items()
            }
        with blaming(MANIFEST):
            return build(manifest["class"], manifest["params"], arrays)
    except Refusal as error:
        raise ModelFileError(f"{os.fsdecode(path)}: {error}") from error.__cause__


def check_keys(member, what, mapping, expected):
    """Refuse a mapping whose keys are not exactly those expected."""
    if not isinstance(mapping, dict) or set(mapping) != set(expected):
        refuse(member, f"its {what} are not exactly {', '.join(sorted(expected))}")


def check_values(name, values, tests):
    """Refuse values in the manifest that no object of this class has; tests are those of each
    class, by name."""
    if not isinstance(name, str) or name not in tests:
        refuse(MANIFEST, f"class is {name!r:.40}; expected one of: {', '.join(tests)}")
    check_keys(MANIFEST, "params", values, tests[name])
    for key, is_valid in tests[name].items():
        if not is_valid(values[key]):
            refuse(MANIFEST, f"{key} of {name} cannot be {values[key]!r:.40}")


def _member_of(key):
    return f"{key}.npy"


def _little_endian(array):
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _bytes_of(array):
    return array.reshape(-1).view(np.uint8).data


def _describe(array):
    digest = hashlib.sha256(array).hexdigest()
    dtype, shape = array.dtype.newbyteorder("<").str, list(array.shape)
    return {"dtype": dtype, "shape": shape, "bytes": array.nbytes, "sha256": digest}


def _npy_header(array):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return header.getvalue()


def _check_manifest_size(size):
    if size > _MAX_MANIFEST_BYTES:
        refuse(MANIFEST, f"is larger than {_MAX_MANIFEST_BYTES} bytes")


def _read_manifest(archive):
    if MANIFEST not in archive.namelist():
        refuse(MANIFEST, "is missing")
    _check_manifest_size(archive.getinfo(MANIFEST).file_size)
    with blaming(MANIFEST):
        return json.loads(archive.read(MANIFEST))


def _check_manifest(manifest, form):
    """The arrays that a manifest must have, {name: Expected}, and has."""
    with blaming(MANIFEST):
        if not isinstance(manifest, dict) or manifest.get("format") != form.name:
            refuse(MANIFEST, f"does not say that this is a {form.name}")
        _check_version(manifest, form)
        check_keys(MANIFEST, "keys", manifest, _MANIFEST_KEYS)
        if manifest["format_version"] == form.version:
            return _check_content(manifest, form)
        version = manifest["format_version"]
        manifest["params"] = form.upgraded(manifest["class"], manifest["params"], version)
        try:
            return _check_content(manifest, form)
        except Refusal as error:
            raise Refusal(
                f"{error}; it is of the older format_version {version}, and this fastmix reads "
                f"{form.version}"
            ) from error


def _check_content(manifest, form):
    expected = form.arrays_of(manifest["class"], manifest["params"])
    check_keys(MANIFEST, "arrays", manifest["arrays"], expected)
    for key, wanted in expected.items():
        _check_entry(_member_of(key), manifest["arrays"][key], wanted)
    return expected


def _check_version(manifest, form):
    version = manifest.get("format_version")
    if type(version) is not int or version < 1:
        refuse(MANIFEST, f"format_version is {version!r:.40}; expected {form.version}")
    if version > form.version:
        reason = f"format_version {version!r:.40} is newer than this fastmix reads ({form.version})"
        refuse(MANIFEST, f"{reason}; written by fastmix {manifest.get('library_version')!r:.40}")


def _check_entry(member, entry, wanted):
    check_keys(member, "keys in the manifest", entry, _ENTRY_KEYS)
    if entry["dtype"] not in wanted.dtypes:
        refuse(member, f"has dtype {entry['dtype']!r:.40}; expected {' or '.join(wanted.dtypes)}")
    if entry["shape"] != wanted.shape:
        refuse(member, f"has shape {entry['shape']!r:.40}; expected {wanted.shape!r:.40}")
    size = math.prod(wanted.shape) * np.dtype(entry["dtype"]).itemsize
    if entry["bytes"] != size:
        refuse(member, f"declares {entry['bytes']!r:.40} bytes; its shape needs {size!r:.40}")


def _read_array(archive, key, entry, wanted):
    member = _member_of(key)
    # The manifest's shape is true to params by now; whether it is true to the bytes is checked
    # before memory is taken.
    shape, dtype = tuple(entry["shape"]), np.dtype(entry["dtype"])
    with blaming(member), archive.open(member) as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            refuse(member, "is not a version 1.0 .npy")
        header = np.lib.format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER_BYTES)
        if header != (shape, False, dtype):
            refuse(member, f"its header says {header!r:.80}; the manifest says otherwise")
        stored = archive.getinfo(member).file_size - stream.tell()
        if stored != entry["bytes"]:
            refuse(member, f"holds {stored} bytes of data; its shape needs {entry['bytes']}")
        array = np.empty(shape, dtype)
        if (stored and stream.readinto(_bytes_of(array)) != stored) or stream.read(1):
            refuse(member, "is cut off")
    if hashlib.sha256(array).hexdigest() != entry["sha256"]:
        refuse(member, "SHA-256 differs from the manifest's")
    _check_finite(key, array, wanted)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _check_finite(key, array, wanted):
    finite = np.isfinite(array)
    if wanted.logarithms:
        finite |= array == -np.inf
    if not finite.all():
        place = tuple(int(i) for i in np.unravel_index(np.argmin(finite), array.shape))
        refuse(_member_of(key), f"value at {place} is {array[place]}; expected finite values")
