"""Maildirs as other programs leave them: names, folders, flags."""

from __future__ import annotations

import errno
import os
from unittest import SkipTest

from twisted.internet.defer import Deferred

from popserv.errors import DeliveryError, MaildropInUse, StoreBroken
from popserv.interfaces import INotesRetrievals
from popserv.maildrop.maildir_folder import Folder
from popserv.maildrop.maildir_seen import seen_path
from popserv.stores.maildir import Options
from tests.stores.maildirs import FRED, MaildirTestCase, make_maildir

NAMES = {
    "Postfix": "1699999001.Vfe01I2a0003M123456.mail.example.org",
    "Exim": "1699999002.H123456P4711.mail.example.org,S=21",
    "procmail": "1699999003.4711_0.mail",
    "Dovecot": "1699999004.M123456P4711.mail,S=21,W=23:2,FS",
    "Dovecot with keywords": "1699999005.M123457P4711.mail,S=21,W=23:2,Sab",
    "Courier": "1699999006.M123456P4711V000000000000FE01I00000000002A0003_0.mail,S=21:2,S",
    "qmail": "1699999007.4711.mail",
    "mutt": "1699999008.R4711.mail:2,",
    "no info that anybody knows": "1699999009.a.mail:1,x",
}
BESIDE = ("dovecot.index", "dovecot.index.log", "dovecot.index.cache", "dovecot-uidlist", "dovecot-keywords")
COURIER = ("courierpop3dsizelist", "courierimapuiddb", "courierimapkeywords", "maildirsize", "maildirfolder")


class TestPrograms(MaildirTestCase):
    def test_names_of_every_program_are_messages_in_the_order_of_their_delivery(self):
        for number, name in enumerate(NAMES.values()):
            self.put(name, b"Subject: %d\n\nbody\n" % number, part="cur" if ":" in name else "new")
        maildrop = self.open()
        self.assertEqual([self.read(maildrop, at)[9:10] for at in range(maildrop.count)], [b"%d" % n for n in range(9)])
        ids = [maildrop.uidl(at).decode() for at in range(maildrop.count)]
        self.assertEqual(ids, [name.partition(":")[0] for name in NAMES.values()])
        self.assertEqual(list(maildrop.octets), [len(b"Subject: 0\r\n\r\nbody\r\n")] * 9)

    def test_what_they_keep_beside_the_messages_is_none(self):
        self.put("1.a")
        for name in (*BESIDE, *COURIER, "subscriptions", "dovecot-uidvalidity.5e8f1a2b"):
            (self.maildir / name).write_bytes(b"not a message\n")
        (self.maildir / "cur" / "dovecot.index.log").write_bytes(b"")
        (self.maildir / "cur" / "dovecot.index.log").unlink()
        make_maildir(self.maildir / ".Junk")
        (self.maildir / "courierimapkeywords").unlink()
        (self.maildir / "courierimapkeywords").mkdir()
        self.assertEqual(self.ids(), [b"1.a"])

    def test_flags_set_in_mid_session_change_nothing(self):
        for number in range(6):
            self.put(f"{number}.a", b"Subject: %d\n" % number, part="new")
        maildrop = self.open()
        for path in (self.maildir / "new").iterdir():
            path.rename(self.maildir / "cur" / f"{path.name}:2,")
        for number in range(6):
            self.assertEqual(self.read(maildrop, number), b"Subject: %d\r\n" % number)
            old = self.maildir / "cur" / f"{number}.a:2,"
            old.rename(f"{old}S")
        self.assertEqual(self.successResultOf(maildrop.commit({1, 4})), 0)
        self.close(maildrop)
        self.assertEqual(self.ids(), [b"0.a", b"2.a", b"3.a", b"5.a"])

    def test_a_stale_handle_is_looked_up_once_more(self):
        self.put("1.a")
        listing, failed = Folder.listing, []

        def stale(folder, part):
            if not failed:
                failed.append(part)
                raise OSError(errno.ESTALE, "Stale file handle")
            return listing(folder, part)

        self.patch(Folder, "listing", stale)
        self.assertEqual(self.ids(), [b"1.a"])
        self.assertEqual(len(failed), 1)


