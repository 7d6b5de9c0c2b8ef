"""The Maildir store: what is a message, in which order, how large, under which unique-id."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st

from popserv.errors import StoreBroken, StoreUnavailable
from popserv.maildrop.maildir_folder import Folder, unique_part
from popserv.maildrop.uidl import from_name, is_unique_id
from popserv.pools import InlinePool
from popserv.stores.maildir import MaildirStore
from popserv.wire.octets import to_crlf
from tests.stores.maildirs import FRED, MaildirTestCase


class TestEntries(MaildirTestCase):
    def test_hostile_entries_are_skipped_and_do_not_fail_the_maildrop(self):
        good = self.put("1700000001.good:2,")
        os.symlink(good, os.fsencode(self.maildir) + b"/cur/1700000002.link:2,")
        os.symlink("loop", self.maildir / "cur" / "loop")
        os.symlink("/etc/passwd", self.maildir / "new" / "1700000003.outside")
        os.mkfifo(self.maildir / "cur" / "1700000004.fifo")
        (self.maildir / "cur" / "1700000005.directory").mkdir()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.maildir / "new" / "1700000006.socket"))
        maildrop = self.open()
        self.assertEqual([maildrop.uidl(index) for index in range(maildrop.count)], [b"1700000001.good"])
        self.assertEqual(len(maildrop.skipped), 6)
        self.close(maildrop)

    def test_files_of_strangers_are_skipped(self):
        if os.geteuid() != 0:
            self.skipTest("only root can make files of others")
        self.put("1.mine")
        os.chown(self.put("2.stranger"), 12345, 12345)
        os.chown(self.maildir, 54321, 54321)
        os.chown(self.put("3.owner"), 54321, 54321)
        self.assertEqual(self.ids(), [b"1.mine", b"3.owner"])

    def test_names_with_a_leading_dot_are_no_messages(self):
        self.put(".hidden")
        self.put("1.seen")
        self.assertEqual(self.ids(), [b"1.seen"])

    def test_odd_names_are_messages_like_any_other(self):
        names = [b"\xff\xfe not utf-8", b"new\nline", b"x" * 255, b"5.a b:2,S", b"\x1b[31m", b":2,S", b"%s{user}"]
        for number, name in enumerate(names):
            self.put(name, b"number %d\n" % number)
        maildrop = self.open()
        self.assertEqual(maildrop.count, len(names))
        ids = [maildrop.uidl(index) for index in range(maildrop.count)]
        self.assertEqual(len(set(ids)), len(names))
        self.assertTrue(all(map(is_unique_id, ids)))
        self.assertEqual(
            sorted(self.read(maildrop, index) for index in range(maildrop.count)),
            [b"number %d\r\n" % number for number in range(len(names))],
        )
        self.assertEqual(self.successResultOf(maildrop.commit(set(range(maildrop.count)))), 0)
        self.assertEqual(self.names(), [])

    def test_messages_stand_in_the_order_of_their_delivery(self):
        for name in ("20.b", "3.a:2,S", "100.c", "20.a:2,FS", "none"):
            self.put(name)
        self.put("7.n", part="new")
        expected = [b"none", b"3.a", b"7.n", b"20.a", b"20.b", b"100.c"]
        self.assertEqual(self.ids(), expected)
        (self.maildir / "cur" / "3.a:2,S").rename(self.maildir / "cur" / "3.a:2,RS")
        (self.maildir / "new" / "7.n").rename(self.maildir / "cur" / "7.n:2,")
        self.assertEqual(self.ids(), expected)

    def test_a_file_that_moves_while_the_directories_are_read_is_there_once(self):
        moves = [("new", "1.a", "cur", "1.a:2,"), ("cur", "2.b:2,", "cur", "2.b:2,S")]
        self.put("1.a", part="new")
        self.put("2.b:2,")
        listing = Folder.listing

        def interrupted(folder, part):
            names = listing(folder, part)
            if moves:
                source, old, target, new = moves.pop(0)
                (self.maildir / source / old).rename(self.maildir / target / new)
            return names

        self.patch(Folder, "listing", interrupted)
        maildrop = self.open()
        self.assertEqual(moves, [])
        self.assertEqual([maildrop.uidl(index) for index in range(maildrop.count)], [b"1.a", b"2.b"])
        self.assertEqual(self.read(maildrop, 0), self.read(maildrop, 1))

    def test_a_missing_maildir_reads_as_empty_and_is_not_made(self):
        store = MaildirStore(str(self.root / "nobody"), InlinePool(), self.clock)
        maildrop = self.open(store)
        self.assertEqual((maildrop.count, maildrop.total), (0, 0))
        self.assertEqual(self.successResultOf(maildrop.commit(set())), 0)
        self.close(maildrop)
        self.assertFalse((self.root / "nobody").exists())

    def test_a_maildir_without_new_is_not_broken(self):
        (self.maildir / "new").rmdir()
        self.put("1.a")
        self.assertEqual(self.ids(), [b"1.a"])

    def test_a_maildir_that_is_a_file_is_broken(self):
        (self.root / "file").write_bytes(b"")
        store = MaildirStore(str(self.root / "file"), InlinePool(), self.clock)
        self.failureResultOf(store.open(FRED), StoreBroken)

    def test_links_to_a_maildir_are_followed_if_we_or_root_have_made_them(self):
        self.put("1.a")
        (self.root / "link").symlink_to(self.maildir)
        store = MaildirStore(str(self.root / "link"), InlinePool(), self.clock)
        self.assertEqual(self.ids(store), [b"1.a"])
        if os.geteuid() == 0:
            os.lchown(self.root / "link", 12345, 12345)
            self.failureResultOf(store.open(FRED), StoreBroken)

    def test_a_link_in_place_of_cur_is_not_followed(self):
        other = self.root / "other"
        other.mkdir()
        (self.maildir / "cur").rmdir()
        (self.maildir / "cur").symlink_to(other)
        self.failureResultOf(self.store.open(FRED), StoreBroken)

    def test_a_network_file_system_is_refused_unless_it_is_said_to_lock(self):
        def networked(_descriptor):
            return True

        self.put("1.a")
        self.failureResultOf(self.make_store(networked=networked).open(FRED), StoreBroken)
        maildrop = self.open(self.make_store(networked=networked, shared=True))
        self.assertIsNone(maildrop.message(0).open().read_nowait(100))
        self.assertEqual(self.read(maildrop), b"Subject: a\r\n\r\nbody\r\n")

    def test_other_folders_are_refused(self):
        self.failureResultOf(self.store.open(FRED, b"Drafts"), StoreBroken)


class TestSizes(MaildirTestCase):
    def test_sizes_in_names_are_not_believed(self):
        self.put("1.a,S=5,W=6:2,", b"a\n\nb\n")
        self.put("2.b,S=1,W=1", b"a\n\nb\n", part="new")
        maildrop = self.open()
        self.assertEqual(list(maildrop.octets), [8, 8])

    def test_a_file_is_scanned_once_while_nothing_is_written_to_it(self):
        self.put("1.a", b"a\nb\n")
        self.ids()
        opened = []
        scan = os.open
        self.patch(os, "open", lambda path, *rest, **more: opened.append(path) or scan(path, *rest, **more))
        maildrop = self.open()
        self.assertEqual(list(maildrop.octets), [6])
        self.assertEqual([path for path in opened if b"1.a" in os.fsencode(path)], [])

    def test_a_file_that_was_written_again_is_scanned_again(self):
        path = self.put("1.a", b"a\nb\n")
        self.ids()
        Path(os.fsdecode(path)).write_bytes(b"abcd")
        os.utime(path, ns=(1, 1))
        self.assertEqual(list(self.open().octets), [6])

    def test_P3_009_a_new_file_is_not_taken_for_one_that_had_its_inode(self):
        path = self.put("1.a", b"Subject: x\r\n\r\nabcdef\r\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        inode = os.stat(path).st_ino
        maildrop = self.open()
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 0)
        self.close(maildrop)
        path = self.put("2.b", b"Subject: x\r\n\r\nabc\r\n.\r\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        if os.stat(path).st_ino != inode:
            raise SkipTest("this file system does not use an inode again at once")
        maildrop = self.open()
        self.assertTrue(maildrop.message(0).needs_stuffing)

    def test_P3_009_a_file_that_was_written_in_place_is_counted_again_whatever_its_times(self):
        path = self.put("1.a", b"Subject: x\r\n\r\nabcdef\r\n")
        self.ids()
        status = os.stat(path)
        with open(path, "r+b") as file:
            file.write(b"Subject: x\r\n\r\nabc\n\n\n\n\n")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertEqual(os.stat(path).st_size, status.st_size)
        maildrop = self.open()
        self.assertIsNone(maildrop.message(0).open().read_nowait(100))
        self.failureResultOf(maildrop.message(0).open().read(100), StoreUnavailable)
        self.close(maildrop)
        self.assertEqual(list(self.open().octets), [len(b"Subject: x\r\n\r\nabc\r\n\r\n\r\n\r\n\r\n")])

    def test_a_hollow_file_is_skipped_and_does_not_keep_anybody_waiting(self):
        self.put("1.a")
        os.truncate(self.put("2.b", b""), 200 * 1024**3)
        maildrop = self.open()
        self.assertEqual(maildrop.count, 1)
        self.assertEqual(maildrop.skipped, [(b"cur/2.b", "it is hollow")])

    def test_many_small_messages(self):
        for number in range(2000):
            self.put(f"{number}.x:2,", b"Subject: %d\n\nbody\n" % number, part="cur" if number % 2 else "new")
        maildrop = self.open()
        self.assertEqual(maildrop.count, 2000)
        self.assertEqual(maildrop.uidl(1234), b"1234.x")
        self.assertEqual(self.read(maildrop, 1234), to_crlf(b"Subject: 1234\n\nbody\n"))
        self.assertEqual(self.successResultOf(maildrop.commit(set(range(0, 2000, 2)))), 0)
        self.close(maildrop)
        self.assertEqual(len(self.names()), 1000)


class TestUniqueIds(MaildirTestCase):
    def test_P3_038_flags_and_moves_do_not_change_a_unique_id(self):
        self.put("1.a.host", part="new")
        before = self.ids()
        (self.maildir / "new" / "1.a.host").rename(self.maildir / "cur" / "1.a.host:2,")
        self.assertEqual(self.ids(), before)
        (self.maildir / "cur" / "1.a.host:2,").rename(self.maildir / "cur" / "1.a.host:2,FRS")
        self.assertEqual(self.ids(self.make_store()), before)

    @given(st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name))
    def test_P3_035_every_name_gives_a_unique_id_that_keeps_the_rule(self, name):
        unique = unique_part(b"cur/" + name)
        self.assertTrue(is_unique_id(from_name(unique)))
        self.assertEqual(from_name(unique_part(b"new/" + unique + b":2,RS")), from_name(unique))

    @given(st.sets(st.binary(max_size=90), max_size=30))
    def test_P3_036_different_names_give_different_unique_ids(self, names):
        self.assertEqual(len({from_name(name) for name in names}), len(names))

    def test_a_name_cannot_pass_for_an_id_that_was_made_from_another(self):
        made = from_name(b"x" * 71)
        self.assertNotEqual(from_name(made), made)
        self.assertEqual(from_name(b"1700000000.M1P2.host"), b"1700000000.M1P2.host")
        self.assertEqual(len(from_name(b"x" * 70)), 70)
