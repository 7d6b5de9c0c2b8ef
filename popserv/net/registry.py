"""The connections of all listeners: who may come in, who has to leave, what they are called in the log."""

from __future__ import annotations

from collections import Counter
from itertools import count
from os import urandom
from typing import Any, Protocol, runtime_checkable

from twisted.internet.defer import Deferred

from popserv.limits import Limits
from popserv.net.addresses import group_of


class Registered(Protocol):
    """What the registry asks of a protocol instance."""

    def drain(self) -> None:
        """Finish what is under way and end."""

    def shed(self) -> None:
        """End now, saying why: others need the place."""


@runtime_checkable
class GivesWay(Protocol):
    """A connection whose session can be asked to leave its maildrop."""

    session_id: str

    def give_way(self, account: str) -> None:
        """Leave it now, if it is that of this account and nothing stands against it."""


class Registry:
    """Counts connections by address and in all, and ends the oldest that have not logged in when it gets crowded.

    One in ten places may be taken by connections that have not logged in, so that strangers cannot keep users out.
    """

    def __init__(self, limits: Limits, clock: Any) -> None:
        self.limits = limits
        self._clock = clock
        self._by_group: Counter[str] = Counter()
        self._open: dict[Registered, str] = {}
        self._waiting: dict[Registered, None] = {}  # not logged in, the oldest first
        self._refused: set[Registered] = set()  # on their way out: they take nobody's place
        self._deliveries = 0
        self._ids = count(1)
        self._start = urandom(4).hex()
        self._drained: Deferred[None] | None = None
        self.draining = False

    def __len__(self) -> int:
        return len(self._open)

    def session_id(self) -> str:
        """A name for a connection, unlike any other's, before and after a restart."""
        return f"{self._start}-{next(self._ids)}"

    def opened(self, connection: Registered, host: str = "") -> str:
        """A connection has come in: "" if it may stay, else what to tell it before it ends.

        It is known until `closed`, in either case.
        """
        group = group_of(host)
        self._open[connection] = group
        self._by_group[group] += 1
        refusal = self._refusal(connection, host, group)
        if refusal:
            self._refused.add(connection)
        return refusal

    def _refusal(self, connection: Registered, host: str, group: str) -> str:
        if self.draining:
            return "server is shutting down, try again later"
        if host and self._by_group[group] > self.limits.connections_per_address:
            return f"too many connections from your address, the limit is {self.limits.connections_per_address}"
        self._waiting[connection] = None
        strangers = max(self.limits.connections // 10, 1)
        if len(self._open) - len(self._refused) > self.limits.connections or len(self._waiting) > strangers:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            if oldest is connection:
                return "too many connections, try again later"
            oldest.shed()
        return ""

    def give_way(self, session: str, account: str) -> None:
        """Ask the connection of this id to leave the maildrop of `account`."""
        # Takeovers are rare: looking at each connection costs less than keeping them by their ids.
        for each in list(self._open):
            if isinstance(each, GivesWay) and each.session_id == session:
                each.give_way(account)

    def logged_in(self, connection: Registered) -> None:
        """This one is no stranger any more."""
        self._waiting.pop(connection, None)

    def closed(self, connection: Registered) -> None:
        """This one is gone."""
        group = self._open.pop(connection, None)
        if group is None:
            return
        self._waiting.pop(connection, None)
        self._refused.discard(connection)
        self._by_group[group] -= 1
        if not self._by_group[group]:
            del self._by_group[group]
        self._check_drained()

    def begin_delivery(self) -> bool:
        """One message more is on its way in; False if there are too many, and then it is not."""
        if self._deliveries >= self.limits.deliveries:
            return False
        self._deliveries += 1
        return True

    def end_deliveries(self, count: int) -> None:
        """So many that `begin_delivery` permitted have come to their ends."""
        self._deliveries -= count

    def drain(self) -> Deferred[None]:
        """Ask every connection to finish, and end those that have not after `Limits.drain_seconds`.

        Fires when all are gone; a connection whose maildrop is being updated is waited for.
        """
        self.draining = True
        self._drained = drained = Deferred[None]()
        timer = self._clock.callLater(self.limits.drain_seconds, self._shed_all)
        for connection in list(self._open):
            connection.drain()
        self._check_drained()

        def stop(result: None) -> None:
            if timer.active():
                timer.cancel()
            return result

        return drained.addCallback(stop)

    def _shed_all(self) -> None:
        for connection in list(self._open):
            connection.shed()

    def _check_drained(self) -> None:
        if not self._open and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)
