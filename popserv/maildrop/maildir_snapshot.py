"""The records of a Maildir's messages: one by one while a snapshot is made, in columns for a session."""

from __future__ import annotations

import os
from array import array

import attrs

from popserv.maildrop.sizes import File, Measured

_CRLF = 1
_STUFFING = 2


@attrs.define
class Entry:
    """One file that may be a message, while a snapshot is made."""

    path: bytes
    """"new/NAME" or "cur/NAME"."""
    unique: bytes
    inode: int
    mtime_ns: int
    ctime_ns: int
    size: int
    """Stored octets."""
    unique_id: bytes | None = None
    """Only where it is not the one that the name gives."""

    def file(self, device: int) -> File:
        return device, self.inode, self.mtime_ns, self.size


@attrs.define
class Snapshot:
    """What a session sees of a Maildir, in columns: an object for each message would take five times the memory."""

    device: int = 0
    paths: list[bytes] = attrs.Factory(list)
    """"new/NAME" or "cur/NAME"; changes when a message turns out to have been renamed."""
    inodes: array[int] = attrs.Factory(lambda: array("Q"))
    mtimes: array[int] = attrs.Factory(lambda: array("q"))
    """Nanoseconds since 1970."""
    sizes: array[int] = attrs.Factory(lambda: array("Q"))
    """Stored octets."""
    octets: array[int] = attrs.Factory(lambda: array("Q"))
    """As RFC 1939 section 11 counts them."""
    flags: bytearray = attrs.Factory(bytearray)
    unique_ids: dict[int, bytes] = attrs.Factory(dict)
    """By index, those that are not the ones that the names give."""
    skipped: list[tuple[bytes, str]] = attrs.Factory(list)
    """Paths of what is no message, and why; for the log."""

    def append(self, entry: Entry, measured: Measured) -> None:
        octets, crlf, needs_stuffing = measured
        if entry.unique_id is not None:
            self.unique_ids[len(self.paths)] = entry.unique_id
        self.paths.append(entry.path)
        self.inodes.append(entry.inode)
        self.mtimes.append(entry.mtime_ns)
        self.sizes.append(entry.size)
        self.octets.append(octets)
        self.flags.append(crlf * _CRLF | needs_stuffing * _STUFFING)

    def crlf(self, index: int) -> bool:
        return bool(self.flags[index] & _CRLF)

    def needs_stuffing(self, index: int) -> bool:
        return bool(self.flags[index] & _STUFFING)

    def file(self, index: int) -> File:
        return self.device, self.inodes[index], self.mtimes[index], self.sizes[index]

    def is_file(self, index: int, found: os.stat_result) -> bool:
        """Whether `found` is this very message, unchanged."""
        return self.file(index) == (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
