"""Which files of a Maildir may be messages, and which of them an index knows already.

What is no message (a symbolic link, a FIFO, a stranger's file) is left out and noted; it never keeps the rest from
being served.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from popserv.maildrop.index import NEVER, Index, Listed
from popserv.maildrop.maildir_folder import CUR, NEW, Folder, Stamp, delivered, unique_part
from popserv.maildrop.maildir_snapshot import Entry, Snapshot
from popserv.maildrop.sizes import Measured

_READINGS = 3
_ATTEMPTS = 8
_SETTLED_NS = 20_000_000
_SECOND = 1_000_000_000

_BLOCK = 512
_HOLLOW_OCTETS = 16 * 1024 * 1024
_HOLLOW_SHARE = 64
"""More than mail can be compressed by a file system."""


def order(unique: bytes) -> tuple[int, bytes]:
    """Messages stand in this order: as they were delivered."""
    return delivered(unique), unique


class Known:
    """What an index says about files; nothing, if there is none."""

    def __init__(self, index: Index | None, folder: Folder) -> None:
        """Raises `OSError`."""
        self.index = index
        self.snapshot = Snapshot(folder.device, folder.identity) if index is None else index.snapshot(folder)
        self._rows: dict[bytes, dict[bytes, int]] | None = None

    def holds(self, part: bytes, stamp: Stamp) -> bool:
        return self.index is not None and self.index.origin.holds(part, stamp)

    def listed(self, part: bytes) -> Listed:
        return NEVER if self.index is None else self.index.origin.listed[part]

    @property
    def has_map(self) -> bool:
        """Whether there is a durable map, and so names may mean what they do not say."""
        return self.index is not None and any(self.index.origin.uid_map)

    def rows(self, part: bytes) -> Mapping[bytes, int]:
        """The rows of the messages in this directory, by path."""
        if self._rows is None:
            self._rows = {NEW: {}, CUR: {}}
            for row, path in enumerate(self.snapshot.files.paths):
                self._rows[path[:4]][path] = row
        return self._rows[part]

    def place(self, unique: bytes) -> int:
        """The row before which a message of this name belongs; those of the same name begin there."""
        paths = self.snapshot.files.paths
        return bisect_left(range(len(paths)), order(unique), key=lambda row: order(unique_part(paths[row])))

    def named(self, unique: bytes) -> Iterator[int]:
        """The rows of this name."""
        paths = self.snapshot.files.paths
        row = self.place(unique)
        while row < len(paths) and unique_part(paths[row]) == unique:
            yield row
            row += 1

    def row(self, entry: Entry) -> int | None:
        """The row of this very file, whatever its flags were."""
        files = self.snapshot.files
        for row in self.named(entry.unique):
            if (files.inodes[row], files.mtimes[row], files.sizes[row]) == (entry.inode, entry.mtime_ns, entry.size):
                return row
        return None

    def measured(self, entry: Entry) -> Measured | None:
        row = self.row(entry)
        return None if row is None else self.snapshot.measured(row)


@attrs.frozen
class Survey:
    """What there is, each once."""

    kept: Sequence[int]
    """Rows of the index that are there still, under the same paths."""
    fresh: list[Entry]
    """All else that may be messages."""
    listed: dict[bytes, Listed]


def survey(folder: Folder, known: Known, now: Callable[[], float], skipped: list[tuple[bytes, str]]) -> Survey:
    """Look at all that the index does not answer for. `now` gives seconds since 1970. Raises `OSError`.

    A name that changes while a directory is read may be missed there. So while something changes the directories are
    read again, and what any reading has shown counts: three times, and more often as long as there are names that
    were gone before they could be looked at.
    """
    found: dict[bytes, Entry | int | None] = {}
    for reading in range(_ATTEMPTS):
        at = round(now() * _SECOND)
        before = folder.stamps()
        paths, gone = _look(folder, known, before, found, skipped)
        # Stamps are as coarse as a tick of the kernel: a change just before may hide one meanwhile.
        settled = folder.stamps() == before and all(at - max(stamp) > _SETTLED_NS for stamp in before.values())
        if reading:
            found = {path: entry for path, entry in found.items() if path in paths or folder.stat(path)}
        if not gone and (settled or reading + 1 >= _READINGS):
            break
    return Survey(
        [row for row in found.values() if isinstance(row, int)],
        without_former_names(folder, [entry for entry in found.values() if isinstance(entry, Entry)]),
        {part: _listed(known, part, before.get(part), at if settled else 0) for part in (NEW, CUR)},
    )


def _listed(known: Known, part: bytes, stamp: Stamp | None, at: int) -> Listed:
    if stamp is None:
        return NEVER
    return known.listed(part) if known.holds(part, stamp) else (*stamp, at)


def _look(
    folder: Folder,
    known: Known,
    stamps: Mapping[bytes, Stamp],
    found: dict[bytes, Entry | int | None],
    skipped: list[tuple[bytes, str]],
) -> tuple[set[bytes], bool]:
    """One reading: the paths that there are, and whether any was gone before it could be looked at."""
    paths: set[bytes] = set()
    gone = False
    for part, stamp in stamps.items():
        rows = known.rows(part)
        if known.holds(part, stamp):
            paths.update(rows)
            found.update((path, row) for path, row in rows.items() if path not in found)
            continue
        inodes = known.snapshot.files.inodes
        for path, inode in folder.listing(part):
            paths.add(path)
            if path in found:
                continue
            row = rows.get(path)
            if row is not None and inodes[row] == inode:
                found[path] = row
                continue
            status = folder.stat(path)
            if status is None:
                gone = True
            else:
                found[path] = _entry(folder, path, status, skipped)
    return paths, gone


def _entry(folder: Folder, path: bytes, status: os.stat_result, skipped: list[tuple[bytes, str]]) -> Entry | None:
    if not stat.S_ISREG(status.st_mode):
        reason = "it is no regular file"
    elif status.st_uid not in folder.owners:
        reason = "it belongs to somebody else"
    elif status.st_dev != folder.device:
        reason = "it lies on another file system"
    elif status.st_size > _HOLLOW_OCTETS and status.st_blocks * _BLOCK < status.st_size // _HOLLOW_SHARE:
        # Who may write to a Maildir makes a file of terabytes in no time, and reading it would take hours.
        reason = "it is hollow"
    else:
        times = status.st_mtime_ns, status.st_ctime_ns
        return Entry(path, unique_part(path), status.st_ino, *times, status.st_size)
    skipped.append((path, reason))
    return None


def without_former_names(folder: Folder, entries: list[Entry]) -> list[Entry]:
    """Each name of a file once, and none that it had while the directories were read and has no more."""
    sightings: dict[tuple[bytes, int], list[Entry]] = {}
    for entry in entries:
        sightings.setdefault((entry.unique, entry.inode), []).append(entry)
    if len(sightings) == len(entries):
        return entries
    return [entry for seen in sightings.values() for entry in (seen if len(seen) == 1 else _standing(folder, seen))]


def _standing(folder: Folder, seen: list[Entry]) -> list[Entry]:
    """Those of one file's names that it has."""
    standing = {entry.path: entry for entry in seen if folder.stat(entry.path) is not None}
    # The last one, if all are gone by now: it is looked up again when it is wanted.
    return list(standing.values()) or seen[-1:]
