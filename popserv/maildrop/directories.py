"""Making directories that last: with an owner who can use them, and across a power failure."""

from __future__ import annotations

import os
from contextlib import suppress

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
        os.mkdir(path, 0o700)
        if os.geteuid() == 0:
            above = os.stat(parent)
            user, group = owner or (above.st_uid, above.st_gid)
            os.chown(path, user, group, follow_symlinks=False)


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
