"""Connections of our own ports, which send at once: the same octets in the same order as Twisted's, sooner."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from popserv.net.prompt import TURN_OCTETS, PromptServer, make_prompt

reactor: Any = global_reactor


class Made(Protocol):
    """Fires `made` with itself when it is connected."""

    def __init__(self, made: Deferred[Any]) -> None:
        self._made = made
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._made.callback(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)


class Prompt(TestCase):
    async def connect(self) -> tuple[Any, socket.socket]:
        """The server's side and a client that reads nothing yet."""
        made: Deferred[Any] = Deferred()
        factory = Factory.forProtocol(lambda: Made(made))
        port = make_prompt(reactor.listenTCP(0, factory, interface="127.0.0.1"))
        self.addCleanup(port.stopListening)
        client = socket.create_connection(("127.0.0.1", port.getHost().port), timeout=20)
        self.addCleanup(client.close)
        server = await made
        self.assertIsInstance(server.transport, PromptServer)
        self.addCleanup(lambda: server.lost)
        self.addCleanup(server.transport.abortConnection)
        return server, client

    async def test_a_reply_is_there_before_the_reactor_has_its_turn(self) -> None:
        server, client = await self.connect()
        server.transport.write(b"+OK\r\n")
        self.assertEqual(client.recv(100), b"+OK\r\n")

    async def test_what_the_kernel_does_not_take_follows_in_order_and_pauses_the_producer(self) -> None:
        server, client = await self.connect()
        paused = []

        class Producer:
            def pauseProducing(self) -> None:
                paused.append(True)

            def resumeProducing(self) -> None:
                paused.append(False)

            def stopProducing(self) -> None: ...

        server.transport.registerProducer(Producer(), True)
        whole = b"".join(b"%08d" % number for number in range(2_000_000))
        for at in range(0, len(whole), 50_000):
            server.transport.write(whole[at : at + 50_000])
        self.assertEqual(paused[:1], [True])

        def read() -> bytes:
            received = bytearray()
            while len(received) < len(whole):
                received += client.recv(1 << 16)
            return bytes(received)

        self.assertEqual(await deferToThread(read), whole)
        self.assertIn(False, paused)

    async def test_whoever_reads_fast_does_not_keep_others_from_their_turn(self) -> None:
        server, client = await self.connect()
        sent = 0
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        client.setblocking(False)
        while not server.transport._tempDataLen:
            server.transport.write(b"x" * 10_000)
            sent += 10_000
            self.assertLess(sent, 2 * TURN_OCTETS)
            try:
                while client.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass

    async def test_nothing_is_sent_behind_the_end(self) -> None:
        server, client = await self.connect()
        server.transport.write(b"last")
        server.transport.loseWriteConnection()
        self.assertEqual((client.recv(100), await deferToThread(client.recv, 100)), (b"last", b""))
        server.transport.write(b"never")
        client.close()
        await server.lost
        server.transport.write(b"never")
        server.lost = None

    async def test_nothing_is_sent_once_the_connection_is_aborted(self) -> None:
        server, client = await self.connect()
        server.transport.abortConnection()
        server.transport.write(b".\r\n")
        with self.assertRaises(ConnectionResetError):
            await deferToThread(client.recv, 100)
        await server.lost
        server.lost = None

    async def test_a_client_that_has_gone_is_found_out_by_the_reactor(self) -> None:
        server, client = await self.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        server.transport.write(b"x")
        server.transport.write(b"x")
        await server.lost
        server.lost = None


class Others(TestCase):
    def test_a_port_of_another_kind_stays_as_it_is(self) -> None:
        port = object()
        self.assertIs(make_prompt(port), port)
        local = reactor.listenUNIX(self.mktemp(), Factory(), wantPID=False)
        self.addCleanup(local.stopListening)
        before = local.transport
        self.assertIs(make_prompt(local).transport, before)
