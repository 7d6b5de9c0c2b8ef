"""Whether a Maildir can be opened without waiting for a disk, so that it needs no thread, which costs more than that.

It is so for every client that polls: the kernel still has in memory what it was asked for a moment ago. Two things
remain that a disk in trouble can hold up, and everybody with it: what is thrown out of memory between this look and the
opening, and the lock file, which is written. What lies on the network never counts as being at hand.
"""

from __future__ import annotations

import os

from popserv.maildrop.index import INDEX_NAME, SMALL_OCTETS
from popserv.maildrop.locks import LOCK_NAME
from popserv.nowait import open_cached, read_cached

_NAMES = (b"/new", b"/cur", b"/" + LOCK_NAME.encode())
_INDEX = b"/" + INDEX_NAME.encode()


class AtHand:
    """Remembers which devices are no network. May be used from several threads."""

    def __init__(self) -> None:
        self._local: set[int] = set()

    def found_local(self, device: int) -> None:
        self._local.add(device)

    def has(self, path: bytes) -> bool:
        """Whether the directories, the lock and all of a small index of the Maildir are in memory. Does not block."""
        return self._has_index(path + _INDEX) and all(map(_has, (path + name for name in _NAMES)))

    def _has_index(self, path: bytes) -> bool:
        descriptor = open_cached(path)
        if descriptor is None:
            return False
        try:
            found = os.fstat(descriptor)
            small = 0 < found.st_size <= SMALL_OCTETS
            return small and found.st_dev in self._local and read_cached(descriptor, found.st_size, 0) is not None
        finally:
            os.close(descriptor)


def _has(path: bytes) -> bool:
    descriptor = open_cached(path)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True
