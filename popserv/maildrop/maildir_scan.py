"""Counting the octets of messages that nothing is known of yet."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from popserv.maildrop.maildir_find import find
from popserv.maildrop.maildir_folder import Folder
from popserv.maildrop.maildir_snapshot import Entry
from popserv.maildrop.sizes import Measured
from popserv.wire.octets import Scanner, measure

CHUNK = 128 * 1024

_ATTEMPTS = 8

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE})
"""What says nothing about the file that could not be read."""

Message = tuple[Entry, Measured]


def count_octets(
    folder: Folder,
    entries: list[Entry],
    recall: Callable[[Entry], Measured | None],
    skipped: list[tuple[bytes, str]],
) -> tuple[list[Message], list[Message]]:
    """What is known of each entry's octets, and the part of it that `recall` did not know. Raises `OSError`.

    An entry that cannot be read is left out and noted, one that is gone is left out.
    """
    messages: list[Message] = []
    scanned: list[Message] = []
    for entry in entries:
        known = recall(entry)
        if known is None:
            try:
                known = _scan(folder, entry)
            except OSError as error:
                if error.errno in _OURS:
                    raise
                skipped.append((entry.path, os.strerror(error.errno or 0)))
                continue
            if known is None:
                continue
            scanned.append((entry, known))
        messages.append((entry, known))
    return messages, scanned


def _scan(folder: Folder, entry: Entry) -> Measured | None:
    """Count the octets of a file; None if it is gone. Raises `OSError`."""
    descriptor = _open(folder, entry)
    if descriptor is None:
        return None
    try:
        measured = read_measured(descriptor, entry.size)
        now = os.fstat(descriptor)
        if measured is None or (now.st_ino, now.st_mtime_ns, now.st_size) != (entry.inode, entry.mtime_ns, entry.size):
            raise OSError(errno.EBUSY, "changed while it was read")
        return measured
    finally:
        os.close(descriptor)


def read_measured(descriptor: int, left: int) -> Measured | None:
    """What is to be known of the next `left` octets; None if there are fewer. Raises `OSError`."""
    if left <= CHUNK:
        stored = os.read(descriptor, left)
        if len(stored) == left:
            return measure(stored)
        os.lseek(descriptor, 0, os.SEEK_SET)
    scanner = Scanner()
    while left and (chunk := os.read(descriptor, min(left, CHUNK))):
        scanner.feed(chunk)
        left -= len(chunk)
    return None if left else (scanner.finish(), scanner.crlf, scanner.needs_stuffing)


def _open(folder: Folder, entry: Entry) -> int | None:
    for _ in range(_ATTEMPTS):
        try:
            return folder.open(entry.path)
        except FileNotFoundError:
            entry.path = find(folder, entry.unique, entry.inode) or entry.path
    return None
