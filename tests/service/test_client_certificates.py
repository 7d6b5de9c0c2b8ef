"""What TLS makes of client certificates, with real handshakes in memory."""

from __future__ import annotations

import ssl
from pathlib import Path

import attrs
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from twisted.internet.task import Clock

from popserv.net.channel import Channel
from popserv.service.certificate import CertificateTrouble
from popserv.service.tls import LOOK_SECONDS, CertificateLookup, ClientFiles
from tests.client_certificates import CA, FOREIGN, Issued, issue, revoked, self_signed

from .tls_client import StdlibClient, client_context, connect, pass_on, refused, shake_hands

VERSIONS = pytest.mark.parametrize("most", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
GOOD = issue("fred@example.org")


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[Path, Path]]:
    pairs = []
    for name in ("first.test", "second.test"):
        issued = CA.issue_cert(name)
        pair = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        pair[0].write_bytes(issued.cert_chain_pems[0].bytes())
        pair[1].write_bytes(issued.private_key_pem.bytes())
        pairs.append(pair)
    (tmp_path / "clients.pem").write_bytes(CA.cert_pem.bytes())
    return pairs


@pytest.fixture
def lookup(files: list[tuple[Path, Path]], tmp_path: Path) -> CertificateLookup:
    return CertificateLookup(files, Clock(), ClientFiles(tmp_path / "clients.pem"))


def verified(lookup: CertificateLookup, issued: Issued | None, most: int, name: bytes = b"") -> bytes | None:
    """The certificate that the server has verified, DER. Raises `SSL.Error` if it has refused it."""
    client = connect(issued.context(most) if issued else client_context(most), name)
    server = lookup.serverConnectionForTLS(None)
    shake_hands(client, server)
    assert client.get_client_ca_list(), "a certificate is asked for"
    return Channel(Transport(server), server.get_protocol_version_name()).certificate


@attrs.frozen
class Transport:
    """As much of a TLS transport as `Channel` needs."""

    _connection: SSL.Connection

    def getHandle(self) -> SSL.Connection:
        return self._connection


@VERSIONS
@pytest.mark.parametrize("name", [b"", b"second.test"])
def test_TLS_030_a_certificate_of_the_authority_is_verified(lookup: CertificateLookup, most: int, name: bytes) -> None:
    assert verified(lookup, GOOD, most, name) == GOOD.der


@VERSIONS
@pytest.mark.parametrize("name", [b"", b"second.test"])
def test_EXT_003_a_client_without_a_certificate_is_welcome(lookup: CertificateLookup, most: int, name: bytes) -> None:
    assert verified(lookup, None, most, name) is None


def test_EXT_003_the_authority_is_named_so_that_clients_choose_the_right_certificate(
    lookup: CertificateLookup,
) -> None:
    client = connect(client_context(), b"second.test")
    shake_hands(client, lookup.serverConnectionForTLS(None))
    (named,) = client.get_client_ca_list()
    assert named.O.startswith("trustme ")


BAD = {
    "another authority's": issue("fred@example.org", ca=FOREIGN),
    "its own": self_signed(),
    "expired": issue("fred@example.org", days=0),
    "for servers only": issue("fred@example.org", purposes=[ExtendedKeyUsageOID.SERVER_AUTH]),
}
ALERTS = {
    "another authority's": "unknown ca",
    "its own": "unknown ca",
    "expired": "certificate expired",
    "for servers only": "unsupported certificate",
}


@VERSIONS
@pytest.mark.parametrize("name", [b"", b"second.test"])
@pytest.mark.parametrize("bad", BAD)
def test_EXT_003_a_certificate_that_does_not_verify_ends_the_handshake_and_the_client_is_told_why(
    lookup: CertificateLookup, bad: str, most: int, name: bytes
) -> None:
    client, server = connect(BAD[bad].context(most), name), lookup.serverConnectionForTLS(None)
    assert refused(lambda: shake_hands(client, server)) == ["certificate verify failed"]
    with pytest.raises(SSL.Error) as alert:
        client.do_handshake()
        client.recv(1)
    assert ALERTS[bad] in str(alert.value)


def test_EXT_003_authorities_of_this_host_do_not_count(files: list[tuple[Path, Path]], tmp_path: Path) -> None:
    # Even where the environment names others.
    with pytest.MonkeyPatch.context() as patch:
        (tmp_path / "system.pem").write_bytes(FOREIGN.cert_pem.bytes())
        patch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
        lookup = CertificateLookup(files, Clock(), ClientFiles(tmp_path / "clients.pem"))
        client = connect(BAD["another authority's"].context())
        assert refused(lambda: shake_hands(client, lookup.serverConnectionForTLS(None))) == [
            "certificate verify failed"
        ]


