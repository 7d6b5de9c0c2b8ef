"""Passwords that were right a moment ago, so that a poller does not cost a password hash each time.

What is kept is a keyed MAC over the stored value and the password: a stored value that changes is another entry, so a
new password, and an old one, take effect at once. The key is made at the start and never leaves the process.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from os import urandom

from twisted.internet.interfaces import IReactorTime

from popserv.steady import steady


class SuccessCache:
    """Remembers for `seconds` since the check, 0 for not at all; at most `entries`, the latest ones."""

    def __init__(self, clock: IReactorTime, seconds: float, entries: int = 10_000) -> None:
        self._now = steady(clock)
        self._seconds = seconds
        self._entries = entries
        self._key = urandom(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def knows(self, stored: str, password: bytes) -> bool:
        """Whether this password has been found to fit this stored value, and not long ago."""
        until = self._until.get(self._mac(stored, password))
        return until is not None and self._now() < until

    def remember(self, stored: str, password: bytes) -> None:
        """This password fits this stored value."""
        if not self._seconds:
            return
        mac = self._mac(stored, password)
        self._until[mac] = self._now() + self._seconds
        self._until.move_to_end(mac)
        if len(self._until) > self._entries:
            self._until.popitem(last=False)

    def _mac(self, stored: str, password: bytes) -> bytes:
        value = stored.encode("utf-8", "surrogateescape")
        return blake2b(len(value).to_bytes(8, "big") + value + password, key=self._key, digest_size=16).digest()
