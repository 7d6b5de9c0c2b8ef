"""From a Maildir to a snapshot of it: which messages there are, how large, in which order.

What is no message (a symbolic link, a FIFO, a stranger's file, one that cannot be read) is left out and noted; it never
keeps the rest from being served.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from popserv.maildrop.maildir_find import find
from popserv.maildrop.maildir_folder import Folder, delivered, unique_part
from popserv.maildrop.maildir_snapshot import Entry, Snapshot
from popserv.maildrop.sizes import File, Measured, Sizes
from popserv.wire.octets import Scanner

CHUNK = 128 * 1024

_READINGS = 3
_ATTEMPTS = 8
_SETTLED_SECONDS = 0.02

_BLOCK = 512
_HOLLOW_OCTETS = 16 * 1024 * 1024
_HOLLOW_SHARE = 64
"""More than mail can be compressed by a file system."""

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE})
"""What says nothing about the file that could not be read."""

Identify = Callable[[Folder, list[Entry]], list[Entry]]
"""Gives ids to those whose names give none of their own; returns those that have one."""


def take_snapshot(folder: Folder, sizes: Sizes, identify: Identify, now: Callable[[], float]) -> Snapshot:
    """Read the Maildir. `now` gives seconds since 1970. Raises `OSError`."""
    snapshot = Snapshot(folder.device, folder.identity)
    entries = _survey(folder, now, snapshot.skipped)
    measured = _measure(folder, entries, sizes, snapshot.skipped)
    candidates = [entry for entry in entries if entry.path in measured]
    messages = identify(folder, candidates)
    if len(messages) < len(candidates):
        kept = {entry.path for entry in messages}
        lost = [entry.path for entry in candidates if entry.path not in kept]
        snapshot.skipped += [(path, "its unique-id could not be kept") for path in lost]
    messages.sort(key=lambda entry: (delivered(entry.unique), entry.unique, entry.unique_id or b""))
    for entry in messages:
        snapshot.append(entry, measured[entry.path])
    return snapshot


def _survey(folder: Folder, now: Callable[[], float], skipped: list[tuple[bytes, str]]) -> list[Entry]:
    """All that may be messages, each once.

    A name that changes while a directory is read may be missed there. So while something changes the directories are
    read again, and what any reading has shown counts: three times, and more often as long as there are names that
    were gone before they could be looked at.
    """
    found: dict[bytes, Entry | None] = {}
    for reading in range(_ATTEMPTS):
        gone = False
        before = folder.stamps()
        paths = folder.paths()
        # Stamps are as coarse as a tick of the kernel: a change just before may hide one meanwhile.
        settled = folder.stamps() == before and now() - max(before, default=0) / 1e9 > _SETTLED_SECONDS
        for path in paths:
            if path in found:
                continue
            status = folder.stat(path)
            if status is None:
                gone = True
            else:
                found[path] = _entry(folder, path, status, skipped)
        if reading:
            listed = set(paths)
            found = {path: entry for path, entry in found.items() if path in listed or folder.stat(path)}
        if not gone and (settled or reading + 1 >= _READINGS):
            break
    return _once(folder, [entry for entry in found.values() if entry is not None])


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


def _once(folder: Folder, entries: list[Entry]) -> list[Entry]:
    """Without the former names of files that were renamed meanwhile."""
    sightings: dict[tuple[bytes, int], list[Entry]] = {}
    for entry in entries:
        sightings.setdefault((entry.unique, entry.inode), []).append(entry)
    if len(sightings) == len(entries):
        return entries
    # The last one, if all are gone by now: it is looked up again when it is wanted.
    return [
        entry
        for seen in sightings.values()
        for entry in (seen if len(seen) == 1 else [one for one in seen if folder.stat(one.path)] or seen[-1:])
    ]


def _measure(
    folder: Folder, entries: list[Entry], sizes: Sizes, skipped: list[tuple[bytes, str]]
) -> dict[bytes, Measured]:
    """What is known of each entry's octets, by path; an entry that cannot be read is missing."""
    measured: dict[bytes, Measured] = {}
    scanned: list[tuple[File, Measured]] = []
    for entry in entries:
        file = entry.file(folder.device)
        known = sizes.get(file)
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
            scanned.append((file, known))
        measured[entry.path] = known
    sizes.remember(scanned)
    return measured


def _scan(folder: Folder, entry: Entry) -> Measured | None:
    """Count the octets of a file; None if it is gone. Raises `OSError`."""
    descriptor = _open(folder, entry)
    if descriptor is None:
        return None
    try:
        scanner = Scanner()
        left = entry.size
        while left and (chunk := os.read(descriptor, min(left, CHUNK))):
            scanner.feed(chunk)
            left -= len(chunk)
        now = os.fstat(descriptor)
        if left or (now.st_ino, now.st_mtime_ns, now.st_size) != (entry.inode, entry.mtime_ns, entry.size):
            raise OSError(errno.EBUSY, "changed while it was read")
        return scanner.finish(), scanner.crlf, scanner.needs_stuffing
    finally:
        os.close(descriptor)


def _open(folder: Folder, entry: Entry) -> int | None:
    for _ in range(_ATTEMPTS):
        try:
            return folder.open(entry.path)
        except FileNotFoundError:
            entry.path = find(folder, entry.unique, entry.inode) or entry.path
    return None
