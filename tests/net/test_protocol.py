"""Commands, replies and messages: the protocol on a transport in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv.errors import LoginRefused, MessageVanished, StoreUnavailable
from popserv.protocols.pop3 import ListenerFactory
from popserv.stores.memory import MemoryStore
from popserv.testing import NASTY, Wire
from tests.net.support import (
    GREETING,
    LOGIN,
    MESSAGES,
    OneMessage,
    QuickReader,
    SlowReader,
    StoreOf,
    make_listener,
    session,
    talk,
)

DIALOGUE = (
    b"CAPA\r\nUSER fred\r\nPASS secret\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 1 1\r\nRETR 3\r\nDELE 1\r\nBOGUS\r\n"
    b"RSET\r\nDELE 2\r\nRETR 2\r\nNOOP\r\nQUIT\r\nSTAT\r\n"
)
SASL_DIALOGUE = (
    b"STAT\r\nAUTH PLAIN\r\nSTAT\r\nAUTH PLAIN\r\n*\r\nAUTH X\r\nbare\nLF\r\n" + b"x" * 600 + b"\r\n"
    b"auth plain AGZyZWQAc2VjcmV0\r\nRETR 1\r\nQUIT\r\n"
)


class Conversations(SynchronousTestCase):
    def test_P3_001_the_server_greets_at_once(self) -> None:
        self.assertEqual(talk()[0].say(), GREETING)

    def test_EX_019_a_pipelined_session_is_answered_in_order(self) -> None:
        said = talk()[0].say(DIALOGUE)
        self.assertIn(b"+OK 3 messages (52 octets)\r\n+OK 3 52\r\n", said)
        self.assertTrue(said.endswith(b"+OK done\r\n+OK bye, 1 messages removed\r\n"))

    def test_every_cut_gives_the_same_octets(self) -> None:
        for dialogue in (DIALOGUE, SASL_DIALOGUE):
            whole = talk()[0].say(dialogue)
            self.assertTrue(whole.endswith((b"+OK bye\r\n", b"removed\r\n")), whole)
            wire = talk()[0]
            for octet in dialogue:
                wire.server.dataReceived(bytes([octet]))
            self.assertEqual(wire.say(), whole)
            for cut in range(1, len(dialogue)):
                wire = talk()[0]
                wire.server.dataReceived(dialogue[:cut])
                self.assertEqual(wire.say(dialogue[cut:]), whole)

    def test_the_replies_of_a_turn_leave_in_one_write(self) -> None:
        wire = talk()[0]
        writes: list[bytes] = []
        wire.server.transport.write = writes.append
        wire.server.dataReceived(LOGIN + b"STAT\r\nLIST\r\nRETR 1\r\nNOOP\r\n")
        self.assertEqual(len(writes), 1)

    def test_long_pipelines_give_others_their_turn(self) -> None:
        clock = Clock()
        listener = make_listener(clock)
        factory = ListenerFactory(listener)
        limit = listener.limits.turn_lines
        busy, other = Wire.to(factory), Wire.to(factory)
        busy.say(LOGIN)
        self.assertEqual(busy.say(b"NOOP\r\n" * 10_000).count(b"+OK"), limit)
        self.assertEqual(busy.transport.producerState, "paused", "nothing is received while lines wait")
        self.assertEqual(other.say(b"USER ann\r\n"), GREETING + b"+OK send PASS\r\n")
        writes: list[bytes] = []
        busy.server.transport.write = writes.append
        while busy.transport.producerState == "paused":
            clock.advance(0)
        self.assertEqual(sum(octets.count(b"+OK") for octets in writes), 10_000 - limit)
        self.assertLessEqual(max(octets.count(b"+OK") for octets in writes), limit, "one turn each time")

    def test_EX_021_what_waits_is_bounded_because_reading_pauses(self) -> None:
        opening: Deferred[Any] = Deferred()
        wire = talk(store=StoreOf(opening))[0]
        self.assertEqual(wire.transport.producerState, "producing")
        self.assertTrue(wire.say(LOGIN + b"STAT\r\n").endswith(b"+OK send PASS\r\n"))
        self.assertEqual(wire.transport.producerState, "paused")
        opening.callback(OneMessage())
        self.assertEqual(wire.transport.producerState, "producing")
        self.assertEqual(wire.say(), b"+OK 1 messages (1000 octets)\r\n+OK 1 1000\r\n")

    def test_EX_022_lines_behind_auth_are_responses_and_nothing_follows_quit(self) -> None:
        said = talk()[0].say(b"AUTH PLAIN\r\nCAPA\r\nQUIT\r\nCAPA\r\n")
        self.assertEqual(said, GREETING + b"+ \r\n-ERR PLAIN needs exactly two NUL octets\r\n+OK bye\r\n")

    def test_SA_001_auth_enters_transaction_with_the_lock(self) -> None:
        listener = make_listener(Clock())
        factory = ListenerFactory(listener)
        first, second = Wire.to(factory), Wire.to(factory)
        self.assertIn(b"+OK 3 messages", first.say(b"AUTH PLAIN AGZyZWQAc2VjcmV0\r\n"))
        self.assertIn(b"-ERR [IN-USE]", second.say(b"AUTH PLAIN AGZyZWQAc2VjcmV0\r\n"))

    def test_SA_002_after_a_success_auth_is_refused(self) -> None:
        wire = session()
        self.assertEqual(
            wire.say(b"AUTH PLAIN AGZyZWQAc2VjcmV0\r\nAUTH\r\nSTAT\r\n"),
            b"-ERR not in the TRANSACTION state\r\n" * 2 + b"+OK 3 52\r\n",
        )

    def test_SA_012_after_a_failure_every_other_login_may_follow(self) -> None:
        wire = talk()[0]
        self.assertIn(b"-ERR [AUTH]", wire.say(b"AUTH PLAIN AGZyZWQAd3Jvbmc=\r\n"))
        self.assertIn(b"-ERR [AUTH]", wire.say(b"USER fred\r\nPASS wrong\r\n"))
        self.assertIn(b"+OK 3 messages", wire.say(b"AUTH PLAIN\r\nAGZyZWQAc2VjcmV0\r\n"))

    def test_P3_019_after_a_failed_login_the_client_may_try_again_or_quit(self) -> None:
        wire = talk()[0]
        wire.say(b"USER fred\r\nPASS wrong\r\n")
        self.assertIn(b"+OK 3 messages", wire.say(LOGIN))
        wire = talk()[0]
        self.assertTrue(wire.say(b"USER fred\r\nPASS wrong\r\nQUIT\r\n").endswith(b"+OK bye\r\n"))

    def test_P3_017_the_lock_is_held_when_ok_is_said(self) -> None:
        listener = make_listener(Clock(), store=MemoryStore({"fred": MESSAGES}))
        factory = ListenerFactory(listener)
        first, second = Wire.to(factory), Wire.to(factory)
        self.assertIn(b"+OK 3 messages", first.say(LOGIN))
        self.assertTrue(second.say(LOGIN).endswith(b"-ERR [IN-USE] maildrop is locked by another session\r\n"))
        first.say(b"QUIT\r\n")
        self.assertTrue(second.say(LOGIN).endswith(b"+OK 3 messages (52 octets)\r\n"))

    def test_a_defect_of_a_message_is_not_the_end_of_the_session(self) -> None:
        reader = QuickReader([b"one\r\n", ValueError("defect")])
        wire = session(store=StoreOf(OneMessage(reader)))
        self.assertEqual(
            wire.say(b"RETR 1\r\nNOOP\r\n"),
            b"-ERR [SYS/TEMP] temporary system problem, try again later\r\n+OK done\r\n",
        )
        self.assertEqual(reader.closed, 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_no_deferred_is_made_by_a_synchronous_command(self) -> None:
        wire = session()
        made: list[object] = []
        original = Deferred.__init__

        def counting(deferred: Any, *arguments: Any) -> None:
            made.append(deferred)
            original(deferred, *arguments)

        self.patch(Deferred, "__init__", counting)
        commands = (b"STAT", b"LIST", b"LIST 1", b"UIDL", b"UIDL 1", b"DELE 1", b"RSET", b"NOOP", b"CAPA", b"BOGUS")
        said = wire.say(b"\r\n".join(commands) + b"\r\nRETR 1\r\nTOP 1 0\r\n")
        self.assertEqual(said.count(b"+OK"), len(commands) + 1)
        self.assertEqual(made, [])
        Deferred()
        self.assertEqual(len(made), 1, "it does count")


class Updates(SynchronousTestCase):
    def test_P3_039_only_quit_leads_to_update(self) -> None:
        maildrop = OneMessage()
        wire = session(store=StoreOf(maildrop))
        wire.say(b"DELE 1\r\nRSET\r\nDELE 1\r\nQUIT 1\r\nNOOP\r\n")
        self.assertEqual(maildrop.committed, [])
        wire.say(b"QUIT\r\n")
        self.assertEqual(maildrop.committed, [{0}])

    def test_P3_040_no_other_end_removes_anything(self) -> None:
        for end in (Wire.lose, Wire.close_sending, lambda wire: wire.server.shed(), lambda wire: wire.say(b"QUIT")):
            maildrop = OneMessage()
            wire = session(store=StoreOf(maildrop))
            wire.say(b"DELE 1\r\n")
            end(wire)
            wire.lose()
            self.assertEqual(maildrop.committed, [])
            self.assertGreaterEqual(maildrop.closed, 1)

    def test_P3_041_quit_removes_and_then_answers(self) -> None:
        pending: Deferred[int] = Deferred()
        maildrop = OneMessage(commit=pending)
        wire = session(store=StoreOf(maildrop))
        self.assertEqual(wire.say(b"DELE 1\r\nQUIT\r\n"), b"+OK message 1 marked as deleted\r\n")
        self.assertEqual(maildrop.closed, 0)
        pending.callback(0)
        self.assertEqual(wire.say(), b"+OK bye, 1 messages removed\r\n")

    def test_P3_041_failures_of_the_update_are_told(self) -> None:
        some_left: Deferred[int] = Deferred()
        some_left.callback(1)
        for commit, reply in (
            (StoreUnavailable(), b"-ERR [SYS/TEMP] maildrop is not available, try again later\r\n"),
            (ValueError(), b"-ERR [SYS/TEMP] some deleted messages not removed\r\n"),
            (some_left, b"-ERR [SYS/TEMP] 1 of 1 deleted messages not removed\r\n"),
        ):
            maildrop = OneMessage(commit=commit)
            wire = session(store=StoreOf(maildrop))
            self.assertTrue(wire.say(b"DELE 1\r\nQUIT\r\n").endswith(reply))
            self.assertTrue(wire.over)
            self.assertGreaterEqual(maildrop.closed, 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_P3_042_messages_that_are_not_marked_stay(self) -> None:
        store = MemoryStore({"fred": MESSAGES})
        wire = session(store=store)
        ids = wire.say(b"UIDL\r\n").split()[5:-1:2]
        wire.say(b"DELE 1\r\nDELE 3\r\nRSET\r\nDELE 2\r\nQUIT\r\n")
        self.assertEqual(session(store=store).say(b"UIDL\r\n").split()[5:-1:2], [ids[0], ids[2]])

    def test_P3_043_the_lock_is_free_before_quit_is_answered(self) -> None:
        maildrop = OneMessage()
        wire = session(store=StoreOf(maildrop))
        seen: list[int] = []
        wire.server.transport.write = lambda _octets: seen.append(maildrop.closed)
        wire.server.dataReceived(b"QUIT\r\n")
        self.assertEqual(len(seen), 1)
        self.assertGreaterEqual(seen[0], 1)
        self.assertTrue(wire.over)

    def test_quit_without_marks_removes_nothing(self) -> None:
        maildrop = OneMessage()
        self.assertEqual(session(store=StoreOf(maildrop)).say(b"QUIT\r\n"), b"+OK bye\r\n")
        self.assertEqual(maildrop.committed, [set()])


class Messages(SynchronousTestCase):
    def retrieve(self, *chunks: Any) -> tuple[Wire, SlowReader]:
        reader = SlowReader(chunks)
        wire = session(store=StoreOf(OneMessage(reader)))
        self.assertEqual(wire.say(b"RETR 1\r\nNOOP\r\n"), b"")
        return wire, reader

    def test_a_cold_message_comes_when_it_is_read(self) -> None:
        wire, reader = self.retrieve(b"one\r\n", b"two\r\n")
        reader.go_on()
        self.assertEqual(wire.say(), b"+OK 1000 octets\r\none\r\n")
        reader.go_on()
        reader.go_on()
        self.assertEqual(wire.say(), b"two\r\n.\r\n+OK done\r\n")
        self.assertGreaterEqual(reader.closed, 1)

    def test_a_message_that_is_gone_before_ok_is_an_error(self) -> None:
        wire, reader = self.retrieve(MessageVanished())
        reader.go_on()
        self.assertEqual(wire.say(), b"-ERR [SYS/TEMP] message is gone, log in again\r\n+OK done\r\n")

    def test_a_message_that_breaks_off_before_anything_has_left_is_an_error(self) -> None:
        wire = session(store=StoreOf(OneMessage(QuickReader([b"one\r\n", MessageVanished()]))))
        self.assertEqual(
            wire.say(b"NOOP\r\nRETR 1\r\nNOOP\r\n"),
            b"+OK done\r\n-ERR [SYS/TEMP] message is gone, log in again\r\n+OK done\r\n",
        )

    def test_a_message_that_breaks_off_behind_ok_ends_the_connection(self) -> None:
        wire, reader = self.retrieve(b"one\r\n", MessageVanished())
        reader.go_on()
        reader.go_on()
        self.assertEqual(wire.say(), b"+OK 1000 octets\r\none\r\n", "and no terminator")
        self.assertTrue(wire.transport.disconnected)

    def test_a_defect_behind_ok_ends_the_connection_and_is_logged(self) -> None:
        wire, reader = self.retrieve(b"one\r\n", OSError("disk"))
        reader.go_on()
        reader.go_on()
        self.assertTrue(wire.transport.disconnected)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_nasty_messages_are_the_same_in_one_piece_and_in_many(self) -> None:
        for name, stored in NASTY.items():
            if len(stored) > 100_000:
                continue
            warm = session(store=MemoryStore({"fred": [stored]})).say(b"RETR 1\r\n")
            header, _, body = warm.partition(b"\r\n")
            self.assertTrue(body.endswith(b"\r\n.\r\n") or body == b".\r\n", name)
            unstuffed = (b"\r\n" + body).replace(b"\r\n..", b"\r\n.")[2:-3]
            self.assertEqual(header, b"+OK %d octets" % len(unstuffed), name)

    def test_EX_020_a_peer_that_does_not_read_stops_chunks_and_commands(self) -> None:
        reader = QuickReader()
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

    def test_what_was_paused_goes_on(self) -> None:
        reader = SlowReader([b"one\r\n", b"two\r\n"])
        wire = session(store=StoreOf(OneMessage(reader)))
        wire.say(b"RETR 1\r\n")
        wire.server.pauseProducing()
        reader.go_on()
        self.assertIsNone(reader.waiting, "no read while the peer does not read")
        wire.server.resumeProducing()
        reader.go_on()
        reader.go_on()
        self.assertTrue(wire.say().endswith(b"one\r\ntwo\r\n.\r\n"))

    def test_a_long_listing_waits_for_a_slow_reader(self) -> None:
        wire = session(store=MemoryStore({"fred": [b"x"] * 20_000}))
        whole = wire.say(b"LIST\r\n")
        self.assertEqual(whole.count(b"\r\n"), 20_002)
        wire.server.pauseProducing()
        self.assertEqual(wire.say(b"LIST\r\n"), b"")
        wire.server.resumeProducing()
        self.assertEqual(wire.say(), whole)


class Refusals(SynchronousTestCase):
    def test_P3_018_a_maildrop_that_cannot_be_opened(self) -> None:
        for error, code in ((StoreUnavailable(), b"[SYS/TEMP]"), (OSError(), b"[SYS/TEMP]")):
            said = talk(store=StoreOf(error))[0].say(LOGIN)
            self.assertTrue(said.split(b"\r\n")[2].startswith(b"-ERR " + code))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_RC_002_in_use_only_after_the_credentials_are_verified(self) -> None:
        factory = ListenerFactory(make_listener(Clock()))
        Wire.to(factory).say(LOGIN)
        other = Wire.to(factory)
        self.assertIn(b"-ERR [AUTH]", other.say(b"USER fred\r\nPASS wrong\r\n"))
        self.assertIn(b"-ERR [IN-USE]", other.say(LOGIN))

    def test_RC_004_auth_on_every_refusal_of_credentials_and_on_nothing_else(self) -> None:
        refused = (b"USER fred\r\nPASS wrong\r\n", b"USER nobody\r\nPASS secret\r\n", b"AUTH PLAIN AGFubgBhbm4=\r\n")
        for login in refused:
            self.assertTrue(talk()[0].say(login).endswith(b"-ERR [AUTH] authentication failed\r\n"))
        for login in (b"AUTH PLAIN\r\n*\r\n", b"AUTH PLAIN ?\r\n", b"AUTH X\r\n", b"PASS secret\r\n", b"USER\r\n"):
            said = talk()[0].say(login)
            self.assertIn(b"-ERR ", said)
            self.assertNotIn(b"-ERR [", said)

    def test_RC_007_trouble_of_ours_is_told_as_such(self) -> None:
        from popserv.errors import Busy, StoreBroken

        for error, code in (
            (StoreBroken(), b"[SYS/PERM]"),
            (Busy(), b"[SYS/TEMP]"),
            (StoreUnavailable(), b"[SYS/TEMP]"),
        ):
            self.assertIn(b"-ERR " + code, talk(store=StoreOf(error))[0].say(LOGIN))

    def test_P3_046_user_and_the_refusal_are_the_same_whether_the_name_exists(self) -> None:
        known, unknown = (talk()[0].say(b"USER %b\r\nPASS wrong\r\n" % name) for name in (b"fred", b"nobody"))
        self.assertEqual(known, unknown)
        self.assertIn(LoginRefused.default.encode(), known)

    def test_SA_026_a_bad_password_and_an_unknown_user_look_alike_in_plain(self) -> None:
        known, unknown = (talk()[0].say(b"AUTH PLAIN %b\r\n" % each) for each in (b"AGZyZWQAeA==", b"AGFsZgB4"))
        self.assertEqual(known, unknown)
