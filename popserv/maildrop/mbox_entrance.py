"""Into an mbox: where it is, its session lock, and what is in it. Everything here blocks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from popserv.errors import StoreBroken, StoreUnavailable
from popserv.interfaces import IAccount
from popserv.maildrop import mbox_index
from popserv.maildrop.holder import Holder
from popserv.maildrop.location import expand, place_of
from popserv.maildrop.locks import SessionLock, take
from popserv.maildrop.mbox_control import Place, open_control
from popserv.maildrop.mbox_lines import Format
from popserv.maildrop.mbox_locks import Locked, MboxLocks, open_mbox
from popserv.maildrop.mbox_survey import Survey, survey_of

log = Logger()

_PERMANENT = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@attrs.frozen
class Entrance:
    """The way into the mboxes of one store."""

    place: str
    """A path with placeholders, for accounts without a location of their own."""
    path: Callable[[str], Path]
    """Makes a path absolute."""
    format: Format
    control: str
    """The directory for what is kept of a file, with placeholders; "" = beside the file."""
    in_place: bool
    """Files are written over, not replaced."""
    locks: MboxLocks
    """Those of the host's MTA."""
    exclusive: bool
    """Sessions take a lock."""
    shared: bool
    """flock works between all hosts that use the control directories."""
    networked: Callable[[int], bool]
    """Tells of a descriptor whether it lies on a network file system."""
    now: Callable[[], float]
    """Seconds since 1970."""

    def place_of(self, account: IAccount, folder: bytes = b"INBOX") -> Place:
        """Where the account's mbox is, and what is kept of it. Raises `StoreBroken`."""
        if folder != b"INBOX":
            raise StoreBroken("this store has no other folder than INBOX")
        mbox = self.path(place_of(account, self.place))
        if not mbox.is_absolute():
            raise StoreBroken("the location of this maildrop is no absolute path")
        control = self.path(expand(self.control, account)) if self.control else f"{mbox}.popserv"
        return Place(os.fsencode(mbox), os.fsencode(control), self.in_place)

    def lock(self, account: IAccount, control: int) -> SessionLock | None:
        """The session lock in this control directory; None if there is to be none. Raises `PopError` and `OSError`."""
        if not self.exclusive:
            return None
        if self.networked(control) and not self.shared:
            log.error(
                "a control directory on a network file system is refused; if flock works there between all hosts, "
                "set shared = true in [maildrop.mbox]"
            )
            raise StoreBroken()
        return take(control, Holder.of(account, self.now()))

    def survey(self, place: Place, control: int, locked: Locked) -> tuple[int, Survey]:
        """A descriptor of the mbox, which is the caller's, and what is in it. Raises `PopError` and `OSError`."""
        known = mbox_index.load(control, self.format)
        stamp = None if known is None else known.stamp
        survey = survey_of(locked.descriptor, self.format, known)
        if survey.stamp != stamp:
            mbox_index.save(control, self.format, survey, self.now())
        # The lock goes with its descriptor, so the session gets one of its own.
        descriptor = open_mbox(place.mbox)
        if not os.path.samestat(os.fstat(descriptor), os.fstat(locked.descriptor)):
            os.close(descriptor)
            raise StoreUnavailable()
        return descriptor, survey

    @contextmanager
    def held(self, account: IAccount, place: Place, *, lock: bool) -> Iterator[int]:
        """The control directory; with `lock` there is no session. Raises `PopError` and `OSError`."""
        control = open_control(place)
        try:
            held = take(control, Holder.of(account, self.now())) if lock else None
            try:
                yield control
            finally:
                if held is not None:
                    held.release()
        finally:
            os.close(control)

    def failed(self, name: str, failure: Failure) -> Failure:
        """An errback: what is told of an `OSError`, which is logged."""
        error = failure.value
        if isinstance(error, OSError):
            log.error("account {account!a}: mbox cannot be opened: {error!s}", account=name, error=error)
            raise (StoreBroken() if error.errno in _PERMANENT else StoreUnavailable()) from error
        return failure
