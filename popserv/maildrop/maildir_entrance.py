"""Into a Maildir: where it is, whether it may be relied on, its lock, and what is in it. Everything here blocks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from popserv.errors import StoreBroken, StoreUnavailable
from popserv.interfaces import IAccount
from popserv.maildrop.hidden import read_hidden
from popserv.maildrop.holder import Holder
from popserv.maildrop.location import place_of
from popserv.maildrop.locks import SessionLock, take
from popserv.maildrop.maildir_folder import Folder, opened
from popserv.maildrop.maildir_ids import identify, recognise
from popserv.maildrop.maildir_reader import Io
from popserv.maildrop.maildir_snapshot import Snapshot
from popserv.maildrop.maildir_take import Taker

log = Logger()

_PERMANENT = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@attrs.frozen
class Entrance:
    """The way into the Maildirs of one store."""

    place: str
    """A path with placeholders, for accounts without a location of their own."""
    path: Callable[[str], Path]
    """Makes a path absolute."""
    taker: Taker
    exclusive: bool
    """Sessions take a lock."""
    shared: bool
    """flock works between all hosts that use these Maildirs."""
    io: Io
    networked: Callable[[int], bool]
    """Tells of a descriptor whether it lies on a network file system."""
    now: Callable[[], float]
    """Seconds since 1970."""

    def place_of(self, account: IAccount) -> bytes:
        """The path of the account's Maildir. Raises `StoreBroken`."""
        path = self.path(place_of(account, self.place))
        if not path.is_absolute():
            raise StoreBroken("the location of this maildrop is no absolute path")
        return os.fsencode(path)

    def enter(
        self, account: IAccount, folder: Folder, *, read_only: bool, trust: bool, known: bool = False
    ) -> tuple[SessionLock | None, Snapshot, Mapping[bytes, int]]:
        """The lock, if there is to be one, what there is, and what of it is hidden.

        With `known` only what takes a moment is done. Raises `PopError` and `OSError`, and then `NotAtHand`, too; and
        holds no lock then.
        """
        lock = None
        if self.exclusive and not read_only:
            lock = take(folder.maildir, Holder.of(account, self.now()))
        try:
            if known:
                snapshot = self.taker.take_known(folder)
            else:
                snapshot = self.snapshot(folder, read_only=read_only, trust=trust)
                if not read_only:
                    folder.sweep(self.now())
            hidden = read_hidden(folder.maildir)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return lock, snapshot, hidden

    def snapshot(self, folder: Folder, *, read_only: bool, trust: bool) -> Snapshot:
        """What is in it. Raises `OSError`."""
        ids = recognise if read_only else identify
        try:
            return self.taker.take(folder, ids, trust=trust, write=not read_only)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return self.taker.take(folder, ids, trust=trust, write=not read_only)

    def reading(self, networked: bool) -> Io:
        """How to read there. Raises `StoreBroken` if the lock cannot be relied on."""
        if not networked:
            return self.io
        if self.exclusive and not self.shared:
            log.error(
                "a Maildir on a network file system is refused; if flock works there between all hosts, "
                "set shared = true in [maildrop.maildir]"
            )
            raise StoreBroken()
        return "threads" if self.io == "auto" else self.io

    @contextmanager
    def held(self, account: IAccount, path: bytes, parent: bytes | None = None) -> Iterator[Folder]:
        """The Maildir, and no session in it. Raises `PopError` and `OSError`."""
        with opened(path, parent) as folder:
            self.reading(self.networked(folder.maildir))
            lock = take(folder.maildir, Holder.of(account, self.now()))
            try:
                yield folder
            finally:
                lock.release()

    def failed(self, name: str, failure: Failure) -> Failure:
        """An errback: what is told of an `OSError`, which is logged."""
        error = failure.value
        if isinstance(error, OSError):
            log.error("account {account!a}: Maildir cannot be opened: {error!s}", account=name, error=error)
            raise (StoreBroken() if error.errno in _PERMANENT else StoreUnavailable()) from error
        return failure
