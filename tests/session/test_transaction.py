"""The TRANSACTION and UPDATE states: RFC 1939 sections 5 to 7."""

from __future__ import annotations

import pytest

from popserv.errors import StoreBroken, StoreUnavailable
from popserv.session.effects import Commit, SendListing, SendMessage
from popserv.session.states import State
from popserv.session.transaction import BLOCK
from tests.session.support import logged_in

NOT_NUMBERS = [
    b"x",
    b"-1",
    b"+1",
    b"1.0",
    b"1_0",
    b"0x1",
    b" 1",
    b"1  ",
    b"\xd9\xa3",
    b"\xc2\xb2",
    b"1" * 11,
    b"1\x00",
    b"1 2",
]
NO_MESSAGES = [b"0", b"4", b"00", b"4294967297", b"9999999999"]


def test_P3_008_authorization_commands_are_refused_after_login() -> None:
    for line in (b"USER x", b"PASS x", b"APOP x y", b"AUTH PLAIN", b"STLS"):
        assert logged_in().say(line) == b"-ERR not in the TRANSACTION state\r\n"


def test_P3_023_stat_is_two_numbers_and_nothing_else() -> None:
    assert logged_in().say(b"STAT") == b"+OK 3 72\r\n"
    assert logged_in([]).say(b"STAT") == b"+OK 0 0\r\n"


def test_P3_024_stat_leaves_marked_messages_out() -> None:
    assert logged_in().say(b"DELE 1", b"STAT").endswith(b"+OK 2 44\r\n")


def test_P3_025_list_for_one_and_for_all() -> None:
    assert logged_in().say(b"LIST 3") == b"+OK 3 44\r\n"
    assert logged_in().say(b"LIST") == b"+OK 3 messages (72 octets)\r\n1 28\r\n2 0\r\n3 44\r\n.\r\n"
    assert logged_in([]).say(b"LIST") == b"+OK 0 messages (0 octets)\r\n.\r\n"
    assert logged_in().say(b"DELE 2", b"LIST").endswith(b"+OK 2 messages (72 octets)\r\n1 28\r\n3 44\r\n.\r\n")


def test_P3_026_list_size_is_octets_sent() -> None:
    new = logged_in()
    for number, size in ((1, 28), (2, 0), (3, 44)):
        header, _, sent = new.say(b"RETR %d" % number).partition(b"\r\n")
        assert header == b"+OK %d octets" % size
        unstuffed = sent.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
        assert len(unstuffed) == size
        assert new.say(b"LIST %d" % number) == b"+OK %d %d\r\n" % (number, size)


@pytest.mark.parametrize("verb", [b"LIST %b", b"RETR %b", b"DELE %b", b"UIDL %b", b"TOP %b 1"])
def test_P3_027_unknown_and_marked_messages_are_refused(verb: bytes) -> None:
    for number in NO_MESSAGES:
        assert logged_in().say(verb % number).startswith(b"-ERR ")
    assert logged_in().say(b"DELE 1", verb % b"1").endswith(b"-ERR message is marked as deleted\r\n")


@pytest.mark.parametrize("verb", [b"LIST %b", b"RETR %b", b"DELE %b", b"UIDL %b", b"TOP %b 1"])
def test_P3_021_numbers_are_digits_and_nothing_else(verb: bytes) -> None:
    for number in NOT_NUMBERS:
        reply = logged_in().say(verb % number)
        assert reply.startswith(b"-ERR "), (verb, number)
    assert logged_in().say(verb % b"0000000001").startswith(b"+OK")
    assert logged_in().say(verb % b"01").startswith(b"+OK")


def test_SEC_009_huge_numbers_cost_nothing() -> None:
    assert logged_in().say(b"RETR " + b"9" * 400) == b"-ERR message-number must be 1 to 10 digits\r\n"
    assert logged_in().say(b"TOP 1 9999999999").startswith(b"+OK ")
    assert logged_in().say(b"TOP 1 99999999999") == b"-ERR number of lines must be 1 to 10 digits\r\n"


