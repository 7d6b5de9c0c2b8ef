"""A Maildir as directories and names: opening it, listing it, what a name says.

Descriptors and names relative to them, so that nobody who may write to the Maildir can lead us elsewhere in between;
names are octets, whatever they are.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from popserv.errors import StoreBroken
from popserv.maildrop.birth import born

NEW = b"new/"
CUR = b"cur/"

ABANDONED_SECONDS = 36 * 3600.0
"""A file in tmp that nobody has touched for so long is left from a delivery that was broken off; every program that
reads a Maildir may remove it."""

NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems say that have no hard links."""

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_ITSELF = {"follow_symlinks": False}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = re.compile(rb"\.[^./\0][^/\0]{0,250}")
_DIGITS = re.compile(rb"[0-9]+")


Stamp = tuple[int, int]
"""mtime and ctime of a directory, nanoseconds since 1970: the kernel changes them with every name in it."""

Identity = tuple[tuple[int, int], Mapping[bytes, tuple[int, int]]]


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def unique_part(path: bytes) -> bytes:
    """What of a message's path ("cur/NAME" or "new/NAME") never changes: the name up to its info."""
    return path[4:].partition(b":")[0]


def delivered(unique: bytes) -> int:
    """Seconds since 1970 that a Maildir name begins with, 0 if it does not."""
    digits = _DIGITS.match(unique)
    return int(digits[0]) if digits else 0


def folder_path(maildir: bytes, folder: bytes) -> bytes:
    """Where a folder of a Maildir is: the Maildir itself for INBOX, else as Maildir++ has it. Raises `StoreBroken`."""
    if folder == b"INBOX":
        return maildir
    if not _FOLDER.fullmatch(folder):
        raise StoreBroken("this store has no such folder")
    return maildir + b"/" + folder


def folder_called(name: str) -> bytes | None:
    """The folder that people call so ("Junk", "Archive.2024"), for `folder_path`; None if there can be none."""
    if not (name.isascii() and name.isprintable()) or "/" in name or "" in name.split("."):
        return None
    folder = b"." + name.encode("ascii")
    return folder if _FOLDER.fullmatch(folder) else None


def open_maildir(path: bytes, parent: bytes | None = None) -> int:
    """A descriptor of the Maildir. Raises `FileNotFoundError` if there is none, `StoreBroken` or `OSError`.

    A symbolic link is followed if root or we ourselves have made it: any other would let the owner of an account
    hand us the Maildir of somebody else. With `parent` it has to stand in the Maildir there.
    """
    descriptor = _open_maildir(path)
    if parent is not None:
        try:
            _check_parent(descriptor, parent)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def _check_parent(descriptor: int, parent: bytes) -> None:
    # From below: what the path leads through may have been changed in the meantime.
    above = os.stat("..", dir_fd=descriptor, follow_symlinks=False)
    maildir = _open_maildir(parent)
    try:
        if not os.path.samestat(above, os.fstat(maildir)):
            raise StoreBroken()
    finally:
        os.close(maildir)


