"""A Maildir of another server, to be imported. Nothing in it is changed."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import sha256

from popserv.maildrop.findings import shown
from popserv.maildrop.foreign import ForeignMessage
from popserv.maildrop.maildir_find import find
from popserv.maildrop.maildir_folder import CUR, Folder, open_maildir
from popserv.maildrop.maildir_ids import recognise
from popserv.maildrop.maildir_scan import CHUNK, NoMessage, entry_of
from popserv.maildrop.maildir_snapshot import Entry
from popserv.maildrop.maildir_survey import order, without_former_names
from popserv.maildrop.uidl import from_name

_FLAGS = re.compile(rb"[^A-Z]")


class ForeignMaildir:
    """See `popserv.maildrop.foreign.ForeignMail`."""

    def __init__(self, path: bytes, told: Callable[[Folder], Mapping[bytes, bytes]] = lambda _folder: {}) -> None:
        """`told` gives the unique-ids that its server has told, by names without flags; others are those of popserv.

        Raises `FileNotFoundError`, any other `OSError`, and `StoreBroken`.
        """
        self._folder = Folder(open_maildir(path))
        self._path = path
        self._told = told
        self.skipped: list[tuple[str, str]] = []

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the directory."""
        return self._folder.identity[0]

    def close(self) -> None:
        self._folder.close()

    def messages(self) -> list[ForeignMessage]:
        entries = without_former_names(self._folder, list(self._entries()))
        ids = {entry.path: entry.unique_id or from_name(entry.unique) for entry in recognise(self._folder, entries)}
        told = self._told(self._folder)
        shared = {name for name, count in Counter(entry.unique for entry in entries).items() if count > 1}
        entries.sort(key=lambda entry: (order(entry.unique), ids.get(entry.path, b""), entry.inode))
        return [
            self._message(entry, told.get(entry.unique) or ids.get(entry.path, b""), entry.unique in shared)
            for entry in entries
        ]

    def _entries(self) -> Iterator[Entry]:
        for path in self._folder.paths():
            found = self._folder.stat(path)
            if found is not None:
                try:
                    yield entry_of(self._folder, path, found)
                except NoMessage as reason:
                    self.skipped.append((shown(path), str(reason)))

    def _message(self, entry: Entry, unique_id: bytes, shared: bool) -> ForeignMessage:
        name = entry.unique
        if shared and from_name(name) != unique_id:
            # Several files have this name, and this one's id is another: so it gets a name of its own.
            token = unique_id or b"%d" % entry.inode
            name += b"." + sha256(token).hexdigest()[:16].encode("ascii")
        return ForeignMessage(
            key=b"maildir:" + name,
            name=name,
            unique_id=unique_id,
            flags=_flags(entry.path),
            seen=entry.path.startswith(CUR),
            mtime_ns=entry.mtime_ns,
            size=entry.size,
            where=shown(os.path.join(self._path, entry.path)),
            chunks=partial(self._chunks, entry),
        )

    def _chunks(self, entry: Entry) -> Iterator[bytes]:
        descriptor = self._open(entry)
        try:
            left = entry.size
            while left and (chunk := os.read(descriptor, min(left, CHUNK))):
                yield chunk
                left -= len(chunk)
            found = os.fstat(descriptor)
            known = entry.inode, entry.mtime_ns, entry.size
            if left or (found.st_ino, found.st_mtime_ns, found.st_size) != known:
                raise OSError(errno.EBUSY, "it was written to while it was read")
        finally:
            os.close(descriptor)

    def _open(self, entry: Entry) -> int:
        """The file, under whatever flags it has by now."""
        try:
            return self._folder.open(entry.path)
        except FileNotFoundError:
            path = find(self._folder, entry.unique, entry.inode)
            if path is None:
                raise
            return self._folder.open(path)


def _flags(path: bytes) -> bytes:
    """What every program means the same by, sorted; small letters are of one program."""
    info = path[len(CUR) :].partition(b":2,")[2]
    return bytes(sorted(set(_FLAGS.sub(b"", info))))
