"""Client certificates and anonymous sessions against a real popserv, by programs that others wrote."""

from __future__ import annotations

import poplib
import socket
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.cli.running import POPSERV, Server, popserv, server
from tests.client_certificates import CA, FOREIGN, Issued, issue, revoked, self_signed
from tests.peers.programs import program

MESSAGE = b"Subject: hello\r\n\r\nby certificate\r\n"
PASSWORD = "a quiet word"
SECONDS = 20
HOST = "127.0.0.1"
"""Never by name: ::1 with the same port may be the server of another test."""

CONFIGURATION = """
[server]
hostname = "localhost"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
tls = "implicit"
[tls]
certificate = "cert.pem"
key = "key.pem"
client_ca = "clients.pem"
client_crl = "crl.pem"
[auth]
checkers = ["sqlite:accounts.db", "certificate:", "public:notices"]
mechanisms = ["default", "anonymous"]
failure_delay = 0
[auth.certificate]
domains = ["example.org"]
[maildrop]
location = "maildir:mail/{user}"
"""

TRUSTME = CA.issue_cert("fred@example.org")
FRED = Issued(
    TRUSTME.cert_chain_pems[0].bytes(),
    TRUSTME.private_key_pem.bytes(),
)
BOTH = issue("fred@example.org", "sales@example.org")
NO_NAMES = issue()
NOBODY = issue("nobody@example.org")
REVOKED = issue("fred@example.org")
BAD = {
    "foreign": issue("fred@example.org", ca=FOREIGN),
    "self-signed": self_signed(),
    "expired": issue("fred@example.org", days=0),
    "servers": issue("fred@example.org", purposes=[ExtendedKeyUsageOID.SERVER_AUTH]),
    "revoked": REVOKED,
}


@attrs.frozen
class Place:
    """A running popserv."""

    directory: Path
    process: Server

    @property
    def pop3(self) -> int:
        return self.process.port("pop3")

    @property
    def pop3s(self) -> int:
        return self.process.port("pop3s")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("certificates")
    own = CA.issue_cert("localhost", "127.0.0.1")
    (directory / "cert.pem").write_bytes(own.cert_chain_pems[0].bytes())
    own.private_key_pem.write_to_path(str(directory / "key.pem"))
    (directory / "clients.pem").write_bytes(CA.cert_pem.bytes())
    (directory / "crl.pem").write_bytes(revoked(REVOKED))
    configuration = directory / "popserv.toml"
    configuration.write_text(CONFIGURATION)
    for name in ("fred", "sales", "notices"):
        added = popserv(
            "user", "add", "--config", configuration, name, "--password-stdin", given=PASSWORD.encode() + b"\n"
        )
        assert added.returncode == 0, added.stderr
        new = directory / "mail" / name / "new"
        new.mkdir(parents=True)
        (new / "1.message").write_bytes(MESSAGE)
    logs = directory / "logs"
    logs.mkdir()
    with server([*POPSERV, "run", "--config", configuration], logs) as started:
        yield Place(directory, started)


def context(issued: Issued | None, tmp_path: Path, most: ssl.TLSVersion) -> ssl.SSLContext:
    found = ssl.create_default_context()
    CA.configure_trust(found)
    found.maximum_version = most
    if issued is not None:
        found.load_cert_chain(issued.write(tmp_path, "client"))
    return found


def connect(place: Place, security: str, tls: ssl.SSLContext) -> poplib.POP3:
    if security == "tls":
        return poplib.POP3_SSL(HOST, place.pop3s, timeout=SECONDS, context=tls)
    client = poplib.POP3(HOST, place.pop3, timeout=SECONDS)
    client.stls(tls)
    return client


def external(client: poplib.POP3, identity: bytes = b"") -> bytes:
    argument = b64encode(identity).decode() or "="
    return client._shortcmd(f"AUTH EXTERNAL {argument}")  # type: ignore[attr-defined, no-any-return]


