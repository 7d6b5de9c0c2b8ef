"""Several stores as one."""

from __future__ import annotations

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from popserv.auth.account import Account
from popserv.errors import DeliveryError, MaildropInUse, StoreBroken
from popserv.interfaces import IDelivery, IMaildropStore
from popserv.maildrop.router import StoreRouter
from popserv.stores.memory import MemoryStore


@implementer(IMaildropStore)
class ReadOnlyStore:
    def open(self, account, folder=b"INBOX"):
        return fail(MaildropInUse(account.name))


class TestRouter(SynchronousTestCase):
    def setUp(self):
        self.one = MemoryStore({"fred": [b"one\r\n"]})
        self.two = MemoryStore({"fred": [b"first\r\n", b"second\r\n"]})
        self.router = StoreRouter({"one": self.one, "two": self.two, "fixed": ReadOnlyStore()}, "one")

    def count(self, location):
        return self.successResultOf(self.router.open(Account("fred", location))).count

    def test_it_is_a_store_and_delivers(self):
        verifyObject(IMaildropStore, self.router)
        verifyObject(IDelivery, self.router)

    def test_the_scheme_of_the_location_chooses_and_the_default_has_the_rest(self):
        self.assertEqual([self.count(""), self.count("two:anywhere")], [1, 2])

    def test_folders_and_accounts_are_handed_on(self):
        self.assertEqual(self.successResultOf(self.router.open(Account("fred"), b"Drafts")).count, 0)
        error = self.failureResultOf(self.router.open(Account("ann", "fixed:x")), MaildropInUse)
        self.assertEqual(error.value.text, "ann")

    def test_deliveries_go_the_same_way(self):
        incoming = self.successResultOf(self.router.begin(Account("fred", "two:anywhere")))
        self.successResultOf(incoming.write(b"third\r\n"))
        self.successResultOf(incoming.commit())
        self.assertEqual([self.count(""), self.count("two:anywhere")], [1, 3])

    def test_unknown_schemes_are_refused(self):
        for location in ("three:x", "nonsense", ":"):
            self.failureResultOf(self.router.open(Account("fred", location)), StoreBroken)
            self.failureResultOf(self.router.begin(Account("fred", location)), DeliveryError)

    def test_a_store_that_takes_nothing_in_takes_nothing_in(self):
        self.failureResultOf(self.router.begin(Account("fred", "fixed:x")), DeliveryError)

    def test_the_default_has_to_be_there(self):
        self.assertRaises(KeyError, StoreRouter, {"one": self.one}, "two")
