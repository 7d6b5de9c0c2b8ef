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
_WIDE_ATOM = r"[^.@\x00-\x20\x7f\"(),:;<>\[\\\]]+"
_WIDE_ADDRESS = re.compile(rf"{_WIDE_ATOM}(\.{_WIDE_ATOM})*@{_LABEL}(\.{_LABEL})*")
"""The same with a local part beyond ASCII."""

SMTP_UTF8_MAILBOX = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")
"""The otherName for mail addresses beyond ASCII (RFC 9598 section 3)."""
PRINCIPAL_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
"""The otherName that Active Directory gives people; it has the form of an address and need not be one."""

_UTF8_STRING = 0x0C


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
    """Those of the subjectAltName that are plain: rfc822Names (RFC 5280 section 4.2.1.6), and of otherNames those that
    are addresses (RFC 9598)."""
    principals: tuple[str, ...]
    """The user principal names among the otherNames of the subjectAltName."""
    subject: x509.Name
    for_clients: bool
    """It has no extended key usage, or that of TLS clients is among them (RFC 5280 section 4.2.1.12)."""


def contents(certificate: bytes) -> Contents:
    """What stands in a DER certificate. Raises `UnreadableCertificate`."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        extensions = parsed.extensions
        names = _alternative_names(extensions)
        addresses = tuple(filter(_ADDRESS.fullmatch, names.get_values_for_type(x509.RFC822Name))) if names else ()
        return Contents(
            addresses + _other_names(names, SMTP_UTF8_MAILBOX),
            _other_names(names, PRINCIPAL_NAME),
            parsed.subject,
            _for_clients(extensions),
        )
    except Exception as error:
        # The parser has many classes of errors, and none of them says more.
        raise UnreadableCertificate(type(error).__name__) from error


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a DER certificate, in lower case hexadecimal."""
    return sha256(certificate).hexdigest()


def _alternative_names(extensions: x509.Extensions) -> x509.SubjectAlternativeName | None:
    try:
        return extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _other_names(names: x509.SubjectAlternativeName | None, kind: x509.ObjectIdentifier) -> tuple[str, ...]:
    """Those of this kind that have the form of an address."""
    others = names.get_values_for_type(x509.OtherName) if names is not None else []
    texts = [_utf8_string(other.value) for other in others if other.type_id == kind]
    return tuple(filter(_WIDE_ADDRESS.fullmatch, texts))


def _utf8_string(der: bytes) -> str:
    """The text of a DER UTF8String of less than 256 octets; "" for anything else."""
    head = 3 if der[1:2] == b"\x81" else 2
    octets = der[head:]
    whole = len(octets) == (der[head - 1] if len(der) >= head else -1)
    if der[:1] != bytes([_UTF8_STRING]) or not whole or (head == 2 and len(octets) > 127):
        return ""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _for_clients(extensions: x509.Extensions) -> bool:
    try:
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in purposes