EVERY_WAY = [
    pytest.param(security, most, id=f"{security}-{most.name}")
    for security in ("stls", "tls")
    for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
]


@pytest.mark.parametrize(("security", "most"), EVERY_WAY)
class TestPoplib:
    def test_EXT_001_a_good_certificate_reads_mail(
        self, place: Place, tmp_path: Path, security: str, most: ssl.TLSVersion
    ) -> None:
        client = connect(place, security, context(FRED, tmp_path, most))
        assert "EXTERNAL" in client.capa()["SASL"]
        assert external(client).startswith(b"+OK 1 messages")
        assert client.retr(1)[1] == MESSAGE.split(b"\r\n")[:-1]
        client.quit()

    @pytest.mark.parametrize("bad", BAD)
    def test_EXT_002_a_bad_certificate_ends_the_connection(
        self, place: Place, tmp_path: Path, security: str, most: ssl.TLSVersion, bad: str
    ) -> None:
        with pytest.raises(ssl.SSLError) as alert:
            client = connect(place, security, context(BAD[bad], tmp_path, most))
            client.capa()
        assert "ALERT" in str(alert.value)

    def test_EXT_003_without_a_certificate_a_password_does(
        self, place: Place, tmp_path: Path, security: str, most: ssl.TLSVersion
    ) -> None:
        client = connect(place, security, context(None, tmp_path, most))
        assert "EXTERNAL" not in client.capa()["SASL"]
        with pytest.raises(poplib.error_proto, match="not available"):
            external(client)
        client.user("fred")
        assert client.pass_(PASSWORD).startswith(b"+OK")
        client.quit()

    def test_EXT_003_a_certificate_that_names_nobody_is_of_no_use(
        self, place: Place, tmp_path: Path, security: str, most: ssl.TLSVersion
    ) -> None:
        client = connect(place, security, context(NO_NAMES, tmp_path, most))
        assert "EXTERNAL" not in client.capa()["SASL"]
        client.quit()

    def test_EXT_002_of_two_accounts_one_has_to_be_picked(
        self, place: Place, tmp_path: Path, security: str, most: ssl.TLSVersion
    ) -> None:
        client = connect(place, security, context(BOTH, tmp_path, most))
        for identity in (b"", b"notices"):
            with pytest.raises(poplib.error_proto, match=r"-ERR \[AUTH\] authentication failed"):
                external(client, identity)
        assert external(client, b"sales").startswith(b"+OK 1 messages")
        client.quit()


def test_a_certificate_of_an_account_that_does_not_exist_opens_nothing(place: Place, tmp_path: Path) -> None:
    client = connect(place, "tls", context(NOBODY, tmp_path, ssl.TLSVersion.TLSv1_3))
    with pytest.raises(poplib.error_proto, match=r"-ERR \[AUTH\] authentication failed"):
        external(client)
    assert not (place.directory / "mail" / "nobody").exists()


def test_a_refused_certificate_is_logged(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLError):
        connect(place, "tls", context(BAD["foreign"], tmp_path, ssl.TLSVersion.TLSv1_2))
    place.process.await_text("why=client-certificate-refused")


@pytest.mark.parametrize("security", ["stls", "tls"])
@pytest.mark.parametrize(
    ("user", "more"),
    [
        ("fred", []),
        ("fred", ["--sasl-ir"]),
        # Without an initial response curl writes the empty identity as "=", which it is only there.
        ("", ["--sasl-ir"]),
    ],
)
def test_EXT_001_curl(place: Place, tmp_path: Path, security: str, user: str, more: list[str]) -> None:
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    url = f"pop3s://{HOST}:{place.pop3s}/1" if security == "tls" else f"pop3://{HOST}:{place.pop3}/1"
    command: list[str | Path] = [program("curl"), "-sS", "--max-time", str(SECONDS), "--cacert", tmp_path / "ca.pem"]
    command += ["--cert", FRED.write(tmp_path, "fred"), "--login-options", "AUTH=EXTERNAL", "-u", f"{user}:"]
    command += [*more, url, *([] if security == "tls" else ["--ssl-reqd"])]
    done = subprocess.run(command, capture_output=True, timeout=2 * SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, MESSAGE), done.stderr


