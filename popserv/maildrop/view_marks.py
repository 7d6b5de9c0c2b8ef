"""Marks on the messages of a folder that is shown together with INBOX.

LIST has to say how large a marked message is, and a login must not read messages for that. So each mark makes every
message longer by the same number of octets, whatever its header is like; what there is to find out about the header is
found out while the message is sent.
"""

from __future__ import annotations

import re
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from popserv.interfaces import IMessage, IMessageReader

MOST_CHARACTERS = 200
"""A text of a mark has so many at most, so that its line stays far below the 998 of RFC 5322 section 2.1.1."""

_FILLER = b"X-Junk:1\r\n"
"""As long as what a new Subject line has that a text put into another one does not: "Subject: " and CRLF, less the
space behind the text."""

_FIRST = re.compile(rb"\n(?:(subject:(?:[ \t]|(?=[^ \t])))|\r\n)", re.IGNORECASE)
_UNDECIDED = len(b"\nsubject:")
_FIELD = re.compile(r"[!-9;-~]+: ?[ -~]*")


class Marker(Protocol):
    """Marks one message while it is read; what it gives may come later than what it was given."""

    def feed(self, chunk: bytes) -> bytes:
        """The next octets of the message, in CRLF form."""

    def finish(self) -> bytes:
        """What is left at its end."""


class Mark(Protocol):
    """How messages are marked."""

    @property
    def octets(self) -> int:
        """So many every message has more."""

    def marker(self) -> Marker:
        """For one message."""


def _check_text(text: str) -> None:
    if not (0 < len(text) <= MOST_CHARACTERS and text.isascii() and text.isprintable() and text == text.strip()):
        raise ValueError(f"must be 1 to {MOST_CHARACTERS} printable ASCII characters, with no space at an end")


@attrs.frozen
class HeaderMark:
    """A field in front of the header."""

    field: bytes
    """With its name, without CRLF."""

    @classmethod
    def of(cls, text: str) -> HeaderMark:
        """Raises `ValueError` for what is no field of one line (RFC 5322 section 2.2)."""
        _check_text(text)
        if not _FIELD.fullmatch(text):
            raise ValueError('must be a header field such as "X-Spam-Flag: YES"')
        return cls(text.encode("ascii"))

    @property
    def octets(self) -> int:
        return len(self.field) + 2

    def marker(self) -> HeaderMarker:
        return HeaderMarker(self.field + b"\r\n")


class HeaderMarker:
    """See `Marker`."""

    def __init__(self, line: bytes) -> None:
        self._line = line

    def feed(self, chunk: bytes) -> bytes:
        return self.finish() + chunk

    def finish(self) -> bytes:
        line, self._line = self._line, b""
        return line


@attrs.frozen
class SubjectMark:
    """A text at the beginning of the subject. What has no Subject field gets one."""

    text: bytes

    @classmethod
    def of(cls, text: str) -> SubjectMark:
        """Raises `ValueError` for what cannot stand in a subject."""
        _check_text(text)
        return cls(text.encode("ascii"))

    @property
    def octets(self) -> int:
        return len(self._line)

    @property
    def _line(self) -> bytes:
        return b"Subject: %b\r\n" % self.text

    def marker(self) -> SubjectMarker:
        return SubjectMarker(self.text + b" ", self._line)


class SubjectMarker:
    """See `Marker`. Holds back the beginning of a line as long as that may be "Subject:" or the end of the header."""

    def __init__(self, text: bytes, line: bytes) -> None:
        """`text` goes into the first Subject field; where the header ends without one, `line` is its last line."""
        self._text = text
        self._line = line
        self._held = b"\n"  # as if a line had ended before the first one
        self._fresh = True  # and that has not been taken away again
        self._done = False

    def feed(self, chunk: bytes) -> bytes:
        if self._done:
            return chunk
        octets = self._held + chunk
        found = _FIRST.search(octets)
        if found is None:
            return self._hold(octets)
        self._done = True
        start, end = found.start() + 1, found.end()
        if found[1] is None:
            return self._without_first(octets[:start]) + self._line + octets[start:]
        return self._without_first(octets[:start]) + _FILLER + octets[start:end] + self._text + octets[end:]

    def finish(self) -> bytes:
        if self._done:
            return b""
        self._done = True
        return self._without_first(self._held) + self._line

    def _hold(self, octets: bytes) -> bytes:
        last = octets.rfind(b"\n")
        if last < 0 or len(octets) - last > _UNDECIDED:
            last = len(octets)
        self._held = octets[last:]
        return self._without_first(octets[:last])

    def _without_first(self, octets: bytes) -> bytes:
        if not (self._fresh and octets):
            return octets
        self._fresh = False
        return octets[1:]


@implementer(IMessage)
@attrs.frozen
class MarkedMessage:
    """See `popserv.interfaces.IMessage`."""

    _message: IMessage
    _mark: Mark

    crlf = False

    @property
    def octets(self) -> int:
        return self._message.octets + self._mark.octets

    @property
    def needs_stuffing(self) -> bool:
        # No mark begins a line with a dot.
        return self._message.needs_stuffing

    def open(self) -> IMessageReader:
        return MarkedReader(self._message.open(), self._mark.marker())


@implementer(IMessageReader)
class MarkedReader:
    """See `popserv.interfaces.IMessageReader`."""

    def __init__(self, reader: IMessageReader, marker: Marker) -> None:
        self._reader = reader
        self._marker = marker
        self._ready = b""
        self._ended = False

    def read_nowait(self, octets: int) -> bytes | None:
        while not self._ready and not self._ended:
            chunk = self._reader.read_nowait(octets)
            if chunk is None:
                return None
            self._take(chunk)
        return self._give(octets)

    def read(self, octets: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._read(octets))

    async def _read(self, octets: int) -> bytes:
        while not self._ready and not self._ended:
            self._take(await self._reader.read(octets))
        return self._give(octets)

    def close(self) -> None:
        self._reader.close()

    def _take(self, chunk: bytes) -> None:
        self._ended = not chunk
        self._ready = self._marker.feed(chunk) if chunk else self._marker.finish()

    def _give(self, octets: int) -> bytes:
        # Twice as many are allowed, and a small rest would be a piece of its own.
        most = len(self._ready) if len(self._ready) <= 2 * octets else octets
        given, self._ready = self._ready[:most], self._ready[most:]
        return given
