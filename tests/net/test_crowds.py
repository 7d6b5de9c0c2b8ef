"""Limits on connections, and how a server empties."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv.limits import Limits
from popserv.net.listener import Listener
from popserv.net.tls import implicit
from popserv.protocols.pop3 import ListenerFactory
from popserv.testing import Wire, let_pass
from tests.net.support import GREETING, LOGIN, SERVER, OneMessage, QuickReader, SlowReader, StoreOf, make_listener

TEMPORARY = b"-ERR [SYS/TEMP] "


def crowd(store: object = None, **limits: float) -> tuple[ListenerFactory, Listener, Clock]:
    clock = Clock()
    listener = make_listener(clock, store, limits=Limits(**limits))  # type: ignore[arg-type]
    return ListenerFactory(listener), listener, clock


class Crowds(SynchronousTestCase):
    def test_connections_of_one_address_are_limited(self) -> None:
        factory, listener, _clock = crowd(connections_per_address=2)
        first, second, third = (Wire.to(factory) for _ in range(3))
        self.assertEqual(first.say() + second.say(), GREETING * 2)
        self.assertEqual(third.say(), TEMPORARY + b"too many connections from your address, the limit is 2\r\n")
        self.assertTrue(third.over)
        self.assertEqual(Wire.to(factory, "192.0.2.2").say(), GREETING)
        for wire in (first, third):
            wire.lose()
        self.assertEqual(Wire.to(factory).say(), GREETING)
        self.assertEqual(len(listener.registry), 3)

    def test_an_ipv6_network_counts_as_one_address_and_a_mapped_one_as_what_it_is(self) -> None:
        factory, _listener, _clock = crowd(connections_per_address=1)
        self.assertEqual(Wire.to(factory, "2001:db8::1").say(), GREETING)
        self.assertIn(TEMPORARY, Wire.to(factory, "2001:db8::ffff:2").say())
        self.assertEqual(Wire.to(factory, "2001:db8:0:1::1").say(), GREETING)
        self.assertEqual(Wire.to(factory, "::ffff:192.0.2.7").say(), GREETING)
        self.assertIn(TEMPORARY, Wire.to(factory, "192.0.2.7").say())

    def test_the_oldest_that_has_not_logged_in_makes_room(self) -> None:
        factory, _listener, _clock = crowd(connections=20)
        wires = [Wire.to(factory, f"192.0.2.{number}") for number in range(3)]
        self.assertTrue(wires[0].over, "two of twenty places are for strangers")
        self.assertEqual(
            wires[0].say(), GREETING + TEMPORARY + b"server cannot keep this connection, try again later\r\n"
        )
        self.assertEqual([wire.over for wire in wires[1:]], [False, False])

    def test_those_that_have_logged_in_stay(self) -> None:
        factory, _listener, _clock = crowd(connections=20)
        member = Wire.to(factory)
        member.say(LOGIN)
        strangers = [Wire.to(factory, f"192.0.2.{number}") for number in range(5)]
        self.assertFalse(member.over)
        self.assertEqual([wire.over for wire in strangers], [True, True, True, False, False])

    def test_a_full_server_refuses_when_nobody_can_make_room(self) -> None:
        factory, _listener, _clock = crowd(connections=1)
        member = Wire.to(factory)
        member.say(LOGIN)
        other = Wire.to(factory)
        self.assertEqual(other.say(), TEMPORARY + b"too many connections, try again later\r\n")
        self.assertTrue(other.over)
        self.assertFalse(member.over)

    def test_a_refused_connection_cannot_log_in(self) -> None:
        factory, _listener, _clock = crowd(connections_per_address=0)
        wire = Wire.to(factory)
        wire.say()
        self.assertEqual(wire.say(LOGIN), b"")

    def test_a_refused_connection_under_implicit_tls_is_not_waited_for(self) -> None:
        factory, listener, clock = crowd(connections_per_address=2)
        secure = implicit(factory, SERVER, clock)  # type: ignore[arg-type]
        wires = [Wire.to(secure) for _ in range(5)]  # type: ignore[arg-type]
        self.assertEqual([wire.transport.disconnected for wire in wires], [False, False, True, True, True])
        for wire in wires:
            wire.lose()
        self.assertEqual(len(listener.registry), 0)

    def test_those_that_are_refused_take_nobody_s_place(self) -> None:
        factory, _listener, _clock = crowd(connections_per_address=2, connections=20)
        flood = [Wire.to(factory, "192.0.2.1") for _ in range(30)]
        self.assertEqual([wire.over for wire in flood[:3]], [False, False, True])
        self.assertEqual(Wire.to(factory, "192.0.2.2").say(), GREETING)

    def test_everything_is_forgotten_when_it_is_gone(self) -> None:
        factory, listener, clock = crowd()
        wires = [Wire.to(factory) for _ in range(10)]
        wires[0].say(LOGIN)
        for wire in wires:
            wire.lose()
        self.assertEqual(len(listener.registry), 0)
        self.assertEqual(clock.getDelayedCalls(), [])


class Draining(SynchronousTestCase):
    def test_strangers_leave_and_sessions_finish(self) -> None:
        factory, listener, clock = crowd(drain_seconds=30)
        stranger, member = Wire.to(factory), Wire.to(factory)
        member.say(LOGIN)
        done: list[None] = []
        listener.registry.drain().addCallback(done.append)
        self.assertIn(TEMPORARY, stranger.say())
        self.assertTrue(stranger.over)
        self.assertEqual(Wire.to(factory).say(), TEMPORARY + b"server is shutting down, try again later\r\n")
        self.assertTrue(member.say(b"DELE 1\r\nQUIT\r\n").endswith(b"+OK bye, 1 messages removed\r\n"))
        for connection in list(listener.registry._open):
            self.assertEqual(done, [])
            connection.transport.loseConnection()
            Wire(connection, connection.transport).lose()
        self.assertEqual(done, [None])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_what_does_not_finish_in_time_is_ended(self) -> None:
        factory, listener, clock = crowd(drain_seconds=30)
        member = Wire.to(factory)
        member.say(LOGIN)
        listener.registry.drain()
        let_pass(clock, 29)
        self.assertFalse(member.over)
        let_pass(clock, 1)
        self.assertTrue(member.over)
        self.assertEqual(member.say(), TEMPORARY + b"server cannot keep this connection, try again later\r\n")

    def test_a_message_on_its_way_is_broken_off_and_not_ended_falsely(self) -> None:
        for reader in (SlowReader([b"one\r\n"]), QuickReader()):
            factory, listener, clock = crowd(StoreOf(OneMessage(reader)), drain_seconds=30)
            member = Wire.to(factory)
            member.say(LOGIN)
            write = member.server.transport.write
            member.server.transport.write = lambda octets, w=write, m=member: (w(octets), m.server.pauseProducing())
            member.say(b"RETR 1\r\n")
            listener.registry.drain()
            let_pass(clock, 30)
            self.assertTrue(member.transport.disconnected)
            self.assertNotIn(b"\r\n.\r\n", member.say())
            self.assertNotIn(b"-ERR", member.say())

    def test_an_update_is_waited_for(self) -> None:
        pending: Deferred[int] = Deferred()
        factory, listener, clock = crowd(StoreOf(OneMessage(commit=pending)), drain_seconds=30)
        member = Wire.to(factory)
        member.say(LOGIN + b"DELE 1\r\nQUIT\r\n")
        done: list[None] = []
        listener.registry.drain().addCallback(done.append)
        let_pass(clock, 100)
        self.assertFalse(member.over)
        pending.callback(0)
        self.assertTrue(member.say().endswith(b"+OK bye, 1 messages removed\r\n"))
        member.lose()
        self.assertEqual(done, [None])

    def test_an_empty_server_is_drained_at_once(self) -> None:
        _factory, listener, clock = crowd()
        self.successResultOf(listener.registry.drain())
        self.assertEqual(clock.getDelayedCalls(), [])
