"""How a connection ends so that the last reply arrives.

A close with unread input makes the kernel send a reset, which can destroy a reply the peer has not read. So an orderly
end flushes, closes the sending half, reads and drops what still comes, and closes. Under TLS a peer that never answers
close_notify is not waited for (RFC 8314 section 3.4).
"""

from __future__ import annotations

from fcntl import ioctl
from struct import unpack
from termios import TIOCOUTQ
from typing import Any

from twisted.internet.interfaces import IHalfCloseableDescriptor


def close_sending(transport: Any, raw: Any) -> None:
    """Flush, then say close_notify under TLS, or close the sending half.

    `raw` is the transport below TLS, or `transport` itself. One that cannot be half-closed is closed.
    """
    if transport is not raw:
        transport.loseConnection()
    elif IHalfCloseableDescriptor.providedBy(raw):
        raw.loseWriteConnection()  # type: ignore[attr-defined]
    else:
        raw.loseConnection()


def unsent(raw: Any) -> int:
    """Octets that the peer's kernel has not acknowledged: ours and the kernel's."""
    ours = len(getattr(raw, "dataBuffer", b"")) - int(getattr(raw, "offset", 0)) + int(getattr(raw, "_tempDataLen", 0))
    try:
        return ours + int(unpack("i", ioctl(raw.fileno(), TIOCOUTQ, b"\0\0\0\0"))[0])
    except (AttributeError, OSError, TypeError, ValueError):
        return ours
