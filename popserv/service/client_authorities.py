"""Which client certificates count: those of the authorities in ``[tls] client_ca``, and of nobody else."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags

from popserv.service.certificate import CertificateTrouble, octets

_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


@attrs.frozen
class ClientAuthorities:
    """Authorities and, where they are given, the lists of what they have revoked."""

    certificates: tuple[x509.Certificate, ...]
    revocations: tuple[x509.CertificateRevocationList, ...] = ()

    def ask(self, context: SSL.Context) -> None:
        """Make `context` ask for a certificate, and name these authorities, so that clients choose the right one.

        A client without one is welcome. One whose certificate does not verify gets a fatal alert that says why
        (RFC 8446 section 4.4.2.4 leaves it to the server): to go on as if there were none would let a program whose
        certificate has expired find EXTERNAL gone, for no reason it can see, and perhaps send a password instead; and
        there is never a certificate about that has been seen and not verified. Client certificates are not asked for
        behind the handshake.
        """
        store = context.get_cert_store()
        assert store is not None  # noqa: S101 - a context of ours has one, empty: nothing of the system's is in it
        # What stands in the file is trusted, an intermediate authority without its root as well.
        flags = X509StoreFlags.PARTIAL_CHAIN
        for certificate in self.certificates:
            store.add_cert(X509.from_cryptography(certificate))
            context.add_client_ca(certificate)
        for revocation in self.revocations:
            store.add_crl(revocation)
            flags |= X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL
        store.set_flags(flags)
        context.set_verify(SSL.VERIFY_PEER)


def read_authorities(certificates: Path, revocations: Path | None = None) -> ClientAuthorities:
    """What is in these PEM files. Raises `CertificateTrouble`."""
    try:
        authorities = tuple(x509.load_pem_x509_certificates(octets(certificates)))
    except ValueError:
        raise CertificateTrouble(f"{certificates}: holds no certificate in PEM form") from None
    return ClientAuthorities(authorities, read_revocations(revocations) if revocations is not None else ())


def read_revocations(path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    """The lists in a PEM file. Raises `CertificateTrouble`."""
    try:
        found = tuple(x509.load_pem_x509_crl(pem) for pem in _CRL.findall(octets(path)))
    except ValueError:
        raise CertificateTrouble(f"{path}: a revocation list in it cannot be read") from None
    if not found:
        raise CertificateTrouble(f"{path}: holds no revocation list in PEM form")
    return found
