"""A listening server in this process and clients in threads: for what the kernel and OpenSSL decide."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from popserv.limits import Limits
from popserv.net.tls import implicit
from popserv.protocols.pop3 import ListenerFactory
from popserv.stores.memory import MemoryStore
from tests.net.support import MESSAGES, SERVER, client_context, make_listener

T = TypeVar("T")

reactor: Any = global_reactor


def everything(client: socket.socket) -> bytes:
    """All that comes until the server closes; a reset is an error."""
    received = b""
    while octets := client.recv(65536):
        received += octets
    return received


def until(client: socket.socket, end: bytes) -> bytes:
    """What comes up to `end`, with which it has to stop."""
    received = b""
    while not received.endswith(end):
        octets = client.recv(65536)
        assert octets, f"closed after {received!r}"
        received += octets
    return received


def secured(client: socket.socket) -> ssl.SSLSocket:
    """The client after its handshake. A TCP end without close_notify is an error."""
    return client_context().wrap_socket(client, server_hostname="localhost", suppress_ragged_eofs=False)


class Served(TestCase):
    """Has a server with STLS at `port`; `listen_tls` adds one with implicit TLS."""

    messages: Any = MESSAGES
    limits = Limits(linger_seconds=0.5)

    def setUp(self) -> None:
        self.store = MemoryStore({"fred": self.messages})
        self.listener = make_listener(reactor, self.store, self.limits, tls_mode="starttls", tls=SERVER)
        self.events: Any = self.listener.observer
        self.port = self.listen(ListenerFactory(self.listener))

    def listen(self, factory: Any) -> int:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(self.wait_until_empty)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def listen_tls(self) -> int:
        listener = attrs.evolve(self.listener, tls_mode="implicit")
        return self.listen(implicit(ListenerFactory(listener), SERVER, reactor))

    async def wait_until_empty(self) -> None:
        deadline = time.monotonic() + 10
        while len(self.listener.registry):
            self.assertLess(time.monotonic(), deadline, "a connection stays open")
            await deferLater(reactor, 0.02)

    def client(self, talk: Callable[[socket.socket], T], port: int | None = None) -> Deferred[T]:
        """Run `talk` with a new connection, in a thread."""

        def run() -> T:
            with socket.create_connection(("127.0.0.1", port or self.port), 10) as connection:
                return talk(connection)

        return deferToThread(run)
