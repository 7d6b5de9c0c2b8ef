"""Between `IMaildrop` and Twisted's `IMailboxPOP3`."""

from __future__ import annotations

from io import BytesIO, TextIOWrapper
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.mail.interfaces import IMailboxPOP3
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from popserv.auth.account import Account
from popserv.errors import MessageVanished, StoreBroken, StoreUnavailable, SystemTrouble
from popserv.interfaces import IMaildrop
from popserv.maildrop.adapters import MaildropMailbox, maildrop_from_mailbox
from popserv.stores.memory import MemoryStore
from popserv.testing import NASTY
from popserv.wire.octets import to_crlf


@implementer(IMailboxPOP3)
class Mailbox:
    """Somebody's mailbox, as `IMailboxPOP3` has it; with `later`, all that may give Deferreds does."""

    def __init__(self, messages: list[bytes], later: bool = False) -> None:
        self.messages: list[bytes | None] = list(messages)
        self.marked: set[int] = set()
        self.synced = 0
        self._wrap: Any = succeed if later else lambda result: result

    def listMessages(self, index: int | None = None) -> Any:
        sizes = [0 if message is None else len(message) for message in self.messages]
        return self._wrap(sizes if index is None else sizes[index])

    def getMessage(self, index: int) -> Any:
        message = self.messages[index]
        if message is None:
            raise ValueError("deleted")
        return self._wrap(BytesIO(message))

    def getUidl(self, index: int) -> bytes:
        if self.messages[index] is None:
            raise ValueError("deleted")
        return b"id-%d" % index

    def deleteMessage(self, index: int) -> Any:
        if self.messages[index] is None:
            raise ValueError("deleted")
        self.marked.add(index)
        return self._wrap(None)

    def undeleteMessages(self) -> None:
        self.marked.clear()

    def sync(self) -> Any:
        self.synced += 1
        for index in self.marked:
            self.messages[index] = None
        return self._wrap(None)


def everything(maildrop: IMaildrop, index: int, octets: int = 1 << 16) -> bytes:
    """A whole message, read as the server reads it."""
    reader, chunks = maildrop.message(index).open(), []
    while True:
        chunk = reader.read_nowait(octets)
        if chunk is None:
            chunk = now(reader.read(octets))
        if not chunk:
            reader.close()
            return b"".join(chunks)
        chunks.append(chunk)


def now(work: Deferred[Any]) -> Any:
    results: list[Any] = []
    work.addBoth(results.append)
    assert results, "not fired"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


@pytest.mark.parametrize("later", [False, True])
class TestForeignMailboxes:
    def test_a_snapshot_of_what_is_there(self, later: bool) -> None:
        mailbox = Mailbox([b"one\n", b"gone", b"three\r\n"], later)
        mailbox.messages[1] = None
        maildrop = now(maildrop_from_mailbox(mailbox))
        verifyObject(IMaildrop, maildrop)
        assert (maildrop.count, maildrop.octets, maildrop.total) == (2, [4, 7], 11)
        assert [maildrop.uidl(index) for index in range(2)] == [b"id-0", b"id-2"]
        assert everything(maildrop, 1) == b"three\r\n"

    @pytest.mark.parametrize("octets", [1, 7, 65536])
    def test_messages_come_in_crlf_form(self, later: bool, octets: int) -> None:
        names = [name for name, stored in NASTY.items() if 0 < len(stored) < 3000]
        maildrop = now(maildrop_from_mailbox(Mailbox([NASTY[name] for name in names], later)))
        for index, name in enumerate(names):
            assert everything(maildrop, index, octets) == to_crlf(NASTY[name]), name

    def test_commit_deletes_and_syncs(self, later: bool) -> None:
        mailbox = Mailbox([b"gone", b"one", b"two", b"three"], later)
        mailbox.messages[0] = None
        maildrop = now(maildrop_from_mailbox(mailbox))
        assert now(maildrop.commit({0, 2})) == 0
        assert mailbox.messages == [None, None, b"two", None]
        assert mailbox.synced == 1

    def test_a_message_that_has_vanished_counts_as_removed(self, later: bool) -> None:
        mailbox = Mailbox([b"one", b"two"], later)
        maildrop = now(maildrop_from_mailbox(mailbox))
        mailbox.messages[0] = None
        assert now(maildrop.commit({0, 1})) == 0
        assert mailbox.messages == [None, None]

    def test_a_message_that_has_vanished_cannot_be_read(self, later: bool) -> None:
        mailbox = Mailbox([b"one"], later)
        maildrop = now(maildrop_from_mailbox(mailbox))
        mailbox.messages[0] = None
        with pytest.raises(MessageVanished):
            everything(maildrop, 0)
        with pytest.raises(MessageVanished):
            maildrop.uidl(0)

    def test_closing_deletes_nothing(self, later: bool) -> None:
        mailbox = Mailbox([b"one"], later)
        maildrop = now(maildrop_from_mailbox(mailbox))
        now(maildrop.close())
        now(maildrop.close())
        assert (mailbox.messages, mailbox.synced) == ([b"one"], 0)


