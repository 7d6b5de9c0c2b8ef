"""The session lock of a maildrop that is a directory: flock on ``popserv.lock``.

The kernel frees it when the process ends, however it ends; so the file is never judged stale and never removed. What is
written in it is for people only.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from time import gmtime, strftime

from popserv.errors import MaildropInUse, StoreBroken

LOCK_NAME = "popserv.lock"

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class SessionLock:
    """A lock that is held. Each has an open file description of its own, so sessions of one process exclude each
    other, too."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next session in. May be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def take(folder: int, now: float) -> SessionLock:
    """Lock the maildrop whose directory is open as `folder`. Does not wait.

    `now` is in seconds since 1970. Raises `MaildropInUse`, `StoreBroken` if something else stands in the place of the
    lock file, or `OSError`.

    Where the file cannot be made (a full or read-only disk) the directory itself is locked. So that the two ways
    exclude each other, whoever has the file looks whether the directory is locked, and whoever has the directory
    looks whether there is a file by now.
    """
    while True:
        lock_file = _lock_file(folder)
        descriptor = (
            os.open(".", os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=folder) if lock_file is None else lock_file
        )
        try:
            _flock(descriptor, fcntl.LOCK_EX)
            if lock_file is not None:
                _flock(folder, fcntl.LOCK_SH)
                fcntl.flock(folder, fcntl.LOCK_UN)
                _write_owner(descriptor, now)
                return SessionLock(descriptor)
            if not _exists(folder):
                return SessionLock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock_file(folder: int) -> int | None:
    """A descriptor of the lock file, made if need be; None if there is none and none can be made."""
    try:
        descriptor = os.open(LOCK_NAME, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600, dir_fd=folder)
    except OSError:
        try:
            descriptor = os.open(LOCK_NAME, os.O_RDONLY | _FLAGS, dir_fd=folder)
        except FileNotFoundError:
            return None
    # Anybody who can write to the directory can put something else there; a FIFO has a lock of its own each time.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreBroken("the lock of this maildrop is not a file")
    return descriptor


def _exists(folder: int) -> bool:
    try:
        os.stat(LOCK_NAME, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _flock(descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MaildropInUse() from None


def _write_owner(descriptor: int, now: float) -> None:
    # Of one length: overwriting needs no truncation, which would cost a block to be freed and taken again.
    text = f"held by process {os.getpid()} since {strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(now))}"
    with suppress(OSError):
        os.pwrite(descriptor, text.ljust(63).encode("ascii") + b"\n", 0)
