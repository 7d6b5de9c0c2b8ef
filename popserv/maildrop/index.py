"""A Maildir's snapshot on disk, so that a login reads what is new and nothing else: ``popserv.index`` in the Maildir.

A cache, never the truth: it may be removed at any time, and one that is damaged, strange, or does not fit is made anew.
The file is a head, which says what the rest depends on, and the columns as `maildir_snapshot.Layout` has them.

The whole is checked against its sum, unless the kernel vouches for it: a file that was written since this system was
started, and whose inode, length and mtime are those that its head names, is what was written. The mtime is one that we
have set, and before the file was made; whoever writes to it later gives it another one.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import zlib
from collections.abc import Mapping
from contextlib import suppress

import attrs
from twisted.logger import Logger

from popserv.maildrop.files import write_all
from popserv.maildrop.maildir_folder import CUR, NEW, Folder, Stamp
from popserv.maildrop.maildir_snapshot import Layout, Snapshot
from popserv.maildrop.octet_source import InFile, InMemory, OctetSource, pread_all
from popserv.maildrop.uidmap import MAP_NAME

INDEX_NAME = "popserv.index"

GRANULARITY_NS = 2_000_000_000
"""A directory that was changed so shortly before it was listed may be changed again and keep its times."""

log = Logger()

_NEW_NAME = "popserv.index.new"
_MAGIC = b"popserv maildir1" if sys.byteorder == "little" else b"popserv maildirA"
_HEAD = struct.Struct("=16s36sQqQ3q6q4q5QI")
_SUM = struct.Struct("=I")
_HEAD_OCTETS = 512
_SECOND = 1_000_000_000
SMALL_OCTETS = 32 * 1024
"""An index that is no longer is taken into memory whole."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def boot_id() -> bytes:
    """What no other start of this system has; b"" where that is not known."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read(36)
    return b""


Listed = tuple[int, int, int]
"""mtime and ctime of a directory before it was listed, and when that was; nanoseconds since 1970. When is 0 where the
listing cannot be relied on."""


NEVER: Listed = (0, 0, 0)


def is_trusted(listed: Listed) -> bool:
    """Whether equal times mean equal names."""
    mtime, ctime, at = listed
    return at - max(mtime, ctime) > GRANULARITY_NS


@attrs.frozen
class Origin:
    """What a snapshot depends on."""

    inodes: tuple[int, ...]
    """Of the Maildir, of ``new`` and of ``cur``; 0 for one that is not there."""
    listed: Mapping[bytes, Listed]
    """By part."""
    uid_map: tuple[int, ...]
    """Inode, length, mtime and ctime of the durable map; zeros if there is none."""

    def holds(self, part: bytes, stamp: Stamp) -> bool:
        """Whether a directory that has these times has the names that were listed."""
        listed = self.listed[part]
        return listed[:2] == stamp and is_trusted(listed)


@attrs.frozen
class Index:
    """One that was found, and is whole."""

    origin: Origin
    layout: Layout
    source: OctetSource
    vouched: bool
    """It was not necessary to read all of it."""

    def without_times(self) -> Index:
        """The same for a file system whose times say nothing."""
        return attrs.evolve(self, origin=attrs.evolve(self.origin, listed={NEW: NEVER, CUR: NEVER}))

    def snapshot(self, folder: Folder) -> Snapshot:
        """Raises `OSError`."""
        return Snapshot(folder.device, folder.identity, self.layout, self.source)


def inodes_of(folder: Folder) -> tuple[int, ...]:
    (_, maildir), parts = folder.identity
    return maildir, parts.get(NEW, (0, 0))[1], parts.get(CUR, (0, 0))[1]


def uid_map_of(folder: Folder) -> tuple[int, ...]:
    try:
        found = os.stat(MAP_NAME, dir_fd=folder.maildir, follow_symlinks=False)
    except OSError:
        return 0, 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_current(origin: Origin, folder: Folder) -> bool:
    """Whether the Maildir has the names and the ids that a snapshot of this origin has. Raises `OSError`."""
    return origin.uid_map == uid_map_of(folder) and all(origin.holds(*each) for each in folder.stamps().items())


def load(folder: Folder, boot: bytes) -> Index | None:
    """The index of this Maildir; None if there is none, or none that can be used. Blocks. Never raises."""
    try:
        descriptor = os.open(INDEX_NAME, _READ, dir_fd=folder.maildir)
    except OSError:
        return None
    try:
        index = _read(descriptor, folder, boot)
    except OSError:
        os.close(descriptor)
        return None
    if index is None:
        log.debug("an index is of no use and will be made anew")
    if index is None or not isinstance(index.source, InFile):
        os.close(descriptor)
    return index


def _read(descriptor: int, folder: Folder, boot: bytes) -> Index | None:
    found = os.fstat(descriptor)
    # What somebody else has written could name files that are none of his.
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()):
        return None
    start = os.pread(descriptor, SMALL_OCTETS, 0)
    if len(start) < _HEAD_OCTETS or _sum(start[: _HEAD.size]) != start[_HEAD.size : _HEAD.size + _SUM.size]:
        return None
    magic, started, inode, mtime, octets, *numbers, body_sum = _HEAD.unpack_from(start)
    layout = Layout(*numbers[-5:])
    if magic != _MAGIC or octets != found.st_size or octets != _HEAD_OCTETS + layout.whole:
        return None
    origin = _origin(numbers)
    if origin.inodes != inodes_of(folder):
        return None
    vouched = bool(boot) and (started, inode, mtime) == (boot, found.st_ino, found.st_mtime_ns)
    small = octets <= SMALL_OCTETS
    if not vouched:
        body = start[_HEAD_OCTETS:] if small else pread_all(descriptor, layout.whole, _HEAD_OCTETS)
        if zlib.crc32(body) != body_sum:
            return None
    source = InMemory(start[_HEAD_OCTETS:]) if small else InFile(descriptor, _HEAD_OCTETS, found)
    return Index(origin, layout, source, vouched)


def _origin(numbers: list[int]) -> Origin:
    listed = {NEW: (numbers[3], numbers[4], numbers[5]), CUR: (numbers[6], numbers[7], numbers[8])}
    return Origin(tuple(numbers[:3]), listed, tuple(numbers[9:13]))


def save(folder: Folder, boot: bytes, origin: Origin, layout: Layout, body: bytes) -> bool:
    """Keep this for the next time: whether that could be done. Blocks. Never raises.

    To be called by the session that has the lock. Not synced: what a power failure leaves is found out.
    """
    try:
        descriptor = _create(folder)
    except OSError as error:
        log.info("an index cannot be written: {error!s}", error=error)
        return False
    try:
        _fill(descriptor, boot, origin, layout, body)
        os.rename(_NEW_NAME, INDEX_NAME, src_dir_fd=folder.maildir, dst_dir_fd=folder.maildir)
    except OSError as error:
        log.info("an index cannot be written: {error!s}", error=error)
        with suppress(OSError):
            os.unlink(_NEW_NAME, dir_fd=folder.maildir)
        return False
    finally:
        os.close(descriptor)
    return True


def _create(folder: Folder) -> int:
    try:
        return os.open(_NEW_NAME, _WRITE, 0o600, dir_fd=folder.maildir)
    except FileExistsError:
        os.unlink(_NEW_NAME, dir_fd=folder.maildir)
        return os.open(_NEW_NAME, _WRITE, 0o600, dir_fd=folder.maildir)


def _fill(descriptor: int, boot: bytes, origin: Origin, layout: Layout, body: bytes) -> None:
    found = os.fstat(descriptor)
    mtime = found.st_mtime_ns - _SECOND
    head = _HEAD.pack(
        *(_MAGIC, boot, found.st_ino, mtime, _HEAD_OCTETS + layout.whole),
        *(*origin.inodes, *origin.listed[NEW], *origin.listed[CUR], *origin.uid_map),
        *attrs.astuple(layout),
        zlib.crc32(body),
    )
    write_all(descriptor, (head + _sum(head)).ljust(_HEAD_OCTETS, b"\0") + body)
    os.utime(descriptor, ns=(mtime, mtime))


def drop(maildir: int) -> None:
    """Let the next session look at every message anew. Never raises."""
    with suppress(OSError):
        os.unlink(INDEX_NAME, dir_fd=maildir)


def _sum(octets: bytes) -> bytes:
    return _SUM.pack(zlib.crc32(octets))
