"""The protocol on a transport in memory and a clock in the test's hand."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from popserv.errors import MaildropInUse, MessageVanished, StoreUnavailable
from popserv.limits import Limits
from popserv.net.registry import Registry
from popserv.protocols.pop3 import ListenerFactory
from popserv.stores.memory import MemoryStore
from tests.net.wire_support import (
    LOGIN,
    MESSAGES,
    EndlessReader,
    OneMessage,
    SlowReader,
    StoreOf,
    Wire,
    connect,
    make_listener,
    run,
    talk,
)

GREETING = b"+OK mail.example.org POP3 server ready\r\n"
DIALOGUE = (
    b"CAPA\r\nUSER fred\r\nPASS secret\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 1 1\r\nRETR 3\r\nDELE 1\r\nBOGUS\r\n"
    b"RSET\r\nDELE 2\r\nRETR 2\r\nNOOP\r\nQUIT\r\nSTAT\r\n"
)


def lost(wire: Wire) -> None:
    wire.server.connectionLost(Failure(ConnectionDone()))


class Conversations(SynchronousTestCase):
    def test_P3_001_the_server_greets_at_once(self) -> None:
        self.assertEqual(talk()[0].say(), GREETING)

    def test_EX_019_a_pipelined_session_is_answered_in_order(self) -> None:
        said = talk()[0].say(DIALOGUE)
        self.assertIn(b"+OK 3 messages (52 octets)\r\n+OK 3 52\r\n", said)
        self.assertTrue(said.endswith(b"+OK done\r\n+OK bye, 1 messages removed\r\n"))

    def test_every_cut_gives_the_same_octets(self) -> None:
        whole = talk()[0].say(DIALOGUE)
        wire = talk()[0]
        for octet in DIALOGUE:
            wire.server.dataReceived(bytes([octet]))
        self.assertEqual(wire.say(), whole)
        for cut in range(1, len(DIALOGUE)):
            wire = talk()[0]
            wire.server.dataReceived(DIALOGUE[:cut])
            self.assertEqual(wire.say(DIALOGUE[cut:]), whole)

    def test_the_replies_of_a_turn_leave_in_one_write(self) -> None:
        wire, _clock, _listener = talk()
        writes: list[bytes] = []
        wire.server.transport.write = writes.append
        wire.server.dataReceived(LOGIN + b"STAT\r\nLIST\r\nRETR 1\r\nNOOP\r\n")
        self.assertEqual(len(writes), 1)

    def test_long_pipelines_give_others_their_turn(self) -> None:
        wire, clock, listener = talk()
        limit = listener.limits.turn_lines
        wire.say(LOGIN)
        said = wire.say(b"NOOP\r\n" * (limit * 3))
        self.assertEqual(said.count(b"+OK"), limit)
        self.assertEqual(wire.transport.producerState, "paused", "nothing is received while lines wait")
        clock.advance(0)
        clock.advance(0)
        self.assertEqual(wire.say().count(b"+OK"), limit * 2)
        self.assertEqual(wire.transport.producerState, "producing")

    def test_P3_017_the_lock_is_held_when_ok_is_said(self) -> None:
        clock = Clock()
        listener = make_listener(clock, store=MemoryStore({"fred": MESSAGES}))
        first, second = connect(ListenerFactory(listener)), connect(ListenerFactory(listener))
        self.assertIn(b"+OK 3 messages", first.say(LOGIN))
        self.assertTrue(second.say(LOGIN).endswith(b"-ERR [IN-USE] maildrop is locked by another session\r\n"))
        first.say(b"QUIT\r\n")
        self.assertTrue(second.say(LOGIN).endswith(b"+OK 3 messages (52 octets)\r\n"))

    def test_P3_018_a_maildrop_that_cannot_be_opened(self) -> None:
        for error, code in (
            (StoreUnavailable(), b"[SYS/TEMP]"),
            (MaildropInUse(), b"[IN-USE]"),
            (OSError(), b"[SYS/TEMP]"),
        ):
            said = talk(store=StoreOf(error))[0].say(LOGIN)
            self.assertTrue(said.split(b"\r\n")[2].startswith(b"-ERR " + code))
        self.flushLoggedErrors(OSError)

    def test_P3_040_what_ends_without_quit_removes_nothing(self) -> None:
        maildrop = OneMessage()
        wire = talk(store=StoreOf(maildrop))[0]
        wire.say(LOGIN + b"DELE 1\r\n")
        lost(wire)
        self.assertEqual((maildrop.committed, maildrop.closed), ([], 1))

    def test_P3_040_a_half_closed_connection_removes_nothing_without_quit(self) -> None:
        maildrop = OneMessage()
        wire = talk(store=StoreOf(maildrop))[0]
        wire.say(LOGIN + b"DELE 1\r\n")
        wire.server.readConnectionLost()
        lost(wire)
        self.assertEqual((maildrop.committed, maildrop.closed), ([], 1))

    def test_P3_041_quit_removes_and_then_answers(self) -> None:
        pending: Deferred[int] = Deferred()
        maildrop = OneMessage(commit=pending)
        wire = talk(store=StoreOf(maildrop))[0]
        wire.say(LOGIN)
        self.assertEqual(wire.say(b"DELE 1\r\nQUIT\r\n"), b"+OK message 1 marked as deleted\r\n")
        self.assertEqual(maildrop.closed, 0)
        pending.callback(0)
        self.assertEqual(wire.say(), b"+OK bye, 1 messages removed\r\n")

    def test_P3_043_the_lock_is_free_before_quit_is_answered(self) -> None:
        maildrop = OneMessage()
        wire = talk(store=StoreOf(maildrop))[0]
        seen: list[int] = []
        wire.say(LOGIN)
        wire.server.transport.write = lambda _octets: seen.append(maildrop.closed)
        wire.server.dataReceived(b"QUIT\r\n")
        self.assertEqual(seen, [1])
        lost(wire)
        self.assertEqual(maildrop.closed, 1)

    def test_P3_041_failures_of_the_update_are_told(self) -> None:
        for commit, reply in (
            (StoreUnavailable(), b"-ERR [SYS/TEMP] maildrop is not available, try again later\r\n"),
            (ValueError(), b"-ERR [SYS/TEMP] some deleted messages not removed\r\n"),
        ):
            maildrop = OneMessage(commit=commit)
            wire = talk(store=StoreOf(maildrop))[0]
            self.assertTrue(wire.say(LOGIN + b"DELE 1\r\nQUIT\r\n").endswith(reply))
            self.assertTrue(wire.over)
            self.assertEqual(maildrop.closed, 1)
        self.flushLoggedErrors(ValueError)

    def test_an_update_goes_on_though_the_client_has_left(self) -> None:
        pending: Deferred[int] = Deferred()
        maildrop = OneMessage(commit=pending)
        wire = talk(store=StoreOf(maildrop))[0]
        wire.say(LOGIN + b"DELE 1\r\nQUIT\r\n")
        lost(wire)
        self.assertEqual(maildrop.closed, 0)
        pending.callback(0)
        self.assertEqual(maildrop.closed, 1)

    def test_a_client_that_leaves_while_its_maildrop_opens_leaves_no_lock(self) -> None:
        opening: Deferred[Any] = Deferred()
        wire = talk(store=StoreOf(opening))[0]
        wire.say(LOGIN)
        lost(wire)
        maildrop = OneMessage()
        opening.callback(maildrop)
        self.assertEqual(maildrop.closed, 1, "what opens too late is closed at once")

    def test_a_client_that_leaves_in_an_exchange_leaves_nothing(self) -> None:
        wire, _clock, listener = talk()
        wire.say(b"AUTH PLAIN\r\n")
        lost(wire)
        self.assertEqual(len(listener.registry), 0)

    def test_commands_behind_a_login_that_takes_time_wait_for_it(self) -> None:
        opening: Deferred[Any] = Deferred()
        wire = talk(store=StoreOf(opening))[0]
        self.assertTrue(wire.say(LOGIN + b"STAT\r\nQUIT\r\n").endswith(b"+OK send PASS\r\n"))
        self.assertEqual(wire.transport.producerState, "paused")
        opening.callback(OneMessage())
        self.assertEqual(wire.say(), b"+OK 1 messages (1000 octets)\r\n+OK 1 1000\r\n+OK bye\r\n")

    def test_a_half_closing_client_gets_all_its_replies(self) -> None:
        opening: Deferred[Any] = Deferred()
        wire = talk(store=StoreOf(opening))[0]
        wire.say(LOGIN + b"STAT\r\nQUIT\r\n")
        wire.server.readConnectionLost()
        opening.callback(OneMessage())
        self.assertTrue(wire.say().endswith(b"+OK 1 1000\r\n+OK bye\r\n"))


class Messages(SynchronousTestCase):
    def retrieve(self, *chunks: Any) -> tuple[Wire, SlowReader]:
        reader = SlowReader(chunks)
        wire = talk(store=StoreOf(OneMessage(reader)))[0]
        wire.say(LOGIN)
        self.assertEqual(wire.say(b"RETR 1\r\nNOOP\r\n"), b"")
        return wire, reader

    def test_a_cold_message_comes_when_it_is_read(self) -> None:
        wire, reader = self.retrieve(b"one\r\n", b"two\r\n")
        reader.go_on()
        self.assertEqual(wire.say(), b"+OK 1000 octets\r\none\r\n")
        reader.go_on()
        reader.go_on()
        self.assertEqual(wire.say(), b"two\r\n.\r\n+OK done\r\n")
        self.assertEqual(reader.closed, 2)

    def test_a_message_that_is_gone_before_ok_is_an_error(self) -> None:
        wire, reader = self.retrieve(MessageVanished())
        reader.go_on()
        self.assertEqual(wire.say(), b"-ERR [SYS/TEMP] message is gone, log in again\r\n+OK done\r\n")

    def test_a_message_that_breaks_off_behind_ok_ends_the_connection(self) -> None:
        wire, reader = self.retrieve(b"one\r\n", MessageVanished())
        reader.go_on()
        reader.go_on()
        self.assertEqual(wire.say(), b"+OK 1000 octets\r\none\r\n", "and no terminator")
        self.assertTrue(wire.transport.disconnected)

    def test_a_client_that_leaves_in_the_middle_closes_the_reader(self) -> None:
        wire, reader = self.retrieve(b"one\r\n", b"two\r\n")
        reader.go_on()
        lost(wire)
        self.assertGreaterEqual(reader.closed, 1)

    def test_EX_020_a_peer_that_does_not_read_holds_a_bounded_buffer(self) -> None:
        reader = EndlessReader()
        wire, clock, listener = talk(store=StoreOf(OneMessage(reader)))
        wire.say(LOGIN)
        write, total = wire.server.transport.write, [0]

        def full(octets: bytes) -> None:
            total[0] += len(octets)
            if total[0] > 65536:
                wire.server.pauseProducing()
            write(octets)

        wire.server.transport.write = full
        wire.server.dataReceived(b"RETR 1\r\n" + b"NOOP\r\n" * 1000)
        for _ in range(50):
            clock.advance(0)
        self.assertLessEqual(total[0], 65536 + 2 * listener.limits.chunk_octets)
        self.assertLessEqual(reader.given, 65536 + 2 * listener.limits.chunk_octets)
        self.assertEqual(wire.transport.producerState, "paused")

    test_SEC_010_a_slow_reader_holds_a_bounded_buffer = test_EX_020_a_peer_that_does_not_read_holds_a_bounded_buffer

    def test_what_was_paused_goes_on(self) -> None:
        reader = SlowReader([b"one\r\n", b"two\r\n"])
        wire = talk(store=StoreOf(OneMessage(reader)))[0]
        wire.say(LOGIN + b"RETR 1\r\n")
        wire.server.pauseProducing()
        reader.go_on()
        self.assertIsNone(reader.waiting, "no read while the peer does not read")
        wire.server.resumeProducing()
        reader.go_on()
        reader.go_on()
        self.assertTrue(wire.say().endswith(b"one\r\ntwo\r\n.\r\n"))


class Timers(SynchronousTestCase):
    def test_P3_014_the_time_before_login_is_bounded_as_a_whole(self) -> None:
        wire, clock, listener = talk(limits=Limits(login_seconds=60))
        for _ in range(59):
            clock.advance(1)
            wire.say(b"NOOP\r\n" if clock.seconds() % 10 == 0 else b"")
        self.assertFalse(wire.over)
        run(clock, 2)
        self.assertTrue(wire.over)
        self.assertEqual(listener.observer.closed, [])
        lost(wire)
        self.assertEqual(listener.observer.closed[0]["why"], "login timeout")  # type: ignore[attr-defined]

    def test_P3_011_a_session_may_idle_for_ten_minutes(self) -> None:
        self.assertGreaterEqual(Limits().idle_seconds, 600)
        wire, clock, _listener = talk(limits=Limits(idle_seconds=600))
        wire.say(LOGIN)
        run(clock, 599)
        self.assertFalse(wire.over)
        wire.say(b"NOOP\r\n")
        run(clock, 599)
        self.assertFalse(wire.over, "a command starts the time anew")
        run(clock, 3)
        self.assertTrue(wire.over)

    def test_P3_012_autologout_deletes_nothing_and_says_nothing(self) -> None:
        maildrop = OneMessage()
        wire, clock, _listener = talk(store=StoreOf(maildrop), limits=Limits(idle_seconds=600))
        wire.say(LOGIN + b"DELE 1\r\n")
        run(clock, 602)
        self.assertEqual(wire.say(), b"")
        lost(wire)
        self.assertEqual((maildrop.committed, maildrop.closed), ([], 1))

    def test_P3_013_sending_is_not_inactivity(self) -> None:
        wire, clock, _listener = talk(limits=Limits(idle_seconds=600, write_seconds=2000))
        wire.say(LOGIN)
        wire.server.pauseProducing()
        run(clock, 700)
        self.assertFalse(wire.over)
        wire.server.resumeProducing()
        run(clock, 599)
        self.assertFalse(wire.over)

    def test_a_peer_that_takes_nothing_is_given_up(self) -> None:
        wire, clock, _listener = talk(limits=Limits(write_seconds=300))
        wire.say(LOGIN)
        wire.server.pauseProducing()
        run(clock, 299)
        self.assertFalse(wire.transport.disconnected)
        run(clock, 3)
        self.assertTrue(wire.transport.disconnected)

    def test_SEC_006_a_refused_login_is_answered_late_and_later_each_time(self) -> None:
        wire, clock, _listener = talk(delay=2.0)
        for delay in (2, 4, 8):
            self.assertNotIn(b"-ERR", wire.say(b"USER fred\r\nPASS wrong\r\n"))
            clock.advance(delay - 0.1)
            self.assertEqual(wire.say(), b"")
            clock.advance(0.2)
            self.assertEqual(wire.say(), b"-ERR [AUTH] authentication failed\r\n")
        self.assertTrue(wire.over, "three refused logins are enough")

    def test_SEC_006_right_credentials_are_not_delayed_by_others_failures(self) -> None:
        clock = Clock()
        factory = ListenerFactory(make_listener(clock, delay=2.0))
        connect(factory, "198.51.100.7").say(b"USER fred\r\nPASS wrong\r\n")
        self.assertTrue(connect(factory).say(LOGIN).endswith(b"+OK 3 messages (52 octets)\r\n"))


class Crowds(SynchronousTestCase):
    def crowd(self, **limits: int) -> tuple[ListenerFactory, Registry]:
        listener = make_listener(Clock(), limits=Limits(**limits))
        return ListenerFactory(listener), listener.registry

    def test_connections_of_one_address_are_limited(self) -> None:
        factory, registry = self.crowd(connections_per_address=2)
        first, second, third = (connect(factory) for _ in range(3))
        self.assertEqual(first.say() + second.say(), GREETING * 2)
        self.assertEqual(third.say(), b"-ERR [SYS/TEMP] too many connections from your address, the limit is 2\r\n")
        self.assertTrue(third.over)
        self.assertEqual(connect(factory, "192.0.2.2").say(), GREETING)
        for wire in (first, third):
            lost(wire)
        self.assertEqual(connect(factory).say(), GREETING)
        self.assertEqual(len(registry), 3)

    def test_the_oldest_that_has_not_logged_in_makes_room(self) -> None:
        factory, _registry = self.crowd(connections=20)
        wires = [connect(factory, f"192.0.2.{number}") for number in range(3)]
        self.assertTrue(wires[0].over, "two of twenty places are for strangers")
        self.assertTrue(
            wires[0].say().endswith(b"-ERR [SYS/TEMP] server cannot keep this connection, try again later\r\n")
        )
        self.assertFalse(wires[1].over)

    def test_those_that_have_logged_in_stay(self) -> None:
        factory, _registry = self.crowd(connections=20)
        member = connect(factory)
        member.say(LOGIN)
        strangers = [connect(factory, f"192.0.2.{number}") for number in range(5)]
        self.assertFalse(member.over)
        self.assertEqual([wire.over for wire in strangers], [True, True, True, False, False])

    def test_drain_sends_strangers_away_and_lets_sessions_finish(self) -> None:
        clock = Clock()
        listener = make_listener(clock, limits=Limits(drain_seconds=30))
        factory = ListenerFactory(listener)
        stranger, member = connect(factory), connect(factory)
        member.say(LOGIN)
        done: list[None] = []
        listener.registry.drain().addCallback(done.append)
        self.assertIn(b"-ERR [SYS/TEMP] ", stranger.say())
        self.assertTrue(stranger.over)
        self.assertEqual(
            member.say(b"DELE 1\r\nQUIT\r\n"), b"+OK message 1 marked as deleted\r\n+OK bye, 1 messages removed\r\n"
        )
        lost(stranger)
        self.assertEqual(done, [])
        lost(member)
        self.assertEqual(done, [None])

    def test_drain_ends_what_does_not_finish(self) -> None:
        clock = Clock()
        listener = make_listener(clock, limits=Limits(drain_seconds=30))
        maildrop_wire = connect(ListenerFactory(listener))
        maildrop_wire.say(LOGIN)
        listener.registry.drain()
        run(clock, 29)
        self.assertFalse(maildrop_wire.over)
        run(clock, 2)
        self.assertTrue(maildrop_wire.over)
        lost(maildrop_wire)


class Policy(SynchronousTestCase):
    def test_TLS_007_passwords_in_the_clear_are_refused_by_default(self) -> None:
        wire = talk(cleartext=lambda _address: False)[0]
        said = wire.say(b"CAPA\r\nUSER fred\r\nPASS secret\r\nAUTH PLAIN AGZyZWQAc2VjcmV0\r\n")
        self.assertNotIn(b"\r\nUSER\r\n", said)
        self.assertNotIn(b"SASL", said)
        self.assertEqual(said.count(b"-ERR "), 3)

    test_TLS_008_no_login_in_the_clear_at_all = test_TLS_007_passwords_in_the_clear_are_refused_by_default

    def test_SA_017_acting_as_somebody_else_is_refused(self) -> None:
        from base64 import b64encode

        for identity, fine in ((b"", True), (b"fred", True), (b"Fred", True), (b"ann", False)):
            said = talk()[0].say(b"AUTH PLAIN " + b64encode(identity + b"\0fred\0secret") + b"\r\n")
            self.assertEqual(b"+OK 3 messages" in said, fine)
            self.assertEqual(b"-ERR [AUTH]" in said, not fine)

    def test_P3_050_the_timestamp_is_a_message_id_and_unlike_any_other(self) -> None:
        clock = Clock()
        factory = ListenerFactory(make_listener(clock, apop=True))
        stamps = [connect(factory).say().split()[-1] for _ in range(50)]
        self.assertEqual(len(set(stamps)), 50)
        for stamp in stamps:
            self.assertRegex(stamp, rb"^<[A-Za-z0-9.]+@[A-Za-z0-9.-]+>$")

    def test_P3_051_the_timestamp_is_random(self) -> None:
        clock = Clock()
        factory = ListenerFactory(make_listener(clock, apop=True))
        first, second = (connect(factory).say().split()[-1][1:].split(b".")[0] for _ in range(2))
        self.assertNotEqual(first, second)
        self.assertGreaterEqual(len(first), 32)

    def test_apop_logs_in_with_the_timestamp_of_this_connection(self) -> None:
        from hashlib import md5

        clock = Clock()
        factory = ListenerFactory(make_listener(clock, apop=True))
        first, second = connect(factory), connect(factory)
        stamp = first.say().split()[-1]
        digest = md5(stamp + b"secret").hexdigest().encode()
        self.assertIn(b"-ERR [AUTH]", second.say(b"APOP fred " + digest + b"\r\n"))
        self.assertIn(b"+OK 3 messages", first.say(b"APOP fred " + digest + b"\r\n"))

    def test_SEC_015_secrets_reach_no_event(self) -> None:
        wire, _clock, listener = talk()
        wire.say(b"USER fred\r\nPASS hunter2\r\nAUTH PLAIN AGZyZWQAaHVudGVyMw==\r\n" + LOGIN + b"QUIT\r\n")
        lost(wire)
        told = repr(listener.observer.seen)  # type: ignore[attr-defined]
        for secret in ("hunter2", "hunter3", "secret", "AGZyZWQ"):
            self.assertNotIn(secret, told)
        self.assertIn("'user': 'fred'", told)

    test_SA_030_responses_reach_no_event = test_SEC_015_secrets_reach_no_event

    def test_the_session_line_tells_what_was_done(self) -> None:
        wire, _clock, listener = talk()
        wire.say(LOGIN + b"RETR 1\r\nTOP 3 0\r\nDELE 1\r\nQUIT\r\n")
        lost(wire)
        facts = listener.observer.closed[0]  # type: ignore[attr-defined]
        self.assertEqual(
            {key: facts[key] for key in ("user", "mech", "tls", "retr", "top", "dele", "why", "peer")},
            {"user": "fred", "mech": "USER", "tls": "", "retr": (1, 28), "top": (1, 18), "dele": 1, "why": "quit"}
            | {"peer": "192.0.2.1"},
        )

    def test_no_deferred_is_made_by_a_synchronous_command(self) -> None:
        wire, _clock, _listener = talk()
        wire.say(LOGIN)
        made: list[object] = []
        original = Deferred.__init__

        def counting(deferred: Any, *arguments: Any) -> None:
            made.append(deferred)
            original(deferred, *arguments)

        self.patch(Deferred, "__init__", counting)
        wire.say(b"STAT\r\nLIST\r\nLIST 1\r\nUIDL\r\nDELE 1\r\nRSET\r\nNOOP\r\nCAPA\r\nRETR 1\r\nTOP 1 0\r\nBOGUS\r\n")
        self.assertEqual(made, [])
