"""Kept connections, time limits, and what becomes of failures."""

from __future__ import annotations

from time import monotonic

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from popserv.auth.remote import Connections, Impatient, Misconfigured, Remote, Unavailable, first_line
from popserv.auth.typical import MOST_KINDS, Typical
from popserv.errors import SystemBroken, SystemTrouble
from popserv.pools import InlinePool

NEVER = monotonic() + 1_000_000


class Line:
    """A connection."""

    def __init__(self):
        self.alive = True
        self.closed = 0

    def ask(self):
        if not self.alive:
            raise Unavailable("the line is dead")
        return self

    def close(self):
        self.closed += 1


class ConnectionTests(SynchronousTestCase):
    def setUp(self):
        self.made = []
        self.down = False
        self.connections = Connections(self.connect, Line.close)

    def connect(self, deadline):
        if self.down:
            raise Unavailable("the server is down")
        self.made.append(Line())
        return self.made[-1]

    def test_a_connection_is_kept(self):
        first = self.connections.use(NEVER, Line.ask)
        assert self.connections.use(NEVER, Line.ask) is first
        assert len(self.made) == 1

    def test_two_at_a_time_have_one_each(self):
        inner = []
        outer = self.connections.use(
            NEVER, lambda line: inner.append(self.connections.use(NEVER, Line.ask)) or line.ask()
        )
        assert inner != [outer]

    def test_dead_ones_are_replaced(self):
        self.connections.use(NEVER, lambda _line: self.connections.use(NEVER, Line.ask))
        for line in self.made:
            line.alive = False
        alive = self.connections.use(NEVER, Line.ask)
        assert [line.closed for line in self.made] == [1, 1, 0]
        assert alive is self.made[2]

    def test_a_new_one_that_fails_is_not_tried_again(self):
        def fail(line):
            raise Unavailable("no")

        with self.assertRaises(Unavailable):
            self.connections.use(NEVER, fail)
        assert [line.closed for line in self.made] == [1]

    def test_nothing_is_tried_again_when_the_time_is_over(self):
        self.connections.use(NEVER, Line.ask).alive = False
        with self.assertRaises(Unavailable):
            self.connections.use(monotonic(), Line.ask)
        assert len(self.made) == 1

    def test_no_connection_is_kept_over_another_failure(self):
        with self.assertRaises(ZeroDivisionError):
            self.connections.use(NEVER, lambda line: 1 // 0)
        assert [line.closed for line in self.made] == [1]

    def test_a_server_that_is_down(self):
        self.down = True
        with self.assertRaises(Unavailable):
            self.connections.use(NEVER, Line.ask)

    def test_idle_ones_are_closed_with_it(self):
        made = []
        connections = Connections(lambda _deadline: made.append(Line()) or made[0], Line.close)
        connections.use(NEVER, Line.ask)
        assert made[0].closed == 0
        del connections
        assert made[0].closed == 1


class RemoteTests(SynchronousTestCase):
    def setUp(self):
        self.lines = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.remote = Remote("directory", InlinePool(), 5.0)

    def observe(self, event):
        if event.get("name") == "directory":
            self.lines.append(event.get("reason", "answers"))

    def ask(self, function, *arguments):
        return ensureDeferred(self.remote.ask(function, *arguments))

    def fail(self, error):
        def function(_deadline):
            raise error

        return self.ask(function)

    def test_the_answer(self):
        left, word = self.successResultOf(self.ask(lambda deadline, word: (deadline - monotonic(), word), "yes"))
        assert word == "yes"
        assert 4 < left <= 5
        assert self.lines == []

    def test_RC_007_what_may_pass_is_temporary_and_what_an_administrator_has_to_mend_is_not(self):
        self.failureResultOf(self.fail(Unavailable("down")), SystemTrouble)
        self.failureResultOf(self.fail(Misconfigured("no such table")), SystemBroken)

    def test_a_reason_is_logged_once_and_its_end_too(self):
        for reason in ("down", "down", "slow", "slow"):
            self.failureResultOf(self.fail(Unavailable(reason)), SystemTrouble)
        self.successResultOf(self.ask(lambda _deadline: None))
        self.successResultOf(self.ask(lambda _deadline: None))
        assert self.lines == ["down", "slow", "answers"]

    def test_who_has_waited_too_long_does_not_ask_any_more(self):
        asked = []
        self.remote = Remote("directory", InlinePool(), 0.0)
        self.failureResultOf(self.ask(asked.append), SystemTrouble)
        assert asked == []


def test_the_secret_is_the_first_line(tmp_path):
    file = tmp_path / "secret"
    for text, secret in (("a b \nc\n", "a b "), ("é", "é"), ("a\r\n", "a")):
        file.write_text(text, "utf-8", newline="")
        assert first_line(file) == secret


@pytest.mark.parametrize("octets", [b"", b"\n", b"\nsecret", b"\xff\n"])
def test_a_file_without_a_secret(tmp_path, octets):
    file = tmp_path / "secret"
    file.write_bytes(octets)
    with pytest.raises(Misconfigured, match="secret: "):
        first_line(file)
    with pytest.raises(Misconfigured, match="No such file"):
        first_line(tmp_path / "nowhere")


def test_SEC_003_the_commonest_kind_stands_for_names_that_nobody_has():
    typical = Typical()
    assert typical.example() is None
    for stored in ("{PLAIN}a", "{CRYPT}$6$b", "{CRYPT}$6$c", "{CRYPT}$1$d"):
        typical.see(stored)
    assert typical.example() == "{CRYPT}$6$c"
    assert typical.example(lambda stored: stored.startswith("{PLAIN}")) == "{PLAIN}a"
    assert typical.example(lambda stored: False) is None


def test_kinds_are_bounded():
    typical = Typical()
    for number in range(MOST_KINDS + 10):
        typical.see(f"{{S{number}}}x")
    assert typical.example(lambda stored: stored.startswith(f"{{S{MOST_KINDS}}}")) is None


class HeldPool:
    """Answers when it is told to."""

    def __init__(self):
        self.waiting = Deferred()

    def run(self, function, *arguments):
        return self.waiting


class ImpatientTests(SynchronousTestCase):
    def setUp(self):
        self.held, self.clock = HeldPool(), Clock()
        self.answer = Impatient(self.held, self.clock, 3.0).run(int)

    def test_an_answer_in_time_is_the_answer(self):
        self.clock.advance(2.9)
        self.held.waiting.callback(7)
        assert self.successResultOf(self.answer) == 7
        assert self.clock.getDelayedCalls() == []

    def test_a_failure_in_time_is_the_failure(self):
        self.held.waiting.errback(Unavailable("the line is dead"))
        assert str(self.failureResultOf(self.answer, Unavailable).value) == "the line is dead"
        assert self.clock.getDelayedCalls() == []

    def test_after_that_it_is_unavailable_whatever_comes(self):
        for late in ("callback", "errback"):
            self.setUp()
            self.clock.advance(3.1)
            assert "too slow" in str(self.failureResultOf(self.answer, Unavailable).value)
            getattr(self.held.waiting, late)(Unavailable("late"))
            assert self.held.waiting.called

    def test_what_is_done_at_once_needs_no_clock(self):
        assert self.successResultOf(Impatient(InlinePool(), None, 3.0).run(int, "7")) == 7
