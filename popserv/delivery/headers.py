"""The header fields that final delivery puts in front of a message (RFC 5321 section 4.4)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime

_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]+")
_UNPRINTABLE = re.compile(rb"[^ -~]")


def return_path(sender: bytes) -> bytes:
    """``Return-Path:`` with the reverse-path, b"" for the null one; what is not printable ASCII becomes ``?``.

    Brackets may stand around it already.
    """
    if sender.startswith(b"<") and sender.endswith(b">"):
        sender = sender[1:-1]
    return b"Return-Path: <" + _UNPRINTABLE.sub(b"?", sender) + b">\r\n"


def received(client: str, address: str, hostname: str, message: str, now: float) -> bytes:
    """``Received:`` for LMTP: what LHLO said, the client's `address` ("" for a unix socket), the id of this `message`,
    and the time in seconds since 1970."""
    origin = _token(client) + (f" ([{_token(address)}])" if address else "")
    date = format_datetime(datetime.fromtimestamp(now, UTC))
    lines = (f"Received: from {origin}", f"by {_token(hostname)} with LMTP id {_token(message)};", date)
    return ("\r\n\t".join(lines) + "\r\n").encode("ascii")


def _token(text: str) -> str:
    return text if _HOST.fullmatch(text) else "unknown"
