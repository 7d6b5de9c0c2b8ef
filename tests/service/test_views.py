"""Views as the configuration has them: whose, which folder a login name stands for, and every mistake at its key."""

from __future__ import annotations

import tomllib
from io import BytesIO
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.cred.portal import Portal
from twisted.internet.task import Clock

from popserv.auth.account import Account
from popserv.auth.credentials import Password
from popserv.auth.login import LoginService, Peer
from popserv.auth.policy import Gate, Ledger
from popserv.auth.realm import MaildropRealm
from popserv.delivery.local import deliver
from popserv.delivery.recipients import Recipients
from popserv.errors import LoginRefused, StoreBroken
from popserv.maildrop.view_marks import HeaderMark, SubjectMark
from popserv.maildrop.views import Since
from popserv.pools import InlinePool
from popserv.service import access, inspection, rules, views
from popserv.service.check import problems
from popserv.service.compose import Composer
from popserv.service.config import ConfigErrors, from_table
from popserv.service.schema import Config
from popserv.service.schema_mail import Maildrop, ViewRule
from tests.delivery.test_parts import result

TEXT = """
server.hostname = "mail.example.org"
auth.checkers = ["passwd-file:users"]
auth.aliases = "aliases"
auth.cleartext = "always"
policy.masters = ["root"]
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
tls = "off"
[maildrop]
location = "maildir:mail/{user}"
"""
USERS = "".join(f"{name}:{{PLAIN}}x\n" for name in ("fred", "ann", "ann+junk", "joe@example.net", "root"))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "users").write_text(USERS)
    (tmp_path / "aliases").write_text("chef: fred\n")
    return tmp_path


def configure(base: Path, keys: str) -> Config:
    return from_table(tomllib.loads(TEXT + keys), base)


class Service:
    """Everything between a login and a maildrop, without sockets."""

    def __init__(self, config: Config) -> None:
        clock = Clock()
        clock.advance(1_700_000_000)
        context = attrs.evolve(access.BuildContext.offline(config, InlinePool()), reactor=clock)
        accounts = access.accounts(config, context)
        self.router = access.store(config, context)
        self.seen = views.of(config, context, self.router, self.router)
        self.delivery, self.directory = access.delivery(config, self.router), accounts.directory()
        self.ledger = Ledger(clock)
        gate = Gate(rules.policy(config), self.ledger)
        folder = views.Folders(self.seen, accounts.naming)
        portal = Portal(MaildropRealm(accounts.directory_after_login(), self.seen, gate, folder=folder))
        portal.registerChecker(access.chain(config, accounts))
        self.login = LoginService(portal, clock=clock)

    def deliver(self, address: bytes, octets: bytes) -> None:
        result(deliver(BytesIO(octets), address, None, Recipients(self.directory), self.delivery))

    def put(self, name: str, folder: bytes, octets: bytes) -> None:
        incoming = result(self.router.begin(Account(name), folder))
        result(incoming.write(octets))
        result(incoming.commit())

    def read(self, name: bytes, authorization: bytes = b"") -> list[bytes]:
        """What a session of this login name reads."""
        logged_in = result(self.login.login(Password(name, b"x", authorization), Peer("192.0.2.1", "s-1")))
        maildrop = logged_in.maildrop
        readers = [maildrop.message(index).open() for index in range(maildrop.count)]
        messages = [result(reader.read(1000)) for reader in readers]
        for reader in readers:
            reader.close()
        result(logged_in.leave())
        return messages


FOLDERS = """
folders = ["Junk"]
view_rules = [
    {accounts = ["chef"], folders = ["*"]},
    {accounts = ["@example.net"], junk = "Junk", junk_mark = "header"},
]
"""


def test_which_folder_a_login_name_opens(base: Path) -> None:
    service = Service(configure(base, FOLDERS))
    for name in ("fred", "ann", "ann+junk", "joe@example.net"):
        service.put(name, b"INBOX", b"inbox\r\n")
        service.put(name, b".Junk", b"junk\r\n")
    service.put("fred", b".Other", b"other\r\n")
    inbox, junk, other = [b"inbox\r\n"], [b"junk\r\n"], [b"other\r\n"]
    assert service.read(b"fred") == service.read(b"fred+") == service.read(b"fred+INBOX") == inbox
    assert service.read(b"fred+Junk") == service.read(b"chef+Junk@mail.example.org") == junk
    assert service.read(b"fred+Other") == other
    assert service.read(b"fred+other") == service.read(b"fred+Junk.Deeper") == []
    assert service.read(b"ann+JUNK+x") == service.read(b"ann+other") == inbox
    # An account goes before a folder; the folder of ann has no other name then.
    assert service.read(b"ann+junk") == inbox
    assert service.read(b"joe+junk@example.net") == [b"inbox\r\n", b"X-Junk: yes\r\njunk\r\n"]


