"""What an administrator has done to Maildirs: tidied, mended, brought back, imported, given other unique-ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, fail

from popserv.errors import StoreBroken
from popserv.interfaces import IAccount
from popserv.maildrop.findings import Report, mended
from popserv.maildrop.foreign import ForeignMail, Summary
from popserv.maildrop.maildir_adopt import adopt
from popserv.maildrop.maildir_check import MaildirCheck
from popserv.maildrop.maildir_disposal import Tidied, Undeleted, folders_with_removed, tidy, undelete
from popserv.maildrop.maildir_entrance import Entrance
from popserv.maildrop.maildir_folder import Folder, folder_path, opened
from popserv.maildrop.maildir_import import import_into, would_import
from popserv.maildrop.maildir_incoming import make_lasting
from popserv.maildrop.maildir_snapshot import Snapshot
from popserv.maildrop.retention import Retention, retention_of
from popserv.maildrop.shield import shielded
from popserv.maildrop.told import Adoption, Told
from popserv.pools import Pool

T = TypeVar("T")

Work = Callable[[bytes, Folder, Snapshot], T]
"""Takes the path of a Maildir, its directories, and what is in it."""


def in_folder(retention: Retention) -> Retention:
    """Mail that somebody has put into a folder does not expire there."""
    return attrs.evolve(retention, expire_days=0)


@attrs.frozen
class Office:
    """See `IRetainingStore`, `IAdoptingStore`, `ITended` and `IImports` in `popserv.interfaces`."""

    _entrance: Entrance
    _disk: Pool

    def tidy(self, account: IAccount, dry: bool = False) -> Deferred[Tidied]:
        retention, now = retention_of(account), self._entrance.now()
        inbox = partial(tidy, retention=retention, now=now, dry=dry)
        folders = partial(tidy, retention=in_folder(retention), now=now, dry=dry)
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
            path = self._entrance.place_of(account)
        except StoreBroken as error:
            return fail(error)
        kept = self._disk.run(self._everywhere, account, path, in_inbox, in_folders)
        return shielded(kept.addErrback(partial(self._entrance.failed, account.name)))

    def _everywhere(self, account: IAccount, path: bytes, in_inbox: Work[T], in_folders: Work[T] | None) -> list[T]:
        done: list[T] = []
        with suppress(FileNotFoundError):
            done.append(self._with_lock(account, path, None, in_inbox))
            if in_folders is not None:
                done += [self._with_lock(account, folder, path, in_folders) for folder in folders_with_removed(path)]
        return done

    def _with_lock(self, account: IAccount, path: bytes, parent: bytes | None, work: Work[T]) -> T:
        with opened(path, parent) as folder:
            networked = self._entrance.networked(folder.maildir)
            self._entrance.reading(networked)
            lock, snapshot, _hidden = self._entrance.enter(account, folder, read_only=False, trust=not networked)
            try:
                return work(path, folder, snapshot)
            finally:
                if lock is not None:
                    lock.release()

    def check(
        self, account: IAccount, *, lock: bool, mend: bool, progress: Callable[[int, int], None]
    ) -> Deferred[Report]:
        return self._tend(account, partial(self._check, account, lock, mend, progress))

    def reindex(self, account: IAccount) -> Deferred[tuple[int, int]]:
        return self._tend(account, partial(self._reindex, account))

    def _tend(self, account: IAccount, work: Callable[[bytes], T]) -> Deferred[T]:
        """Do this in a thread with the path of the Maildir."""
        try:
            path = self._entrance.place_of(account)
        except StoreBroken as error:
            return fail(error)
        return self._disk.run(work, path).addErrback(partial(self._entrance.failed, account.name))

    def _check(
        self, account: IAccount, lock: bool, mend: bool, progress: Callable[[int, int], None], path: bytes
    ) -> Report:
        settled = lock and self._entrance.exclusive
        if mend and not settled:
            raise StoreBroken("sessions cannot be kept out of this maildrop, so nothing is mended")
        try:
            with self._entrance.held(account, path) if lock else opened(path) as folder:
                report = MaildirCheck(folder, path, settled, self._entrance.now(), progress).report()
                return attrs.evolve(report, findings=mended(report.findings)) if mend else report
        except FileNotFoundError:
            return Report(0, 0, ())

    def _reindex(self, account: IAccount, path: bytes) -> tuple[int, int]:
        try:
            with self._entrance.held(account, path) as folder:
                self._entrance.taker.drop(folder, write=True)
                layout = self._entrance.snapshot(
                    folder, read_only=False, trust=not self._entrance.networked(folder.maildir)
                ).layout
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
        with self._entrance.held(account, path, parent) as opened_folder:
            before = self._entrance.snapshot(opened_folder, read_only=False, trust=False)
            taken = {before.unique_id(index) for index in range(before.layout.count)}
            summary = import_into(opened_folder, source, taken, progress)
            self._entrance.snapshot(opened_folder, read_only=False, trust=False)
            return summary
