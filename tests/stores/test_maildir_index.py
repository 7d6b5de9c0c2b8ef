"""The index of a Maildir: it saves work, and nothing else can be told from it."""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import contextmanager
from itertools import product
from types import SimpleNamespace
from unittest import SkipTest

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from popserv.errors import StoreUnavailable
from popserv.interfaces import IReadyListings
from popserv.maildrop import index
from popserv.maildrop.maildir_folder import Folder
from popserv.maildrop.spare_indexes import SpareIndexes
from popserv.pools import InlinePool
from popserv.stores.maildir import MaildirStore
from popserv.testing.store_contract import StoreContract
from tests.stores.maildirs import FRED, MaildirTestCase, folder_for, make_maildir

INDEX = "popserv.index"


class IndexTestCase(MaildirTestCase):
    """The clock is an hour ahead: what happens to the directories is long ago, unless a test turns it back."""

    def setUp(self):
        super().setUp()
        self.later()

    def later(self):
        self.clock = Clock()
        self.clock.advance(time.time() + 3600)
        self.store = self.make_store()

    @property
    def file(self):
        return self.maildir / INDEX

    def fill(self, count=5):
        for number in range(count):
            self.put(f"{1700000000 + number}.a:2,", b"Subject: %d\n\n.body\n" % number)

    def seen(self, store=None):
        """All that a session sees, listings from their text."""
        maildrop = self.open(store)
        self.close(maildrop)
        count = range(maildrop.count)
        ids = [maildrop.uidl(index) for index in count]
        octets = list(maildrop.octets)
        messages = [maildrop.message(index) for index in count]
        self.assertEqual(maildrop.total, sum(octets))
        self.assertEqual(self.text(maildrop, "LIST"), b"".join(b"%d %d\r\n" % line for line in enumerate(octets, 1)))
        self.assertEqual(self.text(maildrop, "UIDL"), b"".join(b"%d %b\r\n" % line for line in enumerate(ids, 1)))
        return [
            (unique_id, message.octets, message.crlf, message.needs_stuffing, self.read(maildrop, index))
            for index, (unique_id, message) in enumerate(zip(ids, messages, strict=True))
        ]

    def text(self, maildrop, keyword):
        reader = IReadyListings(maildrop).listing(keyword)
        chunks = []
        while chunk := self.successResultOf(reader.read(1000)):
            chunks.append(chunk)
        reader.close()
        return b"".join(chunks)

    def unaided(self):
        """What a session sees that has no index."""
        with self.without_index():
            return self.seen(self.make_store())

    @contextmanager
    def without_index(self):
        load, save = index.load, index.save
        index.load, index.save = lambda folder, boot: None, lambda *arguments: False
        try:
            yield
        finally:
            index.load, index.save = load, save

    @contextmanager
    def counting(self):
        """Which directories are listed, and which message files are looked at or opened."""
        seen = []
        listing, stat, open_ = Folder.listing, Folder.stat, Folder.open
        self.patch(Folder, "listing", lambda folder, part: seen.append(part) or listing(folder, part))
        self.patch(Folder, "stat", lambda folder, path: seen.append(path) or stat(folder, path))
        self.patch(Folder, "open", lambda folder, path: seen.append(path) or open_(folder, path))
        try:
            yield seen
        finally:
            self.patch(Folder, "listing", listing)
            self.patch(Folder, "stat", stat)
            self.patch(Folder, "open", open_)

    def open_counting(self):
        with self.counting() as seen:
            self.close(self.open(self.make_store()))
        return seen


