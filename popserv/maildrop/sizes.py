"""What is known of the octets of stored files, so that a message is scanned once and not at every login."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable
from itertools import islice
from typing import Protocol

File = tuple[int, int, int, int, int, int]
"""Device, inode, mtime and ctime in nanoseconds, stored octets, and a hash of the part of the name that never changes.

mtime can be set back, and an inode that became free is soon used again; ctime is the kernel's own. It changes with the
name, too, so that a message whose flags are set is counted once more."""

Measured = tuple[int, bool, bool]
"""Octets of RFC 1939 section 11, `crlf`, `needs_stuffing`; as `popserv.wire.octets.measure` gives them."""


class Sizes(Protocol):
    """Remembers measured files. Called from threads."""

    def get(self, file: File) -> Measured | None: ...

    def remember(self, measured: Iterable[tuple[File, Measured]]) -> None: ...

    def forget(self, file: File) -> None: ...


_key = struct.Struct("=QQqqQq").pack  # a third of the memory of a tuple


class SizeCache:
    """In memory, bounded: beyond `most` files (some 210 octets each) those remembered first go first."""

    def __init__(self, most: int = 200_000) -> None:
        self._most = most
        self._known: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def get(self, file: File) -> Measured | None:
        packed = self._known.get(_key(*file))
        return None if packed is None else (packed >> 2, bool(packed & 2), bool(packed & 1))

    def remember(self, measured: Iterable[tuple[File, Measured]]) -> None:
        with self._lock:
            for file, (octets, crlf, needs_stuffing) in measured:
                self._known[_key(*file)] = octets << 2 | crlf << 1 | needs_stuffing
            for key in list(islice(self._known, max(0, len(self._known) - self._most))):
                del self._known[key]

    def forget(self, file: File) -> None:
        with self._lock:
            self._known.pop(_key(*file), None)
