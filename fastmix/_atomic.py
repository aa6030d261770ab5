# SPDX-License-Identifier: BSD-3-Clause
"""Files that take their place whole or not at all."""

import contextlib
import errno
import hashlib
import os
import re
import secrets

__all__ = ["remove_leftovers", "replacing"]


def _prefix(target):
    """How the temporary files of a target begin; its own name could be too long to add to."""
    name = hashlib.sha256(os.fsencode(os.path.basename(target))).hexdigest()[:16]
    return f".fastmix-{name}-"


def remove_leftovers(path):
    """Remove temporary files that processes killed in ``replacing(path)`` left behind.

    For files that one process at a time writes: that of another would be removed as well.
    """
    folder, target = os.path.split(os.path.realpath(os.fsdecode(path)))
    pattern = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{16}\.tmp")
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if pattern.fullmatch(name):
                os.unlink(os.path.join(folder, name))


@contextlib.contextmanager
def replacing(path):
    """Yield a binary file whose bytes take the place of `path` when the block ends without error.

    A link is followed, so that the file it names is replaced and not the link.
    """
    path = os.fsdecode(path)
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EINVAL, "not a regular file", path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            raise type(error)(error.errno, error.strerror, path) from None
        raise
    # The rename is on the disk once the folder is. The new file is whole either way, and not every
    # system can do it (Windows cannot open a folder), so a failure here is not the caller's.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
