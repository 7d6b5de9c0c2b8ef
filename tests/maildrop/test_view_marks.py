"""Marks: every message gets the same number of octets more, and nothing of it is lost or changed."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from popserv.errors import MessageVanished
from popserv.maildrop.view_marks import HeaderMark, Mark, MarkedMessage, SubjectMark
from popserv.stores.memory import MemoryMessage
from popserv.testing.nasty import NASTY
from popserv.wire.octets import to_crlf

JUNK = SubjectMark.of("[Junk]")
FLAG = HeaderMark.of("X-Spam-Flag: YES")


def read(message: MarkedMessage, octets: int = 1 << 16) -> bytes:
    """All of it, at once or as Deferreds in turns."""
    reader = message.open()
    chunks: list[bytes] = []
    while True:
        if len(chunks) % 2:
            found: list[bytes] = []
            reader.read(octets).addCallback(found.append)
            chunk: bytes | None = found[0]
        else:
            chunk = reader.read_nowait(octets)
        assert chunk is not None and len(chunk) <= 2 * octets
        if not chunk:
            reader.close()
            return b"".join(chunks)
        chunks.append(chunk)


def marked(stored: bytes, mark: Mark = JUNK, octets: int = 1 << 16) -> bytes:
    return read(MarkedMessage(MemoryMessage.of(stored), mark), octets)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b"Subject: hello\r\n\r\nx\r\n", b"X-Junk:1\r\nSubject: [Junk] hello\r\n\r\nx\r\n"),
        (b"From: a\nsubject:hello\nTo: b\n\nx\n", b"From: a\r\nX-Junk:1\r\nsubject:[Junk] hello\r\nTo: b\r\n\r\nx\r\n"),
        (b"SUBJECT:\thello\r\n", b"X-Junk:1\r\nSUBJECT:\t[Junk] hello\r\n"),
        (b"Subject:\r\n folded\r\n\r\n", b"X-Junk:1\r\nSubject:[Junk] \r\n folded\r\n\r\n"),
        (
            b"Subject: a\r\nSubject: b\r\n\r\nSubject: c\r\n",
            b"X-Junk:1\r\nSubject: [Junk] a\r\nSubject: b\r\n\r\nSubject: c\r\n",
        ),
        (b"From: a\r\n\r\nSubject: body\r\n", b"From: a\r\nSubject: [Junk]\r\n\r\nSubject: body\r\n"),
        (b"\r\nSubject: body\r\n", b"Subject: [Junk]\r\n\r\nSubject: body\r\n"),
        (b"From: a\r\n subject: folded\r\n\r\n", b"From: a\r\n subject: folded\r\nSubject: [Junk]\r\n\r\n"),
        (b"X-Subject: a", b"X-Subject: a\r\nSubject: [Junk]\r\n"),
        (b"Subject", b"Subject\r\nSubject: [Junk]\r\n"),
        (b"", b"Subject: [Junk]\r\n"),
        (b"\n", b"Subject: [Junk]\r\n\r\n"),
    ],
)
def test_a_text_in_the_subject(stored: bytes, expected: bytes) -> None:
    for octets in (1, 2, 7, 1 << 16):
        assert marked(stored, JUNK, octets) == expected, octets


@pytest.mark.parametrize("stored", NASTY.values(), ids=NASTY)
def test_a_field_in_front_of_the_header(stored: bytes) -> None:
    assert marked(stored, FLAG) == b"X-Spam-Flag: YES\r\n" + to_crlf(stored)


@pytest.mark.parametrize("stored", NASTY.values(), ids=NASTY)
@pytest.mark.parametrize("mark", [JUNK, FLAG])
def test_P3_026_the_size_of_a_marked_message_is_known_without_reading_it(mark: Mark, stored: bytes) -> None:
    message = MarkedMessage(MemoryMessage.of(stored), mark)
    assert message.octets == len(to_crlf(stored)) + mark.octets == len(read(message)) == len(read(message, 1000))
    octets = read(message)
    assert message.needs_stuffing or not (octets.startswith(b".") or b"\n." in octets)


LINES = st.sampled_from(
    [b"", b"Subject: a", b"subject:", b"Subjec", b"Subject :x", b"To: b", b" more", b"\r", b".", b"s"]
)
ENDS = st.sampled_from([b"\r\n", b"\n", b"", b"\r"])
MESSAGES = st.lists(st.tuples(LINES, ENDS), max_size=8).map(lambda parts: b"".join(line + end for line, end in parts))


def expected_subject(octets: bytes) -> bytes:
    """The rule, applied to a whole message, line by line."""
    lines = re.findall(rb".*?\r\n", octets, re.DOTALL)
    for index, line in enumerate(lines):
        if line == b"\r\n":
            return b"".join([*lines[:index], b"Subject: [Junk]\r\n", *lines[index:]])
        if line[:8].lower() == b"subject:":
            colon = 9 if line[8:9] in (b" ", b"\t") else 8
            subject = b"X-Junk:1\r\n" + line[:colon] + b"[Junk] " + line[colon:]
            return b"".join([*lines[:index], subject, *lines[index + 1 :]])
    return octets + b"Subject: [Junk]\r\n"


@given(MESSAGES, st.integers(1, 30))
@example(b"Subject:", 1)
@example(b"a\r\nsubject:\r\n", 3)
def test_pieces_of_any_size_give_what_the_rule_says(stored: bytes, octets: int) -> None:
    found = marked(stored, JUNK, octets)
    assert found == expected_subject(to_crlf(stored))
    assert len(found) == len(to_crlf(stored)) + JUNK.octets


def test_a_header_without_an_end_is_not_kept_in_memory() -> None:
    marker = JUNK.marker()
    given_back = sum(len(marker.feed(b"X: %b\r\n" % (b"y" * 1000))) for _ in range(500))
    assert given_back >= 500 * 1005 - 20


@pytest.mark.parametrize("text", ["", " x", "x ", "a\nb", "a\r\nBcc: x", "ä", "\0", "x" * 201])
def test_texts_that_cannot_stand_in_a_header(text: str) -> None:
    with pytest.raises(ValueError):
        SubjectMark.of(text)
    with pytest.raises(ValueError):
        HeaderMark.of(text)


@pytest.mark.parametrize("text", ["Junk", ": x", "X Junk: 1", "X-Junk:\tx"])
def test_texts_that_are_no_field(text: str) -> None:
    with pytest.raises(ValueError):
        HeaderMark.of(text)


class Gone:
    """A reader whose message vanishes after its first octets."""

    closed = False

    def read_nowait(self, octets: int) -> None:
        return None

    def read(self, octets: int) -> Deferred[bytes]:
        raise MessageVanished()

    def close(self) -> None:
        self.closed = True


def test_failures_and_waiting_are_passed_on() -> None:
    from popserv.maildrop.view_marks import MarkedReader

    gone = Gone()
    reader = MarkedReader(gone, JUNK.marker())  # type: ignore[arg-type]
    assert reader.read_nowait(100) is None
    failures: list[object] = []
    reader.read(100).addErrback(lambda failure: failures.append(failure.value))
    assert [type(failure) for failure in failures] == [MessageVanished]
    reader.close()
    reader.close()
    assert gone.closed
