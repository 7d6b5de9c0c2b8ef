"""The memory store: the contract, and what tests use it for."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from popserv.auth.account import Account
from popserv.plugins import find
from popserv.stores.memory import MemoryStore, Options
from popserv.testing.store_contract import StoreContract
from tests.stores.test_maildir_plugin import Context


class TestMemoryStore(StoreContract, TestCase):
    def make_store(self):
        return MemoryStore()


class TestMemoryStoreInTests(SynchronousTestCase):
    def test_messages_given_at_the_beginning_are_there_in_order(self):
        store = MemoryStore({"fred": [b"first\n", b"second\n"]})
        maildrop = self.successResultOf(store.open(Account("fred")))
        self.assertEqual(maildrop.octets, [7, 8])
        self.assertEqual(maildrop.message(1).open().read_nowait(100), b"second\r\n")

    def test_folders_are_maildrops_of_their_own(self):
        store = MemoryStore({"fred": [b"first\n"]})
        self.assertEqual(self.successResultOf(store.open(Account("fred"), b"Drafts")).count, 0)

    def test_the_plugin_builds_an_empty_store(self):
        plugin = find("stores", "memory")
        self.assertEqual(plugin.check("", Context(Path())), [])
        self.assertIn("takeover", plugin.check("", Context(Path(), lock="takeover"))[0])
        store = plugin.build("", Options(), None)
        self.assertEqual(self.successResultOf(store.open(Account("fred"))).count, 0)
