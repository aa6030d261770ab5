# SPDX-License-Identifier: BSD-3-Clause
"""Zip archives of stored members, written without time stamps and checked before they are read.

A member's size in such an archive is its number of bytes in the file, so that nothing can unpack
to more than the file holds.
"""

import contextlib
import os
import stat
import struct
import zipfile

__all__ = ["Refusal", "blaming", "check_names", "open_archive", "refuse", "write_member"]

_DIRECTORY = "zip directory"  # named in errors where no single member is to blame

# zipfile lists the whole directory at once. An entry is 46 bytes and the name, without extras.
_MAX_MEMBERS = 32
_MAX_DIRECTORY_BYTES = 16 << 10

_END_RECORD = struct.Struct("<4s4H2LH")  # "end of central directory", APPNOTE.TXT 4.3.16
_ZIP64_LOCATOR_BYTES = 20


class Refusal(ValueError):
    """Why a member is not what it should be, in one line that begins with its name."""


def refuse(member, reason):
    """Raise the Refusal of `member`."""
    raise Refusal(f"{member}: {reason}")


@contextlib.contextmanager
def blaming(member):
    """Name `member` in a Refusal for whatever its bytes make a parser raise.

    zipfile, json and numpy.lib.format let many kinds of exception out on damaged bytes, from
    EOFError to RecursionError; what the operating system raises is not the file's fault and passes.
    """
    try:
        yield
    except (Refusal, OSError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise Refusal(f"{member}: {reason}") from error


@contextlib.contextmanager
def open_archive(path):
    """Yield the zip file at `path` with its directory checked: only its members' data can lie."""
    with _open_regular(path) as file:
        with blaming(_DIRECTORY):
            _check_end_record(file)
            archive = zipfile.ZipFile(file)
        with archive:
            _check_directory(archive, os.fstat(file.fileno()).st_size)
            yield archive


def write_member(archive, name, *parts):
    """Store bytes-like parts, one after the other, as one member dated 1980-01-01."""
    member = zipfile.ZipInfo(name)
    member.file_size = sum(len(part) for part in parts)  # decides whether zip64 is needed
    with archive.open(member, "w") as stream:
        for part in parts:
            stream.write(part)


def check_names(archive, expected):
    """Refuse an archive whose members are not exactly those expected."""
    actual = {member.orig_filename for member in archive.infolist()}
    for name in sorted(actual - expected):
        refuse(_shown(name), "is not a member of a model file")
    for name in sorted(expected - actual):
        refuse(name, "is missing")


def _open_regular(path):
    # A pipe would block in open(), and a device has no size to check against.
    if not stat.S_ISREG(os.stat(path).st_mode):
        refuse(_DIRECTORY, "not a regular file")
    return open(path, "rb")


def _check_end_record(file):
    """Bound the directory before zipfile reads it: its place, its size, its number of members."""
    size = file.seek(0, os.SEEK_END)
    if size < _END_RECORD.size:
        refuse(_DIRECTORY, f"missing: the file has {size} bytes")
    file.seek(max(0, size - _END_RECORD.size - _ZIP64_LOCATOR_BYTES))
    tail = file.read()
    record = _END_RECORD.unpack(tail[-_END_RECORD.size :])
    signature, _, _, _, members, directory_bytes, offset, comment_bytes = record
    if signature != b"PK\5\6" or comment_bytes:
        refuse(_DIRECTORY, "missing: not a model file, or cut off")
    if members > _MAX_MEMBERS or directory_bytes > _MAX_DIRECTORY_BYTES:
        refuse(_DIRECTORY, f"{members} members in {directory_bytes} bytes are too many")
    # Offsets past 4 GiB are in a second record; a smaller file has no use for one.
    if size > 0xFFFFFFFF:
        return
    if tail.startswith(b"PK\6\7") or offset + directory_bytes + _END_RECORD.size != size:
        refuse(_DIRECTORY, "does not fit the file's size")


def _check_directory(archive, file_bytes):
    """Refuse what no model file has: duplicates, compression, encryption, more than is there."""
    members = archive.infolist()
    names = [member.orig_filename for member in members]
    for member in members:
        name = _shown(member.orig_filename)
        if names.count(member.orig_filename) > 1:
            refuse(name, "is there twice")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            refuse(name, "is compressed; members of a model file are stored")
        if member.flag_bits & 0x1:
            refuse(name, "is encrypted")
    if sum(member.file_size for member in members) > file_bytes:
        refuse(_DIRECTORY, f"declares more bytes than the file's {file_bytes}")


def _shown(name):
    """`name` as an error may print it: short, and on one line whatever it holds."""
    return name[:80] if name.isprintable() else ascii(name[:80])
