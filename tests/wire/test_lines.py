"""Lines out of octets (RFC 1939 section 3, RFC 2449 section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popserv.limits import Limits
from popserv.wire.lines import Fault, LineBuffer

ENDS = (Fault.FLOOD, Fault.OVERLONG_AGAIN)
SMALL = Limits(command_octets=20, sasl_octets=24, discard_octets=15)


def read(stream: bytes, cuts: Iterable[int] = (), limits: Limits = SMALL, sasl: bool = False) -> list[bytes | Fault]:
    """All lines and faults of `stream`, cut at these places, up to where the connection would end."""
    buffer, found = LineBuffer(limits), []
    for start, end in pairwise([0, *sorted(cuts), len(stream)]):
        if start == end:
            continue
        buffer.feed(stream[start:end])
        while (item := buffer.next(sasl)) is not None:
            found.append(item)
            if item in ENDS:
                return found
    return found


def reference(stream: bytes, limit: int, most: int) -> list[bytes | Fault]:
    """The same by looking at one octet after the other, for streams without AUTH."""
    found: list[bytes | Fault] = []
    line, discarding, dropped, overlong = b"", None, 0, False
    for octet in (bytes([value]) for value in stream):
        line += octet
        if line.endswith(b"\r\n"):
            if discarding is None:
                found.append(line[:-2])
            line, discarding, dropped = b"", None, 0
            continue
        if discarding is not None:
            # A CR counts only when it turns out not to be half of a CRLF.
            dropped += (octet != b"\r") + (line[-2:-1] == b"\r" and len(line) > 1)
            if dropped > most or (discarding is Fault.BARE_LF and octet == b"\n"):
                return [*found, Fault.FLOOD]
            continue
        fault = None
        if octet == b"\n":
            fault = Fault.BARE_LF
        elif len(line) > limit - 1 or (len(line) > limit - 2 and octet != b"\r"):
            fault = Fault.OVERLONG
        if fault is not None:
            found.append(fault)
            if fault is Fault.OVERLONG:
                if overlong:
                    return [*found[:-1], Fault.OVERLONG_AGAIN]
                overlong = True
            discarding, dropped, line = fault, 0, b"\r" if octet == b"\r" else b""
    return found


STREAMS = st.lists(
    st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r", b"a", b"aaaa", b"a" * 9, b"a" * 18, b"a" * 19, b" "]), max_size=14
).map(b"".join)


@given(STREAMS)
@settings(max_examples=300, deadline=None)
def test_P3_004_lines_and_faults_are_those_of_the_reference(stream: bytes) -> None:
    assert read(stream) == reference(stream, 20, 15)


@given(STREAMS | STREAMS.map(lambda stream: b"auth " + stream), st.booleans(), st.data())
@settings(max_examples=300, deadline=None)
def test_P3_004_every_cut_gives_the_same(stream: bytes, sasl: bool, data: st.DataObject) -> None:
    whole = read(stream, sasl=sasl)
    assert read(stream, range(1, len(stream)), sasl=sasl) == whole
    assert read(stream, data.draw(st.lists(st.integers(0, len(stream)))), sasl=sasl) == whole


def test_P3_004_crlf_ends_a_line_and_nothing_else_does() -> None:
    assert read(b"a\r\nb\rc\r\n\r\nd\r") == [b"a", b"b\rc", b""]
    assert read(b"a\nb\r\nc\r\n") == [Fault.BARE_LF, b"c"]
    assert read(b"a\nb\nc\r\nd\r\n") == [Fault.BARE_LF, Fault.FLOOD]
    assert read(b"\n") == [Fault.BARE_LF]


@pytest.mark.parametrize(("octets", "fine"), [(254, True), (255, True), (511, True), (512, True), (513, False)])
def test_EX_001_lines_of_512_octets_are_taken(octets: int, fine: bool) -> None:
    line = b"x" * (octets - 2)
    assert read(line + b"\r\nNOOP\r\n", limits=Limits()) == [line if fine else Fault.OVERLONG, b"NOOP"]


@pytest.mark.parametrize(("extra", "fine"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("prefix", [b"AUTH ", b"auth ", b"AuTh "])
def test_EX_002_a_line_that_can_carry_a_token_may_be_long(prefix: bytes, extra: int, fine: bool) -> None:
    limits = Limits()
    line = prefix + b"x" * (limits.sasl_line_octets - 2 - len(prefix) + extra)
    assert read(line + b"\r\n", limits=limits) == [line if fine else Fault.OVERLONG]


@pytest.mark.parametrize(("extra", "fine"), [(-1, True), (0, True), (1, False)])
def test_SA_019_a_response_may_be_as_long_as_the_cap(extra: int, fine: bool) -> None:
    limits = Limits()
    line = b"x" * (limits.sasl_line_octets - 2 + extra)
    assert read(line + b"\r\n", limits=limits, sasl=True) == [line if fine else Fault.OVERLONG]
    assert limits.sasl_line_octets >= 4 * ((65536 + 2) // 3) + 2, "65536 octets, in base64, with CRLF"


def test_EX_003_an_over_long_line_is_one_fault_and_never_two_commands() -> None:
    assert read(b"x" * 30 + b"QUIT\r\nNOOP\r\n") == [Fault.OVERLONG, b"NOOP"]
    assert read(b"x" * 19) == [Fault.OVERLONG], "at once, without waiting for its end"
    assert read(b"x" * 19 + b"\r\n" + b"y" * 19) == [Fault.OVERLONG, Fault.OVERLONG_AGAIN]


@pytest.mark.parametrize(("dropped", "fine"), [(65535, True), (65536, True), (65537, False)])
def test_EX_003_what_is_thrown_away_is_bounded(dropped: int, fine: bool) -> None:
    found = read(b"x" * (511 + dropped) + b"\r\nNOOP\r\n", limits=Limits())
    assert found == [Fault.OVERLONG, b"NOOP" if fine else Fault.FLOOD]


def test_EX_021_an_unending_line_is_not_kept() -> None:
    buffer = LineBuffer(Limits(discard_octets=1 << 40))
    for _ in range(200):
        buffer.feed(b"x" * 65536)
        while buffer.next() is not None:
            pass
        assert len(buffer._data) <= 65537


def test_take_rest_gives_back_what_was_not_taken() -> None:
    for taken in range(4):
        buffer = LineBuffer(Limits())
        buffer.feed(b"a\r\nb\r\nc\r\nhalf")
        for _ in range(taken):
            buffer.next()
        assert buffer.take_rest() == [b"a\r\nb\r\nc\r\nhalf", b"b\r\nc\r\nhalf", b"c\r\nhalf", b"half"][taken]
        assert not buffer.pending


def test_pending_tells_whether_anything_waits() -> None:
    buffer = LineBuffer(Limits())
    assert not buffer.pending
    buffer.feed(b"a\r\nb\r\n")
    assert buffer.next() == b"a" and buffer.pending
    assert buffer.next() == b"b" and not buffer.pending
    buffer.feed(b"x")
    assert buffer.next() is None and buffer.pending
    buffer.clear()
    assert not buffer.pending
