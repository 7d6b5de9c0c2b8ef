"""The Maildir store as configuration sees it."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from popserv.auth.account import Account
from popserv.errors import StoreBroken
from popserv.interfaces import IBuildContext, IDelivery, IMaildropStore, IStores
from popserv.plugins import find
from popserv.pools import InlinePool
from popserv.stores.maildir import Options
from tests.stores.maildirs import MaildirTestCase


@implementer(IBuildContext)
@attrs.frozen
class Context:
    base: Path
    case: str = "fold"
    secret: bytes = b"s" * 32
    lock: str = "exclusive"
    reactor: Clock = attrs.Factory(Clock)
    disk: InlinePool = attrs.Factory(InlinePool)
    hashing: InlinePool = attrs.Factory(InlinePool)
    successes: None = None
    hostname: str = "mail.example.org"

    def pool(self, name: str, threads: int, queue: int) -> InlinePool:
        return self.disk

    def path(self, relative: str) -> Path:
        return self.base / relative


class TestPlugin(MaildirTestCase):
    def test_the_scheme_finds_it(self):
        plugin = find("stores", "maildir")
        verifyObject(IStores, plugin)
        self.assertEqual(plugin.options(), Options(line_ends="crlf", shared=False, io="auto"))

    def test_what_it_builds_serves_and_delivers_below_the_configuration_file(self):
        store = find("stores", "maildir").build("{user}", Options(), Context(self.root))
        verifyObject(IMaildropStore, store)
        verifyObject(IDelivery, store)
        self.put("1.a")
        self.assertEqual(self.ids(store), [b"1.a"])
        incoming = self.successResultOf(store.begin(Account("fred")))
        self.successResultOf(incoming.commit())
        [path] = (self.maildir / "new").iterdir()
        self.assertTrue(path.name.endswith(".mail.example.org"))

    def test_lock_none_takes_no_lock(self):
        store = find("stores", "maildir").build("{user}", Options(), Context(self.root, lock="none"))
        self.assertEqual([self.open(store).count, self.open(store).count], [0, 0])

    def test_an_account_may_live_elsewhere(self):
        self.put("1.a")
        store = self.make_store()
        for location, home in ((f"maildir:{self.maildir}", ""), ("maildir:{home}/fred", str(self.root))):
            maildrop = self.successResultOf(store.open(Account("ann", location, home)))
            self.assertEqual(maildrop.count, 1)
            self.close(maildrop)
        self.failureResultOf(store.open(Account("ann", "nonsense")), StoreBroken)
        self.failureResultOf(store.open(Account("ann", "maildir:relative")), StoreBroken)

    def test_check_names_what_is_wrong(self):
        check = find("stores", "maildir").check
        self.assertEqual(check("/srv/mail/{user}", Context(self.root)), [])
        self.assertEqual(len(check("/srv/{usr}", Context(self.root))), 1)
        self.assertEqual(check("/srv/{user}", Context(self.root, lock="takeover")), [])
