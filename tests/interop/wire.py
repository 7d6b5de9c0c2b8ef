"""Plain sockets that speak LMTP and POP3, so that every octet sent and seen is under control."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import attrs

from .running import ServerAddress

TIMEOUT = 60


def as_sent(message: bytes) -> bytes:
    """What the end of data in LMTP forces on a message: its last line ends in CRLF (RFC 5321 section 4.1.1.4)."""
    return message if not message or message.endswith(b"\r\n") else message + b"\r\n"


def lmtp_deliver(address: tuple[str, int], recipient: str, messages: list[bytes]) -> None:
    """Deliver the messages one after another, without touching a line end; every reply must be a success."""
    with _conversation(address) as lines:
        _expect(lines, b"220")
        _ask(lines, b"LHLO client.example.org", b"250")
        for message in messages:
            _ask(lines, b"MAIL FROM:<anna@example.org>", b"250")
            _ask(lines, b"RCPT TO:<%s>" % recipient.encode(), b"250")
            _ask(lines, b"DATA", b"354")
            # A line starts behind CRLF and nowhere else (RFC 5321 section 2.3.8).
            lines.write(re.sub(rb"(\A|\r\n)\.", rb"\1..", as_sent(message)))
            _ask(lines, b".", b"250")
        _ask(lines, b"QUIT", b"221")


@attrs.frozen
class Seen:
    """A maildrop as one session sees it."""

    stat: tuple[int, int]
    """Messages and octets that STAT said."""
    scan: list[int]
    """Octets that LIST said, by message."""
    single_scans: list[int]
    """Octets that LIST with an argument said."""
    unique_ids: list[bytes]
    messages: list[bytes]
    """What RETR sent, with stuffing undone."""


def read_maildrop(server: ServerAddress, user: str, password: str) -> Seen:
    """Look at everything over the plain port, and delete nothing."""
    with _conversation((server.host, server.plain_port)) as lines:
        _expect(lines, b"+OK")
        _ask(lines, b"USER " + user.encode(), b"+OK")
        _ask(lines, b"PASS " + password.encode(), b"+OK")
        count, octets = (int(word) for word in _ask(lines, b"STAT", b"+OK").split()[1:3])
        scan = [int(line.split()[1]) for line in _listing(lines, b"LIST")]
        unique_ids = [line.split()[1] for line in _listing(lines, b"UIDL")]
        numbers = range(1, count + 1)
        single = [int(_ask(lines, b"LIST %d" % number, b"+OK").split()[2]) for number in numbers]
        messages = []
        for number in numbers:
            _ask(lines, b"RETR %d" % number, b"+OK")
            messages.append(_multi_line(lines))
        _ask(lines, b"QUIT", b"+OK")
    return Seen((count, octets), scan, single, unique_ids, messages)


@contextmanager
def _conversation(address: tuple[str, int]) -> Iterator[BinaryIO]:
    with socket.create_connection(address, TIMEOUT) as connection, connection.makefile("rwb") as lines:
        yield lines  # type: ignore[misc]


def _ask(lines: BinaryIO, command: bytes, success: bytes) -> bytes:
    lines.write(command + b"\r\n")
    lines.flush()
    return _expect(lines, success)


def _expect(lines: BinaryIO, success: bytes) -> bytes:
    reply = lines.readline()
    while reply[3:4] == b"-" and reply[:3].isdigit():  # more lines of the same SMTP reply follow
        reply = lines.readline()
    assert reply.startswith(success), (success, reply)
    return reply


def _listing(lines: BinaryIO, command: bytes) -> list[bytes]:
    _ask(lines, command, b"+OK")
    return _multi_line(lines).splitlines()


def _multi_line(lines: BinaryIO) -> bytes:
    """The rest of a multi-line response (RFC 1939 section 3)."""
    content = bytearray()
    at_line_start = True
    while True:
        piece = lines.readline()  # ends at LF, which need not be the end of a line
        assert piece, "connection lost inside a response"
        if at_line_start and piece == b".\r\n":
            return bytes(content)
        content += piece[1:] if at_line_start and piece.startswith(b".") else piece
        at_line_start = piece.endswith(b"\r\n")
