"""Line ends, sizes, byte-stuffing and TOP, wherever the octets are cut (RFC 1939 sections 3, 7 and 11)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popserv.wire.dotstuff import DotStuffer, TopCutter, stuff
from popserv.wire.octets import Normaliser, Scanner, measure, to_crlf

MESSAGES = st.lists(
    st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"..", b"\n.", b"\r\n.\r\n", b"a", b"Subject: x", b"\0", b"\xff"]),
    max_size=16,
).map(b"".join)

NAMED = {
    "empty": b"",
    "only a dot": b".",
    "only a dot line": b".\r\n",
    "first octet a dot": b".first\nsecond\n",
    "dots everywhere": b".\n..\n...\n.a\n",
    "no final newline": b"Subject: x\n\nlast",
    "CRLF file": b"Subject: x\r\n\r\nbody\r\n",
    "LF file": b"Subject: x\n\nbody\n",
    "bare CR": b"a\rb\r\rc\r",
    "bare LF in CRLF": b"a\r\nb\nc\r\n",
    "CR CR LF": b"a\r\r\nb\r\r\n",
    "NUL": b"a\0b\n\0\n",
    "8-bit": bytes(range(128, 256)) + b"\n",
    "megabytes in a line": b"x" * 3_000_000,
    "header only": b"Subject: x\n",
    "header only, no end": b"Subject: x",
    "no header": b"\nbody\n",
    "only line ends": b"\n\n\n",
    "terminator inside": b"a\r\n.\r\nb\r\n",
    "LF terminator inside": b"a\n.\nb\n",
}


def chunks(octets: bytes, cuts: list[int]) -> list[bytes]:
    return [octets[start:end] for start, end in pairwise([0, *sorted(cuts), len(octets)])]


def fed(machine: Any, pieces: list[bytes]) -> bytes:
    return b"".join([machine.feed(piece) for piece in pieces]) + (
        machine.finish() if hasattr(machine, "finish") else b""
    )


def in_crlf(stored: bytes) -> bytes:
    """The rule, said with a pattern."""
    converted = re.sub(rb"(?<!\r)\n", b"\r\n", stored)
    return converted if not converted or converted.endswith(b"\r\n") else converted + b"\r\n"


def naive_top(message: bytes, lines: int) -> bytes:
    """TOP of a message in CRLF form, line by line."""
    kept, in_header = [], True
    for line in message.split(b"\r\n")[:-1]:
        if not in_header:
            if not lines:
                break
            lines -= 1
        kept.append(line)
        in_header = in_header and line != b""
    return b"".join(line + b"\r\n" for line in kept) + (b"\r\n" if in_header else b"")


@pytest.mark.parametrize("name", NAMED)
def test_P3_026_size_and_flags_are_those_of_what_is_sent(name: str) -> None:
    stored = NAMED[name]
    sent = to_crlf(stored)
    octets, crlf, needs_stuffing = measure(stored)
    assert octets == len(sent)
    assert crlf is (sent == stored)
    assert needs_stuffing is (stuff(sent) != sent)


@pytest.mark.parametrize("name", NAMED)
def test_P3_057_line_ends_become_crlf(name: str) -> None:
    assert to_crlf(NAMED[name]) == in_crlf(NAMED[name])


@pytest.mark.parametrize("name", [name for name in NAMED if len(NAMED[name]) < 1000])
def test_P3_009_cut_at_every_place_the_message_is_the_same(name: str) -> None:
    stored = NAMED[name]
    whole = stuff(to_crlf(stored))
    for cut in range(len(stored) + 1):
        pieces = chunks(stored, [cut])
        converted = [Normaliser()]
        crlf = [converted[0].feed(piece) for piece in pieces] + [converted[0].finish()]
        assert fed(DotStuffer(), crlf) == whole
    assert fed(DotStuffer(), chunks(to_crlf(stored), list(range(len(to_crlf(stored)))))) == whole


@given(MESSAGES, st.data())
@settings(deadline=None)
def test_P3_058_every_cut_converts_and_counts_alike(stored: bytes, data: st.DataObject) -> None:
    pieces = chunks(stored, data.draw(st.lists(st.integers(0, len(stored)))))
    assert fed(Normaliser(), pieces) == in_crlf(stored)
    scanner = Scanner()
    for piece in pieces:
        scanner.feed(piece)
    assert (scanner.finish(), scanner.crlf, scanner.needs_stuffing) == measure(stored)
    assert measure(stored)[0] == len(in_crlf(stored))
    assert measure(stored)[2] is (stuff(in_crlf(stored)) != in_crlf(stored))


@given(MESSAGES.map(in_crlf), st.data())
@settings(deadline=None)
def test_P3_009_stuffing_can_be_undone_and_hides_no_terminator(message: bytes, data: st.DataObject) -> None:
    sent = fed(DotStuffer(), chunks(message, data.draw(st.lists(st.integers(0, len(message))))))
    assert b"\r\n.\r\n" not in b"\r\n" + sent
    assert (b"\r\n" + sent).replace(b"\r\n.", b"\r\n")[2:] == message


def test_SEC_007_what_looks_like_a_terminator_inside_does_not_end_the_reply() -> None:
    for stored in (b"a\n.\nb", b"a\r\n.\r\nb", b"a\r.\rb", b"a\n.\r\nb", b"a\r\n.\nb"):
        assert b"\r\n.\r\n" not in b"\r\n" + stuff(to_crlf(stored))


@given(MESSAGES.map(in_crlf), st.integers(0, 5), st.data())
@settings(deadline=None)
def test_P3_032_top_is_the_naive_one_wherever_it_is_cut(message: bytes, lines: int, data: st.DataObject) -> None:
    expected = naive_top(message, lines)
    assert fed(TopCutter(lines), [message]) == expected
    assert fed(TopCutter(lines), chunks(message, data.draw(st.lists(st.integers(0, len(message)))))) == expected
    assert fed(TopCutter(lines), chunks(message, list(range(len(message))))) == expected


@pytest.mark.parametrize("lines", [0, 1, 2, 1000])
@pytest.mark.parametrize("name", NAMED)
def test_P3_032_top_of_every_kind_of_message(name: str, lines: int) -> None:
    message = to_crlf(NAMED[name])
    assert fed(TopCutter(lines), [message]) == naive_top(message, lines)


def test_top_stops_reading_when_it_has_enough() -> None:
    cutter = TopCutter(1)
    assert cutter.feed(b"a: b\r\n\r\nfirst\r\nsecond\r\n") == b"a: b\r\n\r\nfirst\r\n"
    assert cutter.done
    assert cutter.feed(b"third\r\n") == b""


def test_P3_033_a_message_without_a_blank_line_gets_one() -> None:
    assert fed(TopCutter(3), [b"a: b\r\n"]) == b"a: b\r\n\r\n"
    assert fed(TopCutter(3), []) == b"\r\n"
