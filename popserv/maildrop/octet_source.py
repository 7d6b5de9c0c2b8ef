"""Ranges of octets that a snapshot is made of: in memory, or in an index file that stays open."""

from __future__ import annotations

import errno
import os
from typing import Protocol

from popserv.nowait import read_cached


class OctetSource(Protocol):
    """Octets by position. May be used from several threads."""

    def get(self, start: int, octets: int) -> bytes:
        """Exactly these. Blocks; raises `OSError`."""

    def get_nowait(self, start: int, octets: int) -> bytes | None:
        """Exactly these; None if that would block, or fail."""


class InMemory:
    """Octets that are there anyway."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def get(self, start: int, octets: int) -> bytes:
        return self._octets[start : start + octets]

    get_nowait = get


class InFile:
    """Octets of a file behind its first `offset`; takes the descriptor over and closes it when nobody needs it.

    `found` is what the file was when it was opened; it is not to be written to since.
    """

    __slots__ = ("_descriptor", "_offset", "_stamp")

    def __init__(self, descriptor: int, offset: int, found: os.stat_result) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._stamp = _stamp(found)

    def __del__(self) -> None:
        os.close(self._descriptor)

    def get(self, start: int, octets: int) -> bytes:
        found = pread_all(self._descriptor, octets, self._offset + start)
        if len(found) < octets or _stamp(os.fstat(self._descriptor)) != self._stamp:
            raise OSError(errno.ESTALE, "an index was written over while it was in use")
        return found

    def get_nowait(self, start: int, octets: int) -> bytes | None:
        if not octets:
            return b""
        found = read_cached(self._descriptor, octets, self._offset + start)
        if found is None or len(found) < octets or _stamp(os.fstat(self._descriptor)) != self._stamp:
            return None
        return found


def pread_all(descriptor: int, octets: int, position: int) -> bytes:
    """So many octets at a position, fewer only where the file ends. Blocks; raises `OSError`."""
    chunks = []
    while octets and (chunk := os.pread(descriptor, octets, position)):
        chunks.append(chunk)
        position += len(chunk)
        octets -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _stamp(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns
