"""From_ lines and quoting, on literals and on anything."""

from __future__ import annotations

import re
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.maildrop.line_feeds import LineFeeds
from popserv.maildrop.mbox_lines import from_line_end, make_from_line, quoting, unquoting
from popserv.maildrop.mbox_octets import Octets
from popserv.maildrop.mbox_split import Range, ranges

LINES = (b"From ", b"From", b"F", b"rom ", b">", b">" * 40, b"\n", b"\n\n", b" ", b"x", b"\r", b"\r\n")
DATED = b"From joe Mon Jan  1 00:00:00 2024\n"
octets_of_lines = st.lists(st.sampled_from(LINES), max_size=30).map(b"".join)
hostile = st.lists(st.sampled_from((*LINES, DATED, b"Content-Length: 7\n", b"Content-Length: 0\n")), max_size=30).map(
    b"".join
)
cuts = st.lists(st.integers(1, 5), max_size=200)


def cut(octets, sizes):
    """In pieces of these sizes, and the rest."""
    for size in sizes:
        yield octets[:size]
        octets = octets[size:]
    yield octets


def changed(lines, octets, sizes=()):
    return b"".join([lines.feed(chunk) for chunk in cut(octets, sizes)]) + lines.finish()


@pytest.mark.parametrize(
    "line",
    [
        b"From joe@example.org Sat Mar  7 14:59:42 1998\n",
        b"From joe Sat Mar 07 14:59:42 1998\r\n",
        b"From joe Sat Mar 7 14:59 1998\n",
        b"From joe Sat Mar  7 14:59:42 PST 1998\n",
        b"From joe Sat Mar  7 14:59:42 1998 PST\n",
        b"From joe Sat Mar  7 14:59:42 1998 -0800\n",
        b"From joe Sat Mar  7 14:59:42 +0100 1998\n",
        b"From joe at example.org  Sat Mar  7 14:59:42 1998\n",
        b'From "joe user"@example.org Sat Mar  7 14:59:60 1998\n',
        b"From joe Sat Mar  7 14:59:42 1998 remote from elsewhere\n",
        b"From  Sat Mar  7 14:59:42 1998\n",
        b"From - Sat Mar  7 14:59:42 1998\n",
    ],
)
def test_what_MTAs_write_is_a_From_line(line: bytes) -> None:
    assert from_line_end(b"x" + line + b"x", 1) == 1 + len(line)


@pytest.mark.parametrize(
    "line",
    [
        b"From joe Sat Mar  7 14:59:42 1998",
        b"From: joe Sat Mar  7 14:59:42 1998\n",
        b"from joe Sat Mar  7 14:59:42 1998\n",
        b"From now on it is 14:59:42 1998\n",
        b"From joe Sam Mar  7 14:59:42 1998\n",
        b"From joe Sat Mrz  7 14:59:42 1998\n",
        b"From joe Sat Mar  0 14:59:42 1998\n",
        b"From joe Sat Mar 32 14:59:42 1998\n",
        b"From joe Sat Mar  7 24:59:42 1998\n",
        b"From joe Sat Mar  7 14:60:42 1998\n",
        b"From joe Sat Mar  7 14:59:42 98\n",
        b"From joe Sat Mar  7 14:59:42 1998 and more\n",
        b"From joe\nSat Mar  7 14:59:42 1998\n",
        b"From " + b"j" * 1000 + b" Sat Mar  7 14:59:42 1998\n",
    ],
)
def test_what_has_no_date_is_none(line: bytes) -> None:
    assert from_line_end(line, 0) == -1


def test_a_From_line_is_made_of_the_return_path_and_the_time_in_UTC() -> None:
    assert make_from_line(b"Return-Path: <joe@example.org>\n", 0) == b"From joe@example.org Thu Jan  1 00:00:00 1970\n"
    for header in (b"", b"Return-Path: <>\n", b"Subject: a\n", b"Return-Path: <joe user@x>\n", b"Return-Path: <a\x1b>"):
        assert make_from_line(header, 1_700_000_000) == b"From MAILER-DAEMON Tue Nov 14 22:13:20 2023\n"


@given(octets_of_lines, cuts)
def test_quoting_changes_lines_that_look_like_From_lines_however_they_are_cut(octets: bytes, sizes: list[int]) -> None:
    assert changed(quoting("mboxrd"), octets, sizes) == re.sub(rb"(?m)^(?=>*From )", b">", octets)
    assert changed(quoting("mboxo"), octets, sizes) == re.sub(rb"(?m)^(?=From )", b">", octets)


