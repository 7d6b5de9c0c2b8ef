"""Default domain, aliases and details: the same for logins, by every mechanism, and for mail that comes in."""

from __future__ import annotations

import tomllib
from pathlib import Path

import attrs
import pytest
from twisted.cred.portal import Portal
from twisted.internet.task import Clock

from popserv.auth.account_database import Database
from popserv.auth.chain import CheckerChain, CredentialsRefused
from popserv.auth.credentials import Password
from popserv.auth.login import LoginService, Peer
from popserv.auth.realm import MaildropRealm
from popserv.auth.throttle import Throttle
from popserv.delivery.recipients import Recipients
from popserv.errors import LoginRefused
from popserv.pools import InlinePool
from popserv.service.access import BuildContext, accounts, chain, open_store
from popserv.service.config import from_table
from popserv.service.rehearsal import Outcome, rehearse
from popserv.service.rules import naming
from popserv.service.schema import Config, Policy, PolicyRule
from popserv.stores.memory import MemoryStore
from popserv.testing import MemoryAccounts
from tests.delivery.test_parts import result

TEXT = """
server.hostname = "mail.example.org"
lmtp.domains = ["example.org"]
auth.checkers = ["passwd-file:users"]
auth.mechanisms = ["default", "apop", "cram-md5"]
auth.aliases = "aliases"
auth.cleartext = "always"
maildrop.location = "maildir:mail/{user}"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
tls = "off"
"""
MECHANISMS = ("user", "apop", "plain", "cram-md5", "scram-sha-256")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "users").write_text(
        "fred:{PLAIN}secret\nann+x:{PLAIN}other\nann:{PLAIN}ann\njoe@example.net:{PLAIN}joe\n"
    )
    (tmp_path / "aliases").write_text("postmaster: fred\nboss@example.com: joe@example.net\n")
    return from_table(tomllib.loads(TEXT), tmp_path)


def log_in(config: Config, name: str, secret: str, mechanism: str) -> Outcome:
    context = BuildContext.offline(config, InlinePool())
    outcome: Outcome = result(rehearse(config, context, name.encode(), secret.encode(), mechanism))
    return outcome


WHO = [
    ("FRED", "secret", "fred"),
    ("fred+lists", "secret", "fred"),
    ("fred@example.org", "secret", "fred"),
    ("fred+a+b@mail.example.org", "secret", "fred"),
    ("Postmaster", "secret", "fred"),
    ("postmaster+x@example.org", "secret", "fred"),
    ("ann+x", "other", "ann+x"),
    ("ann+y", "ann", "ann"),
    ("boss@example.com", "joe", "joe@example.net"),
    ("ann+x", "ann", ""),
    ("fred@example.net", "secret", ""),
    ("joe", "joe", ""),
    ("nobody+x", "secret", ""),
]


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize(("name", "secret", "account"), WHO)
def test_who_logs_in_as_whom(config: Config, name: str, secret: str, account: str, mechanism: str) -> None:
    assert log_in(config, name, secret, mechanism).account == account


@pytest.mark.parametrize(("name", "_secret", "account"), [who for who in WHO if who[2]])
def test_mail_comes_to_the_account_that_logs_in(config: Config, name: str, _secret: str, account: str) -> None:
    store = open_store(config, InlinePool())
    assert result(Recipients(store.directory).find(name.encode())).name == account


def test_with_a_default_domain_names_are_completed(tmp_path: Path) -> None:
    text = TEXT.replace("passwd-file:users", "sqlite:accounts.db")
    text = text.replace('auth.aliases = "aliases"', 'auth.default_domain = "example.org"')
    config = from_table(tomllib.loads(text), tmp_path)
    Database(tmp_path / "accounts.db").add("fred@example.org", b"secret")
    for name in ("fred", "Fred+x", "fred@example.org"):
        assert log_in(config, name, "secret", "plain").account == "fred@example.org"
        assert log_in(config, name, "secret", "scram-sha-256").account == "fred@example.org"


def test_an_identity_may_be_written_in_another_way_but_not_be_somebody_else(config: Config) -> None:
    context = BuildContext.offline(config, InlinePool())
    found = accounts(config, context)

    def log_in_as(identity: bytes) -> bytes:
        credentials = Password(b"fred", b"secret", authorization=identity).prepared("fold")
        name: bytes = result(_identify(credentials))
        return name

    async def _identify(credentials: Password) -> bytes:
        name = await chain(config, found).requestAvatarId(credentials)
        assert isinstance(name, bytes)
        return name

    for identity in (b"", b"fred", b"Fred@example.org", b"postmaster", b"fred+x"):
        assert log_in_as(identity) == b"fred"
    for identity in (b"ann", b"fred@example.net", b"boss@example.com"):
        with pytest.raises(CredentialsRefused):
            log_in_as(identity)


def test_rules_and_masters_hold_for_an_account_whatever_it_is_called(config: Config) -> None:
    rules = (PolicyRule(accounts=("postmaster", "Ann@Example.ORG"), pop3=False),)
    ruled = attrs.evolve(config, policy=Policy(rules=rules, masters=("boss@example.com",)))
    for name, secret in (("fred", "secret"), ("postmaster", "secret"), ("ann", "ann")):
        assert log_in(ruled, name, secret, "plain").refusal.startswith("pop3 is off")
    assert log_in(ruled, "ann+x", "other", "plain").account == "ann+x"
    found = accounts(ruled, BuildContext.offline(ruled, InlinePool()))

    async def master(identity: bytes) -> bytes:
        credentials = Password(b"joe@example.net", b"joe", authorization=identity).prepared("fold")
        name = await chain(ruled, found).requestAvatarId(credentials)
        assert isinstance(name, bytes)
        return name

    meant = {b"fred+lists": b"fred", b"postmaster": b"fred", b"ann+x": b"ann+x", b"nobody": b"nobody"}
    assert {identity: result(master(identity)) for identity in meant} == meant


def test_accounts_without_a_domain_are_found_where_the_default_one_is_ours(config: Config) -> None:
    completing = attrs.evolve(config, auth=attrs.evolve(config.auth, default_domain="example.org", aliases=""))
    assert log_in(completing, "fred", "secret", "plain").account == "fred"


def test_SEC_006_details_do_not_give_more_tries(config: Config) -> None:
    clock = Clock()
    found = naming(config)
    portal = Portal(MaildropRealm(MemoryAccounts({"fred": b"secret"}), MemoryStore()))
    portal.registerChecker(CheckerChain([MemoryAccounts({"fred": b"secret"})], forms=found.forms))
    login = LoginService(portal, clock=clock, throttle=Throttle(clock, 2.0), canonical=found.canonical)
    for number, (name, seconds) in enumerate(
        [(b"fred", 2), (b"fred+1", 4), (b"fred+2@example.org", 8), (b"POSTMASTER", 15)]
    ):
        work = login.login(Password(name, b"wrong"), Peer(f"192.0.2.{number}", "id"))
        clock.advance(seconds - 0.5)
        assert not work.called
        clock.advance(1)
        with pytest.raises(LoginRefused):
            result(work)
