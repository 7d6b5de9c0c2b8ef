"""The records of a Maildir's messages: one by one while a snapshot is made, in columns for a session."""

from __future__ import annotations

import os
from array import array

import attrs

from popserv.maildrop.maildir_folder import Identity, unique_part
from popserv.maildrop.sizes import File, Measured
from popserv.maildrop.uidmap import Mapping

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
        return device, self.inode, self.mtime_ns, self.ctime_ns, self.size, hash(self.unique)


@attrs.define
class Snapshot:
    """What a session sees of a Maildir, in columns: an object for each message would take five times the memory."""

    device: int = 0
    identity: Identity = ((0, 0), {})
    """Of the directories."""
    paths: list[bytes] = attrs.Factory(list)
    """"new/NAME" or "cur/NAME"; changes when a message turns out to have been renamed."""
    inodes: array[int] = attrs.Factory(lambda: array("Q"))
    mtimes: array[int] = attrs.Factory(lambda: array("q"))
    """Nanoseconds since 1970."""
    ctimes: array[int] = attrs.Factory(lambda: array("q"))
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
        self.ctimes.append(entry.ctime_ns)
        self.sizes.append(entry.size)
        self.octets.append(octets)
        self.flags.append(crlf * _CRLF | needs_stuffing * _STUFFING)

    def mapping(self, index: int) -> Mapping:
        """What the durable map says of a message that has its id from there."""
        known = self.unique_ids[index], self.inodes[index], self.mtimes[index], self.sizes[index]
        return Mapping(*known, unique_part(self.paths[index]))

    def crlf(self, index: int) -> bool:
        return bool(self.flags[index] & _CRLF)

    def needs_stuffing(self, index: int) -> bool:
        return bool(self.flags[index] & _STUFFING)

    def file(self, index: int) -> File:
        times = self.mtimes[index], self.ctimes[index]
        return self.device, self.inodes[index], *times, self.sizes[index], hash(unique_part(self.paths[index]))

    def is_file(self, index: int, found: os.stat_result) -> bool:
        """Whether `found` is this very message, unchanged but for its name."""
        known = self.device, self.inodes[index], self.mtimes[index], self.sizes[index]
        return known == (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
