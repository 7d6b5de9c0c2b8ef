"""The session lock of a maildrop that is a directory: flock on it and on ``popserv.lock`` in it.

The kernel frees it when the process ends, however it ends; so the file is never judged stale and never removed. What is
written in it is a `Holder`: for people, and for sessions that would take the maildrop over.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import ExitStack, suppress

from popserv.errors import MaildropInUse, StoreBroken, StoreUnavailable
from popserv.maildrop.files import open_owned
from popserv.maildrop.holder import Holder

LOCK_NAME = "popserv.lock"

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_READ = 4096


class SessionLock:
    """A lock that is held. Each has open file descriptions of its own, so sessions of one process exclude each
    other, too."""

    __slots__ = ("_descriptors",)

    def __init__(self, descriptors: tuple[int, ...]) -> None:
        self._descriptors = descriptors

    def release(self) -> None:
        """Let the next session in. May be called again."""
        descriptors, self._descriptors = self._descriptors, ()
        for descriptor in descriptors:
            os.close(descriptor)


def take(folder: int, holder: Holder) -> SessionLock:
    """Lock the maildrop whose directory is open as `folder` for `holder`. Does not wait.

    Raises `MaildropInUse` that says who has it, if that is known; `StoreBroken` if something else stands in the place
    of the lock file; or `OSError`.

    Both the directory and the file are locked. The directory alone does where the file cannot be made (a full or
    read-only disk), or when somebody has removed it; the file alone where directories cannot be locked (NFS).
    """
    try:
        return _take(folder, holder)
    except MaildropInUse:
        raise MaildropInUse(holder=read_holder(folder)) from None


def read_holder(folder: int) -> Holder | None:
    """Who has locked the maildrop, or had last; None if that is not known."""
    try:
        descriptor = os.open(LOCK_NAME, os.O_RDONLY | _FLAGS, dir_fd=folder)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return Holder.parse(os.pread(descriptor, _MOST_READ, 0))
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _take(folder: int, holder: Holder) -> SessionLock:
    with ExitStack() as held:
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=folder)
        held.callback(os.close, directory)
        certain = _flock_directory(directory)
        lock_file = _locked_file(folder, held)
        if lock_file is None:
            if not certain:
                raise StoreUnavailable()
            held.pop_all()
            return SessionLock((directory,))
        # Who finds no room on the disk, or may not write, has the lock nevertheless.
        with suppress(OSError):
            os.pwrite(lock_file, holder.line(), 0)
        held.pop_all()
        return SessionLock((directory, lock_file))


def _flock_directory(directory: int) -> bool:
    """Whether the directory is locked; False where that cannot be done. Raises `MaildropInUse`."""
    try:
        _flock(directory)
    except OSError:
        return False
    return True


def _locked_file(folder: int, held: ExitStack) -> int | None:
    """The lock file, locked; None if there is none and none can be made."""
    while True:
        descriptor = _lock_file(folder)
        if descriptor is None:
            return None
        with ExitStack() as opened:
            opened.callback(os.close, descriptor)
            _flock(descriptor)
            if _is_named(descriptor, folder):
                held.push(opened.pop_all())
                return descriptor


def _lock_file(folder: int) -> int | None:
    """A descriptor of the lock file, made if need be; None if there is none and none can be made."""
    try:
        descriptor = open_owned(LOCK_NAME, os.O_RDWR | _FLAGS, folder)
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


def _is_named(descriptor: int, folder: int) -> bool:
    """Whether this is the lock file still, and not one that somebody has removed meanwhile."""
    try:
        named = os.stat(LOCK_NAME, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def _flock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MaildropInUse() from None
