# SPDX-License-Identifier: BSD-3-Clause
"""Files that take their place whole or not at all."""

import contextlib
import errno
import os
import secrets

__all__ = ["replacing"]


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
    temporary = os.path.join(folder, f".fastmix-{secrets.token_hex(8)}.tmp")
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
