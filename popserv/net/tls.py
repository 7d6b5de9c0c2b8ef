"""The TLS layer of both ports: one way for implicit TLS and for STLS, on the given clock.

Twisted's `startTLS` takes the global reactor and delays small writes; a protocol that writes once a turn needs neither.
"""

from __future__ import annotations

from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocol, IProtocolFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

ACCEPTABLE = ("TLSv1.2", "TLSv1.3")
"""RFC 8314 section 4, RFC 8997 section 3."""


class ImmediateTLSFactory(TLSMemoryBIOFactory):
    """Wraps each protocol of a factory in TLS from the first octet (RFC 8314 section 3)."""

    protocol = TLSMemoryBIOProtocol


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
    layer = TLSMemoryBIOProtocol(factory, protocol, False)  # type: ignore[no-untyped-call]
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
