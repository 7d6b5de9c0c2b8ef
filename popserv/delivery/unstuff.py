"""The data phase: find its end, undo byte-stuffing (RFC 5321 sections 4.1.1.4 and 4.5.2), change nothing else."""

from __future__ import annotations

_END = b"\r\n.\r\n"


class Unstuffer:
    """Takes data as it arrives and gives the message's octets.

    The end is CRLF, dot, CRLF and nothing else: a bare LF or CR around a dot is part of the message, so that no message
    can smuggle in another one.
    """

    __slots__ = ("_held", "_skip")

    def __init__(self) -> None:
        self._held = b"\r\n"  # the line end in front of the data, which is no part of it
        self._skip = 2

    def feed(self, octets: bytes) -> tuple[bytes, bytes | None]:
        """Octets of the message, and what stands behind its end; None while the end has not come."""
        octets = self._held + octets
        end = octets.find(_END)
        if end >= 0:
            content, rest = octets[: end + 2], octets[end + len(_END) :]
        else:
            held = next((size for size in (4, 3, 2, 1) if octets.endswith(_END[:size])), 0)
            content, rest = octets[: len(octets) - held], None
            self._held = octets[len(octets) - held :]
        content = content.replace(b"\r\n.", b"\r\n")
        skipped, self._skip = self._skip, max(0, self._skip - len(content))
        return content[skipped:], rest