class TestFolders(MaildirTestCase):
    def setUp(self):
        super().setUp()
        self.junk = make_maildir(self.maildir / ".Junk")
        (self.junk / "cur" / "7.junk:2,").write_bytes(b"Subject: junk\n")
        self.put("1.a")

    def open_folder(self, name):
        return self.store.open(FRED, name)

    def test_a_folder_has_its_own_messages_index_and_lock(self):
        maildrop = self.successResultOf(self.open_folder(b".Junk"))
        self.assertEqual([maildrop.uidl(at) for at in range(maildrop.count)], [b"7.junk"])
        self.assertEqual(self.read(maildrop), b"Subject: junk\r\n")
        self.close(self.open())
        self.failureResultOf(self.open_folder(b".Junk"), MaildropInUse)
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 0)
        self.close(maildrop)
        self.assertEqual(os.listdir(self.junk / "cur"), [])
        self.assertEqual(self.ids(), [b"1.a"])

    def test_a_missing_folder_reads_as_empty(self):
        self.assertEqual(self.successResultOf(self.open_folder(b".Drafts.2024")).count, 0)

    def test_what_is_no_name_of_a_folder_is_refused(self):
        long = b"." + b"x" * 260
        for name in (b"Drafts", b".", b"..", b"...", b"", b".a/b", b"./x", b"../fred", b".a\0", b"..a", long):
            self.failureResultOf(self.open_folder(name), StoreBroken)
            self.failureResultOf(self.store.begin(FRED, name), DeliveryError)

    def test_delivery_makes_a_folder_in_the_way_of_maildir_plus_plus(self):
        for _ in range(2):
            incoming = self.successResultOf(self.store.begin(FRED, b".Trash"))
            self.successResultOf(incoming.write(b"Subject: gone\r\n"))
            self.successResultOf(incoming.commit())
        self.assertEqual((self.maildir / ".Trash" / "maildirfolder").read_bytes(), b"")
        self.assertFalse((self.maildir / "maildirfolder").exists())
        self.assertEqual(self.successResultOf(self.open_folder(b".Trash")).count, 2)

    def test_the_folder_of_somebody_else_is_not_handed_out(self):
        if os.geteuid() != 0:
            raise SkipTest("only root can make links of others")
        bob = make_maildir(self.root / "bob" / ".Junk")
        (bob / "cur" / "1.bob:2,").write_bytes(b"Subject: secret\n")
        (self.maildir / ".Stolen").symlink_to(bob)
        os.lchown(self.maildir / ".Stolen", 12345, 12345)
        self.failureResultOf(self.open_folder(b".Stolen"), StoreBroken)
        self.failureResultOf(self.store.begin(FRED, b".Stolen"), DeliveryError)
        self.maildir.rename(self.root / "aside")
        self.maildir.symlink_to(self.root / "bob")
        os.lchown(self.maildir, 12345, 12345)
        self.failureResultOf(self.open_folder(b".Junk"), StoreBroken)
        for name in (b".Junk", b".Unknown"):
            self.failureResultOf(self.store.begin(FRED, name), DeliveryError)
        self.assertEqual(os.listdir(self.root / "bob"), [".Junk"])


class TestSeen(MaildirTestCase):
    def setUp(self):
        super().setUp()
        self.put("1.a", part="new")
        self.put("2.b:2,F")
        self.put("3.c", part="new")
        self.put("4.d:2,S")

    def retrieve(self, store, *indices, removed=frozenset()):
        maildrop = self.open(store)
        before = self.names()
        for index in indices:
            INotesRetrievals(maildrop).retrieved(index)
        self.assertEqual(self.names(), before)
        self.assertEqual(self.successResultOf(maildrop.commit(removed)), 0)
        self.close(maildrop)

    def test_P3_028_retr_changes_nothing_unless_the_administrator_wants_it(self):
        before = self.names()
        self.assertFalse(Options().seen)
        self.retrieve(self.store, 0, 1, 2, 3)
        self.assertEqual(self.names(), before)

    def test_P3_038_what_was_retrieved_is_seen_when_the_session_ends_and_keeps_its_id(self):
        store = self.make_store(seen=True)
        ids = self.ids(store)
        self.retrieve(store, 0, 1, 3)
        self.assertEqual(self.names(), ["cur/1.a:2,S", "cur/2.b:2,FS", "cur/4.d:2,S", "new/3.c"])
        self.assertEqual(self.ids(store), ids)
        self.assertEqual(self.ids(self.make_store()), ids)

    def test_removed_renamed_and_changed_messages_are_left_alone(self):
        store = self.make_store(seen=True)
        maildrop = self.open(store)
        (self.maildir / "cur" / "2.b:2,F").rename(self.maildir / "cur" / "2.b:2,FR")
        self.put("3.c:2,S", b"somebody put a copy here\n")
        for index in range(3):
            maildrop.retrieved(index)
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 0)
        self.close(maildrop)
        self.assertEqual(self.names(), ["cur/2.b:2,FR", "cur/3.c:2,S", "cur/4.d:2,S", "new/3.c"])

    def test_a_reader_session_marks_nothing(self):
        before = self.names()
        maildrop = self.successResultOf(self.make_store(seen=True).open_read_only(FRED))
        self.assertFalse(INotesRetrievals.providedBy(maildrop))
        self.close(maildrop)
        self.assertEqual(self.names(), before)

    def test_the_lock_is_kept_until_it_is_done(self):
        works = []

        class SlowPool:
            def run(self, function, *arguments):
                deferred = Deferred()
                works.append(lambda: deferred.callback(function(*arguments)))
                return deferred

        opening = self.make_store(disk=SlowPool(), seen=True).open(FRED)
        works.pop(0)()
        maildrop = self.successResultOf(opening)
        maildrop.retrieved(0)
        closing = maildrop.close()
        self.assertNoResult(closing)
        self.failureResultOf(self.store.open(FRED), MaildropInUse)
        works.pop(0)()
        self.successResultOf(closing)
        self.assertIn("cur/1.a:2,S", self.names())
        self.close(self.open())

    def test_flags_stay_in_order_and_names_that_are_not_understood_as_they_are(self):
        self.assertEqual(seen_path(b"new/1.a"), b"cur/1.a:2,S")
        self.assertEqual(seen_path(b"new/1.a:2,"), b"cur/1.a:2,S")
        self.assertEqual(seen_path(b"cur/1.a,S=3:2,FTa"), b"cur/1.a,S=3:2,FSTa")
        self.assertIsNone(seen_path(b"cur/1.a:2,FS"))
        self.assertIsNone(seen_path(b"cur/1.a:1,x"))
