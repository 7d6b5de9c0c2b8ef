"""Logins by GSSAPI to a running popserv, with tickets of a real KDC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from popserv.accounts.kerberos import KerberosAccounts, Options, PrincipalRule, plugin
from popserv.auth.names import InvalidName
from popserv.errors import LoginRefused
from popserv.interfaces import IKerberosExchange, INamesOnly
from popserv.pools import InlinePool
from tests.accounts.context import Context
from tests.peers.kerberos.client import Client, Security, connect
from tests.peers.kerberos.realm import FOREIGN, REALM, Realm
from tests.peers.service import Served

from popserv.auth.kerberos import KRB5, LOOK_SECONDS, Acceptor, NoCredential  # isort: skip

REFUSED = b"-ERR [AUTH] authentication failed"


@pytest.mark.parametrize("security", ["clear", "stls", "tls"])
def test_GS_001_it_is_announced_with_an_acceptor_credential(served: Served, security: Security) -> None:
    assert connect(served, security).capa()["SASL"] == ["GSSAPI"]


@pytest.mark.parametrize("security", ["clear", "stls", "tls"])
def test_GS_002_it_needs_no_tls(served: Served, fred: dict[str, str], security: Security) -> None:
    client = Client(served, fred, security=security)
    assert client.log_in().startswith(b"+OK 1 message")
    assert client.client.quit() == b"+OK bye"


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


def test_GS_007_the_same_name_in_another_realm_is_somebody_else(served: Served, realm: Realm) -> None:
    client = Client(served, realm.tickets(f"fred@{FOREIGN}"))
    client.offer()
    assert str(client.context.initiator_name) == f"fred@{FOREIGN}"
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


def acceptor(keytab: Path, pool: InlinePool | None = None, clock: Clock | None = None) -> Acceptor:
    return Acceptor(str(keytab), "pop", frozenset({"localhost"}), pool or InlinePool(), clock or Clock())


def test_GS_003_the_credential_is_for_kerberos_only(realm: Realm) -> None:
    assert acceptor(realm.keytab).credential().mechs == {KRB5}


def test_GS_001_a_keytab_that_is_missing_gives_no_credential(realm: Realm) -> None:
    with pytest.raises(NoCredential):
        acceptor(realm.folder / "none").credential()


def test_GS_001_it_is_announced_while_the_keytab_is_there(realm: Realm, tmp_path: Path) -> None:
    keytab, clock = tmp_path / "keytab", Clock()
    checker = KerberosAccounts(acceptor(keytab, clock=clock), PrincipalRule(frozenset({REALM}), False, "fold"))
    assert not checker.verifies(IKerberosExchange)
    keytab.write_bytes(realm.keytab.read_bytes())
    clock.advance(LOOK_SECONDS - 1)
    assert not checker.verifies(IKerberosExchange)
    clock.advance(1)
    assert checker.verifies(IKerberosExchange)
    keytab.unlink()
    clock.advance(LOOK_SECONDS)
    assert not checker.verifies(IKerberosExchange)


def test_check_says_what_is_wrong_with_the_keytab(realm: Realm, tmp_path: Path) -> None:
    options = Options(realms=(REALM,))
    assert plugin.check(str(realm.keytab), options, Context(tmp_path)) == []
    (wrong,) = plugin.check("none", options, Context(tmp_path))
    assert wrong.startswith(f"{tmp_path}/none: ")
    (tmp_path / "empty").write_bytes(b"")
    (wrong,) = plugin.check("empty", options, Context(tmp_path))
    assert wrong.startswith(f"{tmp_path}/empty: ")
    assert plugin.check("none", Options(), Context(tmp_path)) == ["[auth.kerberos] realms must name a realm"]


def test_accounts_stand_in_other_databases(realm: Realm, tmp_path: Path) -> None:
    assert INamesOnly.providedBy(plugin.build(str(realm.keytab), Options(realms=(REALM,)), Context(tmp_path)))


def test_GS_009_tokens_are_looked_at_in_the_pool(realm: Realm) -> None:
    pool = CountingPool()
    step = acceptor(realm.keytab, pool).begin().step(b"garbage")
    failed: list[Any] = []
    step.addErrback(failed.append)
    assert (pool.calls, failed[0].type) == (1, LoginRefused)
