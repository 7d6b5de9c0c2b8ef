"""`check`: every problem with its key."""

from __future__ import annotations

import os
import pwd
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from popserv.auth.account_database import Database
from popserv.auth.passwords import hash_password
from popserv.auth.scram_keys import ScramKeys
from popserv.service.check import Problem, problems
from popserv.service.config import load

GOOD = """\
[server]
hostname = "pop.test"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
[[listen]]
protocol = "lmtp"
endpoint = "unix:lmtp.sock"
[tls]
certificate = "cert.pem"
key = "key.pem"
[maildrop]
location = "maildir:mail/{user}"
"""

CA = trustme.CA()


def write_certificate(directory: Path, *names: str, expires: datetime | None = None) -> None:
    issued = CA.issue_cert(*names, not_after=expires)
    (directory / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    (directory / "key.pem").write_bytes(issued.private_key_pem.bytes())
    (directory / "key.pem").chmod(0o600)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_certificate(tmp_path, "pop.test")
    Database(tmp_path / "accounts.db").create()
    (tmp_path / "mail").mkdir()
    return tmp_path


def found(directory: Path, change: tuple[str, str] = ("", "")) -> list[Problem]:
    file = directory / "popserv.toml"
    assert change[0] in GOOD
    file.write_text(GOOD.replace(*change) if change[0] else GOOD + change[1])
    return problems(load(file))


def test_nothing_is_wrong(directory: Path) -> None:
    assert found(directory) == []


def test_looking_changes_nothing(directory: Path) -> None:
    found(directory)
    before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
    found(directory)
    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}.keys() == before.keys()


@pytest.mark.parametrize("broken", ["cert.pem", "key.pem"])
def test_certificate_and_key_are_read(directory: Path, broken: str) -> None:
    (directory / broken).write_text("nothing")
    (problem,) = found(directory)
    assert problem.key == "tls.certificate"
    assert not problem.warning
    assert str(directory / broken) in problem.message


def test_the_key_belongs_to_the_certificate(directory: Path) -> None:
    (directory / "key.pem").write_bytes(CA.issue_cert("other.test").private_key_pem.bytes())
    assert [str(problem) for problem in found(directory)] == [
        f"tls.certificate: {directory}/key.pem: is not the key of {directory}/cert.pem"
    ]


def test_an_expired_certificate_is_wrong_and_an_old_one_worth_a_warning(directory: Path) -> None:
    now = datetime.now(UTC)
    write_certificate(directory, "pop.test", expires=now - timedelta(days=1))
    (expired,) = found(directory)
    assert (expired.key, expired.warning, expired.message.split(" on ")[0]) == ("tls.certificate", False, "expired")
    write_certificate(directory, "pop.test", expires=now + timedelta(days=3))
    (soon,) = found(directory)
    assert (soon.key, soon.warning, soon.message.split(" on ")[0]) == ("tls.certificate", True, "expires")


def test_a_certificate_for_another_host_is_worth_a_warning(directory: Path) -> None:
    write_certificate(directory, "other.test")
    assert [str(problem) for problem in found(directory)] == [
        "warning: tls.certificate: does not cover server.hostname, pop.test"
    ]
    write_certificate(directory, "*.test")
    assert found(directory) == []


def test_a_key_for_everybody_is_worth_a_warning(directory: Path) -> None:
    (directory / "key.pem").chmod(0o644)
    (problem,) = found(directory)
    assert problem.warning
    assert "everybody can read" in problem.message


def test_accounts_can_be_read(directory: Path) -> None:
    (directory / "accounts.db").unlink()
    (problem,) = found(directory)
    assert problem.key == "auth.checkers[0]"
    assert "accounts.db" in problem.message
    assert not (directory / "accounts.db").exists()


