"""Servers in memory with the clock in the test's hand, and maildrops that do what a test wants."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

import attrs
import trustme
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from zope.interface import implementer

from popserv.auth.login import LoginService
from popserv.auth.realm import MaildropRealm
from popserv.auth.throttle import Throttle
from popserv.interfaces import IMaildrop, IMaildropStore, IMessage, IMessageReader
from popserv.limits import Limits
from popserv.net.addresses import cleartext_policy
from popserv.net.listener import Listener
from popserv.net.registry import Registry
from popserv.protocols.pop3 import ListenerFactory
from popserv.sasl.plain import plugin as plain
from popserv.stores.memory import MemoryStore
from popserv.testing import MemoryAccounts, RecordingObserver, Wire

MESSAGES = (b"Subject: one\n\nbody\n.dot\n", b"", b"Subject: three\r\n\r\nlast")
LOGIN = b"USER fred\r\nPASS secret\r\n"
GREETING = b"+OK mail.example.org POP3 server ready\r\n"

CA = trustme.CA()
SERVER = PrivateCertificate.loadPEM(
    CA.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.bytes()
).options()


def client_context() -> ssl.SSLContext:
    """A client that trusts the server of these tests."""
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


def make_listener(
    clock: Any,
    store: Any = None,
    limits: Limits | None = None,
    *,
    portal: Portal | None = None,
    delay: float = 0.0,
    **more: Any,
) -> Listener:
    """A listener with the accounts fred (password secret) and ann, and passwords in the clear."""
    limits = limits or Limits()
    if portal is None:
        accounts = MemoryAccounts({"fred": b"secret", "ann": b"other"})
        portal = Portal(MaildropRealm(accounts, store or MemoryStore({"fred": MESSAGES})), [accounts])
    observer = RecordingObserver()
    login = LoginService(portal, clock=clock, throttle=Throttle(clock, delay), observer=observer)
    options: dict[str, Any] = {"cleartext": cleartext_policy("always"), "mechanisms": (plain,), **more}
    return Listener(
        reactor=clock,
        hostname="mail.example.org",
        limits=limits,
        observer=observer,
        registry=Registry(limits, clock),
        login=login,
        **options,
    )


def talk(clock: Clock | None = None, **more: Any) -> tuple[Wire, Clock, Listener]:
    """A new connection."""
    clock = clock or Clock()
    listener = make_listener(clock, **more)
    return Wire.to(ListenerFactory(listener)), clock, listener


def session(**more: Any) -> Wire:
    """A new connection of fred, in TRANSACTION; what it was told so far is gone."""
    wire = talk(**more)[0]
    said = wire.say(LOGIN)
    assert b"\r\n+OK " in said.split(b"send PASS", 1)[1], said
    return wire


class SecureWire:
    """A TLS client in memory, on top of a `Wire`."""

    def __init__(self, wire: Wire, context: ssl.SSLContext | None = None) -> None:
        self._wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = (context or client_context()).wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def shake_hands(self) -> None:
        """Raises `ssl.SSLError` if the server does not want to."""
        for _ in range(5):
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._exchange()
            else:
                self._exchange()
                return
        raise AssertionError("the server says nothing")

    def say(self, octets: bytes = b"") -> bytes:
        """As `Wire.say`, inside TLS."""
        if octets:
            self._tls.write(octets)
        self._exchange()
        said = b""
        try:
            while chunk := self._tls.read(1 << 16):
                said += chunk
        except ssl.SSLWantReadError:
            return said
        self.ended = True
        return said

    ended = False
    """Whether the server's close_notify has been seen."""

    def _exchange(self) -> None:
        octets = self._outgoing.read()
        layer = getattr(self._wire.transport, "protocol", self._wire.server)
        if octets:
            layer.dataReceived(octets)
        self._incoming.write(self._wire.say())


@attrs.define
class Endless:
    """A SASL mechanism that always has another question."""

    credential: Any
    name: bytes = b"X-ENDLESS"
    plaintext: bool = False
    client_first: bool = False

    def usable(self, channel: Any) -> bool:
        return True

    async def authenticate(self, conversation: Any) -> Any:
        while True:
            await conversation.challenge(b"and then?")


@implementer(IMessageReader)
class SlowReader:
    """Gives its chunks when the test says so."""

    def __init__(self, chunks: Sequence[bytes | Exception]) -> None:
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
        if isinstance(chunk, Exception):
            waiting.errback(chunk)
        else:
            waiting.callback(chunk)

    def close(self) -> None:
        self.closed += 1


@implementer(IMessageReader)
class QuickReader:
    """Has its chunks at hand, and counts what was asked for; without chunks it never ends."""

    def __init__(self, chunks: Sequence[bytes | Exception] = ()) -> None:
        self.chunks = list(chunks)
        self._endless = not chunks
        self.given = 0
        self.closed = 0

    def read_nowait(self, octets: int) -> bytes | None:
        if self._endless:
            self.given += octets
            return b"x" * octets
        chunk = self.chunks.pop(0) if self.chunks else b""
        if isinstance(chunk, Exception):
            raise chunk
        self.given += len(chunk)
        return chunk

    def read(self, octets: int) -> Deferred[bytes]:
        raise AssertionError("it is always at hand")

    def close(self) -> None:
        self.closed += 1


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
    """A maildrop of one message with a reader of the test's own; counts what is done to it."""

    def __init__(self, reader: Any = None, commit: Any = None, octets: int = 1000) -> None:
        self.count = 1
        self.octets = [octets]
        self.total = octets
        self._reader = reader
        self._commit = commit
        self.committed: list[set[int]] = []
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
        self.closed += 1
        return succeed(None)


@implementer(IMaildropStore)
@attrs.frozen
class StoreOf:
    """A store that opens what the test gives it: a maildrop, an error, or a Deferred of either."""

    opened: Any

    def open(self, account: Any, folder: bytes = b"INBOX") -> Deferred[Any]:
        if isinstance(self.opened, Deferred):
            return self.opened
        return fail(self.opened) if isinstance(self.opened, Exception) else succeed(self.opened)
