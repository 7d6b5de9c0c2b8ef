"""mbox: all messages of an account in one file, "mbox:/var/mail/{user}".

Other programs may deliver to, read and write anew the same file at the same time, under the locks of the host's MTA,
which popserv takes for as long as it reads or writes. Beside them a lock of popserv's own keeps its sessions apart.
A file that does not exist reads as an empty maildrop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from popserv.errors import DeliveryError, StoreBroken
from popserv.interfaces import (
    IAccount,
    IBuildContext,
    IDelivery,
    IIncoming,
    IInspects,
    IMaildrop,
    IMaildropStore,
    IRetainingStore,
    IStores,
    ITended,
)
from popserv.maildrop.findings import Report
from popserv.maildrop.hidden import hide, read_hidden
from popserv.maildrop.location import template_errors
from popserv.maildrop.locks import SessionLock
from popserv.maildrop.maildir_disposal import Tidied, Undeleted
from popserv.maildrop.maildir_incoming import MaildirIncoming, delivery_failed
from popserv.maildrop.mbox_control import Place, open_control, sweep
from popserv.maildrop.mbox_entrance import Entrance
from popserv.maildrop.mbox_ids import Ids, identify
from popserv.maildrop.mbox_incoming import MboxDraft
from popserv.maildrop.mbox_inspect import missing
from popserv.maildrop.mbox_journal import locked_mbox
from popserv.maildrop.mbox_lines import Format
from popserv.maildrop.mbox_locks import HAS_FCNTL, Kind, MboxLocks
from popserv.maildrop.mbox_maildrop import MboxMaildrop
from popserv.maildrop.mbox_office import Office
from popserv.maildrop.mbox_reader import Io, Source
from popserv.maildrop.mbox_survey import Stamp, Survey
from popserv.maildrop.retention import retention_of
from popserv.maildrop.selection import without
from popserv.maildrop.shield import shielded
from popserv.nowait import on_network
from popserv.pools import Pool

_NOTHING = Stamp(0, 0, 0, 0, 0)


@attrs.frozen
class Options:
    """The table `[maildrop.mbox]`."""

    format: Format = "mboxrd"
    """How lines of a message that look like the beginning of another are told from it. mboxrd: by a ">" that is taken
    away again; mboxo: by a ">" that stays; mboxcl2: by Content-Length, to read only."""
    locks: tuple[Kind, ...] = ("fcntl", "dotlock")
    """What the other programs that use these files lock them by, in their order: "fcntl", "flock", "dotlock"."""
    lock_seconds: float = 10.0
    """How long to try to get these locks."""
    control: str = ""
    """The directory for what popserv itself keeps of an account's file, with {user} and the like in it; empty: beside
    the file, under its name with .popserv behind it. What is there is part of backups."""
    rewrite: Literal["rename", "in-place"] = "rename"
    """How messages are removed. rename: a new file takes the place of the old one, which needs its folder to be
    writable, its owner to be the service, unless that is root, and a dotlock; in-place: the file is written over."""
    shared: bool = False
    """The administrator's word that flock works between all hosts that use the control directories; without it one on
    a network file system is refused."""
    io: Io = "auto"
    """How messages are read: at once if the kernel has them in memory, else in a thread; always in a thread; or
    always at once, even if everybody waits for the disk."""


@implementer(IMaildropStore, IRetainingStore, IDelivery, ITended)
class MboxStore:
    """mboxes at `place`, a path with placeholders, unless an account has a location of its own."""

    log = Logger()
    ways = frozenset({"hide"})

    def __init__(
        self,
        place: str,
        disk: Pool,
        clock: IReactorTime,
        *,
        options: Options = Options(),
        path: Callable[[str], Path] = Path,
        exclusive: bool = True,
        networked: Callable[[int], bool] = on_network,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`path` makes a path absolute, `exclusive` says that sessions take a lock, `networked` tells of a descriptor
        whether it lies on a network file system, `sleep` waits in a thread of `disk`. `clock` gives the wall clock's
        time."""
        self._disk = disk
        self._options = options
        self._entrance = Entrance(
            place,
            path,
            options.format,
            options.control,
            options.rewrite == "in-place",
            MboxLocks(options.locks, options.lock_seconds, clock.seconds, sleep),
            exclusive,
            options.shared,
            networked,
            clock.seconds,
        )
        self._office = Office(self._entrance, disk)

    def open(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IMaildrop]:
        try:
            place = self._entrance.place_of(account, folder)
        except StoreBroken as error:
            return fail(error)
        work = self._disk.run(self._open, account, place).addCallbacks(
            partial(self._opened, account.name), partial(self._entrance.failed, account.name)
        )
        return shielded(work, lambda maildrop: maildrop.close())

    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        try:
            place = self._entrance.place_of(account, folder)
        except StoreBroken as error:
            return fail(DeliveryError(error.text))
        work = self._disk.run(MboxDraft, place, self._options.format, self._entrance.locks)
        return shielded(work.addCallbacks(self._begun, delivery_failed), lambda incoming: incoming.abort())

    def _open(self, account: IAccount, place: Place) -> IMaildrop:
        """In a thread. Raises `PopError` and `OSError`, and holds no lock then."""
        if not os.path.lexists(place.mbox):
            return self._maildrop(-1, place, Survey(_NOTHING), None, None)
        hides = partial(self._hide, place) if retention_of(account).delete == "hide" else None
        control = open_control(place)
        try:
            lock = self._entrance.lock(account, control)
            try:
                with locked_mbox(place, control, self._entrance.locks) as locked:
                    descriptor, survey = self._entrance.survey(place, control, locked)
                try:
                    sweep(control, self._entrance.now())
                    hidden = read_hidden(control)
                    ids = identify(control, survey, lock is not None)
                    maildrop = self._maildrop(descriptor, place, survey, ids, lock, hides)
                    return without(maildrop, hidden.__contains__) if hidden else maildrop
                except BaseException:
                    os.close(descriptor)
                    raise
            except BaseException:
                if lock is not None:
                    lock.release()
                raise
        except FileNotFoundError:
            return self._maildrop(-1, place, Survey(_NOTHING), None, None)
        finally:
            os.close(control)

    def _maildrop(
        self,
        descriptor: int,
        place: Place,
        survey: Survey,
        ids: Ids | None,
        lock: SessionLock | None,
        hides: Callable[[list[bytes]], int] | None = None,
    ) -> MboxMaildrop:
        source = Source(descriptor, place, survey, self._options.format, self._disk, self._options.io)
        return MboxMaildrop(source, ids or Ids(survey), self._entrance.locks, lock, hides)

    def _hide(self, place: Place, unique_ids: list[bytes]) -> int:
        try:
            control = open_control(place)
            try:
                hide(control, unique_ids, self._entrance.now())
            finally:
                os.close(control)
        except OSError as error:
            self.log.error("messages in {path!r} could not be hidden: {error!s}", path=place.mbox, error=error)
            return len(unique_ids)
        return 0

    def _opened(self, name: str, maildrop: IMaildrop) -> IMaildrop:
        for path, reason in getattr(maildrop, "skipped", ()):
            self.log.warn("account {account!a}: {path!a}: {reason}", account=name, path=path, reason=reason)
        return maildrop

    # --- what an administrator does

    def tidy(self, account: IAccount, dry: bool = False) -> Deferred[Tidied]:  # noqa: ARG002
        return self._office.tidy()

    def undelete(self, account: IAccount, since: float, dry: bool = False) -> Deferred[Undeleted]:
        return self._office.undelete(account, since, dry)

    def check(
        self, account: IAccount, *, lock: bool, mend: bool, progress: Callable[[int, int], None]
    ) -> Deferred[Report]:
        return self._office.check(account, lock=lock, mend=mend, progress=progress)

    def reindex(self, account: IAccount) -> Deferred[tuple[int, int]]:
        return self._office.reindex(account)

    def _begun(self, draft: MboxDraft) -> IIncoming:
        return MaildirIncoming(draft, self._disk, line_feeds=True)