def test_P3_028_retr_sends_the_message_and_changes_nothing() -> None:
    new = logged_in()
    expected = b"+OK 28 octets\r\nSubject: one\r\n\r\nbody\r\n..dot\r\n.\r\n"
    assert new.say(b"RETR 1") == expected
    assert new.say(b"RETR 1", b"STAT") == expected + b"+OK 3 72\r\n"


def test_P3_009_what_is_sent_is_stuffed_and_ends_with_a_dot() -> None:
    assert logged_in([b".\n"]).say(b"RETR 1") == b"+OK 3 octets\r\n..\r\n.\r\n"
    assert logged_in([b"."]).say(b"RETR 1") == b"+OK 3 octets\r\n..\r\n.\r\n"
    assert logged_in([b"a\n..\n.b"]).say(b"RETR 1") == b"+OK 11 octets\r\na\r\n...\r\n..b\r\n.\r\n"


def test_P3_010_a_missing_end_is_added_and_counted() -> None:
    assert logged_in([b"a"]).say(b"RETR 1", b"LIST 1") == b"+OK 3 octets\r\na\r\n.\r\n+OK 1 3\r\n"
    assert logged_in([b""]).say(b"RETR 1", b"LIST 1") == b"+OK 0 octets\r\n.\r\n+OK 1 0\r\n"


def test_P3_029_dele_marks_and_a_second_one_is_refused() -> None:
    new = logged_in()
    assert new.say(b"DELE 2") == b"+OK message 2 marked as deleted\r\n"
    assert new.say(b"DELE 2") == b"-ERR message is marked as deleted\r\n"


def test_P3_020_numbers_do_not_change_in_a_session() -> None:
    new = logged_in()
    new.say(b"DELE 1")
    assert new.say(b"LIST 3", b"UIDL 3") == b"+OK 3 44\r\n+OK 3 uid-3\r\n"


def test_P3_030_noop() -> None:
    assert logged_in().say(b"NOOP") == b"+OK done\r\n"
    assert logged_in().say(b"NOOP x") == b"-ERR this command takes no argument\r\n"


def test_P3_031_rset_removes_all_marks() -> None:
    assert (
        logged_in()
        .say(b"DELE 1", b"DELE 3", b"RSET", b"STAT", b"DELE 1")
        .endswith(b"+OK done\r\n+OK 3 72\r\n+OK message 1 marked as deleted\r\n")
    )


def test_P3_032_top() -> None:
    head = b"+OK top of message follows\r\n"
    assert logged_in().say(b"TOP 1 0") == head + b"Subject: one\r\n\r\n.\r\n"
    assert logged_in().say(b"TOP 1 1") == head + b"Subject: one\r\n\r\nbody\r\n.\r\n"
    assert (
        logged_in().say(b"TOP 1 2")
        == logged_in().say(b"TOP 1 1000")
        == (head + b"Subject: one\r\n\r\nbody\r\n..dot\r\n.\r\n")
    )


@pytest.mark.parametrize("argument", [b"", b" 1", b" 1 -1", b" 1 x", b" 1 1 1", b" 1  1", b" x 1"])
def test_P3_032_top_needs_a_number_and_a_count(argument: bytes) -> None:
    assert logged_in().say(b"TOP" + argument).startswith(b"-ERR ")


def test_P3_033_top_without_a_blank_line() -> None:
    head = b"+OK top of message follows\r\n"
    assert logged_in([b"Subject: x\n"]).say(b"TOP 1 5") == head + b"Subject: x\r\n\r\n.\r\n"
    assert logged_in([b""]).say(b"TOP 1 5") == head + b"\r\n.\r\n"
    assert logged_in([b"\nbody"]).say(b"TOP 1 1") == head + b"\r\nbody\r\n.\r\n"


