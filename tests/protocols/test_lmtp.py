"""LMTP over real sockets, into real stores."""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from popserv.auth.account import Account
from popserv.auth.chain import DirectoryChain
from popserv.auth.naming import Naming
from popserv.errors import MailSystemFull
from popserv.interfaces import IAccount, IAccountDirectory, IDelivery, IIncoming, ISessionObserver
from popserv.limits import Limits
from popserv.net.listener import Listener
from popserv.net.registry import Registry
from popserv.protocols.lmtp import BATCH, plugin
from popserv.stores.memory import MemoryStore


@implementer(ISessionObserver)
class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def event(self, name: str, **facts: Any) -> None:
        self.seen.append((name, facts))

    def of(self, name: str) -> list[dict[str, Any]]:
        return [facts for seen, facts in self.seen if seen == name]


@implementer(IAccountDirectory)
class Names:
    def __init__(self, *names: str) -> None:
        self._names = names

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        name = avatar_id.decode("utf-8")
        return succeed(Account(name) if name in self._names else None)


@implementer(IIncoming, IDelivery)
class SlowStore:
    """Keeps one message, and takes its time for every write until it is let go on."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []
        self.octets = 0
        self.state = ""

    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        self.state = "open"
        return succeed(self)

    def write(self, octets: bytes) -> Deferred[None]:
        self.octets += len(octets)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def commit(self) -> Deferred[None]:
        self.state = "stored"
        return succeed(None)

    def abort(self) -> Deferred[None]:
        self.state = "aborted" if self.state == "open" else self.state
        return succeed(None)

    def go_on(self) -> None:
        while self.waiting:
            self.waiting.pop(0).callback(None)


class PacedStore(SlowStore):
    """Does each write in a later turn of the reactor, one at a time."""

    def write(self, octets: bytes) -> Deferred[None]:
        if self.waiting:
            raise AssertionError("a write while another is under way")
        reactor.callLater(0, self.go_on)  # type: ignore[attr-defined]
        return super().write(octets)


@implementer(IIncoming)
class SlowCommit:
    """Takes octets at once, and has them stored when the test says so."""

    def __init__(self, commit: Deferred[None]) -> None:
        self._commit = commit

    def write(self, octets: bytes) -> Deferred[None]:
        return succeed(None)

    def commit(self) -> Deferred[None]:
        return self._commit

    def abort(self) -> Deferred[None]:
        return succeed(None)


@implementer(IDelivery)
class SlowCommits:
    """A store whose commits wait, one by one."""

    def __init__(self) -> None:
        self.commits: dict[str, Deferred[None]] = {}

    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        self.commits[account.name] = Deferred()
        return succeed(SlowCommit(self.commits[account.name]))


@implementer(IDelivery)
class FullFor:
    """A store that has no room for one account and a real store for the others."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store = store
        self._name = name

    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        if account.name == self._name:
            raise MailSystemFull()
        return self._store.begin(account, folder)


def make_listener(delivery: Any, clock: Any, limits: Limits | None = None, **more: Any) -> Listener:
    limits = limits or Limits()
    return Listener(
        reactor=clock,
        hostname="mail.example.org",
        limits=limits,
        observer=Events(),
        registry=Registry(limits, clock),
        directory=DirectoryChain([Names("ann", "bob")], Naming(domains=frozenset({"mail.example.org"})).forms),
        delivery=delivery,
        **more,
    )


def stored(store: MemoryStore, name: str) -> list[bytes]:
    """The messages of an account, as a session would get them."""
    opened: list[Any] = []
    store.open(Account(name)).addCallback(opened.append)
    maildrop = opened[0]
    messages = []
    for index in range(maildrop.count):
        reader = maildrop.message(index).open()
        messages.append(b"".join(iter(lambda reader=reader: reader.read_nowait(1 << 16), b"")))  # type: ignore[misc]
    maildrop.close()
    return messages


def body(message: bytes) -> bytes:
    """Behind the two header fields that delivery puts in front."""
    lines = message.split(b"\r\n", 4)
    assert lines[0].startswith(b"Return-Path: <")
    assert lines[1].startswith(b"Received: from ")
    assert lines[2].startswith(b"\tby ") and lines[3].startswith(b"\t")
    return lines[4]


