"""The store contract for Maildirs: inline, in threads, with LF line ends, without the NOWAIT calls."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from popserv.pools import BoundedPool, InlinePool
from popserv.stores.maildir import MaildirStore, Options
from popserv.testing.store_contract import StoreContract
from tests.stores.maildirs import folder_for


class InlineContract(StoreContract):
    options = Options()

    def make_store(self):
        return MaildirStore(str(folder_for(self) / "{user}"), InlinePool(), reactor, options=self.options)


class TestMaildirStore(InlineContract, TestCase):
    pass


class TestMaildirStoreWithLineFeeds(InlineContract, TestCase):
    options = Options(line_ends="lf")


class TestMaildirStoreThatMayBlock(InlineContract, TestCase):
    options = Options(io="inline")


class ThreadedContract(StoreContract):
    options = Options()

    def setUp(self):
        self.pool = BoundedPool(reactor, "disk", 2, 100)
        self.addCleanup(self.pool.stop)

    def make_store(self):
        return MaildirStore(str(folder_for(self) / "{user}"), self.pool, reactor, options=self.options)

    def settle(self):
        return deferLater(reactor, 0.01)


class TestMaildirStoreInThreads(ThreadedContract, TestCase):
    options = Options(io="threads")


class TestMaildirStoreInThreadsUnlessAtHand(ThreadedContract, TestCase):
    pass