class Troubles(SynchronousTestCase):
    def test_what_cannot_be_marked_is_counted_as_left(self) -> None:
        class ReadOnly(Mailbox):
            def deleteMessage(self, index: int) -> Any:
                return fail(OSError()) if index else super().deleteMessage(index)

        maildrop = now(maildrop_from_mailbox(ReadOnly([b"one", b"two"])))
        self.assertEqual(now(maildrop.commit({0, 1})), 1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_failed_sync_is_told(self) -> None:
        class Broken(Mailbox):
            def sync(self) -> Any:
                raise OSError

        maildrop = now(maildrop_from_mailbox(Broken([b"one"])))
        self.assertRaises(SystemTrouble, now, maildrop.commit({0}))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_file_that_cannot_be_read(self) -> None:
        class Broken(BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise OSError

        class Unreadable(Mailbox):
            def getMessage(self, index: int) -> Any:
                return Broken()

        maildrop = now(maildrop_from_mailbox(Unreadable([b"one"])))
        self.assertRaises(StoreUnavailable, everything, maildrop, 0)

    def test_a_mailbox_that_cannot_be_listed(self) -> None:
        class Broken(Mailbox):
            def listMessages(self, index: int | None = None) -> Any:
                raise OSError

        self.assertRaises(OSError, now, maildrop_from_mailbox(Broken([])))

    def test_it_is_synced_even_when_nothing_was_marked(self) -> None:
        mailbox = Mailbox([b"one"])
        maildrop = self.successResultOf(maildrop_from_mailbox(mailbox))
        self.assertEqual(self.successResultOf(maildrop.commit(frozenset())), 0)
        self.assertEqual(mailbox.synced, 1)

    def test_a_file_that_comes_too_late_is_closed(self) -> None:
        opening: Deferred[BytesIO] = Deferred()
        mailbox = Mailbox([b"one"])
        mailbox.getMessage = lambda index: opening  # type: ignore[method-assign]
        maildrop = self.successResultOf(maildrop_from_mailbox(mailbox))
        reader = maildrop.message(0).open()
        reading = reader.read(100)
        reading.cancel()
        reader.close()
        self.failureResultOf(reading)
        file = BytesIO(b"one")
        opening.callback(file)
        self.assertTrue(file.closed)

    def test_sizes_that_are_none_are_trouble_of_the_mailbox(self) -> None:
        for odd in (-1, 10.7, "12", None, True):
            mailbox = Mailbox([b"one"])
            mailbox.listMessages = lambda index=None, odd=odd: [7, odd]  # type: ignore[method-assign, misc]
            self.failureResultOf(maildrop_from_mailbox(mailbox), StoreBroken)

    def test_P3_035_unique_ids_that_break_the_rule_are_hashed(self) -> None:
        class Odd(Mailbox):
            ids: Any = [b"fine", b"two words", b"", b"x" * 71, "h\xe4h", b"two words"]

            def getUidl(self, index: int) -> Any:
                return self.ids[index]

        maildrop = now(maildrop_from_mailbox(Odd([b"x"] * 6)))
        ids = [maildrop.uidl(index) for index in range(6)]
        self.assertEqual(ids[0], b"fine")
        for unique_id in ids:
            self.assertRegex(unique_id, rb"^[!-~]{1,70}$")
        self.assertEqual(len(set(ids)), 5)
        self.assertEqual(ids[1], ids[5])

    def test_a_file_that_was_opened_as_text_is_read_as_octets(self) -> None:
        class Text(Mailbox):
            def getMessage(self, index: int) -> Any:
                return TextIOWrapper(BytesIO(b"\xff\n\r\n"))

        self.assertEqual(everything(now(maildrop_from_mailbox(Text([b"one"]))), 0), b"\xff\r\n\r\n")

    def test_a_reader_closes_its_file(self) -> None:
        opened: list[BytesIO] = []

        class Watched(Mailbox):
            def getMessage(self, index: int) -> Any:
                opened.append(BytesIO(b"one"))
                return opened[-1]

        maildrop = now(maildrop_from_mailbox(Watched([b"one"])))
        reader = maildrop.message(0).open()
        reader.close()
        self.assertEqual(opened, [])
        reader = maildrop.message(0).open()
        now(reader.read(1))
        reader.close()
        reader.close()
        self.assertTrue(opened[0].closed)


class OurMaildrops(SynchronousTestCase):
    def mailbox(self, *messages: bytes) -> tuple[Any, MemoryStore]:
        store = MemoryStore({"fred": messages})
        return IMailboxPOP3(now(store.open(Account("fred")))), store

    def test_it_is_an_adapter_and_keeps_the_interface(self) -> None:
        mailbox, _store = self.mailbox(b"one\n")
        self.assertIsInstance(mailbox, MaildropMailbox)
        verifyObject(IMailboxPOP3, mailbox)

    def test_messages_come_with_lf_line_ends_and_sizes_for_crlf(self) -> None:
        mailbox, _store = self.mailbox(b"one\r\n.two", b"three\n")
        self.assertEqual(mailbox.listMessages(), [11, 7])
        self.assertEqual(now(mailbox.getMessage(0)).read(), b"one\n.two\n")
        self.assertEqual(now(mailbox.getMessage(1)).read(), b"three\n")
        self.assertNotEqual(mailbox.getUidl(0), mailbox.getUidl(1))

    def test_marks_can_be_taken_back_until_sync(self) -> None:
        mailbox, store = self.mailbox(b"one\n", b"two\n")
        mailbox.deleteMessage(0)
        self.assertEqual((mailbox.listMessages(), mailbox.listMessages(0)), ([0, 5], 0))
        mailbox.undeleteMessages()
        self.assertEqual(mailbox.listMessages(), [5, 5])
        mailbox.deleteMessage(1)
        self.assertEqual(now(mailbox.sync()), 0)
        mailbox._maildrop.close()
        self.assertEqual(now(store.open(Account("fred"))).octets, [5])

    def test_indices_that_are_none_are_value_errors(self) -> None:
        mailbox, _store = self.mailbox(b"one\n")
        for index in (-1, 1, 10**9):
            for method in (mailbox.listMessages, mailbox.getMessage, mailbox.getUidl, mailbox.deleteMessage):
                self.assertRaises(ValueError, method, index)

    def test_there_and_back_again(self) -> None:
        mailbox, _store = self.mailbox(b"one\r\n.two", b"three\n")
        maildrop = now(maildrop_from_mailbox(mailbox))
        self.assertEqual(maildrop.octets, [11, 7])
        self.assertEqual([everything(maildrop, index) for index in range(2)], [b"one\r\n.two\r\n", b"three\r\n"])
