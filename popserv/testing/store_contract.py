"""What every maildrop store promises, as tests to mix into your own.

::

    class TestMyStore(StoreContract, twisted.trial.unittest.TestCase):
        def make_store(self):
            return MyStore()

The tests are coroutines, so a store may take its time; ``SynchronousTestCase`` does not run them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from unittest import SkipTest

from twisted.internet.defer import CancelledError, Deferred, succeed
from zope.interface.verify import verifyObject

from popserv.auth.account import Account
from popserv.errors import MaildropInUse, PopError
from popserv.interfaces import IAccount, IDelivery, IIncoming, IMaildrop, IMaildropStore, IMessage, IMessageReader
from popserv.maildrop.uidl import is_unique_id
from popserv.testing.nasty import NASTY
from popserv.wire.octets import to_crlf

READ_SIZES = (1 << 16, 1 << 20, 1000, 4096)


class StoreContract:
    """Mix this into a ``twisted.trial.unittest.TestCase`` and override `make_store`."""

    account: IAccount = Account("contract")

    def make_store(self) -> IMaildropStore:
        """A store in which `account` has no messages, whatever other stores were made before."""
        raise NotImplementedError("make_store() has to be overridden")

    def deliver(self, store: IMaildropStore, account: IAccount, octets: bytes) -> Deferred[None]:
        """Put a message into the account's INBOX. Override this if the store provides no `IDelivery`."""
        return Deferred.fromCoroutine(self._deliver(IDelivery(store), account, octets))

    def settle(self) -> Deferred[None]:
        """Fires when some time has passed in which the store can let go of what was cancelled."""
        return succeed(None)

    # --- what the tests are made of

    async def _deliver(self, delivery: IDelivery, account: IAccount, octets: bytes) -> None:
        incoming = await delivery.begin(account)
        verifyObject(IIncoming, incoming)
        for start in range(0, len(octets), 50_001):
            await incoming.write(octets[start : start + 50_001])
        await incoming.commit()

    def delivery(self, store: IMaildropStore) -> IDelivery:
        """The store as one that takes mail in; skips the test if it does not."""
        delivery = IDelivery(store, None)
        if delivery is None:
            raise SkipTest("this store takes no mail in")
        return delivery

    async def filled(self, messages: Sequence[bytes]) -> IMaildropStore:
        """A new store with these messages."""
        store = self.make_store()
        for octets in messages:
            await self.deliver(store, self.account, octets)
        return store

    async def reopened(self, store: IMaildropStore) -> IMaildrop:
        """A session, as soon as there can be one."""
        for _ in range(200):
            try:
                return await store.open(self.account)
            except MaildropInUse:
                await self.settle()
        raise AssertionError("the lock of the maildrop is not released")

    async def contents(self, store: IMaildropStore) -> dict[bytes, bytes]:
        """What a new session sees: octets by unique-id."""
        maildrop = await self.reopened(store)
        seen = {maildrop.uidl(index): await self.read(maildrop.message(index)) for index in range(maildrop.count)}
        assert len(seen) == maildrop.count, "unique-ids are not unique"
        await maildrop.close()
        return seen

    async def read(self, message: IMessage, octets: int = 1 << 16) -> bytes:
        """A whole message, at once where it is at hand."""
        reader = message.open()
        verifyObject(IMessageReader, reader)
        chunks: list[bytes] = []
        try:
            while True:
                chunk = reader.read_nowait(octets)
                if chunk is None:
                    chunk = await reader.read(octets)
                assert len(chunk) <= 2 * octets, "a read gives far more than was asked for"
                if not chunk:
                    return b"".join(chunks)
                chunks.append(chunk)
        finally:
            reader.close()

    # --- octets

    async def test_store_and_maildrop_provide_their_interfaces(self) -> None:
        store = await self.filled([b"Subject: a\r\n\r\n"])
        verifyObject(IMaildropStore, store)
        maildrop = await store.open(self.account)
        verifyObject(IMaildrop, maildrop)
        verifyObject(IMessage, maildrop.message(0))
        await maildrop.close()

    async def test_P3_026_every_message_comes_out_as_it_went_in_and_as_large_as_was_said(self) -> None:
        store = await self.filled(list(NASTY.values()))
        maildrop = await store.open(self.account)
        assert maildrop.count == len(NASTY)
        assert maildrop.total == sum(maildrop.octets)
        left = sorted(map(to_crlf, NASTY.values()))
        for index in range(maildrop.count):
            message = maildrop.message(index)
            octets = await self.read(message)
            assert octets in left, f"message {index} yields octets that were never stored: {octets[:60]!r}"
            left.remove(octets)
            assert message.octets == maildrop.octets[index] == len(octets)
        assert left == []
        await maildrop.close()

    async def test_reads_of_any_size_give_the_same_octets(self) -> None:
        for name in ("dots at the edges of chunks", "line ends at the edges of chunks", "mixed line ends", "final CR"):
            store = await self.filled([NASTY[name]])
            maildrop = await store.open(self.account)
            for octets in READ_SIZES:
                assert await self.read(maildrop.message(0), octets) == to_crlf(NASTY[name]), (name, octets)
            await maildrop.close()

    async def test_reads_of_one_octet_give_the_same_octets(self) -> None:
        stored = b".\r\r\n\n\r\r\n.x"
        store = await self.filled([stored])
        maildrop = await store.open(self.account)
        assert await self.read(maildrop.message(0), 1) == to_crlf(stored)
        await maildrop.close()

    async def test_the_flags_of_a_message_err_to_the_safe_side_only(self) -> None:
        for stored in NASTY.values():
            store = await self.filled([stored])
            maildrop = await store.open(self.account)
            message = maildrop.message(0)
            octets = to_crlf(stored)
            if octets.startswith(b".") or b"\n." in octets:
                assert message.needs_stuffing, stored[:60]
            await maildrop.close()

    async def test_several_readers_of_one_message_do_not_disturb_each_other(self) -> None:
        octets = NASTY["line ends at the edges of chunks"]
        store = await self.filled([octets])
        maildrop = await store.open(self.account)
        first, second = maildrop.message(0).open(), maildrop.message(0).open()
        start = await first.read(1000)
        assert await second.read(1000) == start
        second.close()
        more = await first.read(1000)
        assert to_crlf(octets).startswith(start + more)
        assert start and more
        first.close()
        await maildrop.close()

    async def test_a_reader_can_be_closed_early_and_twice_and_while_it_reads(self) -> None:
        store = await self.filled([NASTY["a line of two million octets"]])
        maildrop = await store.open(self.account)
        unread = maildrop.message(0).open()
        unread.close()
        unread.close()
        reader = maildrop.message(0).open()
        reading = reader.read(1000)
        reader.close()
        try:
            await reading
        except PopError:
            pass
        reader.close()
        assert len(await self.read(maildrop.message(0))) == maildrop.octets[0]
        await maildrop.close()

    # --- unique-ids

    async def test_P3_035_unique_ids_are_1_to_70_printable_octets(self) -> None:
        for unique_id in await self.contents(await self.filled([b"a\r\n", b"b\r\n"])):
            assert is_unique_id(unique_id), unique_id

    async def test_P3_036_unique_ids_are_unique_and_stay_over_sessions_and_new_mail(self) -> None:
        store = await self.filled([b"same\r\n", b"same\r\n", b"other\r\n"])
        before = await self.contents(store)
        assert await self.contents(store) == before
        await self.deliver(store, self.account, b"same\r\n")
        after = await self.contents(store)
        assert len(after) == 4
        assert before.items() <= after.items()

    async def test_P3_037_unique_ids_are_not_used_again(self) -> None:
        store = await self.filled([b"first\r\n"])
        used = set(await self.contents(store))
        for _ in range(3):
            maildrop = await store.open(self.account)
            assert await maildrop.commit({0}) == 0
            await maildrop.close()
            await self.deliver(store, self.account, b"first\r\n")
            now = set(await self.contents(store))
            assert not now & used
            used |= now

    # --- the lock

    async def test_P3_017_a_maildrop_has_one_session_at_a_time(self) -> None:
        store = await self.filled([b"a\r\n"])
        maildrop = await store.open(self.account)
        start = time.monotonic()
        try:
            await store.open(self.account)
        except MaildropInUse:
            assert time.monotonic() - start < 2, "a maildrop in use is not said to be so at once"
        else:
            raise AssertionError("a second session was let in")
        await maildrop.close()
        await (await store.open(self.account)).close()

    async def test_maildrops_of_different_accounts_do_not_exclude_each_other(self) -> None:
        store = await self.filled([b"a\r\n"])
        other = Account("contract-other")
        await self.deliver(store, other, b"b\r\n")
        mine, theirs = await store.open(self.account), await store.open(other)
        assert await self.read(mine.message(0)) == b"a\r\n"
        assert await self.read(theirs.message(0)) == b"b\r\n"
        await mine.close()
        await theirs.close()

    async def test_closing_again_does_not_take_the_lock_from_the_next_session(self) -> None:
        store = await self.filled([b"a\r\n"])
        first = await store.open(self.account)
        await first.close()
        second = await store.open(self.account)
        await first.close()
        try:
            await store.open(self.account)
        except MaildropInUse:
            pass
        else:
            raise AssertionError("closing a session again has let a third one in")
        await second.close()

    async def test_an_opening_that_is_cancelled_holds_no_lock(self) -> None:
        store = await self.filled([b"a\r\n"])
        opening = store.open(self.account)
        opening.cancel()
        try:
            await (await opening).close()  # it was open already, and cancelling what has happened does nothing
        except CancelledError:
            pass
        await (await self.reopened(store)).close()

    # --- removing

    async def test_P3_041_commit_removes_exactly_the_marked_messages(self) -> None:
        stored = [b"message %d\r\n" % number for number in range(6)]
        store = await self.filled(stored)
        before = await self.contents(store)
        maildrop = await store.open(self.account)
        doomed = {maildrop.uidl(index) for index in (0, 3, 5)}
        assert await maildrop.commit({0, 3, 5}) == 0
        await maildrop.close()
        assert await self.contents(store) == {key: octets for key, octets in before.items() if key not in doomed}

    async def test_closing_without_commit_removes_nothing(self) -> None:
        store = await self.filled([b"a\r\n", b"b\r\n"])
        before = await self.contents(store)
        maildrop = await store.open(self.account)
        await self.read(maildrop.message(0))
        await maildrop.close()
        await maildrop.close()
        assert await self.contents(store) == before

    async def test_an_empty_commit_removes_nothing(self) -> None:
        store = await self.filled([b"a\r\n"])
        maildrop = await store.open(self.account)
        assert await maildrop.commit(set()) == 0
        await maildrop.close()
        assert len(await self.contents(store)) == 1

    async def test_close_waits_for_a_commit_under_way(self) -> None:
        store = await self.filled([b"a\r\n", b"b\r\n"])
        maildrop = await store.open(self.account)
        committing = maildrop.commit({0})
        await maildrop.close()
        assert await committing == 0
        assert len(await self.contents(store)) == 1

    # --- the snapshot

    async def test_P3_020_new_mail_does_not_change_a_session(self) -> None:
        store = await self.filled([b"a\r\n"])
        maildrop = await store.open(self.account)
        unique_id = maildrop.uidl(0)
        await self.deliver(store, self.account, b"second message\r\n")
        assert (maildrop.count, list(maildrop.octets), maildrop.total) == (1, [3], 3)
        assert maildrop.uidl(0) == unique_id
        assert await self.read(maildrop.message(0)) == b"a\r\n"
        assert await maildrop.commit({0}) == 0
        await maildrop.close()
        assert list((await self.contents(store)).values()) == [b"second message\r\n"]

    async def test_an_empty_maildrop_opens(self) -> None:
        maildrop = await self.make_store().open(self.account)
        assert (maildrop.count, list(maildrop.octets), maildrop.total) == (0, [], 0)
        await maildrop.close()

    # --- delivery, for stores that provide it

    async def test_a_message_is_seen_only_after_its_commit(self) -> None:
        store = await self.filled([b"a\r\n"])
        delivery = self.delivery(store)
        verifyObject(IDelivery, store)
        incoming = await delivery.begin(self.account)
        await incoming.write(b"Subject: x\r\n")
        assert len(await self.contents(store)) == 1
        await incoming.write(b"\r\n")
        await incoming.commit()
        assert sorted((await self.contents(store)).values()) == [b"Subject: x\r\n\r\n", b"a\r\n"]
        await incoming.abort()
        assert len(await self.contents(store)) == 2, "abort after commit has removed the message"

    async def test_an_aborted_message_leaves_nothing(self) -> None:
        store = await self.filled([b"a\r\n"])
        delivery = self.delivery(store)
        incoming = await delivery.begin(self.account)
        await incoming.write(b"Subject: x\r\n")
        await incoming.abort()
        await incoming.abort()
        assert list((await self.contents(store)).values()) == [b"a\r\n"]

    async def test_messages_of_several_deliveries_at_once_stay_apart(self) -> None:
        store = await self.filled([b"a\r\n"])
        delivery = self.delivery(store)
        incoming = [await delivery.begin(self.account) for _ in range(3)]
        for number, one in enumerate(incoming):
            await one.write(b"number %d\r" % number)
        for one in incoming:
            await one.write(b"\nend\r\n")
        await incoming[2].commit()
        await incoming[1].abort()
        await incoming[0].commit()
        assert sorted((await self.contents(store)).values()) == [
            b"a\r\n",
            b"number 0\r\nend\r\n",
            b"number 2\r\nend\r\n",
        ]