@given(octets_of_lines, cuts)
def test_unquoting_gives_back_what_was_quoted(octets: bytes, sizes: list[int]) -> None:
    lines = unquoting("mboxrd")
    assert lines is not None
    assert changed(lines, changed(quoting("mboxrd"), octets), sizes) == octets
    assert unquoting("mboxo") is unquoting("mboxcl2") is None


def test_a_long_run_of_signs_is_not_held_back() -> None:
    lines = unquoting("mboxrd")
    assert lines is not None
    let_out = sum(len(lines.feed(b">" * 1000)) for _ in range(100))
    assert let_out == 100_000 - 1
    assert lines.feed(b"From ") == b"From "


def split(octets: bytes, form: str = "mboxrd") -> list[Range]:
    with tempfile.TemporaryFile() as file:
        file.write(octets)
        file.flush()
        return list(ranges(Octets(file.fileno(), len(octets)), form))


@given(st.lists(hostile, max_size=6))
def test_every_message_that_goes_in_comes_out(messages: list[bytes]) -> None:
    """Stored as delivery stores them: LF line ends, quoted, ended, with a blank line behind."""
    stored, expected = b"", []
    for message in messages:
        converter = LineFeeds()
        ended = message if message.endswith(b"\n") or not message else message + b"\r\n"
        body = converter.feed(ended) + converter.finish()
        expected.append(body)
        stored += DATED + changed(quoting("mboxrd"), body) + b"\n"
    found = split(stored)
    unquoted = [changed(unquoting("mboxrd"), stored[each.head : each.end]) for each in found]
    assert unquoted == expected


@given(hostile, st.sampled_from(["mboxrd", "mboxo", "mboxcl2"]))
def test_nothing_of_a_file_is_lost_or_seen_twice_whatever_is_in_it(octets: bytes, form: str) -> None:
    found = split(octets, form)
    nexts = [each.start for each in found[1:]] + [len(octets)]
    for each, behind in zip(found, nexts, strict=False):
        assert each.start < each.head <= each.end <= each.next
        assert from_line_end(octets, each.start) == each.head
        assert octets[each.end : each.next].strip(b"\r\n") == b""
        assert each.next == behind


@given(octets_of_lines, st.integers(0, 3))
def test_messages_are_found_wherever_the_pieces_that_are_read_end(filling: bytes, shift: int) -> None:
    first = DATED + b"x" * (4 * 128 * 1024 - len(DATED) - 10 - shift) + filling.replace(b"\n\nFrom", b"") + b"\n\n"
    found = split(first + DATED + b"second\n\n")
    assert found[-1].start == len(first)


class TestSplitting:
    def test_a_From_line_counts_behind_a_blank_line_and_nowhere_else(self) -> None:
        assert len(split(DATED + b"a\n" + DATED + b"b\n")) == 1
        assert len(split(DATED + b"a\n\n" + DATED + b"b\n")) == 2
        assert len(split(DATED + b"a\n\nFrom here on\nb\n")) == 1
        assert len(split(DATED + b"\n" + DATED + b"\n")) == 2

    def test_files_with_CRLF_line_ends_are_split_too(self) -> None:
        crlf = DATED.replace(b"\n", b"\r\n")
        octets = crlf + b"a\r\n\r\n" + crlf + b"\r\n"
        assert [octets[each.head : each.end] for each in split(octets)] == [b"a\r\n", b""]

    def test_what_stands_before_the_first_From_line_is_no_message(self) -> None:
        assert split(b"junk\n\n" + DATED + b"a\n\n")[0].start == 6
        assert split(b"junk\n") == []
        assert split(b"") == []

    def test_content_length_is_believed_where_a_From_line_or_the_end_stands_in_mboxcl2_only(self) -> None:
        body = b"one\n\n" + DATED + b"two\n"
        octets = DATED + b"Content-Length: %d\n\n" % len(body) + body + b"\n" + DATED + b"Content-Length: 2\n\nx\n"
        assert [octets[each.head : each.end].partition(b"\n\n")[2] for each in split(octets, "mboxcl2")] == [
            body,
            b"x\n",
        ]
        assert len(split(octets, "mboxrd")) == 3

    @pytest.mark.parametrize("length", [b"1", b"99999999999", b"7\nContent-Length: 8", b"-3", b"0x7", b""])
    def test_a_content_length_that_does_not_fit_changes_nothing(self, length: bytes) -> None:
        octets = DATED + b"Content-Length: " + length + b"\n\nbody is here\n\n" + DATED + b"b\n\n"
        assert split(octets, "mboxcl2") == split(octets, "mboxrd")
