"""Sessions that change nothing, beside one that does."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from popserv.auth.account import Account
from popserv.errors import MaildropInUse, MessageVanished, ReadOnly, StoreBroken, StoreUnavailable
from popserv.interfaces import IReadOnlyMaildrop, IReadOnlyStore
from popserv.maildrop.router import StoreRouter
from popserv.pools import InlinePool
from popserv.stores.maildir import MaildirStore
from popserv.stores.memory import MemoryStore
from tests.net.support import StoreOf

FRED = Account("fred")
STORED = [b"Subject: %d\r\n\r\nbody\r\n" % number for number in range(3)]


class Contract:
    """For every store that has such sessions."""

    def make_store(self) -> Any:
        raise NotImplementedError

    def setUp(self) -> None:
        self.store = self.make_store()
        self.deliver(*STORED)

    def deliver(self, *messages: bytes) -> None:
        for octets in messages:
            incoming = self.now(self.store.begin(FRED))
            self.now(incoming.write(octets))
            self.now(incoming.commit())

    def now(self, work: Deferred[Any]) -> Any:
        return self.successResultOf(work)  # type: ignore[attr-defined]

    def read(self, maildrop: Any, index: int) -> bytes:
        reader = maildrop.message(index).open()
        try:
            octets: bytes = self.now(reader.read(1 << 16))
            return octets
        finally:
            reader.close()

    def test_interfaces(self) -> None:
        verifyObject(IReadOnlyStore, self.store)
        verifyObject(IReadOnlyMaildrop, self.now(self.store.open_read_only(FRED)))

    def test_AN_002_several_at_once_and_beside_a_session_that_holds_the_lock(self) -> None:
        locked = self.now(self.store.open(FRED))
        visitors = [self.now(self.store.open_read_only(FRED)) for _ in range(3)]
        for each in visitors:
            assert [self.read(each, index) for index in range(each.count)] == STORED
            assert [each.uidl(index) for index in range(3)] == [locked.uidl(index) for index in range(3)]
            assert (list(each.octets), each.total) == (list(locked.octets), locked.total)
        self.now(locked.close())
        self.now(self.store.open(FRED))
        for each in visitors:
            self.now(each.close())
        self.failureResultOf(self.store.open(FRED), MaildropInUse)  # type: ignore[attr-defined]

    def test_AN_002_nothing_is_removed_from_it(self) -> None:
        visitor = self.now(self.store.open_read_only(FRED))
        self.failureResultOf(visitor.commit({0}), ReadOnly)  # type: ignore[attr-defined]
        self.now(visitor.close())
        assert self.now(self.store.open(FRED)).count == 3


class Memory(Contract, SynchronousTestCase):
    def make_store(self) -> Any:
        return MemoryStore()


class Maildir(Contract, SynchronousTestCase):
    def make_store(self) -> Any:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.maildir = Path(directory.name) / "fred"
        return MaildirStore(str(self.maildir), InlinePool(), Clock())

    def files(self) -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in self.maildir.rglob("*")}

    def test_AN_002_what_another_session_removes_is_an_honest_error(self) -> None:
        visitor = self.now(self.store.open_read_only(FRED))
        owner = self.now(self.store.open(FRED))
        self.now(owner.commit({1}))
        self.now(owner.close())
        self.assertEqual((self.read(visitor, 0), self.read(visitor, 2)), (STORED[0], STORED[2]))
        self.failureResultOf(visitor.message(1).open().read(100), MessageVanished)

    def test_a_message_that_another_session_renames_is_found(self) -> None:
        visitor = self.now(self.store.open_read_only(FRED))
        for path in (self.maildir / "new").iterdir():
            path.rename(self.maildir / "cur" / f"{path.name}:2,S")
        self.assertEqual(self.read(visitor, 1), STORED[1])

    def test_AN_002_nothing_is_written(self) -> None:
        before = self.files()
        visitor = self.now(self.store.open_read_only(FRED))
        self.read(visitor, 0)
        self.now(visitor.close())
        self.assertEqual(self.files(), before)
        self.assertFalse((self.maildir / "popserv.lock").exists())

    def test_of_messages_that_share_a_name_none_is_shown_before_its_id_is_certain(self) -> None:
        first = min((self.maildir / "new").iterdir())
        (self.maildir / "cur" / f"{first.name}:2,S").write_bytes(b"another\r\n")
        before = self.files()
        visitor = self.now(self.store.open_read_only(FRED))
        self.assertEqual(visitor.count, 2)
        self.assertEqual(len(visitor.skipped), 2)
        self.assertEqual(self.files(), before)
        owner = self.now(self.store.open(FRED))
        ids = sorted(owner.uidl(index) for index in range(owner.count))
        self.now(owner.close())
        self.assertEqual(len(ids), 4)
        visitor = self.now(self.store.open_read_only(FRED))
        self.assertEqual(sorted(visitor.uidl(index) for index in range(visitor.count)), ids)

    def test_no_maildir_reads_as_empty_and_a_broken_one_is_an_error(self) -> None:
        self.assertEqual(self.now(self.store.open_read_only(Account("ann", "maildir:/nonexistent/ann"))).count, 0)
        self.failureResultOf(self.store.open_read_only(FRED, b"Junk"), StoreBroken)
        os.rename(self.maildir, f"{self.maildir}.moved")
        self.maildir.write_bytes(b"no directory")
        self.failureResultOf(self.store.open_read_only(FRED), StoreBroken)


class Router(SynchronousTestCase):
    def test_the_store_of_the_account_is_asked(self) -> None:
        memory = MemoryStore({"fred": STORED})
        router = StoreRouter({"memory": memory, "other": StoreOf(StoreUnavailable())}, "memory")
        verifyObject(IReadOnlyStore, router)
        self.assertEqual(self.successResultOf(router.open_read_only(FRED)).count, 3)
        for location in ("other:x", "none:x"):
            self.failureResultOf(router.open_read_only(Account("fred", location)), StoreBroken)
