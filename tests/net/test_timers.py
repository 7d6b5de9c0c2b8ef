"""Every time limit, a second before it and a second after it, with the clock in the test's hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.credentials import IUsernamePassword
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv import steady
from popserv.limits import Limits
from popserv.net.timeouts import NOWHERE, Timeouts
from popserv.net.tls import implicit
from popserv.protocols.pop3 import ListenerFactory
from popserv.testing import Wire, let_pass
from tests.net.support import LOGIN, SERVER, Endless, OneMessage, StoreOf, make_listener, session, talk


class Sleeper:
    """Something with a deadline."""

    deadline = 0.0
    bucket = NOWHERE

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.woken: list[float] = []

    def timed_out(self) -> None:
        self.woken.append(self.clock.seconds())


class Wheel(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timeouts = Timeouts(self.clock)
        self.sleeper = Sleeper(self.clock)

    def test_a_time_out_comes_once_and_within_a_second(self) -> None:
        for start in range(10):
            self.clock.advance(start / 10)
            sleeper, due = Sleeper(self.clock), self.clock.seconds() + 5
            self.timeouts.set(sleeper, 5)
            for _ in range(80):
                self.clock.advance(0.1)
            self.assertEqual(len(sleeper.woken), 1)
            self.assertGreaterEqual(sleeper.woken[0], due)
            self.assertLessEqual(sleeper.woken[0], due + 1.001)

    def test_a_deadline_can_move_both_ways(self) -> None:
        self.timeouts.set(self.sleeper, 5)
        self.timeouts.set(self.sleeper, 20)
        let_pass(self.clock, 19)
        self.assertEqual(self.sleeper.woken, [])
        let_pass(self.clock, 2)
        self.assertEqual(len(self.sleeper.woken), 1)
        self.timeouts.set(self.sleeper, 100)
        self.timeouts.set(self.sleeper, 3)
        let_pass(self.clock, 4)
        self.assertEqual(len(self.sleeper.woken), 2)

    def test_nothing_is_left_when_nobody_waits(self) -> None:
        self.timeouts.set(self.sleeper, 5)
        self.timeouts.forget(self.sleeper)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        let_pass(self.clock, 10)
        self.assertEqual(self.sleeper.woken, [])

    def test_a_time_out_that_raises_does_not_stop_the_others(self) -> None:
        class Broken(Sleeper):
            def timed_out(self) -> None:
                raise ValueError

        self.timeouts.set(Broken(self.clock), 2)
        self.timeouts.set(self.sleeper, 5)
        let_pass(self.clock, 1)
        self.assertRaises(ValueError, let_pass, self.clock, 1)
        let_pass(self.clock, 5)
        self.assertEqual(len(self.sleeper.woken), 1)


class BeforeLogin(SynchronousTestCase):
    def test_P3_014_the_time_before_login_is_bounded_as_a_whole(self) -> None:
        wire, clock, listener = talk(limits=Limits(login_seconds=60))
        for _ in range(60):
            self.assertFalse(wire.over)
            wire.say(b"NOOP\r\n" if clock.seconds() % 10 == 0 else b"N")
            clock.advance(1)
        let_pass(clock, 1)
        self.assertTrue(wire.over)
        wire.lose()
        self.assertEqual(listener.observer.named("closed")[0]["why"], "login timeout")  # type: ignore[attr-defined]

    def test_SA_029_an_exchange_has_a_bound_in_steps(self) -> None:
        wire = talk(mechanisms=(Endless(IUsernamePassword),), limits=Limits(sasl_steps=10))[0]
        wire.say()
        said = wire.say(b"AUTH X-ENDLESS\r\n" + b"YQ==\r\n" * 20)
        self.assertEqual(said, b"+ YW5kIHRoZW4/\r\n" * 10 + b"-ERR too many steps in this exchange\r\n")
        self.assertTrue(wire.over)

    def test_SA_029_an_exchange_has_a_bound_in_time(self) -> None:
        wire, clock, _listener = talk(limits=Limits(login_seconds=60))
        wire.say(b"AUTH PLAIN\r\n")
        wire.say()
        let_pass(clock, 59)
        self.assertFalse(wire.over)
        let_pass(clock, 2)
        self.assertEqual(wire.say(), b"-ERR this exchange took too long\r\n")
        self.assertTrue(wire.over)

    def test_a_login_that_hangs_is_bounded_too_and_leaves_no_lock(self) -> None:
        opening: Deferred[Any] = Deferred()
        maildrop = OneMessage()
        wire, clock, _listener = talk(limits=Limits(login_seconds=60), store=StoreOf(opening))
        wire.say(LOGIN)
        let_pass(clock, 62)
        self.assertTrue(wire.over)
        opening.callback(maildrop)
        self.assertEqual(wire.say(), b"", "nothing follows the end")
        wire.lose()
        self.assertGreaterEqual(maildrop.closed, 1)

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
        factory = ListenerFactory(make_listener(Clock(), delay=2.0))
        Wire.to(factory, "198.51.100.7").say(b"USER fred\r\nPASS wrong\r\n")
        self.assertTrue(Wire.to(factory).say(LOGIN).endswith(b"+OK 3 messages (52 octets)\r\n"))


class Handshakes(SynchronousTestCase):
    def test_TLS_012_after_stls_the_handshake_has_its_time(self) -> None:
        wire, clock, listener = talk(limits=Limits(handshake_seconds=10), tls_mode="starttls", tls=SERVER)
        wire.say(b"STLS\r\n")
        let_pass(clock, 9)
        self.assertFalse(wire.over)
        let_pass(clock, 2)
        self.assertTrue(wire.transport.disconnected)
        wire.lose()
        self.assertEqual(listener.observer.named("closed")[0]["why"], "handshake timeout")  # type: ignore[attr-defined]

    def test_a_silent_peer_at_the_tls_port_has_its_time(self) -> None:
        clock = Clock()
        listener = make_listener(clock, limits=Limits(handshake_seconds=10), tls_mode="implicit", tls=SERVER)
        wire = Wire.to(implicit(ListenerFactory(listener), SERVER, clock))
        let_pass(clock, 9)
        self.assertFalse(wire.over)
        let_pass(clock, 2)
        self.assertTrue(wire.transport.disconnected)

    def test_a_handshake_does_not_extend_the_time_before_login(self) -> None:
        limits = Limits(handshake_seconds=10, login_seconds=60)
        wire, clock, _listener = talk(limits=limits, tls_mode="starttls", tls=SERVER)
        let_pass(clock, 58)
        wire.say(b"STLS\r\n")
        let_pass(clock, 1)
        self.assertFalse(wire.over)
        let_pass(clock, 2)
        self.assertTrue(wire.over)


class InSession(SynchronousTestCase):
    def idle(self, **limits: float) -> tuple[Wire, Clock, OneMessage]:
        maildrop = OneMessage()
        wire, clock, _listener = talk(limits=Limits(**limits), store=StoreOf(maildrop))  # type: ignore[arg-type]
        wire.say(LOGIN)
        return wire, clock, maildrop

    def test_P3_011_a_session_may_idle_for_ten_minutes(self) -> None:
        self.assertGreaterEqual(Limits().idle_seconds, 600)
        wire, clock, _maildrop = self.idle(idle_seconds=600)
        let_pass(clock, 599)
        self.assertFalse(wire.over)
        wire.say(b"NOOP\r\n")
        let_pass(clock, 599)
        self.assertFalse(wire.over, "a command starts the time anew")
        let_pass(clock, 2)
        self.assertTrue(wire.over)

    def test_P3_012_autologout_deletes_nothing_and_says_nothing(self) -> None:
        wire, clock, maildrop = self.idle(idle_seconds=600)
        wire.say(b"DELE 1\r\n")
        let_pass(clock, 602)
        self.assertTrue(wire.over)
        self.assertEqual(wire.say(), b"")
        wire.lose()
        self.assertEqual(maildrop.committed, [])
        self.assertGreaterEqual(maildrop.closed, 1)

    def test_P3_013_sending_is_not_inactivity(self) -> None:
        wire, clock, _maildrop = self.idle(idle_seconds=600, write_seconds=2000)
        wire.server.pauseProducing()
        let_pass(clock, 700)
        self.assertFalse(wire.over)
        wire.server.resumeProducing()
        let_pass(clock, 599)
        self.assertFalse(wire.over)
        let_pass(clock, 2)
        self.assertTrue(wire.over)

    def test_P3_011_octets_that_make_no_command_do_not_keep_a_session(self) -> None:
        wire, clock, _maildrop = self.idle(idle_seconds=600)
        for _ in range(10):
            let_pass(clock, 55)
            self.assertFalse(wire.over)
            wire.say(b"N")
        let_pass(clock, 55)
        self.assertTrue(wire.over)

    def test_P3_013_what_the_kernel_still_has_to_send_is_being_sent(self) -> None:
        wire, clock, _maildrop = self.idle(idle_seconds=600, write_seconds=300)
        self.assertIn(b"+OK", wire.say(b"STAT\r\n"))
        for left in (90_000, 60_000, 30_000):
            # All of a message has been written, and the peer takes it slowly.
            wire.transport.dataBuffer = b"x" * left
            let_pass(clock, 590 if left == 90_000 else 290)
            self.assertFalse(wire.over)
        let_pass(clock, 20)
        self.assertFalse(wire.over)
        wire.transport.dataBuffer = b""
        let_pass(clock, 590)
        self.assertFalse(wire.over, "ten minutes from when it had everything")
        let_pass(clock, 320)
        self.assertTrue(wire.over)

    def test_P3_013_a_peer_that_takes_nothing_of_it_is_given_up(self) -> None:
        wire, clock, maildrop = self.idle(idle_seconds=600, write_seconds=300)
        wire.say(b"STAT\r\n")
        wire.transport.dataBuffer = b"x" * 90_000
        let_pass(clock, 605)
        self.assertFalse(wire.transport.disconnected)
        let_pass(clock, 302)
        self.assertTrue(wire.transport.disconnected)
        wire.lose()
        self.assertGreaterEqual(maildrop.closed, 1)

    def test_an_end_frees_the_maildrop_before_the_peer_is_gone(self) -> None:
        for name, fill in (("idle timeout", b""), ("errors", b"X\r\n" * 30)):
            with self.subTest(name):
                wire, clock, maildrop = self.idle(idle_seconds=600)
                wire.say(fill)
                if not fill:
                    let_pass(clock, 602)
                self.assertTrue(wire.over)
                closed = maildrop.closed
                self.assertGreaterEqual(closed, 1)
                wire.lose()
                self.assertEqual(maildrop.closed, closed)

    def test_a_peer_that_takes_nothing_is_given_up(self) -> None:
        wire, clock, maildrop = self.idle(write_seconds=300)
        wire.server.pauseProducing()
        let_pass(clock, 299)
        self.assertFalse(wire.transport.disconnected)
        let_pass(clock, 2)
        self.assertTrue(wire.transport.disconnected)
        wire.lose()
        self.assertGreaterEqual(maildrop.closed, 1)

    def test_a_peer_that_takes_a_little_is_not_given_up(self) -> None:
        wire, clock, _maildrop = self.idle(write_seconds=300)
        wire.transport.dataBuffer = b"x" * 100_000
        wire.server.pauseProducing()
        for _ in range(5):
            let_pass(clock, 250)
            wire.transport.dataBuffer = wire.transport.dataBuffer[1:]
        self.assertFalse(wire.transport.disconnected)
        let_pass(clock, 602)
        self.assertTrue(wire.transport.disconnected)

    def test_a_peer_that_reads_nothing_while_its_maildrop_opens_has_the_time_to_write(self) -> None:
        opening: Deferred[Any] = Deferred()
        limits = Limits(login_seconds=60, write_seconds=300)
        wire, clock, _listener = talk(limits=limits, store=StoreOf(opening))
        wire.say(LOGIN)
        wire.server.pauseProducing()
        let_pass(clock, 50)
        opening.callback(OneMessage())
        let_pass(clock, 299)
        self.assertFalse(wire.over)
        let_pass(clock, 2)
        self.assertTrue(wire.transport.disconnected)

    def test_a_store_that_takes_its_time_is_not_inactivity_of_the_client(self) -> None:
        pending: Deferred[int] = Deferred()
        wire, clock, _listener = talk(limits=Limits(idle_seconds=600), store=StoreOf(OneMessage(commit=pending)))
        wire.say(LOGIN + b"DELE 1\r\nQUIT\r\n")
        let_pass(clock, 2000)
        self.assertFalse(wire.over)
        pending.callback(0)
        self.assertTrue(wire.say().endswith(b"+OK bye, 1 messages removed\r\n"))

    def test_nothing_is_left_of_a_connection_that_is_gone(self) -> None:
        clock = Clock()
        wire = session(clock=clock)
        self.assertNotEqual(clock.getDelayedCalls(), [])
        wire.lose()
        self.assertEqual(clock.getDelayedCalls(), [])


class Named:
    """Something with a deadline that tells its name."""

    deadline = 0.0
    bucket = NOWHERE

    def __init__(self, name: str, ended: list[str]) -> None:
        self.name = name
        self.ended = ended

    def timed_out(self) -> None:
        self.ended.append(self.name)


class WallClockIsSet(SynchronousTestCase):
    """Whoever sets the clock of the host neither ends sessions nor keeps them for ever."""

    class Reactor:
        """Takes calls as a reactor does, which goes by the wall clock; they are made by hand."""

        def __init__(self) -> None:
            self.calls: list[tuple[float, DelayedCall]] = []

        def seconds(self) -> float:
            raise AssertionError("nobody asks for the wall clock's time")

        def callLater(self, delay: float, function: Callable[[], None]) -> DelayedCall:
            call = DelayedCall(0.0, function, (), {}, lambda _call: None, lambda _call: None, lambda: 0.0)
            self.calls.append((delay, call))
            return call

    def setUp(self) -> None:
        self.now = 1000.5
        self.patch(steady, "monotonic", lambda: self.now)
        self.reactor = self.Reactor()
        self.timeouts = Timeouts(self.reactor)
        self.ended: list[str] = []

    def timed(self, name: str, seconds: float) -> None:
        self.timeouts.set(Named(name, self.ended), seconds)

    def test_a_call_that_comes_too_early_ends_nothing(self) -> None:
        self.timed("idle", 600)
        self.reactor.calls[-1][1].func()
        self.assertEqual(self.ended, [])

    def test_a_call_that_does_not_come_is_replaced_when_there_is_a_new_deadline(self) -> None:
        self.timed("stuck", 10)
        (_, late), self.now = self.reactor.calls[-1], self.now + 60
        self.timed("new", 10)
        self.assertTrue(late.cancelled)
        delay, call = self.reactor.calls[-1]
        self.assertLessEqual(delay, 1)
        self.now += delay
        call.func()
        self.assertEqual(self.ended, ["stuck"])
