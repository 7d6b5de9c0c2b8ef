"""Doubles for tests of servers and of what is plugged into them: no socket, no reactor, no waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.auth.realm import MaildropRealm
from popserv.interfaces import ISessionObserver
from popserv.stores.memory import MemoryStore
from popserv.testing.accounts import MemoryAccounts


def memory_portal(passwords: Mapping[str, bytes], messages: Mapping[str, Sequence[bytes]] | None = None) -> Portal:
    """A portal whose accounts and mail are in memory: passwords and stored messages by account name."""
    accounts = MemoryAccounts(passwords)
    return Portal(MaildropRealm(accounts, MemoryStore(messages)), [accounts])


@implementer(ISessionObserver)
class RecordingObserver:
    """Keeps what it is told, as (name, facts)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, **facts: Any) -> None:
        self.events.append((name, facts))

    def named(self, name: str) -> list[dict[str, Any]]:
        """The facts of all events of this name."""
        return [facts for each, facts in self.events if each == name]


@attrs.frozen
class Wire:
    """One connection in memory to a server, from the client's side. It has been made already."""

    server: Any
    """The server's protocol."""
    transport: Any
    """A `StringTransport`."""

    @classmethod
    def to(cls, factory: IProtocolFactory, host: str = "192.0.2.1") -> Wire:
        """Connect from this address."""
        address = IPv4Address("TCP", host, 50110)
        transport = StringTransport(peerAddress=address)  # type: ignore[no-untyped-call]
        server = factory.buildProtocol(address)
        assert server is not None
        server.makeConnection(transport)
        return cls(server, transport)

    def say(self, octets: bytes = b"") -> bytes:
        """Send these octets at once; what has come back since the last time."""
        if octets:
            self.server.dataReceived(octets)
        said: bytes = self.transport.value()
        self.transport.clear()
        return said

    def close_sending(self) -> None:
        """Close the client's half."""
        self.server.readConnectionLost()

    def lose(self) -> None:
        """Cut the connection."""
        self.server.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]

    @property
    def over(self) -> bool:
        """Whether the server has ended the connection, in order or not."""
        return bool(self.transport.disconnecting or self.transport.disconnected)


def let_pass(clock: Clock, seconds: int) -> None:
    """Let time pass, second by second, as timers see it."""
    for _ in range(seconds):
        clock.advance(1)