class TestIndex(IndexTestCase):
    def setUp(self):
        super().setUp()
        self.fill()
        self.expected = self.seen()

    def test_a_login_lists_no_directory_and_looks_at_no_message(self):
        self.assertEqual(self.open_counting(), [])
        self.assertEqual(self.seen(self.make_store()), self.expected)
        self.assertEqual(self.unaided(), self.expected)

    def test_a_new_message_is_all_that_is_looked_at_and_the_other_directory_is_not_listed(self):
        self.put("1700000002.new", b"Subject: new\r\n\r\n", part="new")
        self.assertEqual(self.open_counting(), [b"new/", b"new/1700000002.new"])
        seen = self.seen(self.make_store())
        self.assertEqual([unique_id for unique_id, *_ in seen][3], b"1700000002.new")
        self.assertEqual(seen, self.unaided())
        self.assertEqual(self.open_counting(), [])

    def test_removals_and_flags_cost_no_reading(self):
        os.unlink(self.maildir / "cur" / "1700000001.a:2,")
        (self.maildir / "cur" / "1700000003.a:2,").rename(self.maildir / "cur" / "1700000003.a:2,FS")
        with self.counting() as seen:
            maildrop = self.open(self.make_store())
        self.assertEqual(seen, [b"cur/", b"cur/1700000003.a:2,FS"])  # looked at, not opened: once
        self.close(maildrop)
        self.assertEqual(self.seen(self.make_store()), [*self.expected[:1], *self.expected[2:]])

    def test_what_a_session_removes_is_gone_from_the_next(self):
        maildrop = self.open()
        self.assertEqual(self.successResultOf(maildrop.commit({0, 4})), 0)
        self.close(maildrop)
        self.assertEqual(self.seen(), self.expected[1:4])
        maildrop = self.open()
        self.assertEqual(self.successResultOf(maildrop.commit({0, 1, 2})), 0)
        self.close(maildrop)
        self.assertEqual(self.seen(), [])
        self.assertFalse(self.file.exists())

    def test_a_directory_that_was_changed_a_moment_ago_is_listed_again(self):
        self.clock = Clock()
        self.clock.advance(max(os.stat(self.maildir / "cur").st_ctime, os.stat(self.maildir / "new").st_ctime) + 1.9)
        self.file.unlink()
        self.store = self.make_store()
        self.seen()
        self.assertEqual(set(self.open_counting()), {b"new/", b"cur/"})
        self.clock.advance(0.2)
        self.assertEqual(set(self.open_counting()), {b"new/", b"cur/"})
        self.assertEqual(self.open_counting(), [])

    def test_times_of_directories_say_nothing_on_a_network_file_system(self):
        store = self.make_store(networked=lambda descriptor: True, shared=True)
        with self.counting() as seen:
            self.close(self.open(store))
        self.assertEqual(set(seen), {b"new/", b"cur/"})

    def test_a_file_put_in_the_place_of_another_is_counted(self):
        other = self.put("other", b"Subject: another\n\n")
        os.rename(other, self.maildir / "cur" / "1700000002.a:2,")
        seen = self.seen()
        self.assertEqual(seen[2][4], b"Subject: another\r\n\r\n")
        self.assertEqual(seen, self.unaided())

    def test_P3_026_a_file_that_was_written_to_in_place_is_not_sent_and_counted_by_the_next_session(self):
        with open(self.maildir / "cur" / "1700000002.a:2,", "ab") as file:
            file.write(b"more\n")
        maildrop = self.open()
        self.assertIsNone(maildrop.message(2).open().read_nowait(100))
        self.failureResultOf(maildrop.message(2).open().read(100), StoreUnavailable)
        self.assertEqual(self.read(maildrop, 1), self.expected[1][4])
        self.close(maildrop)
        self.assertEqual(self.seen()[2][4], self.expected[2][4] + b"more\r\n")

    def test_a_file_that_got_another_link_is_read_as_ever(self):
        os.link(self.maildir / "cur" / "1700000002.a:2,", self.root / "copy")
        self.assertEqual(self.seen(self.make_store()), self.expected)
        self.assertTrue(self.file.exists())

    def test_what_was_skipped_is_looked_at_every_time(self):
        os.mkdir(self.maildir / "cur" / "1700000009.a")
        (self.maildir / "new" / "1700000010.a").symlink_to("nowhere")
        self.seen()
        maildrop = self.open(self.make_store())
        self.assertEqual(len(maildrop.skipped), 2)

    def test_ids_are_looked_up_again_when_the_map_has_changed(self):
        line = b"+ told-before %d 0 0 %b\n" % (
            os.stat(self.maildir / "cur" / "1700000001.a:2,").st_ino,
            b"1700000001.a",
        )
        (self.maildir / "popserv.uidmap").write_bytes(line)
        with self.counting() as seen:
            self.close(self.open())
        self.assertNotIn(b"cur/1700000002.a:2,", seen)
        self.assertEqual(self.seen(), self.unaided())
        self.assertNotEqual(self.ids()[1], b"1700000001.a")

    def test_a_reader_session_uses_the_index_and_writes_nothing(self):
        self.put("1700000008.a")
        before = self.file.read_bytes(), sorted(os.listdir(self.maildir))
        store = self.make_store()
        with self.counting() as seen:
            self.close(self.successResultOf(store.open_read_only(FRED)))
        self.assertEqual(seen, [b"cur/", b"cur/1700000008.a"])
        with self.counting() as seen:
            self.close(self.successResultOf(store.open_read_only(FRED)))
        self.assertEqual((self.file.read_bytes(), sorted(os.listdir(self.maildir))), before)

    def test_a_maildir_that_was_replaced_by_another_has_none(self):
        shutil.copytree(self.maildir, self.root / "copy")
        shutil.rmtree(self.maildir)
        (self.root / "copy").rename(self.maildir)
        os.unlink(self.maildir / "cur" / "1700000001.a:2,")
        self.assertEqual(
            [each[0] for each in self.seen()], [each[0] for each in self.expected if each[0] != b"1700000001.a"]
        )

    def test_small_and_large_ones_hold_the_same(self):
        for number in range(700):
            self.put(f"{1700001000 + number}.{'long' * 20}:2,", b"x\n" * (number % 7))
        expected = self.seen()
        self.assertGreater(self.file.stat().st_size, index.SMALL_OCTETS)
        self.assertEqual(self.open_counting(), [])
        self.assertEqual(self.seen(self.make_store()), expected)
        self.assertEqual(self.unaided(), expected)


