"""The certificate look-up, with real handshakes in memory."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from zope.interface.verify import verifyObject

from popserv import steady
from popserv.service.certificate import CertificateTrouble
from popserv.service.tls import LOOK_SECONDS, ROTATE_SECONDS, CertificateLookup

from .tls_client import StdlibClient, client_context, connect, pass_on, refused, shake_hands

CA = trustme.CA()


def issue(directory: Path, name: str, *hosts: str) -> tuple[Path, Path]:
    """A certificate for `hosts`, written as NAME.pem and NAME.key."""
    issued = CA.issue_cert(*hosts)
    files = directory / f"{name}.pem", directory / f"{name}.key"
    files[0].write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    files[1].write_bytes(issued.private_key_pem.bytes())
    return files


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    directory = tmp_path_factory.mktemp("certificates")
    return [
        issue(directory, "first", "first.test"),
        issue(directory, "second", "second.test", "also-second.test"),
        issue(directory, "wild", "*.wild.test"),
    ]


@pytest.fixture
def lookup(three: list[tuple[Path, Path]]) -> CertificateLookup:
    return CertificateLookup(three, Clock())


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def hosts_presented(lookup: CertificateLookup, name: bytes = b"") -> list[str]:
    """The DNS names of the certificate that a client asking for `name` sees."""
    client = connect(client_context(), name)
    shake_hands(client, lookup.serverConnectionForTLS(None))
    return hosts_of(client)


def hosts_of(client: SSL.Connection) -> list[str]:
    certificate = client.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)


def versions(lookup: CertificateLookup, most: int) -> str:
    client = connect(client_context(most))
    shake_hands(client, lookup.serverConnectionForTLS(None))
    return client.get_protocol_version_name()


def test_it_is_what_twisted_wants(lookup: CertificateLookup) -> None:
    assert verifyObject(IOpenSSLServerConnectionCreator, lookup)


def test_TLS_023_versions_1_2_and_1_3(lookup: CertificateLookup) -> None:
    assert versions(lookup, SSL.TLS1_2_VERSION) == "TLSv1.2"
    assert versions(lookup, SSL.TLS1_3_VERSION) == "TLSv1.3"


@pytest.mark.parametrize("most", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_TLS_023_older_versions_are_refused(lookup: CertificateLookup, most: int) -> None:
    client = connect(client_context(most))
    assert refused(lambda: shake_hands(client, lookup.serverConnectionForTLS(None))) == ["unsupported protocol"]


def test_TLS_016_no_3des(lookup: CertificateLookup) -> None:
    ciphers = lookup.serverConnectionForTLS(None).get_cipher_list()
    assert ciphers
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in ciphers)
    assert not [name for name in ciphers if "DES" in name or "CBC" in name or "SHA1" in name or name.endswith("-SHA")]


@pytest.mark.parametrize("cipher", [b"AES256-GCM-SHA384", b"ECDHE-ECDSA-AES256-SHA384", b"DHE-RSA-AES256-GCM-SHA384"])
def test_TLS_024_no_cipher_without_forward_secrecy_or_aead(lookup: CertificateLookup, cipher: bytes) -> None:
    client = connect(client_context(SSL.TLS1_2_VERSION, cipher + b":@SECLEVEL=0"))
    assert refused(lambda: shake_hands(client, lookup.serverConnectionForTLS(None))) == ["no shared cipher"]


@pytest.mark.parametrize("most", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_TLS_024_cipher_in_use(lookup: CertificateLookup, most: int) -> None:
    client = connect(client_context(most))
    shake_hands(client, lookup.serverConnectionForTLS(None))
    cipher = client.get_cipher_name() or ""
    assert "GCM" in cipher or "CHACHA20" in cipher
    assert cipher.startswith("ECDHE-" if most == SSL.TLS1_2_VERSION else "TLS_")


@pytest.mark.parametrize("name", [b"", b"second.test", b"nobody.test"])
def test_TLS_029_no_client_certificate_is_asked_for(lookup: CertificateLookup, name: bytes) -> None:
    client = connect(client_context(), name)
    server = lookup.serverConnectionForTLS(None)
    shake_hands(client, server)
    assert client.get_client_ca_list() == []
    assert server.get_context().get_verify_mode() == SSL.VERIFY_NONE


@pytest.mark.parametrize(
    ("asked", "presented"),
    [
        (b"", ["first.test"]),
        (b"first.test", ["first.test"]),
        (b"second.test", ["second.test", "also-second.test"]),
        (b"ALSO-second.TEST", ["second.test", "also-second.test"]),
        (b"mail.wild.test", ["*.wild.test"]),
        (b"a.mail.wild.test", ["first.test"]),
        (b"wild.test", ["first.test"]),
    ],
)
def test_TLS_031_certificate_by_server_name(lookup: CertificateLookup, asked: bytes, presented: list[str]) -> None:
    assert hosts_presented(lookup, asked) == presented


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"\xff\xfe\x80", b"%s%n", b"x" * 255, b".", b"*.wild.test."])
def test_SEC_016_server_names_are_untrusted(lookup: CertificateLookup, name: bytes) -> None:
    # OpenSSL refuses some of these on its own; what matters is that a handshake is all that can fail.
    client = connect(client_context(), name)
    try:
        shake_hands(client, lookup.serverConnectionForTLS(None))
    except SSL.Error:
        pass
    assert hosts_presented(lookup, b"first.test") == ["first.test"]


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_SEC_016_sessions_are_resumed_until_the_keys_of_tickets_rotate(tmp_path: Path, most: ssl.TLSVersion) -> None:
    clock = Clock()
    lookup = CertificateLookup([issue(tmp_path, "first", "first.test")], clock)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(context)
    context.maximum_version = most

    def visit(session: ssl.SSLSession | None) -> StdlibClient:
        client, server = StdlibClient(context, "first.test", session), lookup.serverConnectionForTLS(None)
        client.shake_hands(server)
        assert client.tls.version() == most.name.replace("_", ".")
        return client

    session = visit(None).tls.session
    assert visit(session).tls.session_reused is True
    clock.advance(ROTATE_SECONDS - 1)
    assert visit(session).tls.session_reused is True
    clock.advance(1)
    renewed = visit(session)
    assert renewed.tls.session_reused is False
    assert visit(renewed.tls.session).tls.session_reused is True


def renew(clock: Clock) -> None:
    clock.advance(LOOK_SECONDS)


def test_TLS_033_renewed_files_are_picked_up(tmp_path: Path) -> None:
    clock = Clock()
    lookup = CertificateLookup([issue(tmp_path, "site", "old.test")], clock)
    running, server = connect(client_context()), lookup.serverConnectionForTLS(None)
    shake_hands(running, server)
    issue(tmp_path, "site", "new.test")
    assert hosts_presented(lookup) == ["old.test"]  # looked at less than a second ago
    renew(clock)
    assert hosts_presented(lookup, b"new.test") == ["new.test"]
    assert hosts_of(running) == ["old.test"]
    running.send(b"still here")
    pass_on(running, server)
    assert server.recv(64) == b"still here"


def test_TLS_033_whoever_sets_the_clock_does_not_decide_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reactor:
        def seconds(self) -> float:
            raise AssertionError("nobody asks for the wall clock's time")

    now = [1000.0]
    monkeypatch.setattr(steady, "monotonic", lambda: now[0])
    lookup = CertificateLookup([issue(tmp_path, "site", "old.test")], Reactor())  # type: ignore[arg-type]
    issue(tmp_path, "site", "new.test")
    now[0] += LOOK_SECONDS
    assert hosts_presented(lookup, b"new.test") == ["new.test"]


def test_TLS_033_a_renewed_second_certificate_is_found_by_its_new_name(tmp_path: Path) -> None:
    clock = Clock()
    lookup = CertificateLookup([issue(tmp_path, "one", "one.test"), issue(tmp_path, "two", "two.test")], clock)
    issue(tmp_path, "two", "three.test")
    renew(clock)
    assert hosts_presented(lookup, b"three.test") == ["three.test"]
    assert hosts_presented(lookup, b"two.test") == ["one.test"]


def test_TLS_033_a_certificate_without_its_key_keeps_the_old_pair(tmp_path: Path, logged: list[LogEvent]) -> None:
    clock = Clock()
    files = issue(tmp_path, "site", "old.test")
    lookup = CertificateLookup([files], clock)
    certificate, key = issue(tmp_path, "next", "new.test")
    shutil.copy(certificate, files[0])
    for _ in range(3):
        renew(clock)
        assert hosts_presented(lookup) == ["old.test"]
    complaints = [event for event in logged if "not renewed" in event["log_format"]]
    assert len(complaints) == 1
    assert complaints[0]["trouble"] == f"{files[1]}: is not the key of {files[0]}"
    shutil.copy(key, files[1])
    renew(clock)
    assert hosts_presented(lookup) == ["new.test"]


@pytest.mark.parametrize("broken", ["half", "nothing", "gone"])
def test_TLS_033_a_half_written_file_keeps_the_old_one(tmp_path: Path, broken: str) -> None:
    clock = Clock()
    files = issue(tmp_path, "site", "old.test")
    lookup = CertificateLookup([files], clock)
    whole = files[0].read_bytes()
    if broken == "gone":
        files[0].unlink()
    else:
        files[0].write_bytes(whole[: len(whole) // 2] if broken == "half" else b"")
    renew(clock)
    assert hosts_presented(lookup) == ["old.test"]
    issue(tmp_path, "site", "new.test")
    renew(clock)
    assert hosts_presented(lookup) == ["new.test"]


def test_TLS_034_renegotiation_is_refused(lookup: CertificateLookup) -> None:
    client, server = connect(client_context(SSL.TLS1_2_VERSION)), lookup.serverConnectionForTLS(None)
    shake_hands(client, server)
    assert client.renegotiate()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    pass_on(client, server)
    with pytest.raises(SSL.WantReadError):
        server.recv(64)
    pass_on(server, client)
    with pytest.raises(SSL.Error) as alert:
        client.do_handshake()
    assert "no renegotiation" in str(alert.value)
    assert server.total_renegotiations() == 0


def test_TLS_035_pop3_is_answered_when_offered(lookup: CertificateLookup) -> None:
    context = client_context()
    context.set_alpn_protos([b"http/1.1", b"pop3"])
    client = connect(context, b"second.test")
    shake_hands(client, lookup.serverConnectionForTLS(None))
    assert client.get_alpn_proto_negotiated() == b"pop3"


def test_TLS_035_no_protocol_need_be_offered(lookup: CertificateLookup) -> None:
    client = connect(client_context())
    shake_hands(client, lookup.serverConnectionForTLS(None))
    assert client.get_alpn_proto_negotiated() == b""


@pytest.mark.parametrize("name", [b"", b"second.test"])
def test_TLS_035_a_foreign_protocol_ends_with_a_fatal_alert(lookup: CertificateLookup, name: bytes) -> None:
    context = client_context()
    context.set_alpn_protos([b"http/1.1", b"h2"])
    client = connect(context, name)
    assert refused(lambda: shake_hands(client, lookup.serverConnectionForTLS(None))) == [
        "the client does not want POP3"
    ]
    with pytest.raises(SSL.Error) as alert:
        client.do_handshake()
    assert "no application protocol" in str(alert.value)


def test_files_that_cannot_be_used_at_the_start(tmp_path: Path) -> None:
    certificate, key = issue(tmp_path, "one", "one.test")
    other = issue(tmp_path, "two", "two.test")[1]
    for pair in ((tmp_path / "none.pem", key), (key, key), (certificate, certificate), (certificate, other)):
        with pytest.raises(CertificateTrouble):
            CertificateLookup([pair], Clock())
