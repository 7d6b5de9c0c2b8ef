"""Client certificates of every kind: good ones by trustme, odd ones made by hand with the same authority's key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

CA = trustme.CA()
"""The one whose clients are let in."""
FOREIGN = trustme.CA()

KEY = ec.generate_private_key(ec.SECP256R1())
"""Of all odd certificates: making keys takes its time."""


@attrs.frozen
class Issued:
    """A certificate and its key."""

    certificate: bytes
    """PEM."""
    key: bytes = attrs.field(repr=False)

    @property
    def parsed(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate)

    @property
    def der(self) -> bytes:
        return self.parsed.public_bytes(serialization.Encoding.DER)

    @property
    def fingerprint(self) -> str:
        """As ``openssl x509 -fingerprint -sha256`` writes it."""
        return self.parsed.fingerprint(hashes.SHA256()).hex(":").upper()

    def write(self, directory: Path, name: str) -> Path:
        """Both in one file."""
        path = directory / f"{name}.pem"
        path.write_bytes(self.certificate + self.key)
        path.chmod(0o600)
        return path

    def context(self, most: int = SSL.TLS1_3_VERSION) -> SSL.Context:
        """A client that presents it, and trusts anybody."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(most)
        # Whatever the server says it wants: the certificate is sent anyway.
        context.use_certificate(self.parsed)
        context.use_privatekey(serialization.load_pem_private_key(self.key, None))  # type: ignore[arg-type]
        return context


def subject(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


FRED = subject((NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, "fred"))


def issue(
    *addresses: str,
    ca: trustme.CA = CA,
    name: x509.Name = FRED,
    purposes: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.CLIENT_AUTH,),
    names: Sequence[x509.GeneralName] = (),
    days: int = 30,
) -> Issued:
    """A certificate by `ca`, for `days` from yesterday; without addresses and names it has no subjectAltName."""
    authority = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    begin = datetime.now(UTC) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder(authority.subject, name, KEY.public_key(), x509.random_serial_number())
        .not_valid_before(begin - timedelta(days=30))
        .not_valid_after(begin + timedelta(days=days))
    )
    alternatives = [*map(x509.RFC822Name, addresses), *names]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), False)
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), False)
    signer = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    certificate = builder.sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    return Issued(
        certificate.public_bytes(serialization.Encoding.PEM),
        KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def self_signed() -> Issued:
    """A certificate that nobody vouches for."""
    return issue("fred@example.org", ca=trustme.CA())


def revoked(*certificates: Issued, ca: trustme.CA = CA) -> bytes:
    """A revocation list of `ca`, PEM, with these certificates on it."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(
        x509.load_pem_x509_certificate(ca.cert_pem.bytes()).subject, now - timedelta(days=1), now + timedelta(days=1)
    )
    for each in certificates:
        entry = x509.RevokedCertificateBuilder(each.parsed.serial_number, now - timedelta(hours=1)).build()
        builder = builder.add_revoked_certificate(entry)
    signer = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]
