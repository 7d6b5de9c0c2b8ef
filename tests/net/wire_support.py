"""A POP3 server on a transport in memory, with the clock in the test's hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from popserv.auth.login import LoginService
from popserv.auth.realm import MaildropRealm
from popserv.auth.throttle import Throttle
from popserv.errors import PopError
from popserv.interfaces import IMaildrop, IMessage, IMessageReader, ISessionObserver
from popserv.limits import Limits
from popserv.net.addresses import cleartext_policy
from popserv.net.listener import Listener
from popserv.net.registry import Registry
from popserv.protocols.pop3 import ListenerFactory
from popserv.sasl.plain import plugin as plain
from popserv.stores.memory import MemoryStore
from popserv.testing.accounts import MemoryAccounts

MESSAGES = (b"Subject: one\n\nbody\n.dot\n", b"", b"Subject: three\r\n\r\nlast")
LOGIN = b"USER fred\r\nPASS secret\r\n"


@implementer(ISessionObserver)
class Events:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, **facts: Any) -> None:
        self.seen.append((name, facts))

    @property
    def closed(self) -> list[dict[str, Any]]:
        return [facts for name, facts in self.seen if name == "closed"]


def make_listener(
    clock: Any,
    store: Any = None,
    accounts: Any = None,
    limits: Limits | None = None,
    *,
    delay: float = 0.0,
    **more: Any,
) -> Listener:
    """A listener with an account fred, password secret, and passwords in the clear."""
    limits = limits or Limits()
    accounts = accounts or MemoryAccounts({"fred": b"secret", "ann": b"other"})
    portal = Portal(MaildropRealm(accounts, store or MemoryStore({"fred": MESSAGES})), [accounts])
    observer = Events()
    options: dict[str, Any] = {"cleartext": cleartext_policy("always"), "mechanisms": (plain,), **more}
    throttle = Throttle(clock, delay)
    return Listener(
        reactor=clock,
        hostname="mail.example.org",
        limits=limits,
        observer=observer,
        registry=options.pop("registry", None) or Registry(limits, clock),
        login=LoginService(portal, clock=clock, throttle=throttle, observer=observer),
        **options,
    )


@attrs.define
class Wire:
    """One connection to a server, from the client's side."""

    server: Any
    transport: StringTransport

    def say(self, octets: bytes = b"") -> bytes:
        """Send; what has come back since the last time."""
        if octets:
            self.server.dataReceived(octets)
        said = self.transport.value()
        self.transport.clear()
        return said

    @property
    def over(self) -> bool:
        return self.transport.disconnecting or self.transport.disconnected


def connect(factory: ListenerFactory, host: str = "192.0.2.1") -> Wire:
    transport = StringTransport(peerAddress=IPv4Address("TCP", host, 4321))
    server = factory.buildProtocol(None)
    server.makeConnection(transport)
    return Wire(server, transport)


def talk(clock: Clock | None = None, **more: Any) -> tuple[Wire, Clock, Listener]:
    """A new connection, greeted."""
    clock = clock or Clock()
    listener = make_listener(clock, **more)
    wire = connect(ListenerFactory(listener))
    return wire, clock, listener


def run(clock: Clock, seconds: int) -> None:
    """Let time pass, second by second."""
    for _ in range(seconds):
        clock.advance(1)


@implementer(IMessageReader)
class SlowReader:
    """Gives its chunks when the test says so."""

    def __init__(self, chunks: Sequence[bytes | PopError]) -> None:
        self.chunks = list(chunks)
        self.waiting: Deferred[bytes] | None = None
        self.closed = 0

    def read_nowait(self, octets: int) -> bytes | None:
        return None

    def read(self, octets: int) -> Deferred[bytes]:
        self.waiting = Deferred()
        return self.waiting

    def go_on(self) -> None:
        waiting, self.waiting = self.waiting, None
        assert waiting is not None
        chunk = self.chunks.pop(0) if self.chunks else b""
        if isinstance(chunk, PopError):
            waiting.errback(chunk)
        else:
            waiting.callback(chunk)

    def close(self) -> None:
        self.closed += 1


@implementer(IMessageReader)
class EndlessReader:
    """A message that never ends and is always at hand."""

    def __init__(self) -> None:
        self.given = 0

    def read_nowait(self, octets: int) -> bytes | None:
        self.given += octets
        return b"x" * octets

    def read(self, octets: int) -> Deferred[bytes]:
        raise AssertionError("it is always at hand")

    def close(self) -> None: ...


@implementer(IMessage)
@attrs.frozen
class MessageOf:
    reader: Any
    octets: int = 1000
    crlf: bool = True
    needs_stuffing: bool = False

    def open(self) -> Any:
        return self.reader


@implementer(IMaildrop)
class OneMessage:
    """A maildrop of one message with a reader of the test's own, which counts what is done to it."""

    def __init__(self, reader: Any = None, commit: Any = None, octets: int = 1000) -> None:
        self.count = 1
        self.octets = [octets]
        self.total = octets
        self._reader = reader
        self._commit = commit
        self.committed: list[Any] = []
        self.closed = 0

    def uidl(self, index: int) -> bytes:
        return b"one"

    def message(self, index: int) -> IMessage:
        return MessageOf(self._reader, self.octets[0])

    def commit(self, deleted: Any) -> Deferred[int]:
        self.committed.append(set(deleted))
        if isinstance(self._commit, Exception):
            return fail(self._commit)
        return self._commit if self._commit is not None else succeed(0)

    def close(self) -> Deferred[None]:
        self.closed = 1  # it may be called again
        return succeed(None)


class StoreOf:
    """A store that opens what the test gives it: a maildrop, an error, or a Deferred of either."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def open(self, account: Any, folder: bytes = b"INBOX") -> Deferred[Any]:
        if isinstance(self._opened, Deferred):
            return self._opened
        return fail(self._opened) if isinstance(self._opened, Exception) else succeed(self._opened)
