"""Names for new messages, as the Maildir format asks for: never the same twice, on any host, in any process."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import count
from secrets import token_hex

_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")
_HOST_OCTETS = 128


class NewNames:
    """Makes them. `now` gives seconds since 1970; `hostname` is this server's name.

    The time orders the messages. Process id and counter tell apart what one host makes in the same microsecond, and
    the random part what comes from hosts (or containers) that share a name, or before and after a clock was set back.
    """

    def __init__(self, hostname: str, now: Callable[[], float]) -> None:
        escaped = _UNSAFE.sub(lambda match: b"\\%03o" % match[0][0], hostname.encode("utf-8")) or b"localhost"
        self._host = escaped[:_HOST_OCTETS]
        self._now = now
        self._random = token_hex(4).encode("ascii")
        self._count = count(1)

    def next(self) -> bytes:
        """A new name."""
        seconds, fraction = divmod(self._now(), 1)
        parts = seconds, fraction * 1_000_000, os.getpid(), next(self._count), self._random, self._host
        return b"%d.M%06dP%dQ%dR%b.%b" % parts
