"""Every mechanism by real clients over a real server, with accounts of every kind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trustme

from popserv.auth.passwords import hash_password
from tests.cli.running import POPSERV, Server, popserv, server

from .conftest import required
from .logins import CLIENTS, PLUS, SCRAM, Client, cheated, wrong_exporter
from .running import Security, ServerAddress

PASSWORD = "correct horse 7"
MESSAGE = b"Subject: hello\r\n\r\n.one\r\ntwo\r\n"
SCHEMES = {"plain": "PLAIN", "one": "SCRAM-SHA-1", "two": "SCRAM-SHA-256", "five": "SCRAM-SHA-512", "hash": "SSHA512"}
"""The accounts of the passwd-file."""
KEPT = "kept"
"""The account of the SQLite file."""
GOOD_FOR = {
    **dict.fromkeys(("PLAIN", "LOGIN"), ("plain", "hash", KEPT)),
    "CRAM-MD5": ("plain",),
    "APOP": ("plain",),
    "SCRAM-SHA-1": ("plain", "one"),
    "SCRAM-SHA-256": ("plain", "two", KEPT),
    "SCRAM-SHA-512": ("plain", "five"),
}
"""Which accounts can use a mechanism."""

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
[auth]
checkers = ["passwd-file:users", "sqlite:accounts.db"]
mechanisms = ["scram-sha-512-plus", "scram-sha-256-plus", "scram-sha-1-plus", "default", "login", "cram-md5", "apop"]
failure_delay = 0
[maildrop]
location = "maildir:mail/{user}"
"""


@attrs.frozen
class Served:
    """A running server."""

    address: ServerAddress
    process: Server

    def log(self) -> str:
        return self.process.out.read_text() + self.process.err.read_text()

    def says(self, text: str, after: int) -> bool:
        """Whether that is logged, behind so many characters."""
        end = time.monotonic() + 5
        while text not in self.log()[after:] and time.monotonic() < end:
            time.sleep(0.02)
        return text in self.log()[after:]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    base = tmp_path_factory.mktemp("logins")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(base / "ca.pem")
    issued = authority.issue_cert("localhost", common_name="localhost")
    issued.private_key_pem.write_to_path(base / "key.pem")
    issued.cert_chain_pems[0].write_to_path(base / "cert.pem")
    users = [f"{name}:{hash_password(PASSWORD.encode(), scheme)}\n" for name, scheme in SCHEMES.items()]
    (base / "users").write_text("".join(users))
    (base / "popserv.toml").write_text(CONFIGURATION)
    (base / "password").write_text(PASSWORD + "\n")
    added = popserv("user", "add", "--config", base / "popserv.toml", KEPT, "--password-file", base / "password")
    assert added.returncode == 0, added.stderr
    for name in (*SCHEMES, KEPT):
        for part in ("cur", "new", "tmp"):
            (base / "mail" / name / part).mkdir(parents=True)
        (base / "mail" / name / "new" / "1.message").write_bytes(MESSAGE)
    with server([*POPSERV, "run", "--config", base / "popserv.toml"], base) as process:
        ports = [int(address.rpartition(":")[2]) for address in _addresses(process)]
        yield Served(ServerAddress("localhost", ports[0], ports[1], base / "ca.pem"), process)


def _addresses(process: Server) -> list[str]:
    said = process.await_text("popserv ready ")
    line = next(line for line in said.splitlines() if "popserv ready " in line)
    return [word.partition("=")[2] for word in line.split("popserv ready ")[1].split()]


def installed(client: Client) -> None:
    if missing := client.missing():
        reason = f"not installed: {', '.join(missing)}"
        pytest.fail(reason) if required() else pytest.skip(reason)


EVERY = [(name, mechanism) for name, client in CLIENTS.items() for mechanism in client.mechanisms]
# mutt asks for another password on its screen.
GIVING_UP = [(name, mechanism) for name, mechanism in EVERY if name != "mutt"]


def by_client(cases: list[tuple[str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("name", "mechanism"), cases, ids=["-".join(case) for case in cases])


@by_client(EVERY)
def test_every_account_that_can_gets_in_whatever_protects_the_connection(
    served: Served, name: str, mechanism: str, tmp_path: Path
) -> None:
    client = CLIENTS[name]
    installed(client)
    accounts = GOOD_FOR[mechanism.removesuffix("-PLUS")]
    # mutt takes a second each time, so once is enough.
    securities = client.securities(mechanism)[:1] if name == "mutt" else client.securities(mechanism)
    for number in range(max(len(accounts), len(securities))):
        account, security = accounts[number % len(accounts)], securities[number % len(securities)]
        workdir = tmp_path / str(number)
        workdir.mkdir()
        before = len(served.log())
        assert client.log_in(served.address, security, mechanism, account, PASSWORD, workdir) == MESSAGE
        tls = "-" if security == "plain" else "TLSv1.3"
        assert served.says(f"user={account} mech={mechanism} tls={tls}", before), served.log()[before:]


@by_client(GIVING_UP)
def test_SEC_003_a_wrong_password_and_an_unknown_name_get_nowhere(
    served: Served, name: str, mechanism: str, tmp_path: Path
) -> None:
    client = CLIENTS[name]
    installed(client)
    security: Security = client.securities(mechanism)[-1]
    for account, password in (("plain", "correct horse 8"), ("nobody", PASSWORD)):
        workdir = tmp_path / account
        workdir.mkdir()
        before = len(served.log())
        with pytest.raises((AssertionError, IndexError)):
            client.log_in(served.address, security, mechanism, account, password, workdir)
        assert served.says(f"user={account} mech={mechanism} ", before), served.log()[before:]
        assert "login: " not in served.log()[before:]


@pytest.mark.parametrize("mechanism", PLUS)
def test_SC_009_who_is_bound_to_another_connection_gets_nowhere(served: Served, mechanism: str, tmp_path: Path) -> None:
    before = len(served.log())
    with pytest.raises(AssertionError, match="AUTH"):
        wrong_exporter(served.address, "stls", mechanism, "plain", PASSWORD, tmp_path)
    assert served.says(f"user=plain mech={mechanism} ", before)


@pytest.mark.parametrize("mechanism", SCRAM)
def test_SC_010_who_says_that_nothing_can_be_bound_is_refused_over_tls(served: Served, mechanism: str) -> None:
    with pytest.raises(AssertionError, match="offers channel binding"):
        cheated(served.address, mechanism, "plain", PASSWORD)


@pytest.mark.parametrize("mechanism", SCRAM)
def test_an_account_without_keys_for_it_is_not_told_apart(served: Served, mechanism: str, tmp_path: Path) -> None:
    client = CLIENTS["scramp"]
    with pytest.raises(AssertionError, match="AUTH"):
        client.log_in(served.address, "tls", mechanism, "hash", PASSWORD, tmp_path)
