"""Build replies: RFC 1939 section 3 and RFC 2449 section 3."""

from __future__ import annotations

from base64 import b64encode

REPLY_OCTETS = 512
"""A first line of a reply with its CRLF (RFC 2449 section 4)."""

TERMINATOR = b".\r\n"
"""Ends a multi-line reply (RFC 1939 section 3)."""


def _line(start: bytes, text: str) -> bytes:
    # RFC 2449 section 3: printable ASCII only; the human text is what gets cut, never the status or the code.
    clean = bytes(octet for octet in text.encode("ascii", "replace") if 0x20 <= octet <= 0x7E)
    return start + clean[: REPLY_OCTETS - 2 - len(start)] + b"\r\n"


def ok(text: str = "ok") -> bytes:
    """A ``+OK`` line. There is always a text: old clients look for the space (RFC 1957)."""
    return _line(b"+OK ", text)


def err(text: str, code: str = "") -> bytes:
    """An ``-ERR`` line, with the response code in brackets first if there is one (RFC 2449 section 8)."""
    return _line(b"-ERR [" + code.encode("ascii") + b"] " if code else b"-ERR ", text)


def multiline(text: str, lines: list[bytes]) -> bytes:
    """A whole multi-line reply: ``+OK``, the lines byte-stuffed, the terminator."""
    stuffed = [b"." + line if line.startswith(b".") else line for line in lines]
    return ok(text) + b"".join([line + b"\r\n" for line in stuffed]) + TERMINATOR


def continuation(challenge: bytes) -> bytes:
    """A SASL challenge: ``+``, one space, base64; the empty challenge keeps its space (RFC 5034 section 4)."""
    return b"+ " + b64encode(challenge) + b"\r\n"
