"""The durable map of unique-ids that names alone cannot give: ``popserv.uidmap`` in the maildrop's directory.

It is truth, not a cache, and belongs into backups. Lines are only ever appended, and synced before anybody is told
the id they hold. A last line without its end is what an interrupted write has left: it was never told to anybody, is
not read, and makes room for the next one. The lines are::

    + ID INODE MTIME SIZE NAME     this file has this id; MTIME in nanoseconds, SIZE in octets, NAME %-encoded
    - ID                           the message with this id has been removed, if no later line gives it to a file
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterable, Set
from contextlib import suppress
from urllib.parse import quote_from_bytes, unquote_to_bytes

import attrs
from twisted.logger import Logger

from popserv.maildrop.files import open_owned, read_all, replace, write_at
from popserv.maildrop.uidl import is_unique_id

MAP_NAME = "popserv.uidmap"

_FEW = 100

log = Logger()

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@attrs.frozen
class Mapping:
    """That a file has a unique-id. Inode, mtime and size stay with it whatever its name becomes."""

    unique_id: bytes
    inode: int
    mtime_ns: int
    size: int
    name: bytes

    def line(self) -> bytes:
        known = self.unique_id, self.inode, self.mtime_ns, self.size, _quoted(self.name)
        return b"+ %b %d %d %d %b\n" % known


def understood(line: bytes) -> Mapping | bytes:
    """What a line of the map says: a mapping, or the unique-id of a message that is gone. Raises `ValueError`."""
    match line.split(b" "):
        case [b"+", unique_id, inode, mtime_ns, size, name] if is_unique_id(unique_id):
            return Mapping(unique_id, int(inode), int(mtime_ns), int(size), unquote_to_bytes(name))
        case [b"-", unique_id]:
            return unique_id
    raise ValueError("not a line of the map")


class UidMap:
    """The map of one maildrop, as it was when it was opened. Everything here blocks; close it."""

    def __init__(self, folder: int, create: bool) -> None:
        """Open the map in the directory `folder`, and make it if `create`.

        Raises `FileNotFoundError` if there is none, and any other `OSError`.
        """
        self._folder = folder
        self._descriptor = _open(folder, create)
        self._mappings: dict[bytes, list[Mapping]] = {}
        self._removed: set[bytes] = set()
        self._found = 0  # octets of the file when it was read, or last written
        try:
            self._size = self._before = self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def names(self) -> Set[bytes]:
        """The names that were ever in the map."""
        return self._mappings.keys()

    def living(self, name: bytes) -> list[Mapping]:
        """What is in the map for `name` and has not been removed, oldest first."""
        return [mapping for mapping in self._mappings.get(name, []) if mapping.unique_id not in self._removed]

    def former(self, name: bytes) -> list[Mapping]:
        """What is in the map for `name` and has been removed, the latest first."""
        return [mapping for mapping in self._mappings.get(name, []) if mapping.unique_id in self._removed][::-1]

    @property
    def removed(self) -> frozenset[bytes]:
        """The ids of messages that are known to be gone."""
        return frozenset(self._removed)

    def add(self, mappings: Iterable[Mapping]) -> None:
        """Put these into the map for good. Raises `OSError`, and then none of them is there."""
        self._append(b"".join([mapping.line() for mapping in mappings]))

    def remove(self, unique_ids: Iterable[bytes]) -> None:
        """Note that these messages are gone. Raises `OSError`."""
        self._append(b"".join([b"- %b\n" % unique_id for unique_id in unique_ids]))

    def rename(self, unique_ids: Iterable[bytes], mappings: Iterable[Mapping]) -> None:
        """Put `mappings` into the map in place of these ids. Raises `OSError`, and then the map is as it was."""
        old = b"".join([b"- %b\n" % unique_id for unique_id in unique_ids])
        self._append(old + b"".join([mapping.line() for mapping in mappings]))

    def retire(self, mappings: Iterable[Mapping]) -> None:
        """Note that these have been there and are gone. Raises `OSError`."""
        self._append(b"".join([mapping.line() + b"- %b\n" % mapping.unique_id for mapping in mappings]))

    def replace(self, mappings: Iterable[Mapping]) -> None:
        """Let these be all that is in the map, from the next time on that it is opened. Raises `OSError`.

        To be called where no other session can have it open.
        """
        replace(self._folder, MAP_NAME, b"".join([mapping.line() for mapping in mappings]))

    def take_back(self) -> None:
        """Undo the last `add`, `remove` or `retire`; this needs no room on the disk. Raises `OSError`."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            if os.fstat(self._descriptor).st_size == self._size:
                os.ftruncate(self._descriptor, self._before)
                os.fsync(self._descriptor)
                self._size = self._found = self._before
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _read(self) -> int:
        """Take the map in; the octets of its whole lines."""
        content = read_all(self._descriptor)
        self._found = len(content)
        whole = content.rfind(b"\n") + 1
        for line in content[:whole].splitlines():
            self._take(line)
        return whole

    def _take(self, line: bytes) -> None:
        try:
            noted = understood(line)
        except ValueError:
            log.error("a line of a {name} is not understood: {line!r}", name=MAP_NAME, line=line[:200])
            return
        if isinstance(noted, bytes):
            self._removed.add(noted)
            return
        known = self._mappings.setdefault(noted.name, [])
        known[:] = [one for one in known if one.unique_id != noted.unique_id]
        known.append(noted)
        self._removed.discard(noted.unique_id)

    def _append(self, lines: bytes) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            if os.fstat(self._descriptor).st_size != self._found:
                raise BlockingIOError(f"{MAP_NAME} has just been written by another session")
            os.ftruncate(self._descriptor, self._size)
            try:
                write_at(self._descriptor, lines, self._size)
                os.fsync(self._descriptor)
                os.fsync(self._folder)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                raise
            self._before, self._size = self._size, self._size + len(lines)
            self._found = self._size
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def mentions(folder: int, names: Collection[bytes]) -> bool:
    """Whether the map in the directory `folder` says anything about a message of one of these names.

    Much faster than to take it in, for a few names; True where it cannot be read. Blocks; never raises.
    """
    if not names:
        return False
    try:
        descriptor = os.open(MAP_NAME, os.O_RDONLY | _FLAGS, dir_fd=folder)
    except OSError:
        return True
    try:
        content = read_all(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return len(names) > _FEW or any(b" %b\n" % _quoted(name) in content for name in names)


def _quoted(name: bytes) -> bytes:
    return quote_from_bytes(name, safe="").encode("ascii")


def _open(folder: int, create: bool) -> int:
    try:
        if create:
            return open_owned(MAP_NAME, os.O_RDWR | _FLAGS, folder)
        return os.open(MAP_NAME, os.O_RDWR | _FLAGS, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError:
        return os.open(MAP_NAME, os.O_RDONLY | _FLAGS, dir_fd=folder)
