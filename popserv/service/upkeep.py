"""What is done for all maildrops at night: expired mail goes, and what was in the trash for too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import localtime
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from popserv.by_account import ByAccount
from popserv.errors import MaildropInUse, PopError
from popserv.interfaces import IAccount, IAccountDirectory, IAccountListing, IRetainingStore
from popserv.maildrop.maildir_disposal import Tidied
from popserv.maildrop.retention import DAY_SECONDS, Retention
from popserv.maildrop.visit import Visit

PAUSE_SECONDS = 600.0
"""Until a maildrop that was in use is tried again."""
ATTEMPTS = 6


@attrs.frozen
class Upkeep:
    """Who has mail, where it is, and how long it is kept."""

    log = Logger()

    listings: Sequence[IAccountListing]
    """Account databases that can say whom they know."""
    directory: IAccountDirectory
    store: IRetainingStore
    retentions: ByAccount[Retention]

    async def everybody(self) -> list[IAccount]:
        """Every account that a database lists, once. Raises what databases raise."""
        return await everybody(self.listings, self.directory)

    async def tidy(self, account: IAccount, dry: bool = False) -> Tidied:
        """Do it for one. Raises `PopError`, `MaildropInUse` while a session has the maildrop."""
        visit = Visit(account, retention=self.retentions.of(account))
        tidied: Tidied = await self.store.tidy(visit, dry)
        return tidied

    async def run(self, pause: Callable[[], Deferred[Any]]) -> None:
        """Do it for everybody; those whose maildrops are in use after a `pause`, some times."""
        waiting = await self.everybody()
        total = Tidied()
        for attempt in range(ATTEMPTS):
            if attempt:
                await pause()
            busy = []
            for account in waiting:
                try:
                    done = await self.tidy(account)
                except MaildropInUse:
                    busy.append(account)
                except PopError as error:
                    self.log.error("not tidied: account={name!a} reason={reason}", name=account.name, reason=error.text)
                else:
                    total = Tidied(total.expired + done.expired, total.emptied + done.emptied)
            waiting = busy
            if not waiting:
                break
        self.log.info(
            "tidied: expired={expired} emptied={emptied} in_use={in_use}",
            expired=total.expired,
            emptied=total.emptied,
            in_use=len(waiting),
        )


async def everybody(listings: Sequence[IAccountListing], directory: IAccountDirectory) -> list[IAccount]:
    """Every account that is listed, once. Raises what databases raise."""
    names: dict[bytes, None] = {}
    for listing in listings:
        names.update(dict.fromkeys(await listing.names()))
    found = [await directory.account(name) for name in names]
    return list({account.name: account for account in found if account is not None}.values())


class Nightly:
    """Runs the upkeep once a day, at a time of the local clock."""

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._upkeep: Upkeep | None = None
        self._at = (0, 0)
        self._timer: Any = None
        self._running: Deferred[None] | None = None

    def serve(self, upkeep: Upkeep | None, at: str) -> None:
        """From now on this, at that time ("HH:MM"); None = nothing. What is under way goes on."""
        self._upkeep = upkeep
        hour, _, minute = at.partition(":")
        self._at = int(hour), int(minute)
        self._schedule()

    def stop(self) -> None:
        """Break off what is under way."""
        self._upkeep = None
        self._schedule()
        if self._running is not None:
            self._running.cancel()

    def _schedule(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._upkeep is not None:
            self._timer = self._reactor.callLater(until(self._at, self._reactor.seconds()), self._begin)

    def _begin(self) -> None:
        self._schedule()
        if self._running is None and self._upkeep is not None:
            self._running = ensureDeferred(self._upkeep.run(self._pause))
            self._running.addErrback(self._failed).addBoth(self._ended)

    def _pause(self) -> Deferred[Any]:
        return deferLater(self._reactor, PAUSE_SECONDS)

    def _failed(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("nightly upkeep broken off", failure=failure)

    def _ended(self, _result: Any) -> None:
        self._running = None


def until(at: tuple[int, int], now: float) -> float:
    """Seconds from `now`, since 1970, to the next time that the local clock shows this hour and minute."""
    clock = localtime(now)
    seconds = (at[0] * 60 + at[1]) * 60 - ((clock.tm_hour * 60 + clock.tm_min) * 60 + clock.tm_sec)
    return float(seconds if seconds > 0 else seconds + DAY_SECONDS)
