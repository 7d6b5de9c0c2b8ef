"""Reading one message of an mbox: a range of the file that the session has opened, and not a later one of its name.

Another program may have written to that very file meanwhile. So a message is compared with what was seen at login: a
long one before its first octets are let out, if the file has changed at all, and each one before its last.
"""

from __future__ import annotations

import os
from typing import Literal
from zlib import crc32

import attrs
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.errors import MessageVanished, StoreUnavailable
from popserv.interfaces import IMessage, IMessageReader
from popserv.maildrop.mbox_control import Place
from popserv.maildrop.mbox_index import drop
from popserv.maildrop.mbox_lines import Format, unquoting
from popserv.maildrop.mbox_octets import CHUNK, Octets
from popserv.maildrop.mbox_survey import Stamp, Survey, is_as_surveyed
from popserv.maildrop.shield import shielded
from popserv.nowait import read_cached
from popserv.pools import Pool
from popserv.wire.octets import Normaliser

Io = Literal["auto", "threads", "inline"]


@attrs.define
class Source:
    """The mbox of one session, and how to get at it."""

    descriptor: int
    """Of the file that was surveyed; it is taken over. Negative if there is none."""
    place: Place
    survey: Survey
    form: Format
    disk: Pool
    io: Io
    """Reads outside the pool get what is at hand ("auto"), do not happen ("threads") or may block ("inline")."""

    def close(self) -> None:
        """Open no more readers; those that are open go on. May be called again."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def duplicate(self) -> int:
        """A descriptor of its own for a reader; negative if there can be none."""
        try:
            return os.dup(self.descriptor)
        except OSError:
            return -1

    def is_untouched(self, descriptor: int) -> bool:
        """Whether nothing at all has been written to the file since it was surveyed."""
        return Stamp.of(os.fstat(descriptor)) == self.survey.stamp

    def check(self, descriptor: int, index: int) -> None:
        """Look whether a message is what it was. Blocks. Raises `MessageVanished` and `OSError`."""
        status = os.fstat(descriptor)
        if not is_as_surveyed(Octets(descriptor, status.st_size), self.survey, index):
            raise self.changed(descriptor)

    def changed(self, descriptor: int) -> MessageVanished | StoreUnavailable:
        """The error for a message that is not what was surveyed: written to, or surveyed wrongly."""
        if self.is_untouched(descriptor):
            drop(self.place.control)
            return StoreUnavailable()
        return MessageVanished()


@implementer(IMessage)
class MboxMessage:
    """See `popserv.interfaces.IMessage`."""

    __slots__ = ("_index", "_source", "crlf", "needs_stuffing", "octets")

    def __init__(self, source: Source, index: int) -> None:
        """`index` is that of the survey."""
        self._source = source
        self._index = index
        self.octets = source.survey.octets[index]
        self.crlf = source.survey.crlf(index)
        self.needs_stuffing = source.survey.needs_stuffing(index)

    def open(self) -> MboxReader:
        return MboxReader(self._source, self._index)


@implementer(IMessageReader)
class MboxReader:
    """See `popserv.interfaces.IMessageReader`."""

    def __init__(self, source: Source, index: int) -> None:
        self._source = source
        self._index = index
        self._range = source.survey.range(index)
        self._lines = unquoting(source.form)
        self._normaliser = Normaliser()
        # The session's own may be closed, and its number come to stand for another file, while a thread reads.
        self._descriptor = source.duplicate()
        self._position = self._range.start  # the From_ line is read, too, and not let out
        self._crc = 0
        self._yielded = 0
        self._ready = b""
        self._checked = False
        self._whole = False
        self._busy = False
        self._closed = self._descriptor < 0

    def read_nowait(self, octets: int) -> bytes | None:
        if self._closed:
            raise StoreUnavailable()
        while not self._ready and not self._whole:
            if self._source.io == "inline":
                self._fetched(self._fetch(octets))
                continue
            chunk = self._at_hand(octets)
            if chunk is None:
                return None
            self._advance(chunk)
        return self._take(octets)

    def read(self, octets: int) -> Deferred[bytes]:
        if self._closed:
            return fail(StoreUnavailable())
        if self._ready or self._whole:
            return succeed(self._take(octets))
        if self._source.io == "inline":
            return execute(self._fetch, octets).addCallback(self._fetched).addCallback(lambda _: self.read(octets))
        self._busy = True
        work = self._source.disk.run(self._fetch, octets).addCallbacks(self._fetched, self._failed)
        # What was read may be held back as a whole until it is known what follows it.
        return shielded(work.addCallback(lambda _: self.read(octets)))

    def close(self) -> None:
        self._closed = True
        if not self._busy and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _want(self, octets: int) -> int:
        from_line = max(self._range.head - self._position, 0)
        return min(from_line + min(max(octets, 1), CHUNK), self._range.end - self._position)

    def _at_hand(self, octets: int) -> bytes | None:
        if self._busy or self._source.io == "threads" or self._has_to_be_checked(octets):
            return None
        return read_cached(self._descriptor, self._want(octets), self._position)

    def _has_to_be_checked(self, octets: int) -> bool:
        if self._checked or self._position + self._want(octets) == self._range.end:
            return False
        self._checked = self._source.is_untouched(self._descriptor)
        return not self._checked

    def _fetch(self, octets: int) -> bytes:
        """The next octets, never none. Blocks. Raises `MessageVanished` and `StoreUnavailable`."""
        try:
            if self._has_to_be_checked(octets):
                self._source.check(self._descriptor, self._index)
                self._checked = True
            chunk = os.pread(self._descriptor, self._want(octets), self._position)
        except OSError as error:
            raise StoreUnavailable() from error
        if not chunk:
            raise MessageVanished()
        return chunk

    def _fetched(self, chunk: bytes) -> None:
        self._busy = False
        if self._closed:
            self.close()
            raise StoreUnavailable()
        self._advance(chunk)

    def _failed(self, failure: Failure) -> Failure:
        self._busy = False
        if self._closed:
            self.close()
        return failure

    def _advance(self, chunk: bytes) -> None:
        self._crc = crc32(chunk, self._crc)
        from_line = max(self._range.head - self._position, 0)
        self._position += len(chunk)
        self._let_out(chunk[from_line:])
        if self._position < self._range.end:
            return
        self._let_out(b"", end=True)
        survey = self._source.survey
        if (self._crc, self._yielded) != (survey.crcs[self._index], survey.octets[self._index]):
            self._ready = b""
            raise self._source.changed(self._descriptor)
        self._whole = True

    def _let_out(self, octets: bytes, end: bool = False) -> None:
        if self._lines is not None:
            octets = self._lines.finish() if end else self._lines.feed(octets)
        octets = self._normaliser.feed(octets)
        if end:
            octets += self._normaliser.finish()
        self._ready += octets
        self._yielded += len(octets)

    def _take(self, octets: int) -> bytes:
        taken, self._ready = self._ready[: 2 * octets], self._ready[2 * octets :]
        return taken
