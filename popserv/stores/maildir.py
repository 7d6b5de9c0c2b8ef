"""Maildir: one file a message, "maildir:/srv/mail/{user}".

Anything else may deliver, read and flag messages in the same Maildir at the same time; sessions of popserv exclude
each other. A Maildir that does not exist reads as empty, without a lock: such a session can neither read nor remove
anything, so it need not keep others out.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.errors import DeliveryError, StoreBroken, StoreUnavailable
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
from popserv.maildrop.findings import Report, mended
from popserv.maildrop.foreign import ForeignMail, Summary
from popserv.maildrop.hidden import read_hidden
from popserv.maildrop.holder import Holder
from popserv.maildrop.index import boot_id
from popserv.maildrop.location import place_of, template_errors
from popserv.maildrop.locks import SessionLock, take
from popserv.maildrop.maildir_adopt import adopt
from popserv.maildrop.maildir_check import MaildirCheck
from popserv.maildrop.maildir_disposal import Tidied, Undeleted, folders_with_removed, tidy, undelete
from popserv.maildrop.maildir_folder import Folder, folder_called, folder_path, opened
from popserv.maildrop.maildir_ids import identify, recognise
from popserv.maildrop.maildir_import import import_into, would_import
from popserv.maildrop.maildir_incoming import Draft, MaildirIncoming, delivery_failed, make_lasting
from popserv.maildrop.maildir_maildrop import MaildirMaildrop
from popserv.maildrop.maildir_names import NewNames
from popserv.maildrop.maildir_reader import Io, Source
from popserv.maildrop.maildir_snapshot import Snapshot
from popserv.maildrop.maildir_take import Taker
from popserv.maildrop.nowait import on_network
from popserv.maildrop.read_only import ReadOnlyMaildrop
from popserv.maildrop.retention import Retention, retention_of
from popserv.maildrop.selection import without
from popserv.maildrop.shield import shielded
from popserv.maildrop.told import Adoption, Told
from popserv.maildrop.visit import Visit
from popserv.pools import Pool

T = TypeVar("T")

Work = Callable[[bytes, Folder, Snapshot], T]
"""Takes the path of a Maildir, its directories, and what is in it."""

_PERMANENT = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
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
    always at once, even if everybody waits for the disk."""


def _in_folder(retention: Retention) -> Retention:
    """Mail that somebody has put into a folder does not expire there."""
    return attrs.evolve(retention, expire_days=0)


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
        self._place = place
        self._disk = disk
        self._clock = clock
        self._options = options
        self._path = path
        self._exclusive = exclusive
        self._taker = Taker(boot_id() if boot is None else boot, clock.seconds)
        self._networked = networked
        self._names = NewNames(hostname, clock.seconds)

    def open(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IMaildrop]:
        return self._begin_session(account, folder, read_only=False)

    def open_read_only(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IReadOnlyMaildrop]:
        return self._begin_session(account, folder, read_only=True).addCallback(ReadOnlyMaildrop)

    def folder(self, account: IAccount, name: str) -> bytes | None:  # noqa: ARG002
        return folder_called(name)

    def _begin_session(self, account: IAccount, folder: bytes, read_only: bool) -> Deferred[IMaildrop]:
        try:
            place = self._place_of(account)
            path = folder_path(place, folder)
        except StoreBroken as error:
            return fail(error)
        parent = None if path == place else place
        work = self._disk.run(self._open, account, path, parent, read_only).addCallbacks(
            partial(self._opened, account.name), partial(self._not_opened, account.name)
        )
        return shielded(work, lambda maildrop: maildrop.close())

    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        try:
            place = self._place_of(account)
            path = folder_path(place, folder)
        except StoreBroken as error:
            return fail(DeliveryError(error.text))
        parent = None if path == place else place
        work = self._disk.run(Draft, path, self._names.next(), parent, getattr(account, "owner", None))
        return shielded(work.addCallbacks(self._begun, delivery_failed), lambda incoming: incoming.abort())

    def _place_of(self, account: IAccount) -> bytes:
        path = self._path(place_of(account, self._place))
        if not path.is_absolute():
            raise StoreBroken("the location of this maildrop is no absolute path")
        return os.fsencode(path)

    def tidy(self, account: IAccount, dry: bool = False) -> Deferred[Tidied]:
        retention, now = retention_of(account), self._clock.seconds()
        inbox = partial(tidy, retention=retention, now=now, dry=dry)
        folders = partial(tidy, retention=_in_folder(retention), now=now, dry=dry)
        return self._keep(account, inbox, folders).addCallback(Tidied.sum)

    def undelete(self, account: IAccount, since: float, dry: bool = False) -> Deferred[Undeleted]:
        def work(_path: bytes, folder: Folder, _snapshot: Snapshot) -> Undeleted:
            return undelete(folder, since, dry)

        return self._keep(account, work, work).addCallback(Undeleted.sum)

    def adopt(self, account: IAccount, told: Sequence[Told], dry: bool = False) -> Deferred[Adoption]:
        def work(_path: bytes, folder: Folder, snapshot: Snapshot) -> Adoption:
            return adopt(folder, snapshot, told, dry)

        nothing = Adoption(unmatched=list(told))
        return self._keep(account, work).addCallback(lambda done: done[0] if done else nothing)

    def _keep(self, account: IAccount, in_inbox: Work[T], in_folders: Work[T] | None = None) -> Deferred[list[T]]:
        """Do this in a thread, with the session lock, in INBOX and wherever else something has been removed."""
        try:
            path = self._place_of(account)
        except StoreBroken as error:
            return fail(error)
        kept = self._disk.run(self._everywhere, account, path, in_inbox, in_folders)
        return shielded(kept.addErrback(partial(self._not_opened, account.name)))

    def _everywhere(self, account: IAccount, path: bytes, in_inbox: Work[T], in_folders: Work[T] | None) -> list[T]:
        done: list[T] = []
        with suppress(FileNotFoundError):
            done.append(self._with_lock(account, path, None, in_inbox))
            if in_folders is not None:
                done += [self._with_lock(account, folder, path, in_folders) for folder in folders_with_removed(path)]
        return done

    def _with_lock(self, account: IAccount, path: bytes, parent: bytes | None, work: Work[T]) -> T:
        with opened(path, parent) as folder:
            networked = self._networked(folder.maildir)
            self._io(networked)
            lock, snapshot, _hidden = self._enter(account, folder, read_only=False, trust=not networked)
            try:
                return work(path, folder, snapshot)
            finally:
                if lock is not None:
                    lock.release()

    def _open(self, account: IAccount, path: bytes, parent: bytes | None, read_only: bool) -> IMaildrop:
        """In a thread. Raises `PopError` and `OSError`, and holds no lock then. With `read_only` nothing is written."""
        retention = retention_of(account) if parent is None else _in_folder(retention_of(account))
        session = partial(MaildirMaildrop, retention=retention, now=self._clock.seconds)
        try:
            with opened(path, parent) as folder:
                networked = self._networked(folder.maildir)
                io = self._io(networked)
                lock, snapshot, hidden = self._enter(account, folder, read_only=read_only, trust=not networked)
        except FileNotFoundError:
            return session(Source(path, Snapshot(), self._taker, self._disk, False, "auto"), None)
        source = Source(path, snapshot, self._taker, self._disk, not read_only, io)
        maildrop = session(source, lock, note_seen=self._options.seen and not read_only)
        # An administrator who looks on sees everything.
        looks_on = read_only and not isinstance(account, Visit)
        return without(maildrop, hidden.__contains__) if hidden and not looks_on else maildrop

    def _enter(
        self, account: IAccount, folder: Folder, *, read_only: bool, trust: bool
    ) -> tuple[SessionLock | None, Snapshot, Mapping[bytes, int]]:
        """The lock, if there is to be one, what there is, and what of it is hidden. Raises as `_open` does."""
        lock = None
        if self._exclusive and not read_only:
            lock = take(folder.maildir, Holder.of(account, self._clock.seconds()))
        try:
            snapshot = self._snapshot(folder, read_only=read_only, trust=trust)
            if not read_only:
                folder.sweep(self._clock.seconds())
            hidden = read_hidden(folder.maildir)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return lock, snapshot, hidden

    def _io(self, networked: bool) -> Io:
        """How to read there. Raises `StoreBroken` if the lock cannot be relied on."""
        if not networked:
            return self._options.io
        if self._exclusive and not self._options.shared:
            self.log.error(
                "a Maildir on a network file system is refused; if flock works there between all hosts, "
                "set shared = true in [maildrop.maildir]"
            )
            raise StoreBroken()
        return "threads" if self._options.io == "auto" else self._options.io

    def _snapshot(self, folder: Folder, *, read_only: bool, trust: bool) -> Snapshot:
        ids = recognise if read_only else identify
        try:
            return self._taker.take(folder, ids, trust=trust, write=not read_only)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return self._taker.take(folder, ids, trust=trust, write=not read_only)

    def _opened(self, name: str, maildrop: IMaildrop) -> IMaildrop:
        skipped: Sequence[tuple[bytes, str]] = getattr(maildrop, "skipped", ())
        for path, reason in skipped[:_LOGGED_ENTRIES]:
            self.log.warn("account {account!a}: {path!a} is skipped: {reason}", account=name, path=path, reason=reason)
        if len(skipped) > _LOGGED_ENTRIES:
            self.log.warn("account {account!a}: {count} entries are skipped", account=name, count=len(skipped))
        return maildrop

    def _not_opened(self, name: str, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, OSError):
            self.log.error("account {account!a}: Maildir cannot be opened: {error!s}", account=name, error=error)
            raise (StoreBroken() if error.errno in _PERMANENT else StoreUnavailable()) from error
        return failure

    def check(
        self, account: IAccount, *, lock: bool, mend: bool, progress: Callable[[int, int], None]
    ) -> Deferred[Report]:
        return self._tend(account, partial(self._check, account, lock, mend, progress))

    def reindex(self, account: IAccount) -> Deferred[tuple[int, int]]:
        return self._tend(account, partial(self._reindex, account))

    def _tend(self, account: IAccount, work: Callable[[bytes], T]) -> Deferred[T]:
        """Do this in a thread with the path of the Maildir."""
        try:
            path = self._place_of(account)
        except StoreBroken as error:
            return fail(error)
        return self._disk.run(work, path).addErrback(partial(self._not_opened, account.name))

    def _check(
        self, account: IAccount, lock: bool, mend: bool, progress: Callable[[int, int], None], path: bytes
    ) -> Report:
        settled = lock and self._exclusive
        if mend and not settled:
            raise StoreBroken("sessions cannot be kept out of this maildrop, so nothing is mended")
        try:
            with self._held(account, path) if lock else opened(path) as folder:
                report = MaildirCheck(folder, path, settled, self._clock.seconds(), progress).report()
                return attrs.evolve(report, findings=mended(report.findings)) if mend else report
        except FileNotFoundError:
            return Report(0, 0, ())

    def _reindex(self, account: IAccount, path: bytes) -> tuple[int, int]:
        try:
            with self._held(account, path) as folder:
                self._taker.drop(folder, write=True)
                layout = self._snapshot(folder, read_only=False, trust=not self._networked(folder.maildir)).layout
        except FileNotFoundError:
            return 0, 0
        return layout.count, layout.total

    def take_in(
        self,
        account: IAccount,
        source: ForeignMail,
        folder: bytes = b"INBOX",
        *,
        dry_run: bool,
        progress: Callable[[int, int], None],
    ) -> Deferred[Summary]:
        return self._tend(account, partial(self._take_in, account, source, folder, dry_run, progress))

    def _take_in(
        self,
        account: IAccount,
        source: ForeignMail,
        folder: bytes,
        dry_run: bool,
        progress: Callable[[int, int], None],
        maildir: bytes,
    ) -> Summary:
        path = folder_path(maildir, folder)
        parent = None if path == maildir else maildir
        if dry_run:
            return would_import(path, parent, source)
        make_lasting(path, parent, getattr(account, "owner", None))
        with self._held(account, path, parent) as opened_folder:
            before = self._snapshot(opened_folder, read_only=False, trust=False)
            taken = {before.unique_id(index) for index in range(before.layout.count)}
            summary = import_into(opened_folder, source, taken, progress)
            self._snapshot(opened_folder, read_only=False, trust=False)
            return summary

    @contextmanager
    def _held(self, account: IAccount, path: bytes, parent: bytes | None = None) -> Iterator[Folder]:
        """The Maildir, and no session in it. Raises as `_open` does."""
        with opened(path, parent) as folder:
            self._io(self._networked(folder.maildir))
            lock = take(folder.maildir, Holder.of(account, self._clock.seconds()))
            try:
                yield folder
            finally:
                lock.release()

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
