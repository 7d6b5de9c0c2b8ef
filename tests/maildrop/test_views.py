"""Which messages a view shows, and who has which."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from popserv.auth.account import Account
from popserv.by_account import ByAccount, Covering
from popserv.errors import StoreBroken
from popserv.interfaces import IDatedMaildrop, IMaildrop
from popserv.maildrop.view_merged import JoinedSizes, unique_id_in
from popserv.maildrop.view_selection import narrowed
from popserv.maildrop.views import Since, View
from popserv.pools import InlinePool
from popserv.stores.memory import Mailbox, MemoryMaildrop
from tests.delivery.test_parts import result

DAY = 86400
SECOND = 1_000_000_000


@implementer(IDatedMaildrop)
class Dated(MemoryMaildrop):
    """In memory, with dates in nanoseconds."""

    def __init__(self, sizes: list[int], dates: list[int]) -> None:
        super().__init__(Mailbox({b"%d" % number: b"x" * (size - 2) for number, size in enumerate(sizes)}))
        self.dates = dates

    def delivered(self) -> Deferred[Any]:
        return succeed(memoryview(array("q", self.dates)))


def shown(maildrop: IMaildrop) -> list[bytes]:
    return [maildrop.uidl(index) for index in range(maildrop.count)]


MESSAGES = st.lists(st.tuples(st.integers(3, 9), st.integers(0, 9)), max_size=30)


@given(MESSAGES, st.integers(0, 10), st.integers(0, 9), st.integers(0, 31))
def test_large_ones_and_old_ones_are_hidden_and_then_the_newest_counted(
    messages: list[tuple[int, int]], largest: int, day: int, newest: int
) -> None:
    maildrop = Dated([size for size, _ in messages], [date * SECOND for _, date in messages])
    view = View(largest, Since(at=day) if day else None, newest)
    seen = result(narrowed(maildrop, view, InlinePool(), 0.0))
    expected = [
        number
        for number, (size, date) in enumerate(messages)
        if (not largest or size <= largest) and (not day or date >= day)
    ]
    expected = expected[-newest:] if newest else expected
    assert shown(seen) == [b"%d" % number for number in expected]
    assert list(seen.octets) == [messages[number][0] for number in expected]
    assert seen.total == sum(seen.octets)
    assert (seen is maildrop) is (len(expected) == len(messages))


def test_hidden_messages_cannot_be_removed() -> None:
    maildrop = Dated([3, 9, 4, 9, 5], [0] * 5)
    seen = result(narrowed(maildrop, View(largest_octets=8, newest=2), InlinePool(), 0.0))
    assert shown(seen) == [b"2", b"4"]
    with pytest.raises(IndexError):
        seen.commit({2})
    assert result(seen.commit({0, 1})) == 0
    assert list(maildrop._mailbox.messages) == [b"0", b"1", b"3"]


def test_a_maildrop_without_dates_has_no_view_by_date() -> None:
    maildrop = MemoryMaildrop(Mailbox({b"1": b"x"}))
    with pytest.raises(StoreBroken):
        result(narrowed(maildrop, View(since=Since(days=1)), InlinePool(), 0.0))
    assert result(narrowed(maildrop, View(newest=1), InlinePool(), 0.0)) is maildrop


def test_times() -> None:
    assert Since.parse("") is None
    assert Since.parse("30d") == Since(days=30)
    assert Since.parse("1970-01-02") == Since(at=DAY)
    for wrong in ("30", "d", "0d", "-1d", "30 d", "2026-13-01", "2026-1-1", "20260101", "1d\n", "٣d", "100000d"):
        with pytest.raises(ValueError):
            Since.parse(wrong)
    assert Since(days=2).earliest(3 * DAY) == DAY * SECOND
    assert Since(at=5).earliest(3 * DAY) == 5 * SECOND


def test_the_first_rule_that_covers_an_account_holds() -> None:
    views = ByAccount(
        View(newest=1), [Covering(lambda name: name == "fred", View()), Covering(lambda _: False, View())]
    )
    assert views.of(Account("fred")) == View()
    assert views.of(Account("ann")) == View(newest=1)


def test_which_details_are_folders() -> None:
    some, every = View(folders=("Junk", "Archive.2025")), View(folders=("Junk", "*"))
    assert [some.folder(detail) for detail in ("junk", "JUNK", "archive.2025", "news", "*", "")] == [
        *("Junk", "Junk", "Archive.2025"),
        *(None, None, None),
    ]
    assert [every.folder(detail) for detail in ("junk", "News", "")] == ["Junk", "News", None]
    assert View().folder("junk") is None


@given(st.lists(st.integers(0, 99)), st.lists(st.integers(0, 99)), st.integers(0, 9))
def test_joined_sizes_are_a_sequence(first: list[int], second: list[int], more: int) -> None:
    joined = JoinedSizes(first, second, more)
    whole = first + [size + more for size in second]
    assert list(joined) == whole
    assert len(joined) == len(whole)
    assert joined[::-1] == whole[::-1]
    for index in range(-len(whole), len(whole)):
        assert joined[index] == whole[index]
    for beyond in (len(whole), -len(whole) - 1):
        with pytest.raises(IndexError):
            joined[beyond]


@given(st.binary(min_size=1, max_size=70), st.binary(min_size=1, max_size=70))
def test_P3_035_unique_ids_of_junk(first: bytes, second: bytes) -> None:
    found = unique_id_in(b".Junk", first)
    assert len(found) <= 70
    assert found.isascii() and found.isalnum() is False and found.startswith(b"~j") and found[1:].isalnum()
    assert (found == unique_id_in(b".Junk", second)) is (first == second)
    assert found != unique_id_in(b".Spam", first)