@implementer(IStores, IInspects)
class Mboxes:
    """The plug-in; see `popserv.interfaces.IStores` and `IInspects`."""

    options = Options

    def check(self, place: str, context: IBuildContext) -> list[str]:  # noqa: ARG002
        return template_errors(place)

    def inspect(self, place: str, options: Options, context: IBuildContext) -> list[str]:
        path = "" if not place or place.startswith("{") else str(context.path(place))
        control = options.control and str(context.path(options.control))
        return list(missing(path, control, options.rewrite == "rename", "dotlock" in options.locks)) if path else []

    def build(self, place: str, options: Options, context: IBuildContext) -> MboxStore:
        wrong = template_errors(options.control) if options.control else []
        if wrong:
            raise ValueError(f"control: {wrong[0]}")
        if options.rewrite == "rename" and "dotlock" not in options.locks:
            # A program that waits for the lock of a file which is replaced then writes to nowhere.
            raise ValueError('locks: without "dotlock" mail would be lost unless rewrite = "in-place"')
        if "fcntl" in options.locks and not HAS_FCNTL:
            raise ValueError("locks: this system has no fcntl locks of open file descriptions")
        return MboxStore(
            place,
            context.disk,
            context.reactor,
            options=options,
            path=context.path,
            exclusive=context.lock != "none",
        )


plugin = Mboxes()
