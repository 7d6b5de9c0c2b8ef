"""What every connection has, whatever is spoken on it: replies that leave together, deadlines, and an orderly end."""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from popserv.net.addresses import host_of
from popserv.net.ending import Ending
from popserv.net.listener import Listener
from popserv.net.timeouts import NOWHERE, Timeouts
from popserv.wire.lines import LineBuffer


@implementer(IHalfCloseableProtocol)
class Connection(Protocol):
    """The ground that protocols stand on. They are the transport's producer, and say what to do with what comes."""

    transport: Any
    _raw: Any
    """The transport below TLS, or `transport` itself."""

    def __init__(self, listener: Listener, timeouts: Timeouts, lines: LineBuffer) -> None:
        self._listener = listener
        self._limits = listener.limits
        self._timeouts = timeouts
        self._lines = lines
        self._out: list[bytes] = []
        self._deaf = False  # we do not receive
        self._eof = False  # the peer does not send any more
        self._gone = False
        self._ending: Ending | None = None
        self._why = ""  # the connection ends
        self.deadline = inf
        self.bucket = NOWHERE

    def connectionMade(self) -> None:
        # The transport knows: an embedder's ``ssl:`` endpoint is as good as a listener of ours with implicit TLS.
        self._implicit = ISSLTransport.providedBy(self.transport)
        self._raw = self.transport.transport if self._implicit else self.transport
        self._address = self.transport.getPeer()
        self._host = host_of(self._address)
        self._started = self._timeouts.now()
        self.session_id = self._listener.registry.session_id()

    # --- for protocols to say

    def _received(self, octets: bytes) -> None:
        """Octets have come, and the end has not begun."""
        raise NotImplementedError

    def _peer_finished(self) -> None:
        """The peer has closed its sending half, and the end has not begun: what it has sent still gets its replies."""
        raise NotImplementedError

    def _timed_out(self) -> None:
        """The deadline has passed, and the end has not begun."""
        raise NotImplementedError

    # --- octets

    def dataReceived(self, data: bytes) -> None:
        if self._ending is not None:
            self._ending.drop(len(data))
        else:
            self._received(data)

    def _write(self, octets: bytes) -> None:
        """Send this behind all that waits to leave."""
        self._out.append(octets)
        self._flush()

    def _flush(self) -> None:
        if self._out and not self._gone and self._ending is None:
            octets = b"".join(self._out)
            self._out.clear()
            if octets:
                self.transport.write(octets)

    def _receive(self, wanted: bool) -> None:
        """Receive from now on, or not."""
        if wanted is self._deaf and not self._eof and not self._gone and self._ending is None:
            self._deaf = not wanted
            (self.transport.resumeProducing if wanted else self.transport.pauseProducing)()

    def stopProducing(self) -> None:
        """The transport is closing; `connectionLost` follows."""

    # --- the end

    def readConnectionLost(self) -> None:
        self._eof = True
        if self._ending is not None:
            self._raw.loseConnection()
        else:
            self._peer_finished()

    def writeConnectionLost(self) -> None:
        """Our sending half is closed; what remains is done by time."""

    def timed_out(self) -> None:
        """The deadline has passed; see `popserv.net.timeouts.Timed`."""
        if self._ending is not None:
            self._ending.look()
        else:
            self._timed_out()

    def _end_with(self, reply: bytes, why: str) -> None:
        """Say one thing more and end in order."""
        self._write(reply)
        self._end(why)

    def _end(self, why: str) -> None:
        """End in order: the last reply arrives, nothing else is read."""
        self._why = why
        self._lines.clear()
        self._receive(True)
        self._ending = Ending(self.transport, self._raw, self._limits, self._timeouts, self)
        if self._eof:
            self._raw.loseConnection()

    def _abort(self, why: str) -> None:
        """End at once."""
        self._why = self._why or why
        self.transport.abortConnection()
