"""Who has the session lock of a maildrop, as the lock file says: one line of JSON.

Whoever may write to the maildrop can put something else there, so nothing of it is believed that could do harm: times
and addresses are parsed, and a socket is asked only if its process is one of ours.
"""

from __future__ import annotations

import json
import os
from calendar import timegm
from ipaddress import ip_address
from time import gmtime, strftime, strptime
from typing import Any

import attrs

from popserv.interfaces import IAccount

OCTETS = 512
"""The least that is written. Of one length, so that overwriting needs no truncation, which would cost a block to be
freed and taken again."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@attrs.frozen
class Holder:
    """The session that has a maildrop."""

    pid: int
    host: str
    """The name that the kernel has for the host: hosts that share a disk are told apart by it."""
    since: int
    """Seconds since 1970."""
    address: str = ""
    """Numeric, of the client; "" = not known."""
    session: str = ""
    """The id that its log lines have."""
    socket: str = ""
    """The unix socket at which its process can be asked to end it; "" = it cannot."""

    @classmethod
    def of(cls, account: IAccount, now: float) -> Holder:
        """This process, for an `account` that may be a `popserv.maildrop.visit.Visit`; `now` in seconds since 1970."""
        known = {name: str(getattr(account, name, "")) for name in ("address", "session", "socket")}
        return cls(os.getpid(), os.uname().nodename, int(now), **known)

    @property
    def time(self) -> str:
        """Since when, in UTC: 2026-01-31T23:59:59Z."""
        return strftime(_TIME, gmtime(self.since))

    def line(self) -> bytes:
        """What stands in the lock file."""
        facts = {
            "pid": self.pid,
            "host": self.host,
            "since": self.time,
            "address": self.address,
            "session": self.session,
            "socket": self.socket,
        }
        return json.dumps(facts).ljust(OCTETS - 1).encode("ascii") + b"\n"

    @classmethod
    def parse(cls, content: bytes) -> Holder | None:
        """From the first line of `content`; None if that is none of ours."""
        try:
            facts = json.loads(content.partition(b"\n")[0])
            texts = [_text(facts[name]) for name in ("host", "session", "socket")]
            host, session, socket = texts
            return cls(int(facts["pid"]), host, _seconds(facts["since"]), _address(facts["address"]), session, socket)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None


def _text(value: Any) -> str:
    if not (isinstance(value, str) and value.isprintable() and "\0" not in value):
        raise ValueError
    return value


def _seconds(value: Any) -> int:
    seconds = timegm(strptime(_text(value), _TIME))
    if seconds < 0:
        raise ValueError
    return seconds


def _address(value: Any) -> str:
    return str(ip_address(_text(value))) if value else ""
