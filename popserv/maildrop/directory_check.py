"""Whether others may do what only the service may, in a directory of a maildrop."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from functools import partial

from popserv.maildrop.findings import Finding, Kind

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWOTH
_NOT_OWNER_WRITE = stat.S_IWGRP | stat.S_IWOTH


def check_directory(folder: int, name: str) -> Iterator[Finding]:
    """What is wrong with the directory `name` in the open directory `folder`."""
    what = "its directory" if name == "." else f"the directory {name}"
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        yield Finding("permission", f"{name} is no directory")
        return
    if found.st_mode & _OTHERS_WRITE:
        change = partial(_change_mode, folder, name, _OTHERS_WRITE)
        yield Finding("permission", f"everybody may write to {what}", f"chmod o-w {name}", change)
    if not os.access(name, os.R_OK | os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True):
        yield Finding("permission", f"this user may not read and write {what}")


def check_files(folder: int, names: Iterable[str]) -> Iterator[Finding]:
    """What is wrong with those of these files, which nobody but popserv writes, that are there."""
    there = set(os.listdir(folder))
    owners = {0, os.geteuid(), os.fstat(folder).st_uid}
    for name in names:
        if name in there:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                kind: Kind = "lock" if name.endswith(".lock") else "permission"
                yield Finding(kind, f"{name} is no regular file with one name")
                continue
            if found.st_uid not in owners:
                yield Finding("permission", f"{name} belongs to somebody else")
            if found.st_mode & _NOT_OWNER_WRITE:
                change = partial(_change_mode, folder, name, _NOT_OWNER_WRITE)
                yield Finding("permission", f"others may write to {name}", f"chmod go-w {name}", change)


def _change_mode(folder: int, name: str, less: int) -> None:
    descriptor = os.open(name, _OPEN, dir_fd=folder)
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & ~less)
    finally:
        os.close(descriptor)
