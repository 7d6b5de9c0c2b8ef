"""What an administrator has done to mboxes: mended, read anew, brought back."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed

from popserv.errors import StoreBroken
from popserv.interfaces import IAccount
from popserv.maildrop import mbox_index
from popserv.maildrop.findings import Report, mended
from popserv.maildrop.hidden import unhide
from popserv.maildrop.maildir_disposal import Tidied, Undeleted
from popserv.maildrop.mbox_check import MboxCheck
from popserv.maildrop.mbox_control import Place
from popserv.maildrop.mbox_entrance import Entrance
from popserv.maildrop.mbox_journal import locked_mbox
from popserv.maildrop.mbox_locks import open_mbox
from popserv.pools import Pool

T = TypeVar("T")


@attrs.frozen
class Office:
    """See `IRetainingStore` and `ITended` in `popserv.interfaces`."""

    _entrance: Entrance
    _disk: Pool

    def tidy(self) -> Deferred[Tidied]:
        """An mbox has no trash, and nothing in it expires."""
        return succeed(Tidied())

    def undelete(self, account: IAccount, since: float, dry: bool) -> Deferred[Undeleted]:
        return self._tend(account, partial(self._undelete, account, since, dry))

    def check(
        self, account: IAccount, *, lock: bool, mend: bool, progress: Callable[[int, int], None]
    ) -> Deferred[Report]:
        return self._tend(account, partial(self._check, account, lock, mend, progress))

    def reindex(self, account: IAccount) -> Deferred[tuple[int, int]]:
        return self._tend(account, partial(self._reindex, account))

    def _tend(self, account: IAccount, work: Callable[[Place], T]) -> Deferred[T]:
        """Do this in a thread with the place of the mbox."""
        try:
            place = self._entrance.place_of(account)
        except StoreBroken as error:
            return fail(error)
        return self._disk.run(work, place).addErrback(partial(self._entrance.failed, account.name))

    def _undelete(self, account: IAccount, since: float, dry: bool, place: Place) -> Undeleted:
        if not os.path.lexists(place.mbox):
            return Undeleted()
        with self._entrance.held(account, place, lock=True) as control:
            return Undeleted(unhide(control, since, dry))

    def _check(
        self, account: IAccount, lock: bool, mend: bool, progress: Callable[[int, int], None], place: Place
    ) -> Report:
        entrance = self._entrance
        settled = lock and entrance.exclusive
        if mend and not settled:
            raise StoreBroken("sessions cannot be kept out of this maildrop, so nothing is mended")
        if not os.path.lexists(place.mbox):
            return Report(0, 0, ())
        with entrance.held(account, place, lock=lock) as control:
            look = MboxCheck(place, control, entrance.format, entrance.locks, settled)
            if lock:
                with entrance.locks.held(place.mbox) as locked:
                    report = look.report(locked.descriptor, progress)
            else:
                descriptor = open_mbox(place.mbox)
                try:
                    report = look.report(descriptor, progress)
                finally:
                    os.close(descriptor)
            return attrs.evolve(report, findings=mended(report.findings)) if mend else report

    def _reindex(self, account: IAccount, place: Place) -> tuple[int, int]:
        if not os.path.lexists(place.mbox):
            return 0, 0
        with self._entrance.held(account, place, lock=True) as control:
            mbox_index.drop(place.control)
            with locked_mbox(place, control, self._entrance.locks) as locked:
                descriptor, survey = self._entrance.survey(place, control, locked)
                os.close(descriptor)
        return len(survey) - survey.first, sum(survey.octets[survey.first :])
