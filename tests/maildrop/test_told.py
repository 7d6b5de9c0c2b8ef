"""What other servers have told their clients: templates, lists, headers; and who is recognised as whom."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.maildrop.told import Recogniser, Told, choose, header_hash
from popserv.maildrop.told_headers import read_cyrus, read_uw, x_uidl
from popserv.maildrop.told_lists import BrokenList, read_sizelist, read_uidlist
from popserv.maildrop.told_template import BadTemplate, Facts, Template
from popserv.maildrop.uidl import is_unique_id

DEFAULT = Template.parse("%08Xu%08Xv")
FACTS = Facts(10, 1795494905, b"1700000000.M1P1.Host,S=21", b"guid")


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        # What Debian's Dovecot 2.3 says for this message.
        ("%08Xu%08Xv", b"0000000a6b0513f9"),
        ("%08Xv%08Xu", b"6b0513f90000000a"),
        ("%u", b"10"),
        ("%v.%u", b"1795494905.10"),
        ("%f", b"1700000000.M1P1.Host,S=21"),
        ("%g", b"guid"),
        ("%Mf", md5(b"1700000000.M1P1.Host,S=21").hexdigest().encode()),
        ("%Lf", b"1700000000.m1p1.host,s=21"),
        ("%5u", b"10"),
        ("%05u", b"00010"),
        ("%%%u", b"%10"),
        ("UID%u-%v", b"UID10-1795494905"),
    ],
)
def test_templates_are_filled_as_dovecot_fills_them(text: str, filled: bytes) -> None:
    assert Template.parse(text).fill(FACTS) == filled


@pytest.mark.parametrize("text", ["", "same", "%", "%z", "%Xx", "%u%", "%9999u", "%%u"])
def test_templates_that_cannot_be(text: str) -> None:
    with pytest.raises(BadTemplate):
        Template.parse(text)


def test_a_uidlist() -> None:
    content = (
        b"3 V1795494905 N5 G7b92071cf913056b6902000083ecc375\n"
        b"1 W24 :1700000000.M1P1.host,S=21\n"
        b"2 Gabc S20 W24 :1700000001.M1P1.host:2,S\n"
        b"3 Pkept.id :1700000002.M1P1.host\n"
        b"4 O1 :1700000003.M1P1.host\n"
    )
    assert read_uidlist(content, DEFAULT) == [
        Told(b"000000046b0513f9", b"1700000003.M1P1.host"),
        Told(b"000000016b0513f9", b"1700000000.M1P1.host,S=21", 24),
        Told(b"000000026b0513f9", b"1700000001.M1P1.host", 24),
        Told(b"kept.id", b"1700000002.M1P1.host"),
    ]
    assert read_uidlist(content, Template.parse("%g"))[2].unique_id == b"abc"
    assert read_uidlist(b"1 1795494905 3\n1 a.b:2,S\n2 c d\n", DEFAULT) == [
        Told(b"000000016b0513f9", b"a.b"),
        Told(b"000000026b0513f9", b"c d"),
    ]


def test_a_sizelist() -> None:
    content = b"/3 4 1795494905\n1700000000.M1.host:2,S 24 1:1795494905:0\na b 5 2:0:1\nold+'x 6 0:0\n"
    assert read_sizelist(content) == [
        Told(b"UID1-1795494905", b"1700000000.M1.host", 24),
        Told(b"UID2", b"a b", 5),
        Told(b"old+2B+27x", b"old+'x", 6),
    ]
    assert read_sizelist(b"/2 4 9\ncur/name:2, 24 1:9\n") == [Told(b"UID1-9", b"name", 24)]


@pytest.mark.parametrize("content", [b"", b"2 V1 N2\n", b"3 N2\n", b"3 V1 N2\nx :name\n", b"3 V1 N2\n1 name\n"])
def test_what_is_no_uidlist_is_refused(content: bytes) -> None:
    with pytest.raises(BrokenList):
        read_uidlist(content, DEFAULT)


@pytest.mark.parametrize("content", [b"", b"1 2 3\n", b"/2 1 1\nname\n", b"/2 1 1\nname 5 1\n"])
def test_what_is_no_sizelist_is_refused(content: bytes) -> None:
    with pytest.raises(BrokenList):
        read_sizelist(content)


@given(st.binary(max_size=200), st.sampled_from([b"", b"3 V1 N2\n", b"1 1 1\n", b"/3 1 1\n"]))
def test_whatever_stands_in_a_list_is_read_or_refused(octets: bytes, head: bytes) -> None:
    for read in (lambda: read_uidlist(head + octets, DEFAULT), lambda: read_sizelist(head + octets)):
        try:
            told = read()
        except BrokenList:
            continue
        assert all(isinstance(each.unique_id, bytes) for each in told)


def test_x_uidl_is_that_of_the_header() -> None:
    assert x_uidl(b"X-UIDL: abc\r\nSubject: a\r\n\r\nbody\r\n") == b"abc"
    assert x_uidl(b"Subject: a\nx-uidl:  $'!j\n\nX-UIDL: body\n") == b"$'!j"
    assert x_uidl(b"Subject: a\r\n\r\nX-UIDL: body\r\n") == b""
    assert x_uidl(b"X-UIDL: two words\n\n") == b""


def test_uw_numbers_messages_in_their_headers(tmp_path: Path) -> None:
    mbox = tmp_path / "mbox"
    mbox.write_bytes(
        b"From a@b Mon Jan  1 00:00:00 2024\nX-IMAPbase: 1139753550 0000000002\nX-UID: 1\nSubject: one\n\nX-UID: 7\n\n"
        b"From a@b Mon Jan  1 00:00:00 2024\nSubject: two\nX-UID: 2\nStatus: RO\n\nbody\n\n"
        b"From a@b Mon Jan  1 00:00:00 2024\nSubject: three\n\nbody\n"
    )
    assert read_uw(mbox, "mboxo", Template.parse("%08Xv%08Xu")) == [
        Told(b"43ef424e00000001", header=header_hash(b"Subject: one\r\n\r\nother")),
        Told(b"43ef424e00000002", header=header_hash(b"Subject: two\n\n")),
    ]
    mbox.write_bytes(b"From a@b Mon Jan  1 00:00:00 2024\nSubject: one\n\n")
    with pytest.raises(BrokenList):
        read_uw(mbox, "mboxo", DEFAULT)


def test_cyrus_numbers_files(tmp_path: Path) -> None:
    for name in ("10.", "2.", "cyrus.index", "1", "02."):
        (tmp_path / name).write_bytes(b"Subject: " + name.encode() + b"\r\n\r\n")
    assert read_cyrus(tmp_path, 9, Template.parse("%v.%u")) == [
        Told(b"9.2", octets=15, header=header_hash(b"Subject: 2.\n\n")),
        Told(b"9.10", octets=16, header=header_hash(b"Subject: 10.\n\n")),
    ]


def test_the_hash_of_a_header_is_that_of_what_stays() -> None:
    assert header_hash(b"A: b\r\nStatus: RO\r\nC: d\r\n\r\nbody") == header_hash(b"A: b\nC: d\n\nother")
    assert header_hash(b"A: b\n\n") != header_hash(b"A: c\n\n")


def recognise(told: list[Told], there: list[tuple[bytes, int, str]]) -> list[int | None]:
    names, octets, headers = zip(*there, strict=True) if there else ((), (), ())
    return Recogniser(names, octets, lambda index: headers[index]).find(told)


def test_names_come_first_then_sizes_with_headers_and_equal_ones_in_order() -> None:
    there = [(b"a", 5, "x"), (b"b", 5, "x"), (b"c", 6, "y"), (b"d", 6, "z")]
    told = [Told(b"1", b"c"), Told(b"2", b"gone"), Told(b"3", b"", 5, "x"), Told(b"4", b"", 5, "x")]
    assert recognise(told, there) == [2, None, 0, 1]
    assert recognise([Told(b"1", b"", 6, "z"), Told(b"2", header="y")], there) == [3, 2]
    # Of two that could be meant neither is; two files of one name are none by it.
    assert recognise([Told(b"1", b"", 5, "x")], there) == [None]
    assert recognise([Told(b"1", b"a")], [*there, (b"a", 7, "")]) == [None]


IDS = st.sampled_from([b"a", b"b", b"c", b"", b"no id", b"x" * 71])


@given(st.lists(st.tuples(IDS, st.none() | st.integers(0, 3)), max_size=8), st.permutations([b"a", b"b", b"d", b"e"]))
def test_P3_036_whatever_was_told_all_ids_are_different_and_ids(wanted, current) -> None:
    have = dict(enumerate(current))
    told = [Told(unique_id) for unique_id, _index in wanted]
    adoption, chosen = choose(told, [index for _told, index in wanted], have, is_unique_id)
    after = [{**have, **chosen}[index] for index in range(4)]
    assert len(set(after)) == 4
    assert all(map(is_unique_id, after))
    assert adoption.adopted == len(chosen)
    assert adoption.adopted + adoption.unchanged + len(adoption.unmatched) + len(adoption.conflicts) == len(told)
