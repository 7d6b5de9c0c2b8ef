"""What a session sees of a Maildir: columns over one piece of octets, as an index keeps it.

An object for each message would take five times the memory, and the time to make it. What a session needs to answer
LIST and UIDL is taken in at once; what it needs to open files, when it opens the first one.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Literal

import attrs

from popserv.maildrop.maildir_folder import Identity, unique_part
from popserv.maildrop.octet_source import InMemory, OctetSource
from popserv.maildrop.uidl import from_name
from popserv.maildrop.uidmap import Mapping

Measured = tuple[int, bool, bool]
"""Octets of RFC 1939 section 11, `crlf`, `needs_stuffing`; as `popserv.wire.octets.measure` gives them."""

CRLF = 1
STUFFING = 2
MAPPED = 4
"""The unique-id stands in the durable map."""


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
    measured: Measured
    unique_id: bytes | None = None
    """Only where it is not the one that the name gives."""


@attrs.frozen
class Layout:
    """Where the columns stand. For `count` messages: octets, ends of the UIDL lines, flags, these lines; inodes,
    mtimes, ctimes, stored octets, ends of the paths, the paths; the LIST lines."""

    count: int = 0
    total: int = 0
    """Sum of the octets."""
    uidl: int = 0
    """Octets of the UIDL lines."""
    paths: int = 0
    list: int = 0

    @property
    def summary(self) -> int:
        """Octets of what a session needs at once; what it needs of the files follows."""
        return 13 * self.count + self.uidl

    @property
    def files(self) -> int:
        return 36 * self.count + self.paths

    @property
    def whole(self) -> int:
        return self.summary + self.files + self.list


class Columns:
    """The messages while they are put together, in their order."""

    def __init__(self) -> None:
        self.octets = array("Q")
        self.flags = bytearray()
        self.ids: list[bytes] = []
        self.inodes = array("Q")
        self.mtimes = array("q")
        self.ctimes = array("q")
        self.sizes = array("Q")
        self.paths: list[bytes] = []

    def append(self, entries: Sequence[Entry]) -> None:
        """Append these messages, one column after the other, which is the fastest way."""
        self.octets.extend([entry.measured[0] for entry in entries])
        self.flags += bytes([_flags(entry) for entry in entries])
        self.ids += [entry.unique_id or from_name(entry.unique) for entry in entries]
        self.inodes.extend([entry.inode for entry in entries])
        self.mtimes.extend([entry.mtime_ns for entry in entries])
        self.ctimes.extend([entry.ctime_ns for entry in entries])
        self.sizes.extend([entry.size for entry in entries])
        self.paths += [entry.path for entry in entries]

    def extend(self, other: Columns, start: int, stop: int) -> None:
        """Append these messages of `other`."""
        self.octets += other.octets[start:stop]
        self.flags += other.flags[start:stop]
        self.ids += other.ids[start:stop]
        self.inodes += other.inodes[start:stop]
        self.mtimes += other.mtimes[start:stop]
        self.ctimes += other.ctimes[start:stop]
        self.sizes += other.sizes[start:stop]
        self.paths += other.paths[start:stop]

    def packed(self) -> tuple[Layout, bytes]:
        """As an index keeps them."""
        lines = [b"%d %b\r\n" % line for line in enumerate(self.ids, 1)]
        uidl = b"".join(lines)
        paths = b"\0".join(self.paths)
        listing = b"".join([b"%d %d\r\n" % line for line in enumerate(self.octets, 1)])
        layout = Layout(len(self.ids), sum(self.octets), len(uidl), len(paths), len(listing))
        line_ends = array("I", accumulate(map(len, lines)))
        path_ends = array("I", accumulate([len(path) + 1 for path in self.paths]))
        summary = (self.octets, line_ends, self.flags, uidl)
        files = (self.inodes, self.mtimes, self.ctimes, self.sizes, path_ends, paths)
        return layout, b"".join((*summary, *files, listing))


def _flags(entry: Entry) -> int:
    _, crlf, needs_stuffing = entry.measured
    return (CRLF if crlf else 0) | (STUFFING if needs_stuffing else 0) | (MAPPED if entry.unique_id else 0)


class Paths:
    """The paths of the messages, and what they have become since."""

    __slots__ = ("_changed", "_ends", "_octets")

    def __init__(self, octets: bytes, ends: Sequence[int]) -> None:
        self._octets = octets
        self._ends = ends
        self._changed: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> bytes:
        changed = self._changed.get(index)
        if changed is not None:
            return changed
        return self._octets[self._ends[index - 1] if index else 0 : self._ends[index] - 1]

    def __setitem__(self, index: int, path: bytes) -> None:
        self._changed[index] = path

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.all())

    def all(self) -> list[bytes]:
        """A list of its own."""
        paths = self._octets.split(b"\0") if self._ends else []
        for index, path in self._changed.items():
            paths[index] = path
        return paths


class Files:
    """Which files the messages are."""

    __slots__ = ("ctimes", "inodes", "mtimes", "paths", "sizes")

    def __init__(self, octets: bytes, count: int) -> None:
        view = memoryview(octets)
        columns = [view[8 * count * column : 8 * count * (column + 1)] for column in range(4)]
        self.inodes: Sequence[int] = columns[0].cast("Q")
        self.mtimes: Sequence[int] = columns[1].cast("q")
        """Nanoseconds since 1970."""
        self.ctimes: Sequence[int] = columns[2].cast("q")
        self.sizes: Sequence[int] = columns[3].cast("Q")
        """Stored octets."""
        self.paths = Paths(octets[36 * count :], view[32 * count : 36 * count].cast("I"))
        """"new/NAME" or "cur/NAME"; changes when a message turns out to have been renamed."""


class Snapshot:
    """See above. Everything but `files` is in memory."""

    def __init__(
        self,
        device: int = 0,
        identity: Identity = ((0, 0), {}),
        layout: Layout = Layout(),
        source: OctetSource | None = None,
        skipped: Sequence[tuple[bytes, str]] = (),
    ) -> None:
        """`identity` is that of the directories, `skipped` what is no message in them, and why. Raises `OSError`."""
        self.device = device
        self.identity = identity
        self.skipped = skipped
        self.drift = 0
        """Messages that had another unique-id the last time, known when the index is made anew."""
        self.layout = layout
        self.source: OctetSource = InMemory(b"") if source is None else source
        count = layout.count
        summary = self.source.get(0, layout.summary)
        view = memoryview(summary)
        self.octets: Sequence[int] = view[: 8 * count].cast("Q")
        """As RFC 1939 section 11 counts them."""
        self._ends: Sequence[int] = view[8 * count : 12 * count].cast("I")
        self.flags = view[12 * count : 13 * count]
        self._summary = summary
        self._files: Files | None = None

    @property
    def at_hand(self) -> bool:
        """Whether `files` does not have to be read."""
        return self._files is not None or isinstance(self.source, InMemory)

    @property
    def files(self) -> Files:
        """What is needed to open them. Blocks at the first time; raises `OSError`."""
        if self._files is None:
            self._files = Files(self.source.get(self.layout.summary, self.layout.files), self.layout.count)
        return self._files

    def delivered(self) -> Sequence[int]:
        """The mtimes alone, nanoseconds since 1970. Blocks; raises `OSError`."""
        if self._files is not None:
            return self._files.mtimes
        octets = 8 * self.layout.count
        return memoryview(self.source.get(self.layout.summary + octets, octets)).cast("q")

    def unique_id(self, index: int) -> bytes:
        text = 13 * self.layout.count
        line = self._summary[text + (self._ends[index - 1] if index else 0) : text + self._ends[index]]
        return line[line.index(b" ") + 1 : -2]

    def listing(self, keyword: Literal["LIST", "UIDL"]) -> tuple[OctetSource, int, int]:
        """Where its lines stand: from the one position up to the other."""
        if keyword == "UIDL":
            return InMemory(self._summary), 13 * self.layout.count, self.layout.summary
        return self.source, self.layout.whole - self.layout.list, self.layout.whole

    def crlf(self, index: int) -> bool:
        return bool(self.flags[index] & CRLF)

    def needs_stuffing(self, index: int) -> bool:
        return bool(self.flags[index] & STUFFING)

    def mapped(self, index: int) -> bool:
        """Whether its unique-id is from the durable map."""
        return bool(self.flags[index] & MAPPED)

    def measured(self, index: int) -> Measured:
        return self.octets[index], self.crlf(index), self.needs_stuffing(index)

    def mapping(self, index: int) -> Mapping:
        """What the durable map says of a message that has its id from there."""
        files = self.files
        known = self.unique_id(index), files.inodes[index], files.mtimes[index], files.sizes[index]
        return Mapping(*known, unique_part(files.paths[index]))

    def entry(self, index: int) -> Entry:
        """The message as a file, its unique-id not looked up."""
        files = self.files
        path = files.paths[index]
        times = files.mtimes[index], files.ctimes[index]
        return Entry(path, unique_part(path), files.inodes[index], *times, files.sizes[index], self.measured(index))

    def is_file(self, index: int, found: os.stat_result) -> bool:
        """Whether `found` is this very message, unchanged but for its name."""
        files = self.files
        known = self.device, files.inodes[index], files.mtimes[index], files.sizes[index]
        return known == (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)

    def is_inode(self, index: int, found: os.stat_result) -> bool:
        """Whether `found` is what this message was, whatever has been written to it."""
        return (self.device, self.files.inodes[index]) == (found.st_dev, found.st_ino)

    def is_untouched(self, index: int, found: os.stat_result) -> bool:
        """Whether nothing at all has happened to the file since it was looked at, no new name either."""
        return self.files.ctimes[index] == found.st_ctime_ns

    def columns(self) -> Columns:
        """A copy to make another snapshot from. Raises `OSError`."""
        columns, files = Columns(), self.files
        columns.octets.extend(self.octets)
        columns.flags += self.flags
        columns.ids = [line.partition(b" ")[2] for line in self._summary[13 * self.layout.count :].split(b"\r\n")[:-1]]
        columns.inodes.extend(files.inodes)
        columns.mtimes.extend(files.mtimes)
        columns.ctimes.extend(files.ctimes)
        columns.sizes.extend(files.sizes)
        columns.paths = files.paths.all()
        return columns