def test_each_checker_is_asked(directory: Path) -> None:
    (directory / "users").write_text("fred:{PLAIN}secret\n")
    checkers = '[auth]\ncheckers = ["passwd-file:users", "passwd-file:missing", "file:gone"]\n'
    assert [problem.key for problem in found(directory, ("", checkers))] == ["auth.checkers[1]", "auth.checkers[2]"]


def test_aliases_are_read(directory: Path) -> None:
    (directory / "aliases").write_text("postmaster: fred\nx\n")
    change = "[maildrop]\n", '[auth]\naliases = "aliases"\n[maildrop]\n'
    (problem,) = found(directory, change)
    assert problem.key == "auth.aliases" and problem.message.endswith('aliases: line 2: must be "alias: account"')
    (directory / "aliases").unlink()
    assert found(directory, change)[0].message.endswith("aliases: No such file or directory")


def test_a_key_that_openssl_refuses_is_told(directory: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pop.test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pop.test")]), False)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    octets = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (directory / "key.pem").write_bytes(octets)
    (problem,) = found(directory)
    assert problem.key == "tls.certificate" and "key too small" in problem.message and not problem.warning


@pytest.mark.parametrize("place", ["maildir:mail", "maildir:mail/%u", "maildir:mail/{domain}"])
def test_a_place_that_all_accounts_share_is_worth_a_warning(directory: Path, place: str) -> None:
    problems = found(directory, ("maildir:mail/{user}", place))
    assert problems and all(problem.warning and problem.key == "maildrop.location" for problem in problems)


def test_the_place_of_maildrops(directory: Path) -> None:
    (problem,) = found(directory, ("mail/{user}", "mail/{usr}"))
    assert problem.key == "maildrop.location"
    assert "{usr}" in problem.message


def test_addresses_can_be_bound(directory: Path) -> None:
    (problem,) = found(directory, ("tcp:0:interface=127.0.0.1", "tcp:0:interface=192.0.2.1"))
    assert (problem.key, problem.warning) == ("listen[0].endpoint", False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (problem,) = found(directory, ("tcp:0:", f"tcp:{port}:"))
    assert (problem.key, problem.warning) == ("listen[0].endpoint", True)
    assert str(port) in problem.message


def test_sockets_can_be_made(directory: Path) -> None:
    (problem,) = found(directory, ("unix:lmtp.sock", "unix:none/lmtp.sock"))
    assert problem.key == "listen[1].endpoint"
    (directory / "lmtp.sock").touch()
    (problem,) = found(directory)
    assert "no socket" in problem.message


@pytest.mark.parametrize("endpoint", ["tcp:0", "tcp6:0", "tcp:0:interface=0.0.0.0"])
def test_LM_001_lmtp_is_for_this_host(directory: Path, endpoint: str) -> None:
    (problem,) = found(directory, ("unix:lmtp.sock", endpoint))
    assert (problem.key, problem.warning) == ("listen[1].endpoint", False)
    assert "unix socket or loopback" in problem.message


def keys_for_nobody(directory: Path) -> list[str]:
    """The keys of the problems that an unprivileged user has."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(write, " ".join(problem.key for problem in problems(load(directory / "popserv.toml"))).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read) as pipe:
        return pipe.read().split()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_permissions_are_those_of_the_user_it_runs_as() -> None:
    with TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        write_certificate(directory, "pop.test")
        Database(directory / "accounts.db").create()
        (directory / "mail").mkdir(mode=0o700)
        assert found(directory) == []
        assert keys_for_nobody(directory) == [
            "tls.certificate",
            "auth.checkers[0]",
            "maildrop.location",
            "listen[1].endpoint",
        ]
        # What can be listed cannot be worked in.
        (directory / "mail").chmod(0o755)
        assert "maildrop.location" in keys_for_nobody(directory)
        os.chown(directory / "mail", 65534, 65534)
        assert "maildrop.location" not in keys_for_nobody(directory)
        (directory / "mail" / "fred").mkdir(mode=0o700)
        assert "maildrop.location" in keys_for_nobody(directory)


def test_the_path_of_a_socket_is_not_too_long(directory: Path) -> None:
    (problem,) = found(directory, ("unix:lmtp.sock", f"unix:{'x' * 108}"))
    assert problem.key == "listen[1].endpoint" and "107 octets" in problem.message


def test_a_database_that_is_not_there_yet_is_told_plainly(directory: Path) -> None:
    (directory / "accounts.db").unlink()
    (problem,) = found(directory)
    assert problem.message.endswith("accounts.db: is not there; popserv user add NAME makes it")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_homes_of_others_need_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        home = directory / "home"
        home.mkdir(mode=0o700)
        users = [("root", "/root"), ("fred", str(home)), ("gone", str(directory / "none")), ("joe", str(directory))]
        entries = [pwd.struct_passwd((user, "x", 2000, 2000, "", place, "")) for user, place in users]
        monkeypatch.setattr(pwd, "getpwall", lambda: entries)
        # joe's account has another home than joe has here, so nothing is said of it.
        homes = {"fred": home, "gone": directory / "none", "joe": "/"}
        (directory / "users").write_text("".join(f"{user}:{{PLAIN}}x::::{place}\n" for user, place in homes.items()))
        configured = GOOD.replace("maildir:mail/{user}", "maildir:{home}/Maildir")
        (directory / "popserv.toml").write_text(configured + '[auth]\ncheckers = ["passwd-file:users"]\n')
        (told,) = problems(load(directory / "popserv.toml"))
        assert told.key == "tls.certificate"
        assert "maildrop.location" in keys_for_nobody(directory)
        home.chmod(0o777)
        assert "maildrop.location" not in keys_for_nobody(directory)
        (home / "Maildir").mkdir(mode=0o700)
        assert "maildrop.location" in keys_for_nobody(directory)


def test_SC_008_stored_passwords_that_nobody_can_or_should_use_are_told(directory: Path) -> None:
    weak = ScramKeys.make(b"secret", iterations=1000).to_text()
    kept = {
        "a": "{FOO}x",
        "b": "{ARGON2ID}$argon2id$v=19$m=999999999,t=3,p=4$c2FsdHNhbHQ$AAAA",
        "c": "{SHA256.hex}zz",
        "d": "",
        "e": f"{{SCRAM-SHA-256}}{weak}",
        "f": "{PLAIN}secret",
        "g": hash_password(b"secret"),
    }
    (directory / "users").write_text("".join(f"{name}:{stored}\n" for name, stored in kept.items()))
    problems = found(directory, ("[server]", 'auth.checkers = ["passwd-file:users"]\n[server]'))
    said = [problem.message.removeprefix("passwd-file:users: ") for problem in problems]
    assert said == [
        "account 'a': its password: its scheme is not known here",
        "account 'b': its password: it asks for more memory, passes or lanes than are spent here",
        "account 'c': its password: its encoding is broken",
        "account 'd': its password: it is empty",
        "account 'e': its password: its SCRAM keys have 1000 iterations, and RFC 7677 asks for 4096 at least",
    ]


def test_LM_001_lmtp_is_not_at_port_25(directory: Path) -> None:
    messages = [problem.message for problem in found(directory, ("unix:lmtp.sock", "tcp:25:interface=127.0.0.1"))]
    assert "port 25 is for SMTP: lmtp must not be there (RFC 2033 section 5)" in messages


def test_lines_of_a_passwd_file_that_cannot_be_read_are_told(directory: Path) -> None:
    (directory / "users").write_text("fred:{PLAIN}secret\nno colon here\nbarney:{PLAIN}x::::::unheard_of=1\n")
    key = 'auth.checkers = ["passwd-file:users"]\n'
    first, second = found(directory, ("[server]", key + "[server]"))
    assert (first.key, second.key) == ("auth.checkers[0]", "auth.checkers[0]")
    assert "line 2" in first.message
    assert "line 3" in second.message
    assert "secret" not in first.message + second.message
