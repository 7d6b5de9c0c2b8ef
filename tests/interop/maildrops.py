"""Which messages go into which account by which way in, and what must come out."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import attrs

from popserv.wire.octets import to_crlf

from .. import corpus
from ..corpus import Sample
from .server import Popserv
from .wire import Seen, as_sent, lmtp_deliver, read_maildrop

DELIVERIES = 2
"""How many `popserv deliver` run at once, as a mail server would do."""

APART = 6
"""Every so many of our own messages have a process each; the others share one, which starts only once."""


@attrs.frozen
class Account:
    """One account and its messages."""

    name: str
    way_in: Literal["lmtp", "deliver"]
    samples: Callable[[], list[Sample]]


@attrs.frozen
class Served:
    """What was put in, as it must come out, and what the server showed."""

    expected: list[bytes]
    """CRLF form of what was delivered, without the header fields that delivery puts in front."""
    seen: Seen
    """The reference that every client is compared with."""


def real() -> list[Sample]:
    """All messages that others wrote."""
    return corpus.shared() + corpus.pythons()


ACCOUNTS = (
    Account("deliver-own", "deliver", corpus.own),
    Account("lmtp-own", "lmtp", corpus.own),
    Account("deliver-real", "deliver", real),
    Account("lmtp-real", "lmtp", real),
)

# The fields of final delivery (RFC 5321 section 4.4): nothing else may stand in front, and nothing may be missing.
_TRACE = re.compile(
    rb"Return-Path: <anna@example\.org>\r\n"
    rb"Received: from client\.example\.org\s[^;\r\n]*(?:\r\n[ \t][^;\r\n]*)*;\s+"
    rb"\w{3}, \d\d? \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4}\r\n"
)


def fill(popserv: Popserv, account: Account, folder: Path) -> Served:
    """Make the account, deliver its messages, and look at them once; `folder` is empty and may be used."""
    popserv.add_account(account.name)
    messages = [sample.octets for sample in account.samples()]
    if account.way_in == "lmtp":
        lmtp_deliver(popserv.lmtp, account.name, messages)
        expected = [to_crlf(as_sent(message)) for message in messages]
    else:
        together = list(messages)
        apart = messages[::APART] if account.samples is corpus.own else []
        if apart:
            del together[::APART]
        with ThreadPoolExecutor(DELIVERIES) as pool:
            list(pool.map(lambda message: popserv.deliver(account.name, message), apart))
        popserv.deliver_each(account.name, together, folder)
        expected = [to_crlf(re.sub(rb"\AFrom [^\n]*\n", b"", message)) for message in messages]
    return Served(expected, read_maildrop(popserv.pop3, account.name, popserv.password))


def without_trace(message: bytes) -> bytes:
    """The message behind exactly one Return-Path and one Received."""
    trace = _TRACE.match(message)
    assert trace, f"no trace fields in front: {message[:300]!r}"
    return message[trace.end() :]
