"""Looking at a file that nothing is known of: whether it is a message, and its octets."""

from __future__ import annotations

import errno
import os
import stat

from popserv.maildrop.maildir_folder import Folder, unique_part
from popserv.maildrop.maildir_snapshot import Entry, Measured
from popserv.wire.octets import Scanner, measure

CHUNK = 128 * 1024

_FIRST_OCTETS = 32 * 1024
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE})
"""What says nothing about the file that could not be read."""

_BLOCK = 512
_HOLLOW_OCTETS = 16 * 1024 * 1024
_HOLLOW_SHARE = 64
"""More than mail can be compressed by a file system."""


class NoMessage(Exception):
    """Something that stands among the messages and is none; says why."""


def examine(folder: Folder, path: bytes) -> Entry:
    """A regular file as a message, its octets counted. Blocks.

    Raises `NoMessage`, `FileNotFoundError` if it is gone, and any other `OSError` that does not come from this file.
    """
    try:
        descriptor = folder.open(path)
        try:
            return _read_entry(folder, path, descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _OURS:
            raise
        raise NoMessage(os.strerror(error.errno or 0)) from error


def entry_of(folder: Folder, path: bytes, found: os.stat_result) -> Entry:
    """The record of a file, its octets not counted yet. Raises `NoMessage`."""
    if not stat.S_ISREG(found.st_mode):
        raise NoMessage("it is no regular file")
    if found.st_uid not in folder.owners:
        raise NoMessage("it belongs to somebody else")
    if found.st_dev != folder.device:
        raise NoMessage("it lies on another file system")
    if found.st_size > _HOLLOW_OCTETS and found.st_blocks * _BLOCK < found.st_size // _HOLLOW_SHARE:
        # Who may write to a Maildir makes a file of terabytes in no time, and reading it would take hours.
        raise NoMessage("it is hollow")
    times = found.st_mtime_ns, found.st_ctime_ns
    return Entry(path, unique_part(path), found.st_ino, *times, found.st_size, (0, True, False))


def _read_entry(folder: Folder, path: bytes, descriptor: int) -> Entry:
    # A file that is read with the first call, as nearly all are, costs no call more than that.
    stored = os.read(descriptor, _FIRST_OCTETS)
    found = os.fstat(descriptor)
    entry = entry_of(folder, path, found)
    if len(stored) == entry.size:
        entry.measured = measure(stored)
        return entry
    os.lseek(descriptor, 0, os.SEEK_SET)
    measured = read_measured(descriptor, entry.size)
    now = os.fstat(descriptor)
    if measured is None or (now.st_mtime_ns, now.st_size) != (entry.mtime_ns, entry.size):
        raise OSError(errno.EBUSY, "changed while it was read")
    entry.measured = measured
    return entry


def read_measured(descriptor: int, left: int) -> Measured | None:
    """What is to be known of the next `left` octets; None if there are fewer. Raises `OSError`."""
    scanner = Scanner()
    while left and (chunk := os.read(descriptor, min(left, CHUNK))):
        scanner.feed(chunk)
        left -= len(chunk)
    return None if left else (scanner.finish(), scanner.crlf, scanner.needs_stuffing)
