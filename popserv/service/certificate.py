"""Certificates: read them, see which names they cover, and make one for the quick start."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 825
"""How long a certificate of our own making is valid; some clients refuse longer ones."""


class CertificateTrouble(Exception):
    """A certificate or its key cannot be used; the message says which file, and why."""


@attrs.frozen
class KeyPair:
    """A certificate, the intermediate ones, and the private key."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: Any = attrs.field(repr=False)

    @property
    def names(self) -> list[str]:
        """The DNS names of the subjectAltName, in lower case; with ``*.`` in front where it is a wildcard."""
        try:
            extension = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return []
        return [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]

    def covers(self, name: str) -> bool:
        """Whether a client that wants `name` accepts the certificate (RFC 6125 section 6.4)."""
        name = name.lower().rstrip(".")
        return name in self.names or wildcard(name) in self.names


def wildcard(name: str) -> str:
    """The wildcard that covers `name`: its first label replaced."""
    return f"*.{name.partition('.')[2]}"


def read(certificate: Path, key: Path) -> KeyPair:
    """The pair in two PEM files. Raises `CertificateTrouble`, also when they do not belong together."""
    try:
        first, *chain = x509.load_pem_x509_certificates(octets(certificate))
    except ValueError:
        raise CertificateTrouble(f"{certificate}: holds no certificate in PEM form") from None
    try:
        private = serialization.load_pem_private_key(octets(key), None)
    except TypeError:
        raise CertificateTrouble(f"{key}: has a passphrase; it must have none") from None
    except ValueError:
        raise CertificateTrouble(f"{key}: holds no private key in PEM form") from None
    if private.public_key() != first.public_key():
        raise CertificateTrouble(f"{key}: is not the key of {certificate}")
    return KeyPair(first, tuple(chain), private)


def octets(path: Path) -> bytes:
    """What is in a file. Raises `CertificateTrouble`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateTrouble(f"{path}: {error.strerror}") from None


def self_signed(names: Sequence[str]) -> tuple[bytes, bytes]:
    """A certificate for `names` (host names and addresses), and its P-256 key: both PEM.

    It is no authority: whoever trusts the file trusts this server and nothing else.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (identifier, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
    ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    return certificate, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
