"""What was imported into a Maildir: ``popserv.imported`` in it, so that nothing comes in twice, nor comes back.

Lines are only ever appended, and synced. ``KEY PATH``, both %-encoded, says that the message with this key is about to
get this path; ``- KEY``, that it did not get it; a lone ``.``, that all others before it did. A last line without its
end was never acted upon. Messages behind the last ``.`` may or may not be there: the Maildir tells.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from urllib.parse import quote_from_bytes, unquote_to_bytes

from popserv.maildrop.files import open_owned
from popserv.maildrop.octet_source import pread_all

LEDGER_NAME = "popserv.imported"

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DONE = b"."
_NOT = b"-"


class Ledger:
    """The ledger of one Maildir. To be used under its session lock. Everything blocks and raises `OSError`; close it.

    Without `create`, one that is not there is empty, and cannot be written to.
    """

    def __init__(self, maildir: int, create: bool) -> None:
        self._folder = maildir
        self.done: dict[bytes, bytes] = {}
        """Paths that messages got, by key; they may have others by now, or be gone."""
        self.begun: dict[bytes, bytes] = {}
        """Paths of messages that may be there."""
        self._size = 0
        self._descriptor = -1
        try:
            if create:
                self._descriptor = open_owned(LEDGER_NAME, os.O_RDWR | _FLAGS, maildir)
            else:
                self._descriptor = os.open(LEDGER_NAME, os.O_RDONLY | _FLAGS, dir_fd=maildir)
        except FileNotFoundError:
            return
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def begin(self, paths: Mapping[bytes, bytes]) -> None:
        """Note where these messages, by key, are about to be."""
        self._append(b"".join([b"%b %b\n" % (_quoted(key), _quoted(path)) for key, path in paths.items()]))
        self.begun.update(paths)

    def finish(self) -> None:
        """Note that all that was begun is there for good."""
        self._append(_DONE + b"\n")
        self._settle()

    def forget(self, keys: Iterable[bytes]) -> None:
        """These were begun, are not there, and have to be begun anew."""
        forgotten = list(keys)
        self._append(b"".join([b"- %b\n" % _quoted(key) for key in forgotten]))
        for key in forgotten:
            del self.begun[key]

    def _settle(self) -> None:
        self.done.update(self.begun)
        self.begun.clear()

    def _read(self) -> None:
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(f"{LEDGER_NAME} is no regular file with one name")
        content = pread_all(self._descriptor, found.st_size, 0)
        self._size = content.rfind(b"\n") + 1
        for line in content[: self._size].splitlines():
            key, blank, path = line.partition(b" ")
            if key == _NOT:
                self.begun.pop(unquote_to_bytes(path), None)
            elif blank:
                self.begun[unquote_to_bytes(key)] = unquote_to_bytes(path)
            elif line == _DONE:
                self._settle()

    def _append(self, lines: bytes) -> None:
        os.ftruncate(self._descriptor, self._size)
        position, rest = self._size, memoryview(lines)
        while rest:
            count = os.pwrite(self._descriptor, rest, position)
            position, rest = position + count, rest[count:]
        os.fsync(self._descriptor)
        if not self._size:
            os.fsync(self._folder)
        self._size = position


def _quoted(octets: bytes) -> bytes:
    return quote_from_bytes(octets, safe="/:,=@").encode("ascii")