@pytest.mark.parametrize("name", [b"fred+..", b"fred+.Junk", b"fred+a..b", b"fred+\xc3\xa4", b"fred+" + b"x" * 252])
def test_SEC_013_a_folder_that_cannot_be_is_refused_and_makes_nothing(base: Path, name: bytes) -> None:
    service = Service(configure(base, FOLDERS))
    service.put("fred", b"INBOX", b"inbox\r\n")
    there = sorted(base.rglob("*"))
    with pytest.raises((StoreBroken, LoginRefused)) as caught:
        service.read(name)
    assert caught.value.text in ("there is no such folder", LoginRefused.default)
    assert sorted(base.rglob("*")) == there
    assert not service.ledger._sessions
    with pytest.raises(LoginRefused):
        service.read(b"fred+a/b")


def test_who_acts_as_another_names_the_folder_of_that_one(base: Path) -> None:
    service = Service(configure(base, FOLDERS))
    service.put("fred", b".Junk", b"junk\r\n")
    assert service.read(b"root", b"fred+Junk") == [b"junk\r\n"]
    assert service.read(b"root+Junk", b"fred") == []


def test_mail_to_a_detail_goes_to_inbox(base: Path) -> None:
    service = Service(configure(base, FOLDERS))
    service.deliver(b"fred+Junk", b"to a detail\r\n")
    assert service.read(b"fred+Junk") == []
    assert service.read(b"fred") == [b"to a detail\r\n"]


def test_quota_and_stat_count_the_maildrop_and_not_the_view(base: Path) -> None:
    config = configure(base, "newest = 1\n[quota]\nmessages = 2\n")
    service = Service(config)
    for number in range(2):
        service.deliver(b"fred", b"%d\r\n" % number)
    assert service.read(b"fred") == [b"1\r\n"]
    with pytest.raises(Exception, match="mailbox is full"):
        service.deliver(b"fred", b"2\r\n")
    context = access.BuildContext.offline(config, InlinePool())
    assert result(inspection.look(config, context, b"fred"))["messages"] == 2


def test_keys_and_rules(base: Path) -> None:
    config = configure(
        base,
        'largest_octets = 10\nsince = "3d"\nnewest = 5\njunk = "Junk"\nfolders = ["*"]\n'
        'view_rules = [{accounts = ["fred"], junk = "Spam", junk_mark = "header", junk_text = "X-Spam-Flag: YES"}, '
        '{accounts = ["@example.net"], newest = 7, junk = "Junk", junk_mark = "none"}]',
    )
    found = Service(config).seen._views
    everybody, fred, joe = (found.of(Account(name)) for name in ("ann", "fred", "joe@example.net"))
    assert (everybody.largest_octets, everybody.since, everybody.newest) == (10, Since(days=3), 5)
    assert (everybody.junk, everybody.mark, everybody.folders) == ("Junk", SubjectMark(b"[Junk]"), ("*",))
    assert (fred.narrows, fred.junk, fred.mark) == (False, "Spam", HeaderMark(b"X-Spam-Flag: YES"))
    assert (joe.newest, joe.since, joe.junk, joe.mark, joe.folders) == (7, None, "Junk", None, ())
    assert problems(config) == []


MISTAKES: list[tuple[str, str, str]] = [
    ('since = "soon"', "maildrop.since", 'must be a number of days, "30d", or a date, "2026-01-31"'),
    ('since = "2026-02-30"', "maildrop.since", "day is out of range for month"),
    ("newest = -1", "maildrop.newest", "must be at least 0"),
    ("largest_octets = -1", "maildrop.largest_octets", "must be at least 0"),
    ('junk_mark = "colour"', "maildrop.junk_mark", 'must be one of "subject", "header", "none"'),
    ("view_rules = [{newest = 1}]", "maildrop.view_rules[0].accounts", "is missing"),
    (
        'view_rules = [{accounts = ["a"], newst = 1}]',
        "maildrop.view_rules[0].newst",
        "unknown key; did you mean 'newest'?",
    ),
    ('view_rules = [{accounts = ["a"], since = "1"}]', "maildrop.view_rules[0].since", "must be a number of days"),
]