def test_P3_034_uidl_for_one_and_for_all() -> None:
    assert logged_in().say(b"UIDL 2") == b"+OK 2 uid-2\r\n"
    assert logged_in().say(b"DELE 2", b"UIDL").endswith(b"+OK unique-id listing follows\r\n1 uid-1\r\n3 uid-3\r\n.\r\n")


@pytest.mark.parametrize("count", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 1])
def test_long_listings_come_in_blocks_and_are_the_same(count: int) -> None:
    new = logged_in([b"x"] * count)
    expected = b"".join(b"%d 3\r\n" % number for number in range(1, count + 1))
    assert isinstance(new.session.handle(b"LIST"), SendListing) is (count > BLOCK)
    assert new.say(b"LIST") == b"+OK %d messages (%d octets)\r\n%b.\r\n" % (count, count * 3, expected)
    new.say(b"DELE 1")
    assert new.say(b"UIDL").startswith(b"+OK unique-id listing follows\r\n2 uid-2\r\n")


# --- UPDATE


def test_P3_039_only_quit_leads_to_update() -> None:
    new = logged_in()
    new.say(b"DELE 1")
    assert new.session.state is State.TRANSACTION
    assert isinstance(new.session.handle(b"QUIT"), Commit)
    assert new.session.state is State.UPDATE


def test_P3_041_quit_answers_for_what_was_removed() -> None:
    new = logged_in()
    assert new.say(b"DELE 1", b"DELE 3", b"QUIT").endswith(b"+OK bye, 2 messages removed\r\n")
    assert new.removed == {0, 2}
    assert logged_in().say(b"QUIT") == b"+OK bye\r\n"
    new = logged_in()
    new.left = 1
    assert new.say(b"DELE 1", b"DELE 3", b"QUIT").endswith(b"-ERR [SYS/TEMP] 1 of 2 deleted messages not removed\r\n")
    assert new.session.ended


def test_P3_042_what_was_unmarked_is_not_removed() -> None:
    new = logged_in()
    new.say(b"DELE 1", b"DELE 2", b"RSET", b"DELE 3", b"QUIT")
    assert new.removed == {2}


@pytest.mark.parametrize(("error", "code"), [(StoreUnavailable(), b"[SYS/TEMP]"), (StoreBroken(), b"[SYS/PERM]")])
def test_P3_043_a_failed_update_ends_the_session_all_the_same(error: StoreUnavailable, code: bytes) -> None:
    new = logged_in()
    new.session.handle(b"QUIT")
    assert new.session.failed(error).startswith(b"-ERR " + code)
    assert new.session.ended


def test_SA_002_auth_after_success_is_refused_here_too() -> None:
    assert logged_in().say(b"AUTH PLAIN") == b"-ERR not in the TRANSACTION state\r\n"


# --- counters, for the session line


def test_counters_tell_messages_and_octets() -> None:
    new = logged_in()
    new.say(b"RETR 1", b"RETR 3", b"TOP 1 0", b"DELE 1", b"QUIT")
    counters = new.session.counters
    assert (counters.retr, counters.retr_octets, counters.top, counters.top_octets) == (2, 72, 1, 16)
    assert counters.deleted == 1


# --- LAST


def test_last_is_unknown_unless_asked_for() -> None:
    assert logged_in().say(b"LAST") == b"-ERR unknown command\r\n"


def test_last_tells_the_highest_message_retrieved() -> None:
    new = logged_in(extensions=["last"])
    assert new.say(b"LAST") == b"+OK 0\r\n"
    new.say(b"RETR 2", b"RETR 1", b"TOP 3 0")
    assert new.say(b"LAST") == b"+OK 2\r\n"
    assert new.say(b"RSET", b"LAST") == b"+OK done\r\n+OK 0\r\n"


def test_retr_gives_an_effect_and_no_octets() -> None:
    assert logged_in().session.handle(b"RETR 3") == SendMessage(2, b"+OK 44 octets\r\n")
    assert logged_in().session.handle(b"TOP 3 7") == SendMessage(2, b"+OK top of message follows\r\n", 7)
