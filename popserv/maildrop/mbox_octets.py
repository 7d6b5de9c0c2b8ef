"""An open mbox as octets at positions, read in large pieces.

Not mapped into memory: whoever cuts the file short would end this process.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

CHUNK = 128 * 1024

_WINDOW = 4 * CHUNK


class Octets:
    """The first `size` octets of a file. All of it blocks, and raises `OSError` where there are fewer."""

    __slots__ = ("_descriptor", "_start", "_window", "size")

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._start = 0
        self._window = b""
        self.size = size

    def get(self, start: int, end: int) -> bytes:
        """The octets from `start` up to `end`, or to the end of the file; keep it small."""
        end = min(end, self.size)
        if not self._start <= start <= end <= self._start + len(self._window):
            self._fill(start, max(end - start, _WINDOW))
        return self._window[start - self._start : end - self._start]

    def chunks(self, start: int, end: int) -> Iterator[bytes]:
        """The octets from `start` up to `end`, in pieces of up to `CHUNK`."""
        for position in range(start, end, CHUNK):
            yield self.get(position, min(position + CHUNK, end))

    def find(self, wanted: bytes, start: int) -> int:
        """The first position of `wanted` at or behind `start`; -1 if there is none."""
        while start + len(wanted) <= self.size:
            self.get(start, start + len(wanted))
            found = self._window.find(wanted, start - self._start)
            if found >= 0:
                return self._start + found
            start = self._start + len(self._window) - len(wanted) + 1
        return -1

    def _fill(self, start: int, octets: int) -> None:
        wanted = max(min(octets, self.size - start), 0)
        window = os.pread(self._descriptor, wanted, start) if wanted else b""
        while len(window) < wanted:
            more = os.pread(self._descriptor, wanted - len(window), start + len(window))
            if not more:
                raise OSError(errno.EBUSY, "the mbox became shorter while it was read")
            window += more
        self._start, self._window = start, window