class Transcripts(SynchronousTestCase):
    """Whole conversations on a transport in memory."""

    def connect(self, store: Any = None, limits: Limits | None = None, **more: Any) -> Any:
        self.clock = Clock()
        self.store = store if store is not None else MemoryStore({"ann": [], "bob": []})
        self.listener = make_listener(self.store, self.clock, limits, **more)
        self.events: Any = self.listener.observer
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 4321))
        self.server: Any = plugin.factory(self.listener).buildProtocol(None)
        self.server.makeConnection(self.transport)
        return self.server

    def said(self) -> bytes:
        octets = self.transport.value()
        self.transport.clear()
        return octets

    DIALOGUE = (
        b"LHLO client.example\r\nMAIL FROM:<joe@example.net> SIZE=30 BODY=8BITMIME\r\n"
        b"RCPT TO:<ann@mail.example.org>\r\nRCPT TO:<nobody@mail.example.org>\r\n"
        b"RCPT TO:<bob+x@mail.example.org>\r\nRCPT TO:<ann@mail.example.org>\r\nDATA\r\n"
        b"Subject: x\r\n\r\n..dot\r\n\x00\xff\nbare\r\n.\r\n"
        b"MAIL FROM:<>\r\nRCPT TO:<bob>\r\nDATA\r\n.\r\nQUIT\r\nNOOP\r\n"
    )
    MESSAGE = b"Subject: x\r\n\r\n.dot\r\n\x00\xff\nbare\r\n"

    def test_LM_004_one_reply_for_each_successful_recipient_in_order(self) -> None:
        self.connect().dataReceived(self.DIALOGUE)
        codes = [line[:9] for line in self.said().split(b"\r\n") if line and line[3:4] != b"-"]
        self.assertEqual(
            codes,
            [
                *(b"220 mail.", b"250 SIZE ", b"250 2.1.0", b"250 2.1.5", b"550 5.1.1", b"250 2.1.5", b"250 2.1.5"),
                *(b"354 end d", b"250 2.0.0", b"250 2.0.0", b"250 2.0.0"),
                *(b"250 2.1.0", b"250 2.1.5", b"354 end d", b"250 2.0.0", b"221 2.0.0"),
            ],
        )
        self.assertEqual(len(self.events.of("delivered")), 4)

    def test_what_was_sent_is_stored_octet_for_octet_behind_two_fields(self) -> None:
        self.connect().dataReceived(self.DIALOGUE)
        # The session's CRLF form: a bare LF in the body is stored as it came and read as CRLF.
        expected = self.MESSAGE.replace(b"\n", b"\r\n").replace(b"\r\r\n", b"\r\n")
        self.assertEqual([body(each) for each in stored(self.store, "ann")], [expected])
        self.assertEqual([body(each) for each in stored(self.store, "bob")], [expected, b""])
        self.assertTrue(stored(self.store, "bob")[1].startswith(b"Return-Path: <>\r\n"))

    def test_every_cut_gives_the_same_replies(self) -> None:
        self.connect().dataReceived(self.DIALOGUE)
        whole = self.said()
        server = self.connect()
        for octet in self.DIALOGUE:
            server.dataReceived(bytes([octet]))
        self.assertEqual(self.said(), whole)
        for cut in range(1, len(self.DIALOGUE), 7):
            server = self.connect()
            server.dataReceived(self.DIALOGUE[:cut])
            server.dataReceived(self.DIALOGUE[cut:])
            self.assertEqual(self.said(), whole)

    def test_LM_009_the_fields_name_the_client_the_peer_and_the_session(self) -> None:
        self.connect().dataReceived(self.DIALOGUE)
        message = stored(self.store, "ann")[0]
        self.assertIn(b"Return-Path: <joe@example.net>\r\nReceived: from client.example ([127.0.0.1])\r\n", message)
        self.assertIn(f"with LMTP id {self.server.session_id}.1;".encode(), message)

    def test_LM_007_each_reply_leaves_as_soon_as_it_is_known(self) -> None:
        slow = SlowCommits()
        self.connect(slow).dataReceived(
            b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nRCPT TO:<bob>\r\nDATA\r\nx\r\n.\r\n"
        )
        self.said()
        slow.commits["ann"].callback(None)
        self.assertEqual(self.said(), b"250 2.0.0 message stored\r\n")
        slow.commits["bob"].callback(None)
        self.assertEqual(self.said(), b"250 2.0.0 message stored\r\n")

    def test_LM_011_a_full_store_is_452_for_that_recipient_only(self) -> None:
        memory = MemoryStore({"ann": [], "bob": []})
        self.connect(FullFor(memory, "bob")).dataReceived(
            b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob>\r\nRCPT TO:<ann>\r\nDATA\r\nx\r\n.\r\n"
        )
        self.assertIn(b"\r\n452 4.3.1 mail system storage exceeded\r\n250 2.0.0 ", self.said())
        self.assertEqual(len(stored(memory, "ann")), 1)

    def test_messages_on_their_way_are_bounded_over_all_connections(self) -> None:
        recipients = b"LHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<ann>\r\n" * 3
        busy = b"452 4.5.3 too many messages on their way, try again later\r\n"
        first = self.connect(limits=Limits(deliveries=4))
        first.dataReceived(recipients)
        self.assertNotIn(busy, self.said())
        transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 4322))
        second: Any = plugin.factory(self.listener).buildProtocol(None)
        second.makeConnection(transport)
        second.dataReceived(recipients)
        self.assertEqual(transport.value().count(busy), 2)
        for ending in (b"RSET\r\n", b"LHLO y\r\n", b"DATA\r\nx\r\n.\r\n"):
            first.dataReceived(ending)
            self.said()
            first.dataReceived(b"MAIL FROM:<>\r\n" + b"RCPT TO:<ann>\r\n" * 4)
            self.assertEqual(self.said().count(busy), 1, ending)
        first.connectionLost()
        transport.clear()
        second.dataReceived(b"RCPT TO:<ann>\r\n" * 4)
        self.assertEqual(transport.value().count(busy), 1)

    def test_too_large_a_message_is_552_and_the_session_goes_on(self) -> None:
        server = self.connect(message_octets=100)
        server.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\n")
        for _ in range(5):
            server.dataReceived(b"y" * BATCH)
        server.dataReceived(b"\r\n.\r\nNOOP\r\n")
        self.assertTrue(self.said().endswith(b"552 5.3.4 message is too large\r\n250 2.0.0 ok\r\n"))
        self.assertEqual(stored(self.store, "ann"), [])

    def test_nothing_is_received_while_the_store_works(self) -> None:
        slow = SlowStore()
        server = self.connect(slow)
        server.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\n")
        self.assertEqual(self.transport.producerState, "paused")
        slow.go_on()
        self.assertEqual(self.transport.producerState, "producing")
        server.dataReceived(b"z" * BATCH)
        self.assertEqual(self.transport.producerState, "paused")
        self.assertEqual(len(slow.waiting), 1)
        # What was in flight is kept, and nothing of it is lost.
        server.dataReceived(b"z\r\n.\r\nNOOP\r\n")
        slow.go_on()
        self.assertEqual(self.transport.producerState, "producing")
        self.assertTrue(self.said().endswith(b"250 2.0.0 message stored\r\n250 2.0.0 ok\r\n"))
        self.assertEqual(slow.state, "stored")

    def test_LM_005_a_connection_lost_in_the_data_stores_nothing(self) -> None:
        slow = SlowStore()
        server = self.connect(slow)
        server.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\n")
        slow.go_on()
        server.dataReceived(b"half a mess")
        server.connectionLost()
        self.assertEqual(slow.state, "aborted")

    def test_LM_005_a_connection_lost_while_the_store_works_stores_nothing(self) -> None:
        slow = SlowStore()
        server = self.connect(slow)
        server.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\n")
        slow.go_on()
        server.dataReceived(b"z" * BATCH)
        server.connectionLost()
        slow.go_on()
        self.assertEqual(slow.state, "aborted")

    def test_a_peer_that_does_not_read_its_replies_is_not_listened_to(self) -> None:
        server = self.connect()
        server.pauseProducing()
        server.dataReceived(b"NOOP\r\n" * 100)
        self.said()
        self.assertEqual(self.transport.producerState, "paused")
        server.resumeProducing()
        self.assertEqual(self.said().count(b"250 "), 100)

    def test_over_long_and_bare_lf_lines(self) -> None:
        server = self.connect()
        self.said()
        server.dataReceived(b"NOOP\nNOOP\r\n" + b"x" * 600 + b"\r\nNOOP\r\n")
        self.assertEqual(
            self.said(),
            b"500 5.5.2 line must end in CRLF\r\n500 5.5.2 line is too long\r\n250 2.0.0 ok\r\n",
        )

    def test_idle_for_too_long(self) -> None:
        self.connect(limits=Limits(idle_seconds=600))
        self.said()
        self.clock.pump([1] * 599)
        self.assertEqual(self.said(), b"")
        self.clock.pump([1] * 3)
        self.assertEqual(self.said(), b"421 4.4.2 idle for too long\r\n")

    def test_drain_lets_a_message_that_is_coming_in_come_to_its_end(self) -> None:
        server = self.connect()
        server.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\nx\r\n")
        self.said()
        server.drain()
        self.assertEqual(self.said(), b"")
        server.dataReceived(b".\r\n")
        self.assertEqual(self.said(), b"250 2.0.0 message stored\r\n421 4.3.2 server is shutting down\r\n")
        self.assertEqual(len(stored(self.store, "ann")), 1)

    def test_drain_begins_no_other_message(self) -> None:
        server = self.connect()
        server.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\nx\r\n")
        self.said()
        server.drain()
        server.dataReceived(b".\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\ny\r\n")
        self.assertEqual(self.said(), b"250 2.0.0 message stored\r\n421 4.3.2 server is shutting down\r\n")
        self.assertEqual(len(stored(self.store, "ann")), 1)

    def test_a_message_that_has_come_as_a_whole_is_stored_before_a_connection_is_shed(self) -> None:
        slow = SlowCommits()
        server = self.connect(slow)
        server.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n")
        self.said()
        server.shed()
        self.assertEqual(self.said(), b"")
        slow.commits["ann"].callback(None)
        self.assertEqual(self.said(), b"250 2.0.0 message stored\r\n421 4.3.2 server is shutting down\r\n")

    def test_half_a_message_is_given_up_when_a_connection_is_shed(self) -> None:
        slow = SlowStore()
        server = self.connect(slow)
        server.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\n")
        self.said()
        server.shed()
        slow.go_on()
        self.assertEqual(self.said(), b"421 4.3.2 server is shutting down\r\n", "and no 354 behind it")
        server.connectionLost()
        self.assertEqual(slow.state, "aborted")

    def test_what_comes_while_a_message_is_being_stored_is_kept(self) -> None:
        slow = SlowCommits()
        server = self.connect(slow)
        server.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\nx\r\n.\r\nNO")
        self.said()
        server.dataReceived(b"OP\r\nQUIT\r\n")
        slow.commits["ann"].callback(None)
        self.assertEqual(self.said(), b"250 2.0.0 message stored\r\n250 2.0.0 ok\r\n221 2.0.0 bye\r\n")

    def test_a_defect_of_a_store_stores_nothing_and_ends_the_connection(self) -> None:
        slow = SlowStore()
        server = self.connect(slow)
        server.dataReceived(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\n")
        slow.go_on()
        self.said()
        server.dataReceived(b"z" * BATCH)
        # The whole rest is there already when the write fails with what no store may fail with.
        server.dataReceived(b"z\r\n.\r\n")
        slow.waiting.pop().errback(RuntimeError("defect"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertTrue(self.transport.disconnected)
        server.connectionLost()
        self.assertEqual((slow.state, self.said(), self.events.of("delivered")), ("aborted", b"", []))
        self.assertEqual(self.events.of("closed")[0]["why"], "defect")

    def test_LM_008_a_command_line_has_512_octets_and_room_for_parameters(self) -> None:
        server = self.connect(limits=Limits(command_octets=255))
        server.dataReceived(b"LHLO x\r\n")
        self.said()
        parameters = b" SIZE=" + b"1".zfill(20) + b" BODY=8BITMIME\r\n"
        route = b"@" + b"r." * 111 + b"r,@" + b"s." * 111 + b"s:"
        command = b"MAIL FROM:<" + route + b"j" * 40 + b"@example>"
        self.assertEqual(len(command + b"\r\n"), 512)
        server.dataReceived(command + parameters)
        self.assertEqual(self.said(), b"250 2.1.0 sender ok\r\n")

    def test_the_log_gets_who_how_much_and_what_became_of_it(self) -> None:
        memory = MemoryStore()
        self.connect(FullFor(memory, "bob")).dataReceived(
            b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann>\r\nRCPT TO:<bob>\r\nDATA\r\n..x\r\n.\r\nQUIT\r\n"
        )
        self.server.connectionLost()
        message = f"{self.server.session_id}.1"
        same = {"session": self.server.session_id, "peer": "127.0.0.1", "message": message, "octets": 4}
        self.assertEqual(
            self.events.of("delivered"),
            [{**same, "user": "ann", "status": "2.0.0"}, {**same, "user": "bob", "status": "4.3.1"}],
        )
        (closed,) = self.events.of("closed")
        self.assertEqual((closed["stored"], closed["why"]), (1, "quit"))

    def test_the_log_tells_too_many_errors_from_a_good_bye(self) -> None:
        self.connect(limits=Limits(bad_commands=2)).dataReceived(b"BOGUS\r\n" * 3)
        self.server.connectionLost()
        self.assertEqual(self.events.of("closed")[0]["why"], "errors")


class Sockets(TestCase):
    """Python's own LMTP client against a listening server."""

    def setUp(self) -> None:
        self.store = MemoryStore({"ann": [], "bob": []})
        self.listener = make_listener(self.store, reactor)
        self.factory: Factory[Any] = plugin.factory(self.listener)

    @contextmanager
    def _tcp(self) -> Iterator[int]:
        port: Any = reactor.listenTCP(0, self.factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        yield port.getHost().port

    @inlineCallbacks
    def test_smtplib_delivers(self):  # type: ignore[no-untyped-def]
        def send(port: int) -> dict[str, Any]:
            with smtplib.LMTP("127.0.0.1", port, timeout=10) as client:
                return client.sendmail("joe@x.example", ["ann+y", "nobody"], b"Subject: x\r\n\r\n.\r\n..\r\nend")

        with self._tcp() as port:
            refused = yield deferToThread(send, port)
        self.assertEqual({name: reply[0] for name, reply in refused.items()}, {"nobody": 550})
        self.assertEqual([body(each) for each in stored(self.store, "ann")], [b"Subject: x\r\n\r\n.\r\n..\r\nend\r\n"])

    @inlineCallbacks
    def test_smtplib_delivers_over_a_unix_socket(self):  # type: ignore[no-untyped-def]
        path = Path(mkdtemp()) / "lmtp"
        port: Any = reactor.listenUNIX(str(path), self.factory)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)

        def send() -> None:
            with smtplib.LMTP(str(path)) as client:
                client.sendmail("joe@x.example", ["ann"], b"x\r\n")

        yield deferToThread(send)
        message = stored(self.store, "ann")[0]
        self.assertEqual(body(message), b"x\r\n")
        self.assertNotIn(b"([", message.split(b"\r\n")[1])

    @inlineCallbacks
    def test_the_last_reply_arrives_though_the_client_goes_on_sending(self):  # type: ignore[no-untyped-def]
        def talk(port: int) -> bytes:
            with socket.create_connection(("127.0.0.1", port), 10) as client:
                client.sendall(b"LHLO x\r\nQUIT\r\n" + b"garbage\r\n" * 20_000)
                received = b""
                while octets := client.recv(65536):
                    received += octets
                return received

        with self._tcp() as port:
            received = yield deferToThread(talk, port)
        self.assertTrue(received.endswith(b"221 2.0.0 bye\r\n"))

    @inlineCallbacks
    def test_a_slow_store_holds_the_sender_back(self):  # type: ignore[no-untyped-def]
        store = PacedStore()
        factory = plugin.factory(make_listener(store, reactor))
        held: list[int] = []

        def build(address: Any) -> Any:
            server = type(factory).buildProtocol(factory, address)
            take, received = server.dataReceived, 0

            def counting(octets: bytes) -> None:
                nonlocal received
                received += len(octets)
                held.append(received - store.octets)
                take(octets)

            server.dataReceived = counting
            return server

        factory.buildProtocol = build  # type: ignore[method-assign]
        self.factory = factory
        message = (b"x" * 998 + b"\r\n") * 20_000

        def send(port: int) -> None:
            with smtplib.LMTP("127.0.0.1", port, timeout=60) as client:
                client.sendmail("joe@x.example", ["ann"], message)

        with self._tcp() as port:
            yield deferToThread(send, port)
        self.assertEqual(store.state, "stored")
        self.assertGreater(store.octets, len(message))
        # One batch that is not full, what has just been received, and the commands.
        self.assertLess(max(held), 2 * BATCH + 1024)

    @inlineCallbacks
    def test_twenty_megabytes_arrive_whole(self):  # type: ignore[no-untyped-def]
        self.factory = plugin.factory(attrs.evolve(self.listener, message_octets=1 << 30))
        message = b"".join(b"%07d\r\n" % number for number in range(2_300_000))

        def send(port: int) -> None:
            with smtplib.LMTP("127.0.0.1", port, timeout=60) as client:
                client.sendmail("joe@x.example", ["ann"], message)

        with self._tcp() as port:
            yield deferToThread(send, port)
        self.assertTrue(body(stored(self.store, "ann")[0]) == message, "not the octets that were sent")
