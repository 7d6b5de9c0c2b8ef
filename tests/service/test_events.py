"""The lines of the log."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import FileLogObserver, Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from popserv.interfaces import ISessionObserver
from popserv.service.events import LINE_CHARACTERS, SessionLog, escape, line
from popserv.service.log import log_line


def logged(name: str, **facts: Any) -> str:
    """What a session event looks like in the log of `popserv run`, without the time."""
    stream = StringIO()
    observer = SessionLog()
    observer.log = Logger(observer=LogPublisher(FileLogObserver(stream, log_line)))
    observer.event(name, **facts)
    return stream.getvalue().partition(" ")[2]


class SessionLogTests(SynchronousTestCase):
    def test_interface(self) -> None:
        self.assertTrue(verifyObject(ISessionObserver, SessionLog()))

    def test_TLS_027_the_end_of_a_session_is_one_line(self) -> None:
        said = logged(
            "closed",
            session="5f-1",
            peer="192.0.2.1",
            user="fred",
            tls="TLSv1.3",
            cipher="TLS_AES_128_GCM_SHA256",
            mech="PLAIN",
            retr=(12, 48213),
            top=(0, 0),
            dele=12,
            seconds=0.84,
            why="idle timeout",
        )
        self.assertEqual(
            said,
            "session=5f-1 peer=192.0.2.1 user=fred tls=TLSv1.3 cipher=TLS_AES_128_GCM_SHA256 mech=PLAIN"
            " retr=12/48213 top=0/0 dele=12 dur=0.8s why=idle-timeout\n",
        )

    def test_a_refused_login_has_a_fixed_form(self) -> None:
        facts = {"session": "5f-1", "peer": "192.0.2.1", "user": "fred", "mech": "PLAIN", "tls": ""}
        self.assertEqual(
            logged("refused", reason="credentials", **facts),
            "login refused: peer=192.0.2.1 session=5f-1 user=fred mech=PLAIN tls=- reason=credentials checker=-\n",
        )

    def test_a_name_cannot_make_up_fields_or_lines(self) -> None:
        user = "x peer=198.51.100.1\r\nlogin refused: peer=203.0.113.1 \x1b[2J\u202e\\{line}%s"
        said = logged("refused", peer="192.0.2.1", session="1", user=user, mech="USER", tls="", reason="credentials")
        self.assertEqual(said.count("\n"), 1)
        self.assertEqual(re.findall(r"peer=(\S+)", said)[0], "192.0.2.1")
        self.assertEqual(len(re.findall(r"(?:^| )peer=", said)), 1)
        self.assertIn(r"user=x\x20peer=198.51.100.1\x0d\x0alogin", said)
        self.assertIn(r"\x1b[2J\u202e\x5c{line}%s", said)

    def test_other_events_are_silent(self) -> None:
        self.assertEqual(logged("connected", peer="192.0.2.1"), "")


@given(st.text(max_size=2000))
def test_a_value_is_one_short_printable_word(text: str) -> None:
    escaped = escape(text)
    assert re.fullmatch(r"[!-~]{1,255}", escaped)
    assert '"' not in escaped


@pytest.mark.parametrize("text", ["\u202e" * 100, "x" * 300, "\U0001f600" * 100])
def test_a_long_value_is_cut_between_characters(text: str) -> None:
    escaped = escape(text)
    assert escaped.endswith("...")
    assert re.fullmatch(r"(\\U[0-9a-f]{8}|\\u[0-9a-f]{4}|x)+", escaped.removesuffix("..."))


def test_a_line_has_an_end() -> None:
    assert len(line({f"name{number}": "x" * 300 for number in range(9)})) == LINE_CHARACTERS


class LogLineTests(SynchronousTestCase):
    def log(self, form: str, **values: object) -> str:
        stream = StringIO()
        Logger(observer=LogPublisher(FileLogObserver(stream, log_line))).info(form, **values)
        return stream.getvalue()

    def test_it_begins_with_the_time(self) -> None:
        self.assertRegex(self.log("hello"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} hello\n$")

    def test_terminals_are_safe(self) -> None:
        said = self.log("{value}", value="\x1b]0;x\x07 \u202e \r ü")
        self.assertTrue(said.isascii())
        self.assertNotRegex(said, r"[\x00-\x08\x0b-\x1f\x7f]")

    def test_further_lines_are_indented(self) -> None:
        self.assertRegex(self.log("one\ntwo"), r"one\n\ttwo\n$")


class Fail2ban(SynchronousTestCase):
    """The filter that is shipped reads the lines that are written."""

    def pattern(self) -> re.Pattern[str]:
        root = Path(__file__).parent.parent.parent
        text = (root / "etc" / "fail2ban" / "filter.d" / "popserv.conf").read_text()
        found = re.search(r"^failregex = (.*)$", text, re.MULTILINE)
        assert found is not None
        return re.compile(found[1].replace("<ADDR>", r"(?P<address>[0-9a-fA-F:.]+)"))

    def banned(self, **facts: str) -> str:
        line = logged("refused", **{"session": "5f-1", "mech": "PLAIN", "tls": "", "checker": "", **facts})
        found = self.pattern().search(line.rstrip("\n"))
        return found["address"] if found else ""

    def test_who_guesses_is_found(self) -> None:
        for reason in ("credentials", "unknown-account", "invalid-name", "authorization"):
            self.assertEqual(self.banned(peer="192.0.2.7", user="fred", reason=reason), "192.0.2.7")
        self.assertEqual(self.banned(peer="2001:db8::7", user="", reason="credentials"), "2001:db8::7")

    def test_who_was_right_and_who_is_made_up_are_not(self) -> None:
        self.assertEqual(self.banned(peer="192.0.2.7", user="fred", reason="policy"), "")
        user = "x peer=198.51.100.1 session=1 user=1 mech=1 tls=1 reason=credentials checker=1"
        self.assertEqual(self.banned(peer="192.0.2.7", user=user, reason="credentials"), "192.0.2.7")
