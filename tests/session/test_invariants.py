"""What holds for any input in any state."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from popserv.limits import Limits
from popserv.session.session import Session
from popserv.session.states import State
from popserv.wire.lines import Fault, LineBuffer
from tests.session.support import MESSAGES, OPEN, Table, logged_in, table

FIRST_LINE = re.compile(rb"(?:\+OK |-ERR |\+ )[ -~]*\r\n")
VERBS = [
    b"USER",
    b"PASS",
    b"APOP",
    b"AUTH",
    b"STAT",
    b"LIST",
    b"RETR",
    b"TOP",
    b"UIDL",
    b"DELE",
    b"RSET",
    b"NOOP",
    b"CAPA",
]
ARGUMENTS = st.sampled_from(
    [b"", b"1", b"2 1", b"3", b"4", b"0", b"fred", b"secret", b"PLAIN", b"PLAIN =", b"*"]
) | st.binary(max_size=30)
LINES = st.one_of(
    st.binary(max_size=60),
    st.tuples(st.sampled_from(VERBS), ARGUMENTS).map(b" ".join),
    st.sampled_from([b"USER fred", b"PASS secret", b"QUIT", b"AGZyZWQAc2VjcmV0", b"DELE 1", b"RETR 1"]),
)


@given(st.lists(LINES, max_size=25), st.booleans())
@settings(deadline=None)
def test_whatever_comes_is_answered_well_formed_and_nothing_is_raised(lines: list[bytes], inside: bool) -> None:
    new = logged_in(bad_commands=1000, login_failures=1000) if inside else table(bad_commands=1000, login_failures=1000)
    for line in lines:
        if new.session.ended:
            break
        reply = new.say(line.replace(b"\r\n", b""))
        assert FIRST_LINE.match(reply), reply
        if b"\r\n" in reply[:-2]:
            assert reply.endswith(b"\r\n.\r\n")


class Model:
    """What a maildrop looks like to a client, in a few lines."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.marked: set[int] = set()

    def stat(self) -> bytes:
        left = [size for number, size in enumerate(self.sizes, 1) if number not in self.marked]
        return b"+OK %d %d\r\n" % (len(left), sum(left))

    def dele(self, number: int) -> bool:
        fine = 1 <= number <= len(self.sizes) and number not in self.marked
        self.marked |= {number} if fine else set()
        return fine


@given(
    st.lists(st.tuples(st.sampled_from([b"DELE", b"RETR", b"LIST", b"UIDL", b"RSET"]), st.integers(0, 5)), max_size=30)
)
@settings(deadline=None)
def test_P3_042_marks_and_totals_follow_the_model(steps: list[tuple[bytes, int]]) -> None:
    new = logged_in(bad_commands=1000)
    model = Model(new.maildrop.octets)
    for verb, number in steps:
        if verb == b"RSET":
            new.say(b"RSET")
            model.marked.clear()
        elif verb == b"DELE":
            assert new.say(b"DELE %d" % number).startswith(b"+OK") is model.dele(number)
        else:
            visible = 1 <= number <= len(model.sizes) and number not in model.marked
            assert new.say(b"%b %d" % (verb, number)).startswith(b"+OK") is visible
        assert new.say(b"STAT") == model.stat()
    new.say(b"QUIT")
    assert new.removed == {number - 1 for number in model.marked}


def converse(stream: bytes, cuts: list[int], limits: Limits) -> bytes:
    """Everything a server would say to `stream`, cut at these places."""
    new = Table(Session(OPEN, limits), logged_in(MESSAGES).maildrop)
    lines, out = LineBuffer(limits), b""
    places = [0, *sorted(cuts), len(stream)]
    for start, end in pairwise(places):
        lines.feed(stream[start:end])
        while not new.session.ended and (line := lines.next(new.session.exchange)) is not None:
            if isinstance(line, Fault):
                reply = new.session.fault(line)
                out += reply if isinstance(reply, bytes) else new.perform(reply)
            else:
                out += new.say(line)
    return out


PIECES = st.sampled_from(
    [
        b"USER fred\r\n",
        b"PASS secret\r\n",
        b"NOOP\r\n",
        b"\n",
        b"\r",
        b"x" * 300,
        b"AUTH PLAIN\r\n",
        b"*\r\n",
        b"STAT\r\n",
    ]
)


@given(st.lists(PIECES, max_size=15).map(b"".join), st.data())
@settings(deadline=None)
def test_EX_019_the_same_octets_give_the_same_replies_however_they_are_cut(stream: bytes, data: st.DataObject) -> None:
    limits = Limits(sasl_octets=300)
    whole = converse(stream, [], limits)
    assert converse(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=6)), limits) == whole
    assert converse(stream, list(range(len(stream))), limits) == whole


def test_EX_019_pipelined_commands_are_answered_in_order() -> None:
    stream = b"USER fred\r\nPASS secret\r\nSTAT\r\nDELE 1\r\nLIST\r\nBOGUS\r\nRETR 3\r\nQUIT\r\nNOOP\r\n"
    said = converse(stream, [], Limits())
    assert [line[:9] for line in said.split(b"\r\n") if line.startswith((b"+", b"-"))] == [
        *(
            b"+OK send ",
            b"+OK 3 mes",
            b"+OK 3 72",
            b"+OK messa",
            b"+OK 2 mes",
            b"-ERR unkn",
            b"+OK 44 oc",
            b"+OK bye, ",
        ),
    ]


def test_EX_022_lines_behind_auth_are_responses() -> None:
    said = converse(b"AUTH PLAIN\r\nQUIT\r\nUSER fred\r\n", [], Limits())
    assert said.startswith(b"+ \r\n-ERR ") and said.endswith(b"+OK send PASS\r\n")


def test_a_defect_of_ours_is_answered_and_reported() -> None:
    seen: list[BaseException] = []
    new = logged_in()
    new.session._report = seen.append
    new.maildrop.octets = None  # type: ignore[assignment]
    assert new.say(b"LIST 1") == b"-ERR [SYS/TEMP] internal error\r\n"
    assert len(seen) == 1
    assert new.session.state is State.TRANSACTION
