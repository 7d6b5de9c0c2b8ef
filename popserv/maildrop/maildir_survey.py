"""Which files of a Maildir may be messages, and which of them an index knows already.

What is no message (a symbolic link, a FIFO, a stranger's file) is left out and noted; it never keeps the rest from
being served.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from popserv.maildrop.index import NEVER, Index, Listed
from popserv.maildrop.maildir_folder import CUR, NEW, Folder, Stamp, delivered, unique_part
from popserv.maildrop.maildir_scan import NoMessage, entry_of, examine
from popserv.maildrop.maildir_snapshot import Entry, Snapshot

_READINGS = 3
_ATTEMPTS = 8
_SETTLED_NS = 20_000_000
_ZERO = ord("0")
_SECOND = 1_000_000_000


def order(unique: bytes) -> bytes:
    """Messages stand in this order: as they were delivered."""
    if unique[10:11] == b"." and unique[:10].isdigit() and unique[0] != _ZERO:
        return b"\x0a" + unique  # nearly all names, and much faster
    seconds = b"%d" % delivered(unique)
    return b"%c%b.%b" % (min(len(seconds), 255), seconds, unique)


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

    def same(self, entry: Entry) -> int | None:
        """The row of this very file, whatever its flags were."""
        files = self.snapshot.files
        for row in self.named(entry.unique):
            if (files.inodes[row], files.mtimes[row], files.sizes[row]) == (entry.inode, entry.mtime_ns, entry.size):
                return row
        return None


@attrs.frozen
class Survey:
    """What there is, each once."""

    kept: Sequence[int]
    """Rows of the index that are there still, under the same paths."""
    fresh: list[Entry]
    """All else that are messages."""
    listed: dict[bytes, Listed]


class Surveyor:
    """Looks at all that the index does not answer for."""

    def __init__(self, folder: Folder, known: Known, skipped: list[tuple[bytes, str]]) -> None:
        """What is no message goes to `skipped`, with the reason."""
        self._folder = folder
        self._known = known
        self._skipped = skipped
        self._found: dict[bytes, Entry | int | None] = {}

    def survey(self, now: Callable[[], float]) -> Survey:
        """`now` gives seconds since 1970. Raises `OSError`.

        A name that changes while a directory is read may be missed there. So while something changes the directories
        are read again, and what any reading has shown counts: three times, and more often as long as there are names
        that were gone before they could be looked at.
        """
        folder = self._folder
        for reading in range(_ATTEMPTS):
            at = round(now() * _SECOND)
            before = folder.stamps()
            paths, gone = self._read(before)
            # Stamps are as coarse as a tick of the kernel: a change just before may hide one meanwhile.
            settled = folder.stamps() == before and all(at - max(stamp) > _SETTLED_NS for stamp in before.values())
            if reading:
                found = self._found.items()
                self._found = {path: each for path, each in found if path in paths or folder.stat(path)}
            if not gone and (settled or reading + 1 >= _READINGS):
                break
        return Survey(
            [each for each in self._found.values() if isinstance(each, int)],
            without_former_names(folder, [each for each in self._found.values() if isinstance(each, Entry)]),
            {part: self._listed(part, before.get(part), at if settled else 0) for part in (NEW, CUR)},
        )

    def _listed(self, part: bytes, stamp: Stamp | None, at: int) -> Listed:
        if stamp is None:
            return NEVER
        return self._known.listed(part) if self._known.holds(part, stamp) else (*stamp, at)

    def _read(self, stamps: Mapping[bytes, Stamp]) -> tuple[set[bytes], bool]:
        """One reading: the paths that there are, and whether any was gone before it could be looked at."""
        paths: set[bytes] = set()
        gone = False
        for part, stamp in stamps.items():
            rows = self._known.rows(part)
            if self._known.holds(part, stamp):
                paths.update(rows)
                self._found.update((path, row) for path, row in rows.items() if path not in self._found)
                continue
            inodes = self._known.snapshot.files.inodes
            for path, inode in self._folder.listing(part):
                paths.add(path)
                if path not in self._found:
                    row = rows.get(path)
                    if row is not None and inodes[row] == inode:
                        self._found[path] = row
                    else:
                        gone = not self._look(path, inode) or gone
        return paths, gone

    def _look(self, path: bytes, inode: int) -> bool:
        """Whether there is something at `path` still."""
        try:
            self._found[path] = self._renamed(path) or examine(self._folder, path) if inode else self._other(path)
        except FileNotFoundError:
            return False
        except NoMessage as reason:
            self._found[path] = None
            self._skipped.append((path, str(reason)))
        return True

    def _renamed(self, path: bytes) -> Entry | None:
        """What is known of it, if it is a message of the index under a new name."""
        if self._known.index is None or not any(True for _ in self._known.named(unique_part(path))):
            return None
        found = self._folder.stat(path)
        if found is None:
            raise FileNotFoundError
        entry = entry_of(self._folder, path, found)
        row = self._known.same(entry)
        if row is None:
            return None
        entry.measured = self._known.snapshot.measured(row)
        return entry

    def _other(self, path: bytes) -> Entry:
        """As `examine`, for what is no regular file, or was none."""
        found = self._folder.stat(path)
        if found is None:
            raise FileNotFoundError
        entry_of(self._folder, path, found)
        return examine(self._folder, path)


def without_former_names(folder: Folder, entries: list[Entry]) -> list[Entry]:
    """Each name of a file once, and none that it had while the directories were read and has no more."""
    if len({entry.inode for entry in entries}) == len(entries):
        return entries
    sightings: dict[tuple[bytes, int], list[Entry]] = {}
    for entry in entries:
        sightings.setdefault((entry.unique, entry.inode), []).append(entry)
    return [entry for seen in sightings.values() for entry in (seen if len(seen) == 1 else _standing(folder, seen))]


def _standing(folder: Folder, seen: list[Entry]) -> list[Entry]:
    """Those of one file's names that it has."""
    standing = {entry.path: entry for entry in seen if folder.stat(entry.path) is not None}
    # The last one, if all are gone by now: it is looked up again when it is wanted.
    return list(standing.values()) or seen[-1:]
