"""What some clients make of a message, whatever one configures.

Every function takes octets in CRLF form and returns what the client keeps. They are as narrow as the client permits:
each rule stands for something the client was seen to do.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"
_CRLF = b"\r\n"


def exact(messages: Sequence[bytes]) -> list[bytes]:
    """Nothing is changed."""
    return list(messages)


def each(form: Callable[[bytes], bytes]) -> Callable[[Sequence[bytes]], list[bytes]]:
    """A form of many messages from one of a single message."""
    return lambda messages: [form(message) for message in messages]


def curl(message: bytes) -> bytes:
    """curl writes the CRLF in front of the terminator when nothing else was sent."""
    return message or _CRLF


_FETCHMAIL_BUFFER = 8191
"""Octets of a line that fetchmail reads at once; it takes each piece for the start of a line."""


def fetchmail(message: bytes) -> bytes:
    """fetchmail reads the header line by line as C strings, and the body in pieces."""
    lines = message.split(_CRLF)[:-1]
    without_nul = [line.replace(b"\0", b"") for line in lines]
    end = next((i for i, line in enumerate(without_nul) if line in (b"", b"\r")), len(lines))
    header = [_stuffed(line) if i else line for i, line in enumerate(without_nul[:end])]
    kept = [line for line in header if not re.match(rb">?From ", line)]
    body = [_unstuffed_by_pieces(line) for line in lines[end + 1 :]]
    return b"".join(line + _CRLF for line in [*kept, b"", *body])


def _stuffed(line: bytes) -> bytes:
    return b"." + line if line.startswith(b".") else line


def _unstuffed_by_pieces(line: bytes) -> bytes:
    wire = _stuffed(line)
    pieces = (wire[i : i + _FETCHMAIL_BUFFER] for i in range(0, len(wire), _FETCHMAIL_BUFFER))
    return b"".join(piece.removeprefix(b".") for piece in pieces)


_MUTT_BUFFER = 1023
"""Octets of a line that mutt reads at once; a NUL hides the rest of them."""
_MUTT_FIELD = re.compile(rb"[^: \t]*:|>From |From \S+ +\w{3} +\w{3} +\d")
"""What mutt takes for a line of the header: a field, or an mbox line with its date."""


def mutt(message: bytes) -> bytes:
    """mutt keeps lines as C strings with LF, and copies header, blank line and body one after another."""
    lines = [_cut_at_nul(line) for line in message.split(_CRLF)[:-1]]
    end = 0
    while end < len(lines) and (_MUTT_FIELD.match(lines[end]) or (end and lines[end][:1] in (b" ", b"\t"))):
        end += 1
    header, body = lines[:end], lines[end:]
    if body and not body[0].strip():
        del body[0]
    return b"".join(line + b"\n" for line in [*header, b"", *body])


def _cut_at_nul(line: bytes) -> bytes:
    if b"\0" not in line:
        return line
    # The first buffer also holds the dot that stuffing added.
    first = _MUTT_BUFFER - line.startswith(b".")
    buffers = [line[:first], *(line[i : i + _MUTT_BUFFER] for i in range(first, len(line), _MUTT_BUFFER))]
    return b"".join(buffer.partition(b"\0")[0] for buffer in buffers)


def getmail(messages: Sequence[bytes]) -> list[bytes]:
    """getmail rewrites messages with the `email` package of the Python it runs on: so let that do the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, message in enumerate(messages, 1):
            (folder / str(number)).write_bytes(message)
        command = ["/usr/bin/python3", str(SCRIPTS / "getmail_form.py"), name]
        subprocess.run(command, check=True, timeout=60)
        return [(folder / str(number)).read_bytes() for number in range(1, len(messages) + 1)]
