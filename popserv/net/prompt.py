"""TCP connections that send at once what the kernel takes, for ports of our own process.

Twisted's own wait for the reactor to say that the socket can be written to, which costs three system calls for each
reply. Whoever embeds a factory in a program of his own has Twisted's.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp

TURN_OCTETS = 256 * 1024
"""Sent at once between two events of the reactor; what is more waits for it, so that others have their turn."""


class PromptServer(tcp.Server):
    """Accepted connections whose `write` tries the socket first."""

    _left = TURN_OCTETS

    def write(self, data: bytes) -> None:
        if self._is_idle():
            try:
                sent = self.socket.send(data)
            except OSError:
                # It would block, or it is broken, which the reactor finds out, too.
                sent = 0
            self._left -= sent
            if sent == len(data):
                return
            data = data[sent:]
        super().write(data)  # type: ignore[no-untyped-call]

    def _is_idle(self) -> bool:
        """Whether nothing waits to be sent, and something may be."""
        waits = self._tempDataBuffer or len(self.dataBuffer) > self.offset
        ends = self._writeDisconnecting or self._aborting
        return bool(self._left > 0 and self.connected and not (waits or ends))

    def doRead(self) -> Any:
        self._left = TURN_OCTETS
        return super().doRead()

    def doWrite(self) -> Any:
        self._left = TURN_OCTETS
        return super().doWrite()  # type: ignore[no-untyped-call]


def make_prompt(port: Any) -> Any:
    """`port`, whose connections are `PromptServer` from now on if it is one of TCP."""
    # Those of unix sockets are derived from it, and have connections of their own.
    if getattr(port, "transport", None) is tcp.Server:
        port.transport = PromptServer
    return port


__all__ = ["PromptServer", "make_prompt"]
