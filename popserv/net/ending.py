"""How a connection ends so that the last reply arrives.

A close with unread input makes the kernel send a reset, which can destroy a reply the peer has not read. So an orderly
end flushes, closes the sending half, reads and drops what still comes, and closes. Under TLS a peer that never answers
close_notify is not waited for (RFC 8314 section 3.4).
"""

from __future__ import annotations

from fcntl import ioctl
from math import inf
from struct import unpack
from termios import TIOCOUTQ
from typing import Any

from twisted.internet.interfaces import IHalfCloseableDescriptor

from popserv.limits import Limits
from popserv.net.timeouts import Timed, Timeouts


class Ending:
    """An end that has begun: looked at every second, until the connection is lost.

    First the last octets get time to leave, as long as the peer takes some; then the peer gets a moment to close.
    """

    def __init__(self, transport: Any, raw: Any, limits: Limits, timeouts: Timeouts, timed: Timed) -> None:
        """Begin. `raw` is the transport below TLS, or `transport` itself; `timed` is the connection."""
        transport.unregisterProducer()
        close_sending(transport, raw)
        self._raw = raw
        self._limits = limits
        self._timeouts = timeouts
        self._timed = timed
        self._unsent = unsent(raw)
        self._moved = timeouts.now()
        self._until = inf
        self._dropped = 0
        timeouts.set(timed, 1.0)

    def look(self) -> None:
        """A second has passed."""
        now, left = self._timeouts.now(), unsent(self._raw)
        if left < self._unsent:
            self._unsent, self._moved = left, now
        if left == 0 and self._until == inf:
            self._until = now + self._limits.linger_seconds
        self._timeouts.set(self._timed, 1.0)
        # Either may lose the connection at once; nothing is to be set behind it.
        if now >= self._until:
            self._raw.loseConnection()
        elif now - self._moved > self._limits.write_seconds:
            self._raw.abortConnection()

    def drop(self, octets: int) -> None:
        """The peer goes on sending; nobody reads it, and not for ever."""
        self._dropped += octets
        if self._dropped > self._limits.linger_octets:
            self._raw.loseConnection()


def close_sending(transport: Any, raw: Any) -> None:
    """Flush, say close_notify under TLS, and close the sending half.

    `raw` is the transport below TLS, or `transport` itself. One that cannot be half-closed is closed.
    """
    if transport is not raw:
        transport.loseConnection()
    if IHalfCloseableDescriptor.providedBy(raw):
        raw.loseWriteConnection()  # type: ignore[attr-defined]
    elif transport is raw:
        raw.loseConnection()


def unsent(raw: Any) -> int:
    """Octets that the peer's kernel has not acknowledged: ours and the kernel's."""
    ours = len(getattr(raw, "dataBuffer", b"")) - int(getattr(raw, "offset", 0)) + int(getattr(raw, "_tempDataLen", 0))
    try:
        return ours + int(unpack("i", ioctl(raw.fileno(), TIOCOUTQ, b"\0\0\0\0"))[0])
    except (AttributeError, OSError, TypeError, ValueError):
        return ours