def test_an_intermediate_authority_in_the_file_is_trusted_without_its_root(
    files: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    below = CA.create_child_ca()
    (tmp_path / "clients.pem").write_bytes(below.cert_pem.bytes())
    lookup = CertificateLookup(files, Clock(), ClientFiles(tmp_path / "clients.pem"))
    issued = issue("ann@example.org", ca=below)
    assert verified(lookup, issued, SSL.TLS1_3_VERSION) == issued.der
    client = connect(GOOD.context())
    assert refused(lambda: shake_hands(client, lookup.serverConnectionForTLS(None))) == ["certificate verify failed"]


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_SEC_016_no_session_is_resumed_where_certificates_are_asked_for(
    lookup: CertificateLookup, tmp_path: Path, most: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(context)
    context.maximum_version = most
    context.load_cert_chain(GOOD.write(tmp_path, "fred"))
    first = StdlibClient(context, "first.test")
    first.shake_hands(lookup.serverConnectionForTLS(None))
    second = StdlibClient(context, "first.test", first.tls.session)
    server = lookup.serverConnectionForTLS(None)
    second.shake_hands(server)
    assert second.tls.session_reused is False
    assert server.get_verified_chain()


def test_TLS_033_another_authority_is_picked_up(files: list[tuple[Path, Path]], tmp_path: Path) -> None:
    clock = Clock()
    lookup = CertificateLookup(files, clock, ClientFiles(tmp_path / "clients.pem"))
    (tmp_path / "clients.pem").write_bytes(FOREIGN.cert_pem.bytes())
    clock.advance(LOOK_SECONDS)
    other = BAD["another authority's"]
    for name in (b"", b"second.test"):
        assert verified(lookup, other, SSL.TLS1_3_VERSION, name) == other.der
    (tmp_path / "clients.pem").write_bytes(b"half")
    clock.advance(LOOK_SECONDS)
    assert verified(lookup, other, SSL.TLS1_3_VERSION) == other.der


@VERSIONS
def test_a_revoked_certificate_is_refused_and_lists_are_read_again(
    files: list[tuple[Path, Path]], tmp_path: Path, most: int
) -> None:
    clock = Clock()
    crl = tmp_path / "crl.pem"
    crl.write_bytes(revoked())
    lookup = CertificateLookup(files, clock, ClientFiles(tmp_path / "clients.pem", crl))
    assert verified(lookup, GOOD, most) == GOOD.der
    crl.write_bytes(revoked(GOOD))
    clock.advance(LOOK_SECONDS)
    client = connect(GOOD.context(most))
    assert refused(lambda: shake_hands(client, lookup.serverConnectionForTLS(None))) == ["certificate verify failed"]
    another = issue("ann@example.org")
    assert verified(lookup, another, most) == another.der


def test_without_the_list_of_its_authority_no_certificate_passes(
    files: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_bytes(revoked(ca=FOREIGN))
    lookup = CertificateLookup(files, Clock(), ClientFiles(tmp_path / "clients.pem", crl))
    client = connect(GOOD.context())
    assert refused(lambda: shake_hands(client, lookup.serverConnectionForTLS(None))) == ["certificate verify failed"]


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None])
def test_authorities_that_cannot_be_read_at_the_start(
    files: list[tuple[Path, Path]], tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "none.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CertificateTrouble, match=r"none\.pem"):
        CertificateLookup(files, Clock(), ClientFiles(path))
    with pytest.raises(CertificateTrouble, match=r"none\.pem"):
        CertificateLookup(files, Clock(), ClientFiles(tmp_path / "clients.pem", path))


def test_what_the_client_sends_behind_a_refused_certificate_is_not_read(lookup: CertificateLookup) -> None:
    # With TLS 1.3 the client is done before its certificate is looked at.
    client, server = connect(BAD["expired"].context()), lookup.serverConnectionForTLS(None)
    with pytest.raises(SSL.Error):
        shake_hands(client, server)
    try:
        client.send(b"CAPA\r\n")
        pass_on(client, server)
    except SSL.Error:
        pass
    with pytest.raises(SSL.Error):
        server.recv(64)
