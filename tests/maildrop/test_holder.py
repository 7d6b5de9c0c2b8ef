"""What a lock file says of the session that has the maildrop."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popserv.auth.account import Account
from popserv.maildrop.holder import OCTETS, Holder
from popserv.maildrop.visit import Visit

HOLDER = Holder(1234, "mail", 1_700_000_000, "192.0.2.1", "0badcafe-7", "/run/popserv/takeover-1")
PRINTABLE = st.text(st.characters(categories=("L", "N", "P")), max_size=80)


def changed(**facts: object) -> bytes:
    return json.dumps({**json.loads(HOLDER.line()), **facts}).encode()


def test_it_is_one_line_of_one_length_for_people_and_programs() -> None:
    line = HOLDER.line()
    assert (len(line), line[-1:], line.count(b"\n")) == (OCTETS, b"\n", 1)
    assert json.loads(line)["since"] == "2023-11-14T22:13:20Z"


def test_what_a_longer_line_leaves_behind_is_not_read() -> None:
    longer = attrs.evolve(HOLDER, socket="/" + "x" * 600).line()
    assert Holder.parse(HOLDER.line() + longer[OCTETS:]) == HOLDER


@given(st.integers(0, 1 << 32), PRINTABLE, st.integers(0, 4_000_000_000), PRINTABLE, PRINTABLE)
def test_what_is_written_is_read(pid: int, host: str, since: int, session: str, socket: str) -> None:
    for address in ("", "192.0.2.1", "2001:db8::1"):
        holder = Holder(pid, host, since, address, session, socket)
        assert Holder.parse(holder.line()) == holder


@given(st.binary(max_size=600))
def test_anything_else_is_nobody(content: bytes) -> None:
    assert Holder.parse(content) is None


@pytest.mark.parametrize(
    "content",
    [
        changed(since="now"),
        changed(since=5),
        changed(since="1969-01-01T00:00:00Z"),
        changed(address="mail.example.org\r\n"),
        changed(session="a\nb"),
        changed(socket=["/run"]),
        changed(pid="x"),
        changed(pid=None),
        changed(pid=float("inf")),
        b"[" * 100_000,
        b"held by process 1 since 2023-11-14T22:13:20Z\n",
    ],
)
def test_facts_that_cannot_be_are_no_facts(content: bytes) -> None:
    assert Holder.parse(content) is None


def test_a_visit_is_the_account_and_says_who_comes() -> None:
    account = Account("fred", "maildir:/srv/fred", "/home/fred", frozenset({"plain"}), networks=())
    visit = Visit(account, "192.0.2.1", "0badcafe-7", "/run/x")
    assert (visit.name, visit.location, visit.home) == ("fred", "maildir:/srv/fred", "/home/fred")
    assert visit.mechanisms == frozenset({"plain"})
    assert visit.admits("192.0.2.1") is False, "what else the account has is there, too"
    holder = Holder.of(visit, 1_700_000_000.9)
    assert (holder.address, holder.session, holder.socket) == ("192.0.2.1", "0badcafe-7", "/run/x")
    assert holder.since == 1_700_000_000
    assert Holder.of(account, 0).address == ""
