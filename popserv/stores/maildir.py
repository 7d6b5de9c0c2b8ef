"""Maildir: one file a message, "maildir:/srv/mail/{user}".

Anything else may deliver, read and flag messages in the same Maildir at the same time; sessions of popserv exclude
each other. A Maildir that does not exist reads as empty, without a lock: such a session can neither read nor remove
anything, so it need not keep others out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import attrs
from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.errors import DeliveryError, StoreBroken
from popserv.interfaces import (
    IAccount,
    IAdoptingStore,
    IBuildContext,
    IDatedStore,
    IDelivery,
    IHasFolders,
    IImports,
    IIncoming,
    IMaildrop,
    IMaildropStore,
    IReadOnlyMaildrop,
    IReadOnlyStore,
    IRetainingStore,
    IStores,
    ITended,
)
from popserv.maildrop.findings import Report
from popserv.maildrop.foreign import ForeignMail, Summary
from popserv.maildrop.index import boot_id
from popserv.maildrop.location import template_errors
from popserv.maildrop.maildir_at_hand import AtHand
from popserv.maildrop.maildir_disposal import Tidied, Undeleted
from popserv.maildrop.maildir_entrance import Entrance
from popserv.maildrop.maildir_folder import folder_called, folder_path, opened
from popserv.maildrop.maildir_incoming import Draft, MaildirIncoming, delivery_failed
from popserv.maildrop.maildir_maildrop import MaildirMaildrop
from popserv.maildrop.maildir_names import NewNames
from popserv.maildrop.maildir_office import Office, in_folder
from popserv.maildrop.maildir_reader import Io, Source
from popserv.maildrop.maildir_snapshot import Snapshot
from popserv.maildrop.maildir_take import Taker
from popserv.maildrop.read_only import ReadOnlyMaildrop
from popserv.maildrop.retention import retention_of
from popserv.maildrop.selection import without
from popserv.maildrop.shield import shielded
from popserv.maildrop.told import Adoption, Told
from popserv.maildrop.visit import Visit
from popserv.nowait import NotAtHand, on_network
from popserv.pools import Pool

_LOGGED_ENTRIES = 5


@attrs.frozen
class Options:
    """The table `[maildrop.maildir]`."""

    line_ends: Literal["crlf", "lf"] = "crlf"
    """How delivered mail is stored: as it comes, or with LF line ends as local programs like it."""
    shared: bool = False
    """The administrator's word that flock works between all hosts that use these Maildirs; without it a Maildir on a
    network file system is refused."""
    seen: bool = False
    """Messages that RETR has sent get the Maildir flag S when the session ends, and move from new to cur."""
    io: Io = "auto"
    """How messages are read: at once if the kernel has them in memory, else in a thread; always in a thread; or
    always at once, even if everybody waits for the disk. With "auto" a small Maildir is opened so, too."""


@implementer(
    IMaildropStore,
    IReadOnlyStore,
    IDatedStore,
    IHasFolders,
    IRetainingStore,
    IAdoptingStore,
    IDelivery,
    ITended,
    IImports,
)
class MaildirStore:
    """Maildirs at `place`, a path with placeholders, unless an account has a location of its own."""

    log = Logger()
    ways = frozenset({"trash", "hide", "expire"})

    def __init__(
        self,
        place: str,
        disk: Pool,
        clock: IReactorTime,
        *,
        options: Options = Options(),
        hostname: str = "localhost",
        path: Callable[[str], Path] = Path,
        exclusive: bool = True,
        networked: Callable[[int], bool] = on_network,
        boot: bytes | None = None,
    ) -> None:
        """`path` makes a path absolute, `exclusive` says that sessions take a lock, `networked` tells of a descriptor
        whether it lies on a network file system, `boot` says which start of the system this is. `clock` gives the
        wall clock's time."""
        self._disk = disk
        self._clock = clock
        self._options = options
        self._taker = Taker(boot_id() if boot is None else boot, clock.seconds)
        self._names = NewNames(hostname, clock.seconds)
        self._entrance = Entrance(
            place, path, self._taker, exclusive, options.shared, options.io, networked, clock.seconds
        )
        self._at_hand = AtHand()
        self._office = Office(self._entrance, disk)

    def open(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IMaildrop]:
        return self._begin_session(account, folder, read_only=False)

    def open_read_only(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IReadOnlyMaildrop]:
        return self._begin_session(account, folder, read_only=True).addCallback(ReadOnlyMaildrop)

    def folder(self, account: IAccount, name: str) -> bytes | None:  # noqa: ARG002
        return folder_called(name)

    def _begin_session(self, account: IAccount, folder: bytes, read_only: bool) -> Deferred[IMaildrop]:
        try:
            place = self._entrance.place_of(account)
            path = folder_path(place, folder)
        except StoreBroken as error:
            return fail(error)
        parent = None if path == place else place
        work = self._entered(partial(self._open, account, path, parent, read_only), path, read_only).addCallbacks(
            partial(self._opened, account.name), partial(self._entrance.failed, account.name)
        )
        return shielded(work, lambda maildrop: maildrop.close())

    def _entered(self, enter: Callable[[bool], IMaildrop], path: bytes, read_only: bool) -> Deferred[IMaildrop]:
        """What `enter` gives: at once where that takes a moment, else from a thread."""

        def in_thread(failure: Failure) -> Deferred[IMaildrop]:
            failure.trap(NotAtHand)  # type: ignore[no-untyped-call]
            return self._disk.run(enter, False)

        if self._options.io == "auto" and not read_only and self._at_hand.has(path):
            return execute(enter, True).addErrback(in_thread)
        return self._disk.run(enter, False)

    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        try:
            place = self._entrance.place_of(account)
            path = folder_path(place, folder)
        except StoreBroken as error:
            return fail(DeliveryError(error.text))
        parent = None if path == place else place
        work = self._disk.run(Draft, path, self._names.next(), parent, getattr(account, "owner", None))
        return shielded(work.addCallbacks(self._begun, delivery_failed), lambda incoming: incoming.abort())

    def _open(self, account: IAccount, path: bytes, parent: bytes | None, read_only: bool, known: bool) -> IMaildrop:
        """Blocks, with `known` for a moment at most. With `read_only` nothing is written.

        Raises `PopError` and `OSError`, with `known` `NotAtHand`, too, and holds no lock then.
        """
        retention = retention_of(account) if parent is None else in_folder(retention_of(account))
        session = partial(MaildirMaildrop, retention=retention, now=self._clock.seconds)
        try:
            with opened(path, parent) as folder:
                networked = self._entrance.networked(folder.maildir)
                io = self._entrance.reading(networked)
                if not networked:
                    self._at_hand.found_local(folder.device)
                elif known:
                    raise NotAtHand
                lock, snapshot, hidden = self._entrance.enter(
                    account, folder, read_only=read_only, trust=not networked, known=known
                )
        except FileNotFoundError:
            return session(Source(path, Snapshot(), self._taker, self._disk, False, "auto"), None)
        source = Source(path, snapshot, self._taker, self._disk, not read_only, io)
        maildrop = session(source, lock, note_seen=self._options.seen and not read_only)
        # An administrator who looks on sees everything.
        looks_on = read_only and not isinstance(account, Visit)
        return without(maildrop, hidden.__contains__) if hidden and not looks_on else maildrop

    def _opened(self, name: str, maildrop: IMaildrop) -> IMaildrop:
        skipped: Sequence[tuple[bytes, str]] = getattr(maildrop, "skipped", ())
        for path, reason in skipped[:_LOGGED_ENTRIES]:
            self.log.warn("account {account!a}: {path!a} is skipped: {reason}", account=name, path=path, reason=reason)
        if len(skipped) > _LOGGED_ENTRIES:
            self.log.warn("account {account!a}: {count} entries are skipped", account=name, count=len(skipped))
        return maildrop

    # --- what an administrator does

    def tidy(self, account: IAccount, dry: bool = False) -> Deferred[Tidied]:
        return self._office.tidy(account, dry)

    def undelete(self, account: IAccount, since: float, dry: bool = False) -> Deferred[Undeleted]:
        return self._office.undelete(account, since, dry)

    def adopt(self, account: IAccount, told: Sequence[Told], dry: bool = False) -> Deferred[Adoption]:
        return self._office.adopt(account, told, dry)

    def check(
        self, account: IAccount, *, lock: bool, mend: bool, progress: Callable[[int, int], None]
    ) -> Deferred[Report]:
        return self._office.check(account, lock=lock, mend=mend, progress=progress)

    def reindex(self, account: IAccount) -> Deferred[tuple[int, int]]:
        return self._office.reindex(account)

    def take_in(
        self,
        account: IAccount,
        source: ForeignMail,
        folder: bytes = b"INBOX",
        *,
        dry_run: bool,
        progress: Callable[[int, int], None],
    ) -> Deferred[Summary]:
        return self._office.take_in(account, source, folder, dry_run=dry_run, progress=progress)

    def _begun(self, draft: Draft) -> IIncoming:
        return MaildirIncoming(draft, self._disk, self._options.line_ends == "lf")


@implementer(IStores)
class Maildirs:
    """The plug-in; see `popserv.interfaces.IStores`."""

    options = Options

    def check(self, place: str, context: IBuildContext) -> list[str]:  # noqa: ARG002
        return template_errors(place)

    def build(self, place: str, options: Options, context: IBuildContext) -> MaildirStore:
        return MaildirStore(
            place,
            context.disk,
            context.reactor,
            options=options,
            hostname=context.hostname,
            path=context.path,
            exclusive=context.lock != "none",
        )


plugin = Maildirs()
