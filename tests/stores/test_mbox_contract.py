"""The store contract for mboxes: every format, inline and in threads."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from popserv.maildrop.line_feeds import LineFeeds
from popserv.pools import BoundedPool, InlinePool
from popserv.stores.mbox import MboxStore, Options
from popserv.testing.nasty import NASTY
from popserv.testing.store_contract import StoreContract
from popserv.wire.octets import to_crlf
from tests.stores.maildirs import folder_for
from tests.stores.mboxes import FROM


class InlineContract(StoreContract):
    options = Options()

    def make_store(self):
        self.root = folder_for(self)
        return MboxStore(str(self.root / "{user}"), InlinePool(), reactor, options=self.options)


class TestMboxrd(InlineContract, TestCase):
    pass


class TestMboxThatMayBlock(InlineContract, TestCase):
    options = Options(io="inline")


class TestMboxUnderOtherLocks(InlineContract, TestCase):
    options = Options(locks=("dotlock", "flock"))


class TestMboxWrittenInPlace(InlineContract, TestCase):
    options = Options(rewrite="in-place")


class TestMboxo(InlineContract, TestCase):
    options = Options(format="mboxo")

    async def test_P3_026_every_message_comes_out_as_it_went_in_and_as_large_as_was_said(self):
        """But for the ">" in front of "From ", which stays: that is the format."""
        expected = {name: to_crlf(octets) for name, octets in NASTY.items()}
        expected["From_ lines"] = b">From a Mon Jan  1 00:00:00 2024\r\n\r\n>From b\r\n>From c\r\n"
        store = await self.filled(list(NASTY.values()))
        maildrop = await store.open(self.account)
        seen = [await self.read(maildrop.message(index)) for index in range(maildrop.count)]
        assert seen == list(expected.values())
        assert list(maildrop.octets) == [len(octets) for octets in seen]
        await maildrop.close()


class TestMboxcl2(InlineContract, TestCase):
    """It is read only, so the mail is put there by hand, as it is."""

    options = Options(format="mboxcl2")

    def deliver(self, store, account, octets):
        lines = LineFeeds()
        stored = lines.feed(octets) + lines.finish()
        if stored and not stored.endswith(b"\n"):
            stored += b"\r\n" if stored.endswith(b"\r") else b"\n"
        with (self.root / account.name).open("ab") as file:
            file.write(FROM + stored + b"\n")
        return succeed(None)

    def delivery(self, store):
        self.skipTest("popserv writes no mboxcl2")


class ThreadedContract(StoreContract):
    options = Options()

    def setUp(self):
        self.pool = BoundedPool(reactor, "disk", 2, 100)
        self.addCleanup(self.pool.stop)

    def make_store(self):
        return MboxStore(str(folder_for(self) / "{user}"), self.pool, reactor, options=self.options)

    def settle(self):
        return deferLater(reactor, 0.01)


class TestMboxInThreads(ThreadedContract, TestCase):
    options = Options(io="threads")


class TestMboxInThreadsUnlessAtHand(ThreadedContract, TestCase):
    pass
