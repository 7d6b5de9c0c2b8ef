"""The way back from CRLF to LF line ends, for stores that keep mail as their system keeps text."""

from __future__ import annotations

import re

_CRLF = re.compile(rb"(?<!\r)\r\n")


class LineFeeds:
    """Turns CRLF into LF, chunk by chunk, and loses nothing: `popserv.wire.octets` gives back what was fed.

    A CRLF behind a CR stays, because CR LF read back would be taken for the line end alone.
    """

    __slots__ = ("_before", "_held")

    def __init__(self) -> None:
        self._before = b""
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """The next octets with LF line ends. A CR at the end waits for what follows it."""
        chunk = self._held + chunk
        self._held = b"\r" if chunk.endswith(b"\r") else b""
        if self._held:
            chunk = chunk[:-1]
        if not chunk:
            return b""
        kept = b"\r\n" if self._before == b"\r" and chunk.startswith(b"\r\n") else b""
        self._before = chunk[-1:]
        return kept + _CRLF.sub(b"\n", chunk[len(kept) :])

    def finish(self) -> bytes:
        """What still waits."""
        held, self._held = self._held, b""
        return held
