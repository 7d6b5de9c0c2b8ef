"""The Maildir store: files that share a name, told apart for good."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

from popserv.maildrop import maildir_folder
from popserv.maildrop.uidl import is_unique_id
from tests.stores.maildirs import MaildirTestCase

MAP = "popserv.uidmap"


class TestDuplicates(MaildirTestCase):
    def setUp(self):
        super().setUp()
        self.first = self.put("1.a:2,S", b"first\n")
        os.utime(self.first, ns=(10**18, 10**18))
        self.assertEqual(self.ids(), [b"1.a"])
        self.second = self.put("1.a", b"the second\n", part="new")

    def by_octets(self, store=None):
        maildrop = self.open(store)
        self.close(maildrop)
        return {self.read(maildrop, index): maildrop.uidl(index) for index in range(maildrop.count)}

    def test_the_eldest_keeps_its_id_and_the_other_gets_one_of_its_own(self):
        seen = self.by_octets()
        self.assertEqual(seen[b"first\r\n"], b"1.a")
        self.assertTrue(is_unique_id(seen[b"the second\r\n"]))
        self.assertNotEqual(seen[b"the second\r\n"], b"1.a")

    def test_ids_of_duplicates_survive_restarts_flags_and_moves(self):
        before = self.by_octets()
        os.rename(self.first, self.first + b"F")
        (self.maildir / "new" / "1.a").rename(self.maildir / "cur" / "1.a:2,T")
        self.assertEqual(self.by_octets(self.make_store()), before)

    def test_ids_of_duplicates_survive_the_removal_of_their_siblings(self):
        before = self.by_octets()
        os.unlink(self.first)
        self.assertEqual(self.by_octets(self.make_store()), {b"the second\r\n": before[b"the second\r\n"]})

    def test_P3_037_a_newcomer_does_not_get_the_id_of_one_that_was_removed(self):
        before = self.by_octets()
        maildrop = self.open()
        self.assertEqual(self.successResultOf(maildrop.commit({0, 1})), 0)
        self.close(maildrop)
        self.put("1.a:2,", b"first\n")
        after = self.by_octets(self.make_store())
        self.assertEqual(len(after), 1)
        self.assertFalse(set(after.values()) & set(before.values()))

    def test_a_restored_backup_has_the_same_ids(self):
        before = self.by_octets()
        for path in (self.first, self.second):
            status = os.stat(path)
            with open(path, "rb") as file:
                octets = file.read()
            os.unlink(path)
            self.put(f"placeholder-{status.st_ino}")  # so that the inode is not taken again
            with open(path, "wb") as file:
                file.write(octets)
            os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
        after = self.by_octets(self.make_store())
        self.assertEqual({octets: after[octets] for octets in before}, before)

    def test_hard_links_are_told_apart_and_one_outlives_the_other(self):
        os.unlink(self.second)
        os.link(self.first, os.fsencode(self.maildir / "new" / "1.a"))
        before = self.ids()
        self.assertEqual(len(set(before)), 2)
        self.assertEqual(self.ids(self.make_store()), before)
        maildrop = self.open()
        gone = maildrop.uidl(0)
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 0)
        self.close(maildrop)
        self.assertEqual(len(self.names()), 1)
        self.assertEqual(self.ids(self.make_store()), [one for one in before if one != gone])

    def test_three_of_a_kind(self):
        before = self.by_octets()
        self.put("1.a:2,R", b"a third one\n")
        after = self.by_octets()
        self.assertEqual(len(set(after.values())), 3)
        self.assertLessEqual(before.items(), after.items())

    def test_a_half_written_last_line_is_ignored_and_repaired(self):
        before = self.by_octets()
        path = self.maildir / MAP
        whole = path.read_bytes()
        path.write_bytes(whole + b"+ ~dHALF 12 34")
        self.assertEqual(self.by_octets(self.make_store()), before)
        self.put("1.a:2,R", b"a third one\n")
        after = self.by_octets(self.make_store())
        self.assertLessEqual(before.items(), after.items())
        self.assertTrue(path.read_bytes().startswith(whole))
        self.assertNotIn(b"HALF", path.read_bytes())
        self.assertEqual(self.by_octets(self.make_store()), after)

    def test_a_line_that_is_not_understood_costs_nothing_else(self):
        before = self.by_octets()
        path = self.maildir / MAP
        path.write_bytes(b"what\n+ x y z\n+ \x01 1 2 3 1.a\n" + path.read_bytes())
        self.assertEqual(self.by_octets(self.make_store()), before)

    def test_when_the_disk_is_full_the_duplicate_is_left_out_and_the_rest_opens(self):
        pwrite = os.pwrite

        def full(descriptor, octets, position):
            if bytes(octets).startswith(b"+ "):
                pwrite(descriptor, octets[:10], position)
                raise OSError(errno.ENOSPC, "No space left on device")
            return pwrite(descriptor, octets, position)

        self.put("2.b")
        self.patch(os, "pwrite", full)
        self.assertEqual(self.ids(), [b"1.a", b"2.b"])
        self.patch(os, "pwrite", pwrite)
        self.assertEqual((self.maildir / MAP).read_bytes(), b"")
        self.assertEqual(len(self.ids()), 3)

    def test_a_map_that_is_not_a_file_costs_the_shared_names_only(self):
        self.put("2.b")
        for make, undo in (
            (os.mkfifo, os.unlink),
            (os.mkdir, os.rmdir),
            (lambda path: os.symlink(self.root / "elsewhere", path), os.unlink),
        ):
            make(self.maildir / MAP)
            self.assertEqual(self.ids(self.make_store()), [b"2.b"])
            undo(self.maildir / MAP)

    def test_P3_036_a_twin_that_says_it_is_older_does_not_get_the_id_that_was_told(self):
        os.unlink(self.second)
        self.assertEqual(self.by_octets(), {b"first\r\n": b"1.a"})
        path = self.put("1.a", b"the second\n", part="new")
        os.utime(path, ns=(10**17, 10**17))
        seen = self.by_octets(self.make_store())
        self.assertEqual(seen[b"first\r\n"], b"1.a")
        self.assertEqual(len(set(seen.values())), 2)

    def test_where_it_is_not_known_which_was_first_none_has_the_id_of_the_name(self):
        self.patch(maildir_folder, "born", lambda _folder, _name: None)
        seen = self.by_octets()
        self.assertEqual(len(set(seen.values())), 2)
        self.assertNotIn(b"1.a", seen.values())
        self.assertEqual(self.by_octets(self.make_store()), seen)

    def test_P3_038_a_backup_that_keeps_whole_seconds_keeps_the_ids(self):
        before = self.by_octets()
        archive = self.root / "backup.tar"
        subprocess.run(["tar", "-C", self.root, "--format=ustar", "-cf", archive, "fred"], check=True)
        shutil.rmtree(self.maildir)
        subprocess.run(["tar", "-C", self.root, "-xf", archive], check=True)
        self.assertEqual(self.by_octets(self.make_store()), before)

    def test_a_file_whose_time_is_changed_keeps_its_id(self):
        before = self.by_octets()
        os.unlink(self.second)
        os.utime(self.first)
        self.assertEqual(self.ids(self.make_store()), [before[b"first\r\n"]])
        os.unlink(self.maildir / "popserv.index")
        self.assertEqual(self.by_octets(self.make_store()), {b"first\r\n": before[b"first\r\n"]})

    def test_P3_036_what_could_not_be_removed_keeps_its_id(self):
        before = self.by_octets()
        maildrop = self.open()
        unlink = os.unlink

        def refused(path, *, dir_fd=None):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        self.patch(os, "unlink", refused)
        self.assertEqual(self.successResultOf(maildrop.commit({0, 1})), 2)
        self.patch(os, "unlink", unlink)
        self.close(maildrop)
        self.assertEqual(self.by_octets(self.make_store()), before)