def _open_maildir(path: bytes) -> int:
    try:
        return os.open(path, _DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError:
        found = os.lstat(path)
        if not stat.S_ISLNK(found.st_mode) or found.st_uid not in (0, os.geteuid()):
            raise StoreBroken() from None
        return os.open(path, _DIRECTORY)


class Folder:
    """The open directories of a Maildir. ``new`` and ``cur`` may be missing and are empty then."""

    __slots__ = ("_parts", "device", "identity", "maildir", "owners")

    def __init__(self, maildir: int) -> None:
        """`maildir` is a descriptor that this object takes over. Raises `OSError`, and then it is closed."""
        self.maildir = maildir
        self._parts: dict[bytes, int] = {}
        try:
            found = os.fstat(maildir)
            for part in (NEW, CUR):
                try:
                    self._parts[part] = os.open(part[:-1], _DIRECTORY | os.O_NOFOLLOW, dir_fd=maildir)
                except FileNotFoundError:
                    continue
        except BaseException:
            self.close()
            raise
        self.device = found.st_dev
        self.identity: Identity = (
            (found.st_dev, found.st_ino),
            {part: _identity(os.fstat(descriptor)) for part, descriptor in self._parts.items()},
        )
        """Which directories these are: device and inode of the Maildir, and of ``new`` and ``cur`` where they are."""
        self.owners = frozenset({found.st_uid, 0, os.geteuid()})
        """Whose files are messages."""

    def close(self) -> None:
        for descriptor in (self.maildir, *self._parts.values()):
            os.close(descriptor)

    def paths(self) -> list[bytes]:
        """Every "new/NAME", then every "cur/NAME", in no order; names with a leading dot are not listed.

        In this order, because messages move from new to cur: one that moves meanwhile is seen once or twice.
        """
        return [
            part + name
            for part, descriptor in self._parts.items()
            for name in map(os.fsencode, os.listdir(descriptor))
            if not name.startswith(b".")
        ]

    def listing(self, part: bytes) -> list[tuple[bytes, int]]:
        """As `paths`, of one directory (`NEW` or `CUR`), with the inodes as the directory has them; 0 for what is no
        regular file."""
        if part not in self._parts:
            return []
        with os.scandir(self._parts[part]) as entries:
            return [
                (part + entry.name.encode(_ENCODING, _ERRORS), entry.inode() if entry.is_file(**_ITSELF) else 0)
                for entry in entries
                if not entry.name.startswith(".")
            ]

    def stamps(self) -> dict[bytes, Stamp]:
        """The times of the directories, by part."""
        found = [(part, os.fstat(descriptor)) for part, descriptor in self._parts.items()]
        return {part: (status.st_mtime_ns, status.st_ctime_ns) for part, status in found}

    def stat(self, path: bytes) -> os.stat_result | None:
        """What stands at a path, never what a symbolic link points to; None if nothing does."""
        descriptor = self._parts.get(path[:4])
        if descriptor is None:
            return None
        try:
            return os.stat(path[4:], dir_fd=descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, path: bytes) -> int:
        """A descriptor for reading. Raises `OSError`."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(path[4:], flags, dir_fd=self._parts[path[:4]])

    def unlink(self, path: bytes) -> None:
        """Remove a name. Raises `OSError`."""
        os.unlink(path[4:], dir_fd=self._parts[path[:4]])

    def rename(self, path: bytes, target: bytes) -> None:
        """Give a message another path. Raises `OSError`."""
        parts = self._parts[path[:4]], self._parts[target[:4]]
        os.rename(path[4:], target[4:], src_dir_fd=parts[0], dst_dir_fd=parts[1])

    def move(self, path: bytes, target: int) -> None:
        """Move a message, under its name, to the directory that is open as `target`. Raises `OSError`."""
        os.rename(path[4:], path[4:], src_dir_fd=self._parts[path[:4]], dst_dir_fd=target)

    def bring(self, path: bytes, source: int) -> None:
        """Move a message to `path` from the directory that is open as `source`.

        Raises `FileExistsError` rather than replace another one, and any other `OSError`.
        """
        if path[:4] not in self._parts:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        name, target = path[4:], self._parts[path[:4]]
        try:
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except FileExistsError:
            if not os.path.samestat(*(os.stat(name, dir_fd=at, follow_symlinks=False) for at in (source, target))):
                raise
            # Somebody was interrupted between the two steps.
            os.unlink(name, dir_fd=source)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if self.stat(path) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
        else:
            os.unlink(name, dir_fd=source)

    def born(self, path: bytes) -> int | None:
        """When the file at a path was made, nanoseconds since 1970; None if that is not known."""
        descriptor = self._parts.get(path[:4])
        return None if descriptor is None else born(descriptor, path[4:])

    def sweep(self, now: float) -> None:
        """Remove what nobody will finish: files in tmp that are older than `ABANDONED_SECONDS` at `now`.

        Never raises; what cannot be removed is left there.
        """
        with suppress(OSError):
            tmp = os.open(b"tmp", _DIRECTORY | os.O_NOFOLLOW, dir_fd=self.maildir)
            try:
                for name in os.listdir(tmp):
                    with suppress(OSError):
                        _remove_abandoned(tmp, name, now)
            finally:
                os.close(tmp)

    def sync(self, part: bytes) -> None:
        """Make what was done to the names of this directory (`NEW` or `CUR`) survive a power failure."""
        if part in self._parts:
            os.fsync(self._parts[part])


def _remove_abandoned(tmp: int, name: str, now: float) -> None:
    found = os.stat(name, dir_fd=tmp, follow_symlinks=False)
    age = now - max(found.st_atime, found.st_mtime, found.st_ctime)
    if stat.S_ISREG(found.st_mode) and age > ABANDONED_SECONDS:
        os.unlink(name, dir_fd=tmp)


@contextmanager
def opened(path: bytes, parent: bytes | None = None) -> Iterator[Folder]:
    """The open directories of the Maildir at `path`, for a while. Raises as `open_maildir` does."""
    folder = Folder(open_maildir(path, parent))
    try:
        yield folder
    finally:
        folder.close()