@pytest.mark.parametrize("security", ["stls", "tls"])
def test_EXT_001_mpop(place: Place, tmp_path: Path, security: str) -> None:
    path = program("mpop")
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    pem = FRED.write(tmp_path, "fred")
    mail = tmp_path / "mail"
    for part in ("cur", "new", "tmp"):
        (mail / part).mkdir(parents=True)
    lines = [
        "account fred",
        f"host {HOST}",
        f"port {place.pop3s if security == 'tls' else place.pop3}",
        "tls on",
        f"tls_starttls {'off' if security == 'tls' else 'on'}",
        f"tls_trust_file {tmp_path / 'ca.pem'}",
        f"tls_key_file {pem}",
        f"tls_cert_file {pem}",
        "auth external",
        "user fred",
        "keep on",
        "received_header off",
        f"uidls_file {tmp_path / 'uidls'}",
        f"delivery maildir {mail}",
        "account default : fred",
    ]
    configuration = tmp_path / "mpoprc"
    configuration.touch(0o600)
    configuration.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [path, "-C", configuration], capture_output=True, timeout=2 * SECONDS, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr
    (fetched,) = (mail / "new").iterdir()
    assert fetched.read_bytes() == MESSAGE.replace(b"\r\n", b"\n")


def visitor(place: Place, trace: bytes = b"") -> poplib.POP3:
    client = poplib.POP3(HOST, place.pop3, timeout=SECONDS)
    assert "ANONYMOUS" in client.capa()["SASL"]
    said = client._shortcmd(f"AUTH ANONYMOUS {b64encode(trace).decode() or '='}")  # type: ignore[attr-defined]
    assert said.startswith(b"+OK 1 messages")
    return client


def test_AN_002_visitors_read_beside_the_owner_and_remove_nothing(place: Place, tmp_path: Path) -> None:
    message = place.directory / "mail" / "notices" / "new" / "1.message"
    owner = connect(place, "tls", context(None, tmp_path, ssl.TLSVersion.TLSv1_3))
    owner.user("notices")
    owner.pass_(PASSWORD)
    visitors = [visitor(place, b"somebody@example.net") for _ in range(3)]
    for each in visitors:
        assert each.retr(1)[1] == MESSAGE.split(b"\r\n")[:-1]
        with pytest.raises(poplib.error_proto, match="-ERR this maildrop can be read only"):
            each.dele(1)
        assert each.stat() == (1, len(MESSAGE))
        assert each.rset() == b"+OK done"
    assert visitors.pop().quit() == b"+OK bye"
    assert message.exists()
    owner.dele(1)
    owner.quit()
    try:
        with pytest.raises(poplib.error_proto, match=r"-ERR \[SYS/TEMP\] message is gone"):
            visitors[0].retr(1)
        assert visitors[0].noop() == b"+OK done"
    finally:
        message.write_bytes(MESSAGE)
    for each in visitors:
        each.quit()
    place.process.await_text(" user=notices mech=ANONYMOUS tls=- checker=public trace=somebody@example.net")


def test_AN_001_a_bad_trace_is_refused_and_not_logged(place: Place) -> None:
    with socket.create_connection((HOST, place.pop3), SECONDS) as connection:
        file = connection.makefile("rwb")
        file.readline()
        file.write(b"AUTH ANONYMOUS " + b64encode(b"evil\r\nline") + b"\r\nQUIT\r\n")
        file.flush()
        assert file.readline() == b"-ERR ANONYMOUS takes an e-mail address, a token or nothing\r\n"
        assert file.readline() == b"+OK bye\r\n"
    assert "evil" not in place.process.err.read_text()