class TestDamage(IndexTestCase):
    """Whatever has become of the index, a session sees the same."""

    def setUp(self):
        super().setUp()
        self.fill(3)
        self.expected = self.seen()
        self.whole = self.file.read_bytes()

    def assert_rebuilt(self, about):
        self.assertEqual(self.seen(self.make_store()), self.expected, about)
        self.assertEqual(self.open_counting(), [], about)

    def test_cut_off_anywhere(self):
        for octets in range(len(self.whole)):
            self.file.write_bytes(self.whole[:octets])
            self.assertEqual(self.ids(self.make_store()), [each[0] for each in self.expected], octets)
        self.assert_rebuilt("cut off")

    def test_any_octet_changed(self):
        for position in range(len(self.whole)):
            damaged = bytearray(self.whole)
            damaged[position] ^= 0x15
            self.file.write_bytes(damaged)
            maildrop = self.open(self.make_store())
            self.close(maildrop)
            self.assertEqual([maildrop.uidl(at) for at in range(maildrop.count)], [each[0] for each in self.expected])
            self.assertEqual(list(maildrop.octets), [each[1] for each in self.expected], position)

    def test_longer_than_it_says_empty_or_something_else(self):
        for octets in (self.whole + b"x", b"", b"\0" * len(self.whole), b"popserv maildir1" * 99, os.urandom(5000)):
            self.file.write_bytes(octets)
            self.assert_rebuilt(octets[:20])

    def test_what_a_power_failure_leaves(self):
        for start in (512, 520, len(self.whole) - 1):
            self.file.write_bytes(self.whole[:start] + b"\0" * (len(self.whole) - start))
            os.utime(self.file, ns=(0, int.from_bytes(self.whole[60:68], "little")))
            store = self.make_store(boot=b"after the failure")
            self.assertEqual(self.seen(store), self.expected)

    def test_after_a_start_of_the_system_it_is_checked_once_and_used(self):
        store = self.make_store(boot=b"another")
        with self.counting() as seen:
            self.close(self.open(store))
        self.assertEqual(seen, [])
        self.assertIn(b"another", self.file.read_bytes()[:512])

    def test_something_else_in_its_place(self):
        for make in (os.mkdir, os.mkfifo, lambda path: os.symlink("/etc/passwd", path)):
            self.file.unlink()
            make(self.file)
            self.assertEqual(self.seen(self.make_store()), self.expected)
            self.file.rmdir() if self.file.is_dir() and not self.file.is_symlink() else None
            self.file.touch()

    def test_one_that_somebody_else_wrote_is_not_believed(self):
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        os.chown(self.file, 12345, 12345)
        self.assertIn(b"cur/1700000001.a:2,", self.open_counting())
        self.assertEqual(self.file.stat().st_uid, 0)

    def test_one_that_is_left_half_written_is_in_nobodys_way(self):
        (self.maildir / "popserv.index.new").write_bytes(b"half")
        self.file.unlink()
        self.assert_rebuilt("half")
        self.assertFalse((self.maildir / "popserv.index.new").exists())

    def test_where_it_cannot_be_written_it_is_kept_in_memory(self):
        self.file.unlink()
        for function, error in product(
            ("open", "write", "rename", "utime"), (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
        ):
            with self.broken(function, error):
                store = self.make_store()
                self.assertEqual(self.seen(store), self.expected)
                with self.counting() as seen:
                    self.close(self.open(store))
                self.assertEqual(seen, [])
            self.assertEqual([name for name in os.listdir(self.maildir) if "index" in name], [], function)

    @contextmanager
    def broken(self, function, error):
        """Make a call of this module fail; of `open` those that write."""
        works = getattr(os, function)

        def fails(*arguments, **more):
            if function == "open" and arguments[0] != "popserv.index.new":
                return works(*arguments, **more)
            raise OSError(error, os.strerror(error))

        setattr(os, function, fails)
        try:
            yield
        finally:
            setattr(os, function, works)

    def test_removed_in_mid_session_it_is_still_there_for_that_one(self):
        for number in range(700):
            self.put(f"{1700001000 + number}.{'long' * 20}:2,")
        expected = self.seen()
        maildrop = self.open(self.make_store())
        self.file.unlink()
        self.assertEqual(self.read(maildrop, 500), expected[500][4])
        self.assertEqual(len(self.text(maildrop, "LIST").splitlines()), 703)
        self.close(maildrop)

    def test_written_over_in_mid_session_it_gives_nothing_wrong(self):
        for number in range(700):
            self.put(f"{1700001000 + number}.{'long' * 20}:2,")
        self.seen()
        maildrop = self.open(self.make_store())
        os.truncate(self.file, 40_000)
        self.failureResultOf(IReadyListings(maildrop).listing("LIST").read(100), StoreUnavailable)
        self.failureResultOf(maildrop.message(3).open().read(100), StoreUnavailable)
        self.assertEqual(self.successResultOf(maildrop.commit({3})), 1)
        self.close(maildrop)
        self.assertEqual(len(self.seen()), 703)

    def test_what_is_kept_in_memory_is_bounded(self):
        def kept(number):
            return SimpleNamespace(identity=((1, number), {}))

        spare = SpareIndexes(most=3 * len(self.whole))
        one = index.Index(None, index.Layout(uidl=len(self.whole)), None, True)
        for number in range(5):
            spare.put(kept(number), one)
            spare.get(kept(2))
        self.assertEqual([spare.get(kept(number)) is not None for number in range(5)], [False, False, True, True, True])
        spare.drop(kept(2))
        self.assertIsNone(spare.get(kept(2)))


NAMES = st.sampled_from(["10.a", "10.b", "9.c", "11.d", "1700000000.M1P1.h", "none", "x" * 80])
PARTS = st.sampled_from(["new", "cur"])
STEPS = st.one_of(
    st.tuples(st.just("deliver"), PARTS, NAMES, st.binary(max_size=30)),
    st.tuples(st.just("remove"), st.integers(0, 9)),
    st.tuples(st.just("flag"), st.integers(0, 9), st.sampled_from(["", "S", "FS", "T"])),
    st.tuples(st.just("commit"), st.sets(st.integers(0, 9), max_size=4)),
    st.tuples(st.just("restart"), st.booleans()),
    st.tuples(st.just("damage"), st.floats(0, 1), st.integers(0, 255)),
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("lose")),
)


