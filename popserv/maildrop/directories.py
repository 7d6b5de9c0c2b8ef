"""Making directories that last: with an owner who can use them, and across a power failure."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from secrets import token_hex

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


Owner = tuple[int, int]
"""A user's and a group's number."""


def make_directory(path: bytes, owner: Owner | None = None) -> None:
    """Make what is missing of the directory at `path`, absolute, and of those above it, 0700.

    What is made by root belongs to the owner of the directory that it is made in, `path` itself to `owner` if there is
    one. Blocks; raises `OSError`.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    make_directory(parent)
    with suppress(FileExistsError):
        if os.geteuid() == 0:
            above = os.stat(parent)
            _make_owned(path, owner or (above.st_uid, above.st_gid))
        else:
            os.mkdir(path, 0o700)


def _make_owned(path: bytes, owner: Owner) -> None:
    """Another name first: a process that is killed in between must not leave one here that its owner cannot use."""
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    head, tail = os.path.split(path)
    name = os.path.join(head, b".%b.popserv-%b" % (tail, token_hex(4).encode("ascii")))
    os.mkdir(name, 0o700)
    try:
        os.chown(name, *owner, follow_symlinks=False)
        os.rename(name, path)
    except OSError as error:
        with suppress(OSError):
            os.rmdir(name)
        if error.errno != errno.ENOTEMPTY:
            raise


def sync_directory(path: bytes) -> None:
    """Make the names in this directory survive a power failure. Blocks; raises `OSError`."""
    descriptor = os.open(path, _DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_upwards(path: bytes) -> None:
    """Make the directory at `path`, and every name on the way to it, survive a power failure."""
    while True:
        try:
            sync_directory(path)
        except PermissionError:
            return  # nothing of ours is that far up
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent
