"""The TLS layer of both ports: one way for implicit TLS and for STLS, on the given clock.

Twisted's `startTLS` takes the global reactor and delays small writes; a protocol that writes once a turn needs neither.
"""

from __future__ import annotations

from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
)
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

ACCEPTABLE = ("TLSv1.2", "TLSv1.3")
"""RFC 8314 section 4, RFC 8997 section 3."""

_RECEIVE_OCTETS = 2**15


@implementer(IHalfCloseableProtocol)
class TLSLayer(TLSMemoryBIOProtocol):
    """TLS that goes on sending when the peer has said that it will not (RFC 8446 section 6.1).

    Twisted's own ends then, and what was asked for before stays unanswered. This one tells the protocol, as TCP does.
    """

    _peer_finished = False

    def _flushReceiveBIO(self) -> None:
        while not (self._lostTLSConnection or self._peer_finished):
            try:
                octets = self._tlsConnection.recv(_RECEIVE_OCTETS)
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self._finished_by_peer()
            except SSL.Error:
                self._tlsShutdownFinished(Failure())  # type: ignore[no-untyped-call]
            else:
                if not self._aborted:
                    ProtocolWrapper.dataReceived(self, octets)  # type: ignore[no-untyped-call]
        self._flushSendBIO()

    def _flushSendBIO(self) -> None:
        # Where our half below is closed already, a peer's close_notify ends the connection within the call above.
        if self._tlsConnection is not None:
            super()._flushSendBIO()  # type: ignore[no-untyped-call]

    def _finished_by_peer(self) -> None:
        protocol = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if self.disconnecting or protocol is None:
            self._shutdownTLS()  # type: ignore[no-untyped-call]
            self._tlsShutdownFinished(None)  # type: ignore[no-untyped-call]
        else:
            self._peer_finished = True
            protocol.readConnectionLost()

    def readConnectionLost(self) -> None:
        """The peer has closed its half of the connection below. Without close_notify nobody knows who did."""
        if not self._peer_finished and self.transport is not None:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our half of it is closed; what remains is done by time."""


class ImmediateTLSFactory(TLSMemoryBIOFactory):
    """Wraps each protocol of a factory in TLS from the first octet (RFC 8314 section 3)."""

    protocol = TLSLayer


def implicit(factory: IProtocolFactory, creator: IOpenSSLServerConnectionCreator, clock: Any) -> ImmediateTLSFactory:
    """`factory` behind implicit TLS. Its protocols greet when the handshake is done."""
    return ImmediateTLSFactory(creator, False, factory, clock)


class _NoFactory:
    """What a `TLSMemoryBIOFactory` for one connection wraps: nothing is ever built by it."""

    def doStart(self) -> None: ...

    def doStop(self) -> None: ...


def start(protocol: IProtocol, transport: Any, creator: IOpenSSLServerConnectionCreator, clock: Any) -> Any:
    """Put TLS between `transport` and `protocol`, which is connected already, and return the new transport.

    What has been written to `transport` before leaves in the clear, in front of the handshake.
    """
    factory = ImmediateTLSFactory(creator, False, cast(IProtocolFactory, _NoFactory()), clock)
    layer = TLSLayer(factory, protocol, False)  # type: ignore[no-untyped-call]
    transport.protocol = layer
    layer.makeConnection(transport)  # type: ignore[no-untyped-call]
    return layer


def version(transport: Any) -> str:
    """The TLS version of a finished handshake, "" if it is none that is acceptable (RFC 2595 section 2.5)."""
    name = str(transport.getHandle().get_protocol_version_name())
    return name if name in ACCEPTABLE else ""


def why_refused(reason: BaseException | None) -> str:
    """Why there was no handshake, for the log; `reason` is what the transport says."""
    # OpenSSL tells here that it was the certificate; what was wrong with that stands in the alert to the client.
    refused = isinstance(reason, SSL.Error) and "certificate verify failed" in str(reason)
    return "client certificate refused" if refused else "no TLS handshake"


def cipher(transport: Any) -> str:
    """The name of the cipher in use."""
    return str(transport.getHandle().get_cipher_name())
