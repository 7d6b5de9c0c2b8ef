"""The end of data and byte-stuffing: wherever the stream is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from popserv.delivery.unstuff import Unstuffer

BEHIND = b"QUIT\r\n"


def stuffed(message: bytes) -> bytes:
    """What an LMTP client sends for a message that ends in CRLF or is empty."""
    lines = message.split(b"\r\n")[:-1]
    return b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines) + b".\r\n"


def unstuff(stream: bytes, cuts: list[int]) -> tuple[bytes, bytes | None]:
    """Everything an `Unstuffer` gives, and what it found behind the end."""
    unstuffer, content = Unstuffer(), b""
    places = [0, *sorted(cuts), len(stream)]
    for start, end in pairwise(places):
        more, rest = unstuffer.feed(stream[start:end])
        content += more
        if rest is not None:
            return content, rest + stream[end:]
    return content, None


OCTETS = st.lists(st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a", b"\0", b"\xff", b"..", b"\r\n."])).map(b"".join)


@given(OCTETS.map(lambda octets: octets.replace(b"\r\n.\r\n", b"") + b"\r\n" if octets else b""), st.data())
def test_LM_008_stuffing_is_undone_wherever_the_stream_is_cut(message: bytes, data: st.DataObject) -> None:
    stream = stuffed(message) + BEHIND
    cuts = data.draw(st.lists(st.integers(0, len(stream))))
    assert unstuff(stream, cuts) == (message, BEHIND)
    assert unstuff(stream, list(range(len(stream)))) == (message, BEHIND)


@given(OCTETS, st.data())
def test_every_cut_gives_what_the_whole_gives(stream: bytes, data: st.DataObject) -> None:
    whole = unstuff(stream, [])
    cuts = data.draw(st.lists(st.integers(0, len(stream))))
    content, rest = unstuff(stream, cuts)
    assert (content, rest) == whole


def test_LM_010_only_crlf_dot_crlf_ends_the_data() -> None:
    for smuggled in (b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n"):
        message = b"a" + smuggled + b"MAIL FROM:<x@y>\r\n"
        content, rest = unstuff(message + b".\r\n" + BEHIND, [])
        assert rest == BEHIND
        assert b"MAIL FROM" in content


def test_a_lone_dot_first_is_an_empty_message() -> None:
    assert unstuff(b".\r\n" + BEHIND, []) == (b"", BEHIND)


def test_what_it_keeps_is_bounded() -> None:
    unstuffer = Unstuffer()
    for _ in range(100):
        content, _rest = unstuffer.feed(b"x" * 65536)
        assert len(content) >= 65536 - 4
