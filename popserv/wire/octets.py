"""Line ends: how stored octets become the octets of RFC 1939 section 11, and how many there are.

A LF that no CR precedes becomes CRLF; a lone CR is data; a message whose last line has no CRLF gets one; an empty
message stays empty. `Normaliser` does it and `Scanner` counts it, and a property test holds them together.
"""

from __future__ import annotations

import re

from popserv.wire.dot_lines import has_dot_line

_BARE_LF = re.compile(rb"(?<!\r)\n")


class Normaliser:
    """Stored octets, chunk by chunk, into CRLF form."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = b""

    def feed(self, chunk: bytes) -> bytes:
        """The CRLF form of the next stored octets."""
        if not chunk:
            return b""
        start = b""
        if self._last == b"\r" and chunk.startswith(b"\n"):
            start, rest = b"\n", chunk[1:]
        else:
            rest = chunk
        self._last = chunk[-1:]
        if b"\n" not in rest:
            return chunk
        # Mail is nearly always all LF or all CRLF: both are plain replacements, many times faster than the pattern.
        if b"\r" not in rest:
            return start + rest.replace(b"\n", b"\r\n")
        if rest.count(b"\n") == rest.count(b"\r\n"):
            return chunk
        return start + _BARE_LF.sub(b"\r\n", rest)

    def finish(self) -> bytes:
        """What the last line lacks."""
        return b"\r\n" if self._last not in (b"", b"\n") else b""


class Scanner:
    """Count stored octets, chunk by chunk, without converting them.

    `finish` gives the exact size of RFC 1939 section 11. After it, `crlf` says that nothing had to be added and
    `needs_stuffing` that some line begins with a dot.
    """

    __slots__ = ("_last", "_octets", "crlf", "needs_stuffing")

    def __init__(self) -> None:
        self._octets = 0
        self._last = b"\n"  # the beginning is a line start
        self.crlf = True
        self.needs_stuffing = False

    def feed(self, chunk: bytes) -> None:
        """Take the next stored octets into account."""
        if not chunk:
            return
        bare = chunk.count(b"\n") - chunk.count(b"\r\n")
        if self._last == b"\r" and chunk.startswith(b"\n"):
            bare -= 1
        self._octets += len(chunk) + bare
        self.crlf = self.crlf and not bare
        if not self.needs_stuffing:
            self.needs_stuffing = has_dot_line(chunk) or (self._last == b"\n" and chunk.startswith(b"."))
        self._last = chunk[-1:]

    @property
    def octets(self) -> int:
        """Those of what has been fed so far."""
        return self._octets

    def finish(self) -> int:
        """End the message and return its octets."""
        if self._last != b"\n":
            self._octets += 2
            self.crlf = False
            self._last = b"\n"
        return self._octets


def to_crlf(stored: bytes) -> bytes:
    """A whole message in CRLF form."""
    normaliser = Normaliser()
    return normaliser.feed(stored) + normaliser.finish()


def measure(stored: bytes) -> tuple[int, bool, bool]:
    """Octets, `crlf` and `needs_stuffing` of a whole stored message."""
    if not stored:
        return 0, True, False
    bare = stored.count(b"\n")
    if b"\r" in stored:
        bare -= stored.count(b"\r\n")
    needs_stuffing = has_dot_line(stored) or stored.startswith(b".")
    if stored.endswith(b"\n"):
        return len(stored) + bare, not bare, needs_stuffing
    return len(stored) + bare + 2, False, needs_stuffing
