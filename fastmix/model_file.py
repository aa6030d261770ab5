# SPDX-License-Identifier: BSD-3-Clause
"""Model files: one fitted model in one file, written atomically and checked before it is believed.

The file is a zip archive of stored (never compressed) members: ``manifest.json`` and one ``.npy``
member for each array, so `numpy.load` opens it too. Nothing in it is ever unpickled. The manifest
holds the format and its version, the library's version, the class, its parameters, and the dtype,
shape, byte size and SHA-256 of each array's data. One model gives one sequence of bytes: the
archive holds no time stamp.
"""

import hashlib
import io
import json
import math
import os
import zipfile

import numpy as np

import fastmix
from fastmix._atomic import replacing
from fastmix._state import ARRAYS, PARAMS, axes_of
from fastmix._stored_zip import Refusal, blaming, check_names, open_archive, refuse, write_member

__all__ = ["FORMAT_VERSION", "ModelFileError", "load_model", "save_model"]

FORMAT_VERSION = 1

_FORMAT = "fastmix-model"
_MANIFEST = "manifest.json"
_ENTRY_KEYS = {"dtype", "shape", "bytes", "sha256"}
_MANIFEST_KEYS = {"format", "format_version", "library_version", "class", "params", "arrays"}

# A manifest has about 1 kB; NumPy writes 128 bytes of .npy header for so few axes.
_MAX_MANIFEST_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1024


class ModelFileError(ValueError):
    """A file is not a model file that this version of fastmix can vouch for."""


def save_model(model, path):
    """Write a fitted model to `path`, whole or not at all.

    The bytes go to a temporary file in the same folder, reach the disk, and then take the place
    of `path` in one step; a failure removes the temporary file and leaves an older file as it was.

    Parameters
    ----------
    model : KMeans or GaussianMixture
        A fitted estimator.
    path : str or path-like
        The file to write, exactly as named.

    Raises
    ------
    TypeError
        `model` is not of a class that model files can hold.
    ValueError
        An array of the model has a value that is not finite.
    OSError
        The file cannot be written; `path` is as it was.

    See Also
    --------
    load_model : Read the file back; its predictions have the same bits.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastmix import KMeans
    >>> from fastmix.model_file import load_model, save_model
    >>> model = KMeans(2, random_state=0).fit([[0.0], [1.0], [9.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.npz")
    ...     save_model(model, path)
    ...     load_model(path).predict([[8.0]]) == model.predict([[8.0]])
    array([ True])
    """
    name = type(model).__name__
    if name not in ARRAYS or type(model) is not getattr(fastmix, name):
        raise TypeError(f"model is a {name}; expected one of: {', '.join(ARRAYS)}")
    params, state = model._get_state()
    arrays = {key: _little_endian(array) for key, array in state.items()}
    manifest = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        "library_version": fastmix.__version__,
        "class": name,
        "params": params,
        "arrays": {key: _describe(array) for key, array in arrays.items()},
    }
    try:
        _check_manifest(manifest)
        for key, array in arrays.items():
            _check_finite(key, array)
    except Refusal as error:
        raise ValueError(f"model cannot be saved: {error}") from None

    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        write_member(archive, _MANIFEST, json.dumps(manifest, indent=1).encode())
        for key, array in arrays.items():
            write_member(archive, _member_of(key), _npy_header(array), _bytes_of(array))


def load_model(path):
    """Read a model that `save_model` wrote.

    Every size, name, dtype and shape is checked against the bytes that are there before memory is
    taken for them, then the SHA-256 of each array and that its values are finite.

    Parameters
    ----------
    path : str or path-like
        The file to read.

    Returns
    -------
    model : KMeans or GaussianMixture
        The fitted estimator, without the labels, trace and report of its fit.

    Raises
    ------
    ModelFileError
        The file is damaged, or not a model file, or of a later format version: one line that
        names the member at fault.
    OSError
        The file cannot be opened or read.
    """
    try:
        with open_archive(path) as archive:
            manifest = _read_manifest(archive)
            entries = manifest["arrays"]
            check_names(archive, {_MANIFEST, *map(_member_of, entries)})
            arrays = {key: _read_array(archive, key, entry) for key, entry in entries.items()}
        with blaming(_MANIFEST):
            return getattr(fastmix, manifest["class"])._from_state(manifest["params"], arrays)
    except Refusal as error:
        raise ModelFileError(f"{os.fsdecode(path)}: {error}") from error.__cause__


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


def _read_manifest(archive):
    if _MANIFEST not in archive.namelist():
        refuse(_MANIFEST, "is missing")
    if archive.getinfo(_MANIFEST).file_size > _MAX_MANIFEST_BYTES:
        refuse(_MANIFEST, f"is larger than {_MAX_MANIFEST_BYTES} bytes")
    with blaming(_MANIFEST):
        manifest = json.loads(archive.read(_MANIFEST))
        _check_manifest(manifest)
    return manifest


def _check_manifest(manifest):
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        refuse(_MANIFEST, f"does not say that this is a {_FORMAT}")
    version = manifest.get("format_version")
    if type(version) is not int or version < 1:
        refuse(_MANIFEST, f"format_version is {version!r:.40}; expected {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        reason = (
            f"format_version {version!r:.40} is newer than this fastmix reads ({FORMAT_VERSION})"
        )
        refuse(_MANIFEST, f"{reason}; written by fastmix {manifest.get('library_version')!r:.40}")
    _check_keys(_MANIFEST, "keys", manifest, _MANIFEST_KEYS)
    name, params, entries = manifest["class"], manifest["params"], manifest["arrays"]
    if not isinstance(name, str) or name not in ARRAYS:
        refuse(_MANIFEST, f"class is {name!r:.40}; expected one of: {', '.join(ARRAYS)}")
    _check_keys(_MANIFEST, "params", params, PARAMS[name])
    for key, is_valid in PARAMS[name].items():
        if not is_valid(params[key]):
            refuse(_MANIFEST, f"{key} of {name} cannot be {params[key]!r:.40}")
    _check_keys(_MANIFEST, "arrays", entries, ARRAYS[name])
    for key, (dtypes, axes) in ARRAYS[name].items():
        shape = [params[axis] for axis in axes_of(axes, params)]
        _check_entry(_member_of(key), entries[key], dtypes, shape)


def _check_keys(member, what, mapping, expected):
    if not isinstance(mapping, dict) or set(mapping) != set(expected):
        refuse(member, f"its {what} are not exactly {', '.join(sorted(expected))}")


def _check_entry(member, entry, dtypes, shape):
    _check_keys(member, "keys in the manifest", entry, _ENTRY_KEYS)
    if entry["dtype"] not in dtypes:
        refuse(member, f"has dtype {entry['dtype']!r:.40}; expected {' or '.join(dtypes)}")
    if entry["shape"] != shape:
        refuse(member, f"has shape {entry['shape']!r:.40}; expected {shape!r:.40}")
    size = math.prod(shape) * np.dtype(entry["dtype"]).itemsize
    if entry["bytes"] != size:
        refuse(member, f"declares {entry['bytes']!r:.40} bytes; its shape needs {size!r:.40}")


def _read_array(archive, key, entry):
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
        if stream.readinto(_bytes_of(array)) != stored or stream.read(1):
            refuse(member, "is cut off")
    if hashlib.sha256(array).hexdigest() != entry["sha256"]:
        refuse(member, "SHA-256 differs from the manifest's")
    _check_finite(key, array)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _check_finite(key, array):
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(i) for i in np.unravel_index(np.argmin(finite), array.shape))
        refuse(_member_of(key), f"value at {place} is {array[place]}; expected finite values")