class TestSequences(IndexTestCase):
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(STEPS, st.booleans()), max_size=14))
    def test_P3_036_whatever_happens_a_session_sees_what_it_would_see_without_an_index(self, steps):
        shutil.rmtree(self.maildir)
        make_maildir(self.maildir)
        self.store = self.make_store()
        self.used = set()
        for (name, *arguments), look in steps:
            getattr(self, name)(*arguments)
            if look:
                self.assertEqual(self.seen(), self.unaided())
        self.assertEqual(self.seen(), self.unaided())
        self.assertEqual(self.seen(self.make_store()), self.unaided())

    def deliver(self, part, name, octets):
        # Nobody uses a name again. Copying by hand makes two files of one name, while the first is there.
        living = {path[4:].partition(":")[0] for path in self.names()}
        known = {used for _, used in self.used}
        if (part, name) not in self.used and (name in living or name not in known):
            self.used.add((part, name))
            self.put(name, octets, part=part)

    def remove(self, number):
        if names := self.names():
            (self.maildir / names[number % len(names)]).unlink()

    def flag(self, number, flags):
        if names := self.names():
            path = names[number % len(names)]
            target = self.maildir / "cur" / f"{path[4:].partition(':')[0]}:2,{flags}"
            if not target.exists():
                (self.maildir / path).rename(target)

    def commit(self, indices):
        maildrop = self.open()
        indices = {index for index in indices if index < maildrop.count}
        self.assertEqual(self.successResultOf(maildrop.commit(indices)), 0)
        self.close(maildrop)

    def restart(self, whole_system):
        self.store = self.make_store(boot=os.urandom(8) if whole_system else None)

    def damage(self, where, octet):
        if self.file.exists() and (octets := bytearray(self.file.read_bytes())):
            octets[round(where * (len(octets) - 1))] = octet
            self.file.write_bytes(octets)

    def cut(self, where):
        if self.file.exists():
            os.truncate(self.file, round(where * self.file.stat().st_size))

    def lose(self):
        self.file.unlink(missing_ok=True)


class TestMaildirStoreWithoutIndex(StoreContract, TestCase):
    def setUp(self):
        self.patch(index, "load", lambda folder, boot: None)
        self.patch(index, "save", lambda *arguments: False)
        self.patch(SpareIndexes, "get", lambda spare, folder: None)

    def make_store(self):
        return MaildirStore(str(folder_for(self) / "{user}"), InlinePool(), reactor)


class TestMaildirStoreWhoseTimesCount(StoreContract, TestCase):
    """With a clock so far ahead that the times of directories are believed as soon as they differ."""

    def make_store(self):
        clock = Clock()
        clock.advance(time.time() + 3600)
        return MaildirStore(str(folder_for(self) / "{user}"), InlinePool(), clock)
