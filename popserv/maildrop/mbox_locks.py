"""The locks that programs which share an mbox take for as long as they read or write it.

They are those of the host's MTA, in its order (Debian: fcntl, then a dotlock), and none of them is waited for while
another is held. fcntl locks are those of open file descriptions: the older kind excludes no thread of this process, and
is lost when any descriptor of the file is closed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Literal

import attrs
from twisted.logger import Logger

from popserv.errors import StoreBroken, StoreUnavailable

Kind = Literal["fcntl", "flock", "dotlock"]

STALE_SECONDS = 300.0
"""A dotlock that nobody has touched for so long is left over: what MTAs of Debian agree on (liblockfile)."""

PAUSE_SECONDS = 0.05
"""Between two attempts."""

HAS_FCNTL = hasattr(fcntl, "F_OFD_SETLK")

_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
_FLOCK = struct.Struct("@hhqqi0q")
_BLOCK = 512
_HOLLOW_OCTETS = 16 * 1024 * 1024
_HOLLOW_SHARE = 64
_OURS = b" popserv\n"

log = Logger()


class _Held(Exception):
    """Somebody else has one of the locks."""


def open_mbox(path: bytes, flags: int = os.O_RDONLY) -> int:
    """A descriptor of the mbox. Raises `StoreBroken` for what is no mbox of one account, and `OSError`.

    A symbolic link, or a second name of the file, would let the owner of one account give out the mail of another.
    """
    try:
        descriptor = os.open(path, flags | _OPEN)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StoreBroken() from error
        raise
    reason = _reason_against(os.fstat(descriptor))
    if reason:
        os.close(descriptor)
        log.error("{path!r} is no mbox: {reason}", path=path, reason=reason)
        raise StoreBroken()
    return descriptor


def _reason_against(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_nlink > 1:
        return "it has another name"
    if status.st_size > _HOLLOW_OCTETS and status.st_blocks * _BLOCK < status.st_size // _HOLLOW_SHARE:
        # Its owner makes one of terabytes in no time, and reading it would take hours.
        return "it is hollow"
    return ""


class Locked:
    """An mbox that nobody else reads or writes."""

    __slots__ = ("_dotlock", "descriptor", "writable")

    def __init__(self, descriptor: int, writable: bool) -> None:
        self.descriptor = descriptor
        self.writable = writable
        self._dotlock = -1

    def refresh(self) -> None:
        """Say that the lock is still wanted; to be called now and then where much is written."""
        if self._dotlock >= 0:
            with suppress(OSError):
                os.utime(self._dotlock)

    def guard(self, dotlock: int) -> None:
        self._dotlock = dotlock


@attrs.frozen
class MboxLocks:
    """How to lock mboxes here."""

    kinds: tuple[Kind, ...]
    seconds: float
    """How long to try."""
    now: Callable[[], float]
    """Seconds since 1970."""
    sleep: Callable[[float], None]

    @contextmanager
    def held(self, path: bytes) -> Iterator[Locked]:
        """Lock the mbox at `path`. Blocks.

        Raises `FileNotFoundError` if there is none, `StoreUnavailable` if others keep it locked, `StoreBroken` and
        `OSError`.
        """
        for attempt in range(int(self.seconds / PAUSE_SECONDS) + 1):
            if attempt:
                self.sleep(PAUSE_SECONDS)
            with ExitStack() as stack:
                try:
                    locked = self._take(path, stack)
                except _Held:
                    continue
                yield locked
                return
        log.warn("{path!r} is locked by another program", path=path)
        raise StoreUnavailable()

    def _take(self, path: bytes, stack: ExitStack) -> Locked:
        try:
            descriptor, writable = open_mbox(path, os.O_RDWR), True
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                raise
            descriptor, writable = open_mbox(path), False
        stack.callback(os.close, descriptor)
        locked = Locked(descriptor, writable)
        for kind in self.kinds:
            if kind == "dotlock":
                self._dotlock(path + b".lock", locked, stack)
            else:
                _lock_descriptor(kind, locked)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor)):
                return locked
        # Another program has put a file that it has written anew in the place of this one.
        raise _Held

    def _dotlock(self, name: bytes, locked: Locked, stack: ExitStack) -> None:
        try:
            descriptor = _make(name)
        except FileExistsError:
            _break_stale(name, self.now())
            raise _Held from None
        except OSError as error:
            if error.errno in _FULL and len(self.kinds) > 1:
                return  # nobody else can make one either, and mail can still be read
            log.error("the lock {name!r} cannot be made: {error!s}", name=name, error=error)
            raise
        stack.callback(_remove, name, descriptor)
        locked.guard(descriptor)


def _make(name: bytes) -> int:
    """Make a dotlock, which at no time is there without what is in it. Raises `OSError`."""
    try:
        descriptor = os.open(os.path.dirname(name), os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, 0o644)
        _sign(descriptor)
        return descriptor
    try:
        _sign(descriptor)
        # With a directory given, even one that is not looked at, the symbolic link is followed.
        os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=descriptor, follow_symlinks=True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _sign(descriptor: int) -> None:
    # Whether it is left over the kernel tells, by this lock on it; the process id is for other programs.
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with suppress(OSError):
        os.write(descriptor, b"%d" % os.getpid() + _OURS)


def _lock_descriptor(kind: Kind, locked: Locked) -> None:
    try:
        if kind == "flock":
            fcntl.flock(locked.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            how = fcntl.F_WRLCK if locked.writable else fcntl.F_RDLCK
            fcntl.fcntl(locked.descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(how, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        raise _Held from None


def _break_stale(name: bytes, now: float) -> None:
    """Remove a dotlock that is left over; of several who want to, one does."""
    with suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY | _OPEN)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(descriptor)
            ours = os.pread(descriptor, 64, 0).endswith(_OURS)
            same = os.path.samestat(status, os.stat(name, follow_symlinks=False))
            if same and (ours or now - status.st_mtime > STALE_SECONDS):
                log.warn("the lock {name!r} was left over and is removed", name=name)
                os.unlink(name)
        finally:
            os.close(descriptor)


def _remove(name: bytes, descriptor: int) -> None:
    """Remove our dotlock, unless it is somebody else's by now."""
    with suppress(OSError):
        if os.path.samestat(os.fstat(descriptor), os.stat(name, follow_symlinks=False)):
            os.unlink(name)
    os.close(descriptor)
