"""CRLF to LF and back."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from popserv.maildrop.line_feeds import LineFeeds
from popserv.wire.octets import to_crlf

CHUNKS = st.lists(st.text("\r\na", max_size=6).map(str.encode), max_size=8)


def converted(chunks):
    converter = LineFeeds()
    return b"".join([converter.feed(chunk) for chunk in chunks]) + converter.finish()


def test_only_line_ends_change():
    assert converted([b"a\r\nb\nc\rd\r\n\r\n"]) == b"a\nb\nc\rd\n\n"
    assert converted([b"a\r\r\nb\r"]) == b"a\r\r\nb\r"


@given(CHUNKS)
@example([b"a\r", b"\r", b"\n"])
def test_it_does_not_matter_how_the_octets_are_cut(chunks):
    assert converted(chunks) == converted([b"".join(chunks)])


@given(CHUNKS)
def test_what_is_read_back_is_what_was_stored(chunks):
    assert to_crlf(converted(chunks)) == to_crlf(b"".join(chunks))
