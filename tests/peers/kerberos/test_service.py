"""Logins by GSSAPI to a running popserv, with tickets of a real KDC."""

from __future__ import annotations

import os
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from popserv.accounts.kerberos import Options, PrincipalRule
from popserv.auth.names import InvalidName
from popserv.errors import LoginRefused
from popserv.pools import InlinePool
from tests.peers.kerberos import realm as kerberos
from tests.peers.kerberos.realm import REALM, Realm
from tests.peers.programs import program
from tests.peers.service import Served, serving

gssapi = pytest.importorskip("gssapi")

from popserv.auth.kerberos import KRB5, Acceptor, NoCredential  # noqa: E402


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    with kerberos.running() as running:
        yield running


@pytest.fixture(scope="module")
def served(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("service")
    message = directory / "mail" / "fred" / "new" / "1.message"
    for part in ("cur", "new", "tmp"):
        (message.parent.parent / part).mkdir(parents=True)
    message.write_bytes(b"Subject: x\n\nhello\n")
    text = f"""
[server]
hostname = "localhost"
[auth]
checkers = ["kerberos:{realm.keytab}"]
mechanisms = ["gssapi"]
failure_delay = 0
[auth.kerberos]
realms = ["{REALM}"]
"""
    before = os.environ.get("KRB5_CONFIG")
    os.environ["KRB5_CONFIG"] = realm.environment["KRB5_CONFIG"]
    try:
        with serving(directory, text) as running:
            yield running
    finally:
        del os.environ["KRB5_CONFIG"]
        if before is not None:
            os.environ["KRB5_CONFIG"] = before


class Client:
    """One exchange by the gssapi package."""

    def __init__(self, served: Served, tickets: dict[str, str], service: str = "pop") -> None:
        self.client = served.connect()
        store = {"ccache": tickets["KRB5CCNAME"]}
        name = gssapi.Name(f"{service}@localhost", gssapi.NameType.hostbased_service)
        self.context = gssapi.SecurityContext(
            name=name, creds=gssapi.Credentials(usage="initiate", store=store), usage="initiate"
        )
        self.token = self.context.step()

    def say(self, octets: bytes) -> bytes:
        return self.line(b64encode(octets))

    def line(self, line: bytes) -> bytes:
        self.client.sock.sendall(line + b"\r\n")
        return self.client.file.readline().rstrip(b"\r\n")

    def begin(self) -> bytes:
        assert self.line(b"AUTH GSSAPI") == b"+ "
        return self.say(self.token)

    def offer(self) -> bytes:
        """As far as the offer of layers, unwrapped."""
        said = self.begin()
        assert said.startswith(b"+ "), said
        assert not self.context.step(b64decode(said[2:]))
        said = self.say(b"")
        return bytes(self.context.unwrap(b64decode(said[2:])).message)

    def choose(self, choice: bytes) -> bytes:
        return self.say(self.context.wrap(choice, False).message)


@pytest.fixture(scope="module")
def fred(realm: Realm) -> dict[str, str]:
    return realm.tickets("fred")


REFUSED = b"-ERR [AUTH] authentication failed"


def test_GS_001_it_is_announced_with_an_acceptor_credential(served: Served) -> None:
    assert served.connect().capa()["SASL"] == ["GSSAPI"]


@pytest.mark.parametrize("identity", [b"", b"fred"])
def test_GS_005_no_layer_is_offered_and_taken(served: Served, fred: dict[str, str], identity: bytes) -> None:
    client = Client(served, fred)
    assert client.offer() == b"\1\0\0\0"
    assert client.choose(b"\1\0\0\0" + identity).startswith(b"+OK 1 message")
    client.client.quit()


@pytest.mark.parametrize("choice", [b"\2\0\0\0", b"\4\0\x10\0", b"\1\0\0\1", b"\1\0", b"", b"\1\0\0\0fred\0"])
def test_GS_006_another_layer_or_a_damaged_choice_is_malformed(
    served: Served, fred: dict[str, str], choice: bytes
) -> None:
    client = Client(served, fred)
    client.offer()
    said = client.choose(choice)
    assert said.startswith(b"-ERR ") and not said.startswith(b"-ERR [")
    assert client.line(b"NOOP").startswith(b"-ERR")
    assert client.client.quit() == b"+OK bye"


def test_GS_007_another_identity_needs_a_permission(served: Served, fred: dict[str, str]) -> None:
    client = Client(served, fred)
    client.offer()
    assert client.choose(b"\1\0\0\0nora") == REFUSED


def test_GS_008_what_cannot_be_unwrapped_is_refused(served: Served, fred: dict[str, str]) -> None:
    client = Client(served, fred)
    client.offer()
    assert client.say(b"\1\0\0\0") == REFUSED


def test_GS_004_a_ticket_for_another_service_is_refused(served: Served, fred: dict[str, str]) -> None:
    assert Client(served, fred, "imap").begin() == REFUSED


def test_GS_007_a_principal_with_an_instance_is_not_the_account(served: Served, realm: Realm) -> None:
    client = Client(served, realm.tickets("fred/admin"))
    client.offer()
    assert client.choose(b"\1\0\0\0") == REFUSED


def test_GS_002_a_replayed_token_is_refused(served: Served, fred: dict[str, str]) -> None:
    first, second = Client(served, fred), Client(served, fred)
    assert first.begin().startswith(b"+ ")
    second.token = first.token
    assert second.begin() == REFUSED


@pytest.mark.parametrize("token", [b"", b"garbage", b"\x60\x82" + b"\0" * 900])
def test_GS_002_garbage_is_refused(served: Served, fred: dict[str, str], token: bytes) -> None:
    client = Client(served, fred)
    client.token = token
    assert client.begin() == REFUSED
    assert client.client.quit() == b"+OK bye"


def test_GS_005_the_answer_to_the_last_token_is_empty(served: Served, fred: dict[str, str]) -> None:
    client = Client(served, fred)
    assert client.begin().startswith(b"+ ")
    assert client.say(b"x") == b"-ERR GSSAPI needs an empty response here"


@pytest.mark.parametrize("step", [0, 1, 2])
def test_cancelling_ends_it_at_every_step(served: Served, fred: dict[str, str], step: int) -> None:
    client = Client(served, fred)
    if step == 0:
        assert client.line(b"AUTH GSSAPI") == b"+ "
    elif step == 1:
        client.begin()
    else:
        client.offer()
    assert client.line(b"*") == b"-ERR authentication cancelled"
    assert client.client.quit() == b"+OK bye"


def test_GS_002_curl(served: Served, fred: dict[str, str]) -> None:
    command = [program("curl"), "-sSk", "--max-time", "20", "--login-options", "AUTH=GSSAPI", "-u", f"fred@{REALM}:"]
    url = f"pop3s://localhost:{served.port}/1"
    done = subprocess.run([*command, url], env=fred, capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, b"Subject: x\r\n\r\nhello\r\n"), done.stderr


@pytest.mark.parametrize(
    "principal",
    ["fred/admin@EXAMPLE.ORG", "fred@example.org", "fred@OTHER", "fred", "@EXAMPLE.ORG", "a\\@b@EXAMPLE.ORG"],
)
def test_GS_007_only_plain_principals_of_the_realm_have_accounts(principal: str) -> None:
    with pytest.raises(InvalidName):
        PrincipalRule(frozenset({REALM}), False, "fold").account(principal)


def test_GS_007_the_realm_is_stripped_or_kept() -> None:
    assert PrincipalRule(frozenset({REALM}), False, "fold").account(f"Fred@{REALM}") == "fred"
    assert PrincipalRule(frozenset({REALM}), Options().keep_realm or True, "fold").account(f"fred@{REALM}") == (
        "fred@example.org"
    )


class CountingPool(InlinePool):
    """Runs at once, and counts."""

    calls = 0

    def run(self, function: Any, *arguments: Any) -> Any:
        self.calls += 1
        return super().run(function, *arguments)


def test_GS_003_the_credential_is_for_kerberos_only(realm: Realm) -> None:
    acceptor = Acceptor(str(realm.keytab), "pop", frozenset({"localhost"}), InlinePool())
    assert acceptor.credential().mechs == {KRB5}


def test_GS_001_a_keytab_that_is_missing_gives_no_credential(realm: Realm) -> None:
    with pytest.raises(NoCredential):
        Acceptor(str(realm.folder / "none"), "pop", frozenset({"localhost"}), InlinePool()).credential()


def test_GS_009_tokens_are_looked_at_in_the_pool(realm: Realm) -> None:
    pool = CountingPool()
    step = Acceptor(str(realm.keytab), "pop", frozenset({"localhost"}), pool).begin().step(b"garbage")
    failed: list[Any] = []
    step.addErrback(failed.append)
    assert (pool.calls, failed[0].type) == (1, LoginRefused)
