"""Where a Maildir's removed messages wait: ``popserv.trash/SECONDS/new`` and ``/cur`` in the Maildir.

Each session that removes something makes a directory, named after the second of its QUIT, and moves the messages there,
under the names that they had. So they take no room anew, and keep their inodes and times.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

from popserv.maildrop.maildir_folder import CUR, NEW, Folder, unique_part
from popserv.maildrop.uidmap import Mapping, UidMap

TRASH_NAME = "popserv.trash"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_IN_A_SECOND = 1000


class Trash:
    """The directory of one session. Everything here blocks and raises `OSError`; close it."""

    def __init__(self, folder: Folder, now: float) -> None:
        self._folder = folder
        self._now = int(now)
        self._opened = ExitStack()
        self._parts: dict[bytes, int] = {}
        self._above: list[int] = []

    def close(self) -> None:
        self._opened.close()

    def take(self, path: bytes) -> None:
        """Move the message at `path` here. Raises `FileNotFoundError` if it is not there."""
        part = path[:4]
        if part not in self._parts:
            self._parts[part] = self._make(part[:-1])
        self._folder.move(path, self._parts[part])

    def sync(self) -> None:
        """Make what was taken survive a power failure."""
        for descriptor in (*self._parts.values(), *self._above):
            os.fsync(descriptor)

    def _make(self, part: bytes) -> int:
        if not self._above:
            trash = self._directory(self._folder.maildir, TRASH_NAME.encode("ascii"))
            self._above = [self._session(trash), trash, self._folder.maildir]
        return self._directory(self._above[0], part)

    def _session(self, trash: int) -> int:
        for number in range(_MOST_IN_A_SECOND):
            name = b"%d.%d" % (self._now, number) if number else b"%d" % self._now
            with suppress(FileExistsError):
                self._mkdir(trash, name)
                return self._open(trash, name)
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _directory(self, above: int, name: bytes) -> int:
        with suppress(FileExistsError):
            self._mkdir(above, name)
        return self._open(above, name)

    def _open(self, above: int, name: bytes) -> int:
        descriptor = os.open(name, _DIRECTORY, dir_fd=above)
        self._opened.callback(os.close, descriptor)
        return descriptor

    def _mkdir(self, above: int, name: bytes) -> None:
        os.mkdir(name, 0o700, dir_fd=above)
        if os.geteuid() == 0:
            owner = os.fstat(above)
            os.chown(name, owner.st_uid, owner.st_gid, dir_fd=above, follow_symlinks=False)


def purge(folder: Folder, before: float) -> int:
    """Remove for good what was trashed before then, seconds since 1970: how many messages. Blocks.

    Raises `OSError`, and may have removed some of them.
    """
    count = 0
    with _trash_of(folder) as (trash, sessions):
        for name, at in sessions:
            if at >= before:
                continue
            with _parts_of(trash, name) as parts:
                for descriptor in parts.values():
                    for message in os.listdir(descriptor):
                        os.unlink(message, dir_fd=descriptor)
                        count += 1
            _discard(trash, name)
    return count


def trashed(folder: Folder, since: float) -> list[bytes]:
    """The paths that messages trashed since then had. Blocks; raises `OSError`."""
    found: list[bytes] = []
    with _trash_of(folder) as (trash, sessions):
        for name, at in sessions:
            if at >= since:
                with _parts_of(trash, name) as parts:
                    found += [part + os.fsencode(each) for part, fd in parts.items() for each in os.listdir(fd)]
    return found


def restore(folder: Folder, since: float) -> tuple[int, int]:
    """Bring back what was trashed since then: how many messages, and how many could not come back. Blocks.

    One whose name another file has by now stays in the trash. Raises `OSError`, and may have brought some of them back.
    """
    back = left = 0
    with _trash_of(folder) as (trash, sessions):
        for name, at in sessions:
            if at < since:
                continue
            with _parts_of(trash, name) as parts:
                for part, descriptor in parts.items():
                    paths = [part + os.fsencode(each) for each in os.listdir(descriptor)]
                    _revive(folder, descriptor, paths)
                    moved = sum(_bring(folder, descriptor, path) for path in paths)
                    if moved:
                        folder.sync(part)
                        os.fsync(descriptor)
                    back += moved
                    left += len(paths) - moved
            _discard(trash, name)
    return back, left


def _bring(folder: Folder, trash: int, path: bytes) -> bool:
    try:
        folder.bring(path, trash)
    except FileExistsError:
        return False
    return True


def _revive(folder: Folder, trash: int, paths: list[bytes]) -> None:
    """Give those their ids back that had them from the durable map."""
    try:
        uid_map = UidMap(folder.maildir, create=False)
    except FileNotFoundError:
        return
    with closing(uid_map):
        lines: list[Mapping] = []
        for path in paths:
            found = os.stat(path[4:], dir_fd=trash, follow_symlinks=False)
            known = (found.st_ino, found.st_mtime_ns, found.st_size)
            former = uid_map.former(unique_part(path))
            lines += [one for one in former if (one.inode, one.mtime_ns, one.size) == known][:1]
        if lines:
            uid_map.add(lines)


@contextmanager
def _trash_of(folder: Folder) -> Iterator[tuple[int, list[tuple[bytes, int]]]]:
    """The trash, and its directories with their times, the oldest first."""
    try:
        trash = os.open(TRASH_NAME, _DIRECTORY, dir_fd=folder.maildir)
    except FileNotFoundError:
        yield -1, []
        return
    try:
        names = [os.fsencode(name) for name in os.listdir(trash)]
        times = [(name, int(name.partition(b".")[0])) for name in names if name.partition(b".")[0].isdigit()]
        yield trash, sorted(times, key=lambda each: each[1])
    finally:
        os.close(trash)


@contextmanager
def _parts_of(trash: int, name: bytes) -> Iterator[dict[bytes, int]]:
    with ExitStack() as opened:
        session = os.open(name, _DIRECTORY, dir_fd=trash)
        opened.callback(os.close, session)
        parts: dict[bytes, int] = {}
        for part in (NEW, CUR):
            with suppress(FileNotFoundError):
                parts[part] = os.open(part[:-1], _DIRECTORY, dir_fd=session)
                opened.callback(os.close, parts[part])
        yield parts


def _discard(trash: int, name: bytes) -> None:
    """Remove the directory of a session, if it is empty."""
    with suppress(OSError):
        session = os.open(name, _DIRECTORY, dir_fd=trash)
        try:
            for part in (NEW, CUR):
                with suppress(FileNotFoundError):
                    os.rmdir(part[:-1], dir_fd=session)
        finally:
            os.close(session)
        os.rmdir(name, dir_fd=trash)