@pytest.mark.parametrize(("keys", "path", "message"), MISTAKES, ids=[keys for keys, _, _ in MISTAKES])
def test_keys_that_cannot_be(base: Path, keys: str, path: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        configure(base, keys)
    [(at, said)] = caught.value.errors
    assert (at, said.startswith(message)) == (path, True), said


WRONG: list[tuple[str, str, str]] = [
    ('junk = "../x"', "maildrop.junk", "no folder can have this name"),
    ('junk = "INBOX"', "maildrop.junk", "no folder can have this name"),
    ('folders = ["*", "a", "b/c"]', "maildrop.folders[2]", "no folder can have this name"),
    ('junk_text = "\\n"', "maildrop.junk_text", "must be 1 to 200 printable ASCII characters"),
    ('junk_mark = "header"\njunk_text = "[Junk]"', "maildrop.junk_text", "must be a header field such as"),
    ('junk_mark = "none"\njunk_text = "x"', "maildrop.junk_text", 'has no effect with junk_mark = "none"'),
    ('view_rules = [{accounts = ["*"], junk = "."}]', "maildrop.view_rules[0].junk", "no folder can have this name"),
    ('since = "1d"\n[maildrop.mbox]', "maildrop.since", "mbox: this store does not know when messages came"),
    ('junk = "Junk"\n[maildrop.mbox]', "maildrop.junk", "mbox: this store has no other folder than INBOX"),
    ('folders = ["*"]\n[maildrop.mbox]', "maildrop.folders", "mbox: this store has no other folder than INBOX"),
]


@pytest.mark.parametrize(("keys", "path", "message"), WRONG, ids=[keys for keys, _, _ in WRONG])
def test_views_that_cannot_be_are_told_by_check_and_refused(base: Path, keys: str, path: str, message: str) -> None:
    config = configure(base, keys)
    [problem] = problems(config)
    assert (problem.key, problem.message.startswith(message), problem.warning) == (path, True, False), problem
    with pytest.raises(ConfigErrors) as caught:
        Composer(Clock(), None).compose(config)
    assert caught.value.errors == ((problem.key, problem.message),)


def test_mbox_has_the_views_that_it_can_have(base: Path) -> None:
    config = configure(base, "newest = 1\nlargest_octets = 3\n[maildrop.mbox]").maildrop
    text = TEXT.replace("maildir:mail", "mbox:mail")
    assert config.newest == 1
    service = Service(from_table(tomllib.loads(text + "newest = 1\nlargest_octets = 3"), base))
    (base / "mail").mkdir()
    for octets in (b"1\r\n", b"22\r\n", b"3\r\n", b"44\r\n"):
        service.deliver(b"fred", octets)
    assert service.read(b"fred") == [b"3\r\n"]


def test_every_key_of_a_rule_is_one_for_everybody() -> None:
    everybody = {field.name: field for field in attrs.fields(Maildrop)}
    for field in attrs.fields(ViewRule):
        if field.name != "accounts":
            assert (everybody[field.name].type, everybody[field.name].default) == (field.type, field.default)


def test_nothing_is_seen_otherwise_without_these_keys(base: Path) -> None:
    service = Service(configure(base, ""))
    service.put("fred", b"INBOX", b"inbox\r\n")
    opened: Any = result(service.seen.open(Account("fred")))
    assert type(opened).__name__ == "MaildirMaildrop"
    result(opened.close())
    assert service.read(b"fred+Junk") == [b"inbox\r\n"]


def test_a_store_stays_when_the_view_of_it_changes(base: Path) -> None:
    composer = Composer(Clock(), None)
    stores = []
    for keys in ("", "newest = 1", 'lock = "none"'):
        [offer] = composer.compose(configure(base, keys)).offers
        stores.append(offer.factory.listener.delivery)
    assert stores[0] is stores[1] is not stores[2]
