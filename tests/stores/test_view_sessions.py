"""Sessions through views: which messages DELE reaches, what two folders make of one, and what is read for it."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from popserv.auth.account import Account
from popserv.by_account import ByAccount
from popserv.errors import MaildropInUse, ReadOnly, StoreBroken, StoreUnavailable
from popserv.interfaces import (
    IDatedMaildrop,
    IDatedStore,
    IDelivery,
    IHasFolders,
    IMaildrop,
    IMaildropStore,
    IMessage,
    INotesRetrievals,
    IReadOnlyMaildrop,
    IReadOnlyStore,
    IReadyListings,
)
from popserv.maildrop.maildir_folder import Folder, folder_called
from popserv.maildrop.retention import Retention
from popserv.maildrop.router import StoreRouter
from popserv.maildrop.view_marks import SubjectMark
from popserv.maildrop.view_store import ViewStore
from popserv.maildrop.views import Since, View
from popserv.maildrop.visit import Visit
from popserv.pools import InlinePool
from popserv.stores.memory import MemoryStore
from popserv.testing.nasty import NASTY
from popserv.wire.octets import to_crlf
from tests.stores.maildirs import FRED, MaildirTestCase

MARK = SubjectMark.of("[Junk]")
JUNK = View(junk="Junk", mark=MARK)


class ViewTestCase(MaildirTestCase):
    def view(self, view: View, store: Any = None, disk: Any = None, **options: Any) -> ViewStore:
        """As seen in `store`, one of Maildirs if none is given."""
        disk = disk or InlinePool()
        maildirs = self.make_store(disk, **options)
        return ViewStore(store or maildirs, ByAccount(view), maildirs, disk, self.clock)

    def put_junk(self, name: str, octets: bytes = b"Subject: win\n\nbody\n") -> None:
        (self.maildir / ".Junk" / "cur").mkdir(parents=True, exist_ok=True)
        (self.maildir / ".Junk" / "cur" / name).write_bytes(octets)

    def junk_names(self) -> list[str]:
        return sorted(path.name for path in (self.maildir / ".Junk" / "cur").iterdir())

    def now(self, work: Deferred[Any]) -> Any:
        return self.successResultOf(work)

    def listed(self, maildrop: Any, keyword: str) -> bytes:
        reader = maildrop.listing(keyword)
        chunks = []
        while chunk := self.now(reader.read(1000)) if len(chunks) % 2 else reader.read_nowait(1000):
            chunks.append(chunk)
        reader.close()
        return b"".join(chunks)


class TestNarrowing(ViewTestCase):
    def test_the_newest_are_the_last_ones_and_dele_reaches_no_other(self) -> None:
        for number in range(5):
            self.put(f"170000000{number}.m", b"x" * number)
        maildrop = self.open(self.view(View(newest=2)))
        verifyObject(IMaildrop, maildrop)
        assert [maildrop.uidl(index) for index in range(maildrop.count)] == [b"1700000003.m", b"1700000004.m"]
        assert self.read(maildrop, 1) == b"xxxx\r\n"
        assert self.now(maildrop.commit({0})) == 0
        self.close(maildrop)
        assert self.names() == [f"cur/170000000{number}.m" for number in (0, 1, 2, 4)]
        assert self.ids(self.view(View(newest=2))) == [b"1700000002.m", b"1700000004.m"]

    def test_dates_are_those_of_the_files(self) -> None:
        for number, days in enumerate((40, 10, 29, 31)):
            path = self.put(f"170000000{number}.m")
            os.utime(path, (self.clock.seconds() - days * 86400,) * 2)
        for _warm in range(2):
            assert self.ids(self.view(View(since=Since(days=30)))) == [b"1700000001.m", b"1700000002.m"]
        self.clock.advance(5 * 86400)
        assert self.ids(self.view(View(since=Since(days=30)))) == [b"1700000001.m"]
        maildrop = self.open()
        self.read(maildrop)  # the files of the snapshot are in memory now
        verifyObject(IDatedMaildrop, maildrop)
        assert [date // 10**9 for date in self.now(maildrop.delivered())] == [
            1_700_000_000 - days * 86400 for days in (40, 10, 29, 31)
        ]

    def test_what_dele_has_hidden_is_left_out_first(self) -> None:
        for number in range(6):
            os.utime(self.put(f"170000000{number}.m"), (self.clock.seconds() - number * 86400,) * 2)
        hiding = Visit(FRED, retention=Retention(delete="hide"))
        maildrop = self.now(self.store.open(hiding))
        assert self.now(maildrop.commit({1, 4})) == 0
        self.close(maildrop)
        for view, shown in ((View(newest=2), "35"), (View(since=Since(days=4)), "023"), (View(newest=4), "0235")):
            maildrop = self.now(self.view(view).open(hiding))
            assert [maildrop.uidl(index) for index in range(maildrop.count)] == [
                b"170000000%c.m" % ord(number) for number in shown
            ]
            self.close(maildrop)

    def test_large_messages_are_hidden_by_what_list_says(self) -> None:
        self.put("1700000000.a", b"a\n" * 10)  # 30 octets
        self.put("1700000001.b", b"b\n" * 11)
        assert self.ids(self.view(View(largest_octets=30))) == [b"1700000000.a"]
        assert self.ids(self.view(View(largest_octets=29))) == []
        assert self.ids(self.view(View(largest_octets=33))) == [b"1700000000.a", b"1700000001.b"]

    def test_a_view_that_hides_nothing_costs_nothing(self) -> None:
        self.put("1700000000.a")
        maildrop = self.open(self.view(View(newest=1)))
        assert IReadyListings.providedBy(maildrop)
        self.close(maildrop)

    def test_P3_018_what_cannot_be_dated_leaves_no_lock(self) -> None:
        self.put("1700000000.a")
        store = MemoryStore({"fred": [b"x"]})
        seen = self.view(View(since=Since(days=1)), store)
        for _ in range(2):  # no lock is left
            self.failureResultOf(seen.open(FRED), StoreBroken)

    def test_what_is_skipped_is_told(self) -> None:
        self.put("1700000000.a")
        self.put("1700000001.b")
        self.put_junk("1700000002.c")
        (self.maildir / "cur" / "link").symlink_to("1700000000.a")
        (self.maildir / ".Junk" / "cur" / "pipe").mkdir()
        maildrop = self.open(self.view(View(newest=1, junk="Junk")))
        assert sorted(path for path, _ in maildrop.skipped) == [b"cur/link", b"cur/pipe"]
        self.close(maildrop)

    def test_retrievals_are_noted_of_the_right_message(self) -> None:
        self.put("1700000000.a:2,")
        self.put("1700000001.b:2,")
        maildrop = self.open(self.view(View(newest=1), seen=True))
        verifyObject(INotesRetrievals, maildrop)
        maildrop.retrieved(0)
        self.close(maildrop)
        assert self.names() == ["cur/1700000000.a:2,", "cur/1700000001.b:2,S"]
        self.open(self.view(View(newest=1), MemoryStore({"fred": [b"a", b"b"]}))).retrieved(0)

    def test_visitors_see_the_same_and_remove_nothing(self) -> None:
        for number in range(3):
            self.put(f"170000000{number}.m")
            self.put_junk(f"170000000{number}.m")
        view = View(since=Since(at=1), newest=2, junk="Junk", mark=MARK)
        store = self.view(view)
        verifyObject(IReadOnlyStore, store)
        visited = self.now(store.open_read_only(FRED))
        verifyObject(IReadOnlyMaildrop, visited)
        assert visited.read_only
        maildrop = self.open(store)
        assert visited.count == maildrop.count == 4
        assert [visited.uidl(index) for index in range(4)] == [maildrop.uidl(index) for index in range(4)]
        self.failureResultOf(visited.commit({0}), ReadOnly)
        self.now(visited.close())
        self.close(maildrop)
        plain = self.now(self.view(View()).open_read_only(FRED))
        assert plain.read_only and IDatedMaildrop.providedBy(plain)


class TestJunkBesideInbox(ViewTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put("1700000000.a", b"Subject: hello\n\n")
        self.put("1700000001.same", b"Subject: mine\n\n")
        self.put_junk("1700000001.same")
        self.put_junk("1700000002.z", b"no header\n")

    def test_P3_026_sizes_count_the_mark(self) -> None:
        for number, octets in enumerate(NASTY.values()):
            self.put_junk(f"17100000{number:02}.nasty", octets)
        maildrop = self.open(self.view(JUNK))
        assert maildrop.count == 4 + len(NASTY)
        for index in range(maildrop.count):
            octets = self.read(maildrop, index)
            message = maildrop.message(index)
            verifyObject(IMessage, message)
            assert len(octets) == maildrop.octets[index] == message.octets
        assert maildrop.total == sum(maildrop.octets)
        assert self.read(maildrop, 0) == b"Subject: hello\r\n\r\n"
        assert self.read(maildrop, 2) == b"X-Junk:1\r\nSubject: [Junk] win\r\n\r\nbody\r\n"
        self.close(maildrop)

    def test_without_a_mark_the_octets_are_those_that_are_stored(self) -> None:
        maildrop = self.open(self.view(View(junk="Junk")))
        assert self.read(maildrop, 3) == to_crlf(b"no header\n")
        assert maildrop.total == sum(maildrop.octets) == sum(len(self.read(maildrop, each)) for each in range(4))

    def test_P3_036_unique_ids_differ_where_names_are_the_same(self) -> None:
        before = self.ids(self.view(JUNK))
        assert len(set(before)) == 4
        self.put("1700000002.new")
        os.rename(self.maildir / ".Junk/cur/1700000001.same", self.maildir / ".Junk/cur/1700000001.same:2,S")
        after = self.ids(self.view(JUNK))
        assert after == [*before[:2], b"1700000002.new", *before[2:]]

    def test_dele_reaches_both_folders_and_nothing_else(self) -> None:
        maildrop = self.open(self.view(JUNK))
        assert self.now(maildrop.commit({0, 2})) == 0
        self.close(maildrop)
        assert self.names() == ["cur/1700000001.same"]
        assert self.junk_names() == ["1700000002.z"]

    def test_hidden_messages_of_both_folders_stay(self) -> None:
        maildrop = self.open(self.view(View(newest=1, junk="Junk", mark=MARK)))
        assert self.now(maildrop.commit({0, 1})) == 0
        self.close(maildrop)
        assert self.names() == ["cur/1700000000.a"]
        assert self.junk_names() == ["1700000001.same"]

    def test_P3_017_both_locks_or_none(self) -> None:
        store = self.view(View(junk="Junk", folders=("Junk",)))
        junk = self.now(store.open(FRED, b".Junk"))
        self.failureResultOf(store.open(FRED), MaildropInUse)
        inbox = self.now(self.store.open(FRED))  # its lock is free again
        self.close(inbox)
        self.close(junk)
        both = self.open(store)
        self.failureResultOf(store.open(FRED, b".Junk"), MaildropInUse)
        self.failureResultOf(self.store.open(FRED), MaildropInUse)
        self.close(both)
        self.close(self.now(store.open(FRED, b".Junk")))

    def test_what_is_removed_from_one_folder_is_removed_though_the_other_fails(self) -> None:
        maildrop = self.open(self.view(JUNK))
        # Another disk is mounted, as it were: nothing may be removed from there.
        os.rename(self.maildir / ".Junk", self.root / "elsewhere")
        assert self.now(maildrop.commit({0, 2, 3})) == 2
        self.close(maildrop)
        assert self.names() == ["cur/1700000001.same"]
        os.rename(self.root / "elsewhere", self.maildir / ".Junk")
        assert self.junk_names() == ["1700000001.same", "1700000002.z"]

    def test_a_folder_that_raises_counts_as_not_removed(self) -> None:
        maildrop = self.open(self.view(JUNK))
        self.now(maildrop._junk.close())  # so that its commit fails
        self.failureResultOf(maildrop._junk.commit({0}), StoreUnavailable)
        assert self.now(maildrop.commit({1, 2})) == 1
        assert len(self.flushLoggedErrors(StoreUnavailable)) == 1
        self.close(maildrop)
        assert self.names() == ["cur/1700000000.a"]
        assert len(self.junk_names()) == 2

    def test_a_missing_folder_is_empty_and_is_not_made(self) -> None:
        other = Account("ann")
        self.now(self.now(self.view(JUNK).begin(other)).commit())
        maildrop = self.now(self.view(JUNK).open(other))
        assert maildrop.count == 1
        assert self.now(maildrop.commit({0})) == 0
        self.close(maildrop)
        assert not (self.root / "ann" / ".Junk").exists()

    def test_a_folder_that_is_not_one_keeps_no_lock(self) -> None:
        elsewhere = self.root / "elsewhere"
        os.rename(self.maildir / ".Junk", elsewhere)
        (self.maildir / ".Junk").write_bytes(b"no directory")
        self.failureResultOf(self.view(JUNK).open(FRED), StoreBroken)
        self.close(self.open())

    def test_lists_are_made_of_the_ready_one_and_the_rest(self) -> None:
        for number in range(1200):
            self.put_junk(f"1720000000.{number:04}", b"x" * number)
        maildrop = self.open(self.view(JUNK))
        verifyObject(IReadyListings, maildrop)
        indices = range(maildrop.count)
        assert self.listed(maildrop, "LIST") == b"".join(
            b"%d %d\r\n" % (index + 1, maildrop.octets[index]) for index in indices
        )
        assert self.listed(maildrop, "UIDL") == b"".join(
            b"%d %b\r\n" % (index + 1, maildrop.uidl(index)) for index in indices
        )
        maildrop.listing("LIST").close()
        self.close(maildrop)
        assert not IReadyListings.providedBy(self.open(self.view(View(junk="Junk"), MemoryStore())))

    def test_retrievals_reach_the_folder_of_the_message(self) -> None:
        maildrop = self.open(self.view(JUNK, seen=True))
        maildrop.retrieved(0)
        maildrop.retrieved(3)
        self.close(maildrop)
        assert self.names() == ["cur/1700000000.a:2,S", "cur/1700000001.same"]
        assert self.junk_names() == ["1700000001.same", "1700000002.z:2,S"]

    def test_opening_reads_no_message(self) -> None:
        views = [JUNK, View(10**6, Since(at=1), 3, "Junk", MARK)]
        self.ids(self.view(JUNK))
        looked: list[bytes] = []
        stat, open_ = Folder.stat, Folder.open
        self.patch(Folder, "stat", lambda folder, path: looked.append(path) or stat(folder, path))
        self.patch(Folder, "open", lambda folder, path: looked.append(path) or open_(folder, path))
        for view in views:
            assert len(self.ids(self.view(view))) == 4
        assert looked == []
        self.put_junk("1700000003.new")
        assert len(self.ids(self.view(JUNK))) == 5
        assert set(looked) == {b"cur/1700000003.new"}


class Waiting(InlinePool):
    """Runs nothing until it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def run(self, function: Any, *arguments: Any) -> Deferred[Any]:
        begun: Deferred[Any] = Deferred()
        self.waiting.append(lambda: super(Waiting, self).run(function, *arguments).chainDeferred(begun))
        return begun

    def go(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()


class TestTiming(ViewTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put("1700000000.a")
        self.put_junk("1700000001.b")
        self.disk = Waiting()

    def test_close_waits_for_both_folders(self) -> None:
        opening = self.view(JUNK, disk=self.disk).open(FRED)
        self.disk.go()
        maildrop = self.now(opening)
        committing = maildrop.commit({0, 1})
        closing = maildrop.close()
        assert not closing.called
        self.disk.go()
        assert self.now(committing) == 0
        self.now(closing)
        assert self.names() == self.junk_names() == []

    def test_P3_018_cancelled_at_any_step_it_leaves_no_lock(self) -> None:
        view = View(since=Since(at=1), junk="Junk", mark=MARK)
        for steps in range(6):
            opening = self.view(view, disk=self.disk).open(FRED)
            for _ in range(steps):
                self.disk.waiting.pop(0)()
            opening.cancel()
            self.disk.go()
            self.failureResultOf(opening)
            self.close(self.open(self.view(view)))


class TestFolders(ViewTestCase):
    def test_what_a_detail_stands_for(self) -> None:
        some = self.view(View(folders=("Junk",)))
        assert [some.folder(FRED, detail) for detail in ("", "junk", "other", "../x")] == [
            *(b"INBOX", b".Junk", b"INBOX", b"INBOX")
        ]
        every = self.view(View(folders=("*",)))
        assert [every.folder(FRED, detail) for detail in ("", "inbox", "junk", "a.b c")] == [
            *(b"INBOX", b"INBOX", b".junk", b".a.b c")
        ]
        for hostile in (
            ".",
            "..",
            "../x",
            "a/b",
            ".a",
            "a.",
            "a..b",
            "a\0",
            "a\n",
            "\x1b[0m",
            "ä",
            "\ufffd",
            "x" * 252,
        ):
            with self.assertRaises(StoreBroken) as caught:
                every.folder(FRED, hostile)
            assert caught.exception.text == "there is no such folder"
        assert folder_called("x" * 251) == b"." + b"x" * 251

    def test_a_folder_is_a_maildrop_of_its_own_and_a_missing_one_empty(self) -> None:
        self.put("1700000000.a")
        self.put_junk("1700000001.b", b"Subject: win\n")
        store = self.view(View(junk="Junk", mark=MARK, folders=("*",)))
        maildrop = self.now(store.open(FRED, store.folder(FRED, "Junk")))
        assert [maildrop.uidl(index) for index in range(maildrop.count)] == [b"1700000001.b"]
        assert self.read(maildrop) == b"Subject: win\r\n"
        self.close(maildrop)
        missing = self.now(store.open(FRED, store.folder(FRED, "Elsewhere")))
        assert missing.count == 0
        self.close(missing)
        assert not (self.maildir / ".Elsewhere").exists()

    def test_interfaces(self) -> None:
        maildirs, memory = self.make_store(), MemoryStore()
        router = StoreRouter({"maildir": maildirs, "memory": memory}, "maildir")
        for interface in (IHasFolders, IDatedStore):
            verifyObject(interface, maildirs)
            assert router.lacking(interface) == ["memory"]
        verifyObject(IHasFolders, router)
        assert router.folder(FRED, "Junk") == b".Junk"
        assert router.folder(Account("fred", "memory:"), "Junk") is None
        assert router.folder(Account("fred", "memory:x"), "Junk") is None
        seen = ViewStore(router, ByAccount(JUNK), router, InlinePool(), self.clock)
        for interface in (IMaildropStore, IReadOnlyStore, IDelivery):
            verifyObject(interface, seen)
        self.failureResultOf(seen.open(Account("fred", "memory:x")), StoreBroken)
