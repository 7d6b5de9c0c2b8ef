"""TLS client certificates: as credentials, and what stands in one that may tell whose it is."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Literal, Self

import attrs
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from zope.interface import implementer

from popserv.auth.names import prepare
from popserv.auth.trail import Trail
from popserv.interfaces import IClientCertificate

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(\.{_ATOM})*@{_LABEL}(\.{_LABEL})*")
"""Without quotes and address literals, so that there is one @ and one way to read it (RFC 5321 section 4.1.2)."""


class UnreadableCertificate(ValueError):
    """It, or the part of it that names somebody, cannot be parsed."""


@implementer(IClientCertificate)
@attrs.frozen
class ClientCertificate:
    """A certificate that has been verified, and the identity to act as; see `popserv.interfaces.IClientCertificate`."""

    certificate: bytes = attrs.field(repr=False)
    authorization: bytes = b""
    username: bytes = b""
    address: str = ""
    """Where the client connects from, numeric; "" = not known."""
    trail: Trail | None = attrs.field(default=None, eq=False)

    def prepared(self, case: Literal["fold", "keep"]) -> Self:
        """The same with the identity prepared. Raises `popserv.auth.names.InvalidName`."""
        identity = prepare(self.authorization, case).encode("utf-8") if self.authorization else b""
        return attrs.evolve(self, authorization=identity)


@attrs.frozen
class Contents:
    """What a certificate says of its holder. Never its common name, which is no identifier of anything."""

    addresses: tuple[str, ...]
    """rfc822Names of the subjectAltName that are plain mail addresses (RFC 5280 section 4.2.1.6)."""
    subject: x509.Name
    for_clients: bool
    """It has no extended key usage, or that of TLS clients is among them (RFC 5280 section 4.2.1.12)."""


def contents(certificate: bytes) -> Contents:
    """What stands in a DER certificate. Raises `UnreadableCertificate`."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        extensions = parsed.extensions
        return Contents(_addresses(extensions), parsed.subject, _for_clients(extensions))
    except Exception as error:
        # The parser has many classes of errors, and none of them says more.
        raise UnreadableCertificate(type(error).__name__) from error


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a DER certificate, in lower case hexadecimal."""
    return sha256(certificate).hexdigest()


def _addresses(extensions: x509.Extensions) -> tuple[str, ...]:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(filter(_ADDRESS.fullmatch, names.get_values_for_type(x509.RFC822Name)))


def _for_clients(extensions: x509.Extensions) -> bool:
    try:
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in purposes
