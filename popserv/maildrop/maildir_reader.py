"""Reading one message of a Maildir.

The file is opened with the first read. What the kernel has at hand comes at once, everything else from the disk pool,
which is also where a message that was renamed is looked for.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Literal

import attrs
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.errors import MessageVanished, StoreBroken, StoreUnavailable
from popserv.interfaces import IMessageReader
from popserv.maildrop.maildir_find import follow_renames
from popserv.maildrop.maildir_folder import opened
from popserv.maildrop.maildir_scan import CHUNK, read_measured
from popserv.maildrop.maildir_snapshot import Snapshot
from popserv.maildrop.maildir_take import Taker
from popserv.maildrop.shield import shielded
from popserv.nowait import open_cached, read_cached
from popserv.pools import Pool
from popserv.wire.octets import Normaliser

Io = Literal["auto", "threads", "inline"]

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_RENAMED = frozenset({errno.ENOENT, errno.ESTALE, errno.ELOOP})
_ATTEMPTS = 8


@attrs.frozen
class Source:
    """The messages of one session as files, and how to get at them."""

    path: bytes
    """Of the Maildir."""
    snapshot: Snapshot
    taker: Taker
    disk: Pool
    writable: bool
    """The index may be removed."""
    io: Io
    """Reads outside the pool get what is at hand ("auto"), do not happen ("threads") or may block ("inline")."""

    def file_path(self, index: int) -> bytes:
        return self.path + b"/" + self.snapshot.files.paths[index]

    def open(self, index: int) -> int:
        """A descriptor of this very message, wherever it is by now. Blocks.

        Raises `MessageVanished` and `StoreUnavailable`.
        """
        try:
            for _ in range(_ATTEMPTS):
                descriptor = self._open(index)
                if descriptor is not None:
                    return descriptor
                with opened(self.path) as folder:
                    follow_renames(folder, self.snapshot)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StoreUnavailable() from error
        raise MessageVanished()

    def _open(self, index: int) -> int | None:
        try:
            descriptor = os.open(self.file_path(index), _FLAGS)
        except OSError as error:
            if error.errno in _RENAMED:
                return None
            raise
        try:
            if self._is_as_counted(index, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _is_as_counted(self, index: int, descriptor: int) -> bool:
        """Whether this is the message; raises `StoreUnavailable` if it is, and something else stands in it.

        An index is believed in what it says of a file as long as the names in its directory stay the same. So it is
        here that a file is found to have been written to.
        """
        found = os.fstat(descriptor)
        if not self.snapshot.is_file(index, found):
            if self.snapshot.is_inode(index, found):
                raise self._distrusted()
            return False
        if not self.snapshot.is_untouched(index, found):
            # A new name is enough for that, so it is counted again; for who set back its mtime.
            if read_measured(descriptor, found.st_size) != self.snapshot.measured(index):
                raise self._distrusted()
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

    def untouched(self, index: int, descriptor: int) -> bool:
        """As `unchanged`, and neither its name nor anything else of it has changed."""
        found = os.fstat(descriptor)
        return self.snapshot.is_file(index, found) and self.snapshot.is_untouched(index, found)

    def unchanged(self, index: int, descriptor: int) -> bool:
        """Whether this is the file that was measured, and nothing has been written to it since."""
        return self.snapshot.is_file(index, os.fstat(descriptor))

    def read(self, index: int, descriptor: int, octets: int, position: int) -> tuple[int, bytes]:
        """About `octets` stored octets at `position`, and the descriptor, which is opened if it is negative. Blocks.

        Raises `MessageVanished` and `StoreUnavailable`; a descriptor that was opened here is closed then.
        """
        was_open = descriptor >= 0
        if not was_open:
            descriptor = self.open(index)
        try:
            want = self.want(index, octets, position)
            chunk = os.pread(descriptor, want, position) if want else b""
            self.check(index, descriptor, want, position, chunk)
        except BaseException as error:
            if not was_open:
                os.close(descriptor)
            if isinstance(error, OSError):
                raise StoreUnavailable() from error
            raise
        return descriptor, chunk

    def want(self, index: int, octets: int, position: int) -> int:
        """How many stored octets to read for about so many. May block; raises `OSError`."""
        return min(max(octets, 1), CHUNK, self.snapshot.files.sizes[index] - position)

    def check(self, index: int, descriptor: int, octets: int, position: int, chunk: bytes) -> None:
        """Look, before the last octets are let out, whether what was read is still the message. Raises as `read`."""
        ended_early = octets and not chunk
        if not ended_early and position + len(chunk) < self.snapshot.files.sizes[index]:
            return
        if ended_early or not self.unchanged(index, descriptor):
            raise MessageVanished()

    def miscounted(self) -> StoreUnavailable:
        """The error for a message that yields other octets than were counted. Does not block."""
        self.disk.run(self._distrusted).addErrback(lambda _: None)
        return StoreUnavailable()

    def _distrusted(self) -> StoreUnavailable:
        """The same; the next session counts again. Blocks. Never raises."""
        with suppress(OSError, StoreBroken), opened(self.path) as folder:
            self.taker.drop(folder, write=self.writable)
        return StoreUnavailable()


@implementer(IMessageReader)
class MaildirReader:
    """See `popserv.interfaces.IMessageReader`."""

    __slots__ = (
        "_busy",
        "_closed",
        "_descriptor",
        "_index",
        "_normaliser",
        "_position",
        "_rest",
        "_source",
        "_whole",
        "_yielded",
    )

    def __init__(self, source: Source, index: int) -> None:
        self._source = source
        self._index = index
        self._descriptor = -1
        self._normaliser = None if source.snapshot.crlf(index) else Normaliser()
        self._position = 0  # in the stored octets
        self._yielded = 0
        self._whole = False  # all stored octets have been read, and found to be the message
        self._rest = b""
        self._busy = False
        self._closed = False

    def read_nowait(self, octets: int) -> bytes | None:
        if self._closed:
            raise StoreUnavailable()
        if self._whole:
            return self._take_rest()
        if self._source.io == "inline":
            return self._fetched(self._fetch(octets))
        if self._source.io == "threads" or self._busy or not self._open_nowait():
            return None
        want = self._source.want(self._index, octets, self._position)
        chunk = read_cached(self._descriptor, want, self._position) if want else b""
        if chunk is None:
            return None
        self._source.check(self._index, self._descriptor, want, self._position, chunk)
        return self._advance(chunk)

    def read(self, octets: int) -> Deferred[bytes]:
        if self._closed:
            return fail(StoreUnavailable())
        if self._whole:
            return succeed(self._take_rest())
        if self._source.io == "inline":
            return execute(self._fetch, octets).addCallback(self._fetched)
        self._busy = True
        return shielded(self._source.disk.run(self._fetch, octets).addCallbacks(self._fetched, self._failed))

    def close(self) -> None:
        self._closed = True
        # While a thread reads, the number must not come to stand for another file.
        if not self._busy and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open_nowait(self) -> bool:
        if self._descriptor >= 0:
            return True
        if not self._source.snapshot.at_hand:
            return False
        descriptor = open_cached(self._source.file_path(self._index))
        if descriptor is None:
            return False
        if not self._source.untouched(self._index, descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def _fetch(self, octets: int) -> tuple[int, bytes]:
        return self._source.read(self._index, self._descriptor, octets, self._position)

    def _fetched(self, fetched: tuple[int, bytes]) -> bytes:
        self._busy = False
        self._descriptor, chunk = fetched
        if self._closed:
            self.close()
            raise StoreUnavailable()
        return self._advance(chunk)

    def _failed(self, failure: Failure) -> Failure:
        self._busy = False
        if self._closed:
            self.close()
        return failure

    def _advance(self, chunk: bytes) -> bytes:
        source, normaliser = self._source, self._normaliser
        self._position += len(chunk)
        octets = chunk if normaliser is None else normaliser.feed(chunk)
        self._yielded += len(octets)
        if self._position == source.snapshot.files.sizes[self._index]:
            self._rest = b"" if normaliser is None else normaliser.finish()
            if self._yielded + len(self._rest) != source.snapshot.octets[self._index]:
                raise source.miscounted()
            self._whole = True
        return octets

    def _take_rest(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest
