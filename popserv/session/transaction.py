"""The TRANSACTION state: STAT, LIST, UIDL, RETR, TOP, DELE, RSET, NOOP, QUIT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from popserv.errors import BadSyntax, ReadOnly
from popserv.session.commands import Command
from popserv.session.effects import Commit, Reply, SendListing, SendMessage
from popserv.session.states import Event, State
from popserv.wire.arguments import message_number, no_argument, number_and_lines
from popserv.wire.replies import TERMINATOR, ok

if TYPE_CHECKING:
    from popserv.session.session import Session

BLOCK = 500
"""Lines of a listing made at a time; a longer one goes out in blocks, so that it waits for a slow reader."""

DONE = ok("done")


def stat(session: Session, argument: bytes | None) -> Reply:
    no_argument(argument)
    # RFC 1939 section 5: nothing may follow the two numbers.
    return b"+OK %d %d\r\n" % (session.marks.count, session.marks.octets)


def list_(session: Session, argument: bytes | None) -> Reply:
    octets = session.maildrop.octets
    if argument is None:
        header = ok(f"{session.marks.count} messages ({session.marks.octets} octets)")
        return _listing(session, "LIST", header, lambda index: b"%d %d\r\n" % (index + 1, octets[index]))
    index = _index(session, argument)
    return b"+OK %d %d\r\n" % (index + 1, octets[index])


def uidl(session: Session, argument: bytes | None) -> Reply:
    unique_id = session.maildrop.uidl
    if argument is None:
        header = ok("unique-id listing follows")
        return _listing(session, "UIDL", header, lambda index: b"%d %b\r\n" % (index + 1, unique_id(index)))
    index = _index(session, argument)
    return b"+OK %d %b\r\n" % (index + 1, unique_id(index))


def retr(session: Session, argument: bytes | None) -> Reply:
    if argument is None:
        raise BadSyntax("message-number is missing")
    index = _index(session, argument)
    session.highest = max(session.highest, index + 1)
    return SendMessage(index, b"+OK %d octets\r\n" % session.maildrop.octets[index])


def top(session: Session, argument: bytes | None) -> Reply:
    index, lines = number_and_lines(argument or b"", session.maildrop.count)
    session.marks.check(index)
    return SendMessage(index, ok("top of message follows"), lines)


def dele(session: Session, argument: bytes | None) -> Reply:
    if argument is None:
        raise BadSyntax("message-number is missing")
    index = message_number(argument, session.maildrop.count)
    if getattr(session.maildrop, "read_only", False):
        raise ReadOnly()
    session.marks.mark(index)
    return b"+OK message %d marked as deleted\r\n" % (index + 1)


def rset(session: Session, argument: bytes | None) -> Reply:
    no_argument(argument)
    session.marks.clear()
    session.highest = 0
    return DONE


def noop(_session: Session, argument: bytes | None) -> Reply:
    no_argument(argument)
    return DONE


def quit_(session: Session, argument: bytes | None) -> Reply:
    no_argument(argument)
    session.change(Event.QUIT)
    return Commit(frozenset(session.marks.deleted))


def _index(session: Session, argument: bytes) -> int:
    index = message_number(argument, session.maildrop.count)
    session.marks.check(index)
    return index


def _listing(session: Session, keyword: Literal["LIST", "UIDL"], header: bytes, line: Callable[[int], bytes]) -> Reply:
    deleted = session.marks.deleted
    count = session.maildrop.count
    if count <= BLOCK:
        return header + b"".join([line(index) for index in range(count) if index not in deleted]) + TERMINATOR
    # No line can begin with a dot: there is nothing to stuff.
    return SendListing(_blocks(header, count, deleted, line), None if deleted else keyword)


def _blocks(header: bytes, count: int, deleted: set[int], line: Callable[[int], bytes]) -> Iterator[bytes]:
    yield header
    for start in range(0, count, BLOCK):
        indices = range(start, min(start + BLOCK, count))
        yield b"".join([line(index) for index in indices if index not in deleted])
    yield TERMINATOR


_HERE = frozenset({State.TRANSACTION})

COMMANDS = (
    Command(b"STAT", stat, _HERE, "RFC 1939 section 5"),
    Command(b"LIST", list_, _HERE, "RFC 1939 section 5"),
    Command(b"RETR", retr, _HERE, "RFC 1939 section 5"),
    Command(b"DELE", dele, _HERE, "RFC 1939 section 5"),
    Command(b"NOOP", noop, _HERE, "RFC 1939 section 5"),
    Command(b"RSET", rset, _HERE, "RFC 1939 section 5"),
    Command(b"TOP", top, _HERE, "RFC 1939 section 7"),
    Command(b"UIDL", uidl, _HERE, "RFC 1939 section 7"),
    Command(b"QUIT", quit_, _HERE, "RFC 1939 section 6"),
)
