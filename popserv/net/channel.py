"""A connection as SASL mechanisms see it: what TLS there is, and what it can vouch for."""

from __future__ import annotations

from hashlib import new
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL.crypto import FILETYPE_ASN1, dump_certificate
from zope.interface import implementer

from popserv.interfaces import IChannel

EXPORTER = b"EXPORTER-Channel-Binding"
"""The exporter label of RFC 9266 section 2."""

_WEAK = ("md5", "sha1")


@implementer(IChannel)
class Channel:
    """See `popserv.interfaces.IChannel`. What needs OpenSSL is asked for when it is needed."""

    __slots__ = ("_exported", "_transport", "tls")

    def __init__(self, transport: Any = None, tls: str = "") -> None:
        """`transport` is a TLS transport whose handshake is done, and `tls` its version; without them, the clear."""
        self._transport = transport
        self._exported = False
        self.tls = tls

    @property
    def certificate(self) -> bytes | None:
        if not self.tls:
            return None
        # Not parsed here: what OpenSSL has verified may still be more than a parser of certificates takes.
        chain = self._transport.getHandle().get_verified_chain()
        return dump_certificate(FILETYPE_ASN1, chain[0]) if chain else None

    @property
    def names(self) -> tuple[str, ...]:
        ours = self._transport.getHandle().get_certificate(as_cryptography=True) if self.tls else None
        if ours is None:
            return ()
        try:
            found = ours.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        return tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))

    @property
    def binds(self) -> bool:
        # RFC 9266 section 4.2: with TLS 1.2 it would depend on how the session came about.
        return self.tls == "TLSv1.3"

    def binding(self, kind: str) -> bytes | None:
        if not self.binds:
            return None
        if kind == "tls-exporter":
            return self._export()
        return self._end_point() if kind == "tls-server-end-point" else None

    def _export(self) -> bytes | None:
        # RFC 9266 section 4.1: never for two authentications.
        if self._exported:
            return None
        self._exported = True
        exported: bytes = self._transport.getHandle().export_keying_material(EXPORTER, 32, b"")
        return exported

    def _end_point(self) -> bytes | None:
        # RFC 5929 section 4.1
        certificate = self._transport.getHandle().get_certificate(as_cryptography=True)
        algorithm = certificate.signature_hash_algorithm if certificate is not None else None
        if algorithm is None:
            return None
        name = "sha256" if algorithm.name in _WEAK else algorithm.name
        return new(name, certificate.public_bytes(Encoding.DER), usedforsecurity=True).digest()


CLEAR = Channel()
"""A connection without TLS."""
