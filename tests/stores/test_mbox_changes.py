"""The mbox store: unique-ids, and what removing and delivering make of the file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time

from popserv.maildrop import mbox_ids
from popserv.testing.nasty import NASTY
from popserv.wire.octets import to_crlf
from tests.stores.mboxes import FRED, FROM, MboxTestCase

DELIVERER = """
import sys
from twisted.internet.task import Clock
from popserv.auth.account import Account
from popserv.pools import InlinePool
from popserv.stores.mbox import MboxStore, Options

store = MboxStore(sys.argv[1], InlinePool(), Clock(), options=Options(rewrite="in-place"))
for number in range(60):
    incoming = store.begin(Account("fred")).result
    incoming.write(b"Subject: %d\\r\\n" % number)
    assert incoming.commit().result is None
"""


class TestUniqueIds(MboxTestCase):
    def test_P3_038_ids_outlive_what_mail_readers_write_into_headers(self):
        self.put(b"Subject: a\n\nbody\n", b"Subject: b\n")
        before = [unique_id for unique_id, _ in self.contents()]
        seen = FROM + b"X-UID: 1\nSubject: a\nStatus: RO\nX-Keywords: a\n b\nLines: 1\n\nbody\n\n"
        self.mbox.write_bytes(seen + FROM + b"Subject: b\nStatus: O\n\n\n")
        after = [unique_id for unique_id, _ in self.contents()]
        self.assertEqual(after[0], before[0])
        self.mbox.write_bytes(FROM + b"Subject: b\n\n" + seen)
        self.assertEqual({unique_id for unique_id, _ in self.contents()}, set(before))

    def test_a_missing_end_of_the_last_message_changes_no_id(self):
        self.mbox.write_bytes(FROM + b"Subject: a")
        [(before, octets)] = self.contents()
        self.deliver()
        self.assertEqual(self.contents()[0], (before, octets))

    def test_equal_messages_keep_their_ids_and_none_is_used_again(self):
        self.put(*[b"same\n"] * 3)
        used = [unique_id for unique_id, _ in self.contents()]
        self.assertEqual(len(set(used)), 3)
        self.assertEqual(self.remove(1), 0)
        self.assertEqual([unique_id for unique_id, _ in self.contents()], [used[0], used[2]])
        self.mbox.write_bytes(FROM + b"same\n\n")
        self.assertEqual([unique_id for unique_id, _ in self.contents()], [used[0]])
        self.put(b"same\n")
        [(first, _), (second, _)] = self.contents()
        self.assertEqual(first, used[0])
        self.assertNotIn(second, used)

    def test_the_map_does_not_grow_for_ever_and_forgets_no_id(self):
        self.patch(mbox_ids, "MOST_REMOVED", 3)
        self.put(b"stays\n", b"same\n", b"same\n")
        stays = self.contents()
        used = {unique_id for unique_id, _ in stays}
        sizes = []
        for _ in range(12):
            self.put(b"comes again\n")
            seen = self.contents()
            self.assertEqual(seen[:3], stays)
            self.assertNotIn(seen[3][0], used)
            used.add(seen[3][0])
            self.assertEqual(self.remove(3), 0)
            sizes.append((self.control / "popserv.uidmap").stat().st_size)
        self.assertEqual(self.contents(), stays)
        self.put(*[b"other %d\n" % number for number in range(9)])
        used.update(unique_id for unique_id, _ in self.contents())
        self.assertEqual(self.remove(*range(3, 12)), 0)
        self.assertEqual(self.contents(), stays)  # now the map is about these alone
        self.put(b"other 1\n", *[b"comes again\n"] * 2)
        self.assertFalse(used.intersection(unique_id for unique_id, _ in self.contents()[3:]))
        self.assertLess(max(sizes[6:]), max(sizes[:6]) + 200)

    def test_messages_whose_ids_cannot_be_kept_are_left_out(self):
        self.put(b"other\n")
        self.contents()
        self.put(*[b"same\n"] * 2)
        whole = os.fsync
        self.patch(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        self.assertEqual(self.messages(), [b"other\r\n", b"same\r\n"])
        self.patch(os, "fsync", whole)
        self.assertEqual(len(self.contents()), 3)


class TestRemoving(MboxTestCase):
    def setUp(self):
        super().setUp()
        self.put(*[b"Subject: %d\n\n>From %d\n" % (number, number) for number in range(5)])

    def test_P3_042_what_is_kept_stays_octet_for_octet_with_owner_mode_and_times(self):
        self.mbox.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(self.mbox, 12345, 54321)
        os.utime(self.mbox, ns=(10**18, 10**18 + 7))
        before = self.mbox.stat()
        expected = b"".join([FROM + b"Subject: %d\n\n>From %d\n\n" % (number, number) for number in (1, 2, 4)])
        self.assertEqual(self.remove(0, 3), 0)
        self.assertEqual(self.mbox.read_bytes(), expected)
        after = self.mbox.stat()
        for fact in ("st_uid", "st_gid", "st_mode", "st_mtime_ns"):
            self.assertEqual(getattr(after, fact), getattr(before, fact), fact)
        self.assertNotEqual(after.st_ino, before.st_ino)

    def test_in_place_it_stays_the_same_file(self):
        inode = self.mbox.stat().st_ino
        store = self.make_store(rewrite="in-place")
        self.assertEqual(self.remove(1, 3, store=store), 0)
        self.assertEqual(
            [octets[:10] for octets in self.messages(store)], [b"Subject: %d" % number for number in (0, 2, 4)]
        )
        self.assertEqual(self.mbox.stat().st_ino, inode)
        self.assertEqual(self.remove(0, 1, 2, store=store), 0)
        self.assertEqual(self.mbox.read_bytes(), b"")

    def test_messages_are_found_again_where_others_have_written_the_mbox_anew(self):
        for rewrite in ("rename", "in-place"):
            store = self.make_store(rewrite=rewrite)
            self.mbox.write_bytes(b"")
            self.put(*[b"Subject: %d\n" % number for number in range(5)])
            maildrop = self.open(store)
            self.mbox.write_bytes(b"")
            self.put(*[b"Subject: %d\nStatus: O\n" % number for number in (3, 1, 0, 9)])
            self.assertEqual(self.successResultOf(maildrop.commit({1, 2, 3})), 0)
            self.close(maildrop)
            self.assertEqual(self.messages(), [b"Subject: 0\r\nStatus: O\r\n", b"Subject: 9\r\nStatus: O\r\n"])

    def test_of_equal_messages_so_many_stay_as_were_not_marked(self):
        self.mbox.write_bytes(b"")
        self.put(*[b"same\n"] * 4)
        maildrop = self.open()
        self.mbox.write_bytes(b"")
        self.put(*[b"same\n"] * 3, b"new\n")
        self.assertEqual(self.successResultOf(maildrop.commit({0, 1})), 0)
        self.close(maildrop)
        self.assertEqual(self.messages(), [b"same\r\n", b"same\r\n", b"new\r\n"])

    def test_a_message_that_others_changed_where_it_is_is_not_the_one_that_was_marked(self):
        maildrop = self.open()
        octets = self.mbox.read_bytes().replace(b"Subject: 2", b"Subject: x")
        with self.mbox.open("r+b") as file:
            file.write(octets)
        self.put(b"Subject: new\n")
        self.assertEqual(self.successResultOf(maildrop.commit({1, 2})), 0)
        self.close(maildrop)
        subjects = [octets[:10] for octets in self.messages()]
        self.assertEqual(subjects, [b"Subject: 0", b"Subject: x", b"Subject: 3", b"Subject: 4", b"Subject: n"])

    def test_an_mbox_that_is_gone_has_nothing_left(self):
        maildrop = self.open()
        self.mbox.unlink()
        self.assertEqual(self.successResultOf(maildrop.commit({0, 1})), 0)

    def test_the_new_file_is_synced_then_put_in_place_then_its_folder_synced(self):
        calls, fsync, rename = [], os.fsync, os.rename
        self.close(self.open())
        name = lambda fd: os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))  # noqa: E731
        self.patch(os, "fsync", lambda fd: calls.append(name(fd)) or fsync(fd))
        self.patch(os, "rename", lambda old, *more, **where: calls.append("rename") or rename(old, *more, **where))
        maildrop = self.open()
        self.successResultOf(maildrop.commit({0}))
        new = calls.index(".fred.popserv-new")
        self.assertEqual(calls[new : new + 3], [".fred.popserv-new", "rename", self.root.name])

    def test_what_cannot_be_written_is_said_to_be_there_and_is(self):
        for rewrite in ("rename", "in-place"):
            store = self.make_store(rewrite=rewrite)
            before = self.contents(store)
            maildrop = self.open(store)
            whole = os.rename
            self.patch(os, "rename", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EROFS, "read-only")))
            self.assertEqual(self.successResultOf(maildrop.commit({0, 1})), 2)
            self.patch(os, "rename", whole)
            self.close(maildrop)
            self.assertEqual(self.contents(store), before)


class TestDelivery(MboxTestCase):
    def test_what_is_stored_is_an_mbox(self):
        self.deliver(b"Return-Path: <joe@example.org>\r\nSubject: a\r\n\r\nFrom me\r\n>From you\r\nend")
        date = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(self.clock.seconds())).encode()
        self.assertEqual(
            self.mbox.read_bytes(),
            b"From joe@example.org " + date + b"\n"
            b"Return-Path: <joe@example.org>\nSubject: a\n\n>From me\n>>From you\nend\n\n",
        )
        self.assertEqual(self.mbox.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.control.stat().st_mode & 0o777, 0o700)

    def test_messages_with_bare_CR_and_mixed_line_ends_come_out_as_from_a_maildir(self):
        for octets in NASTY.values():
            self.deliver(octets)
        self.assertEqual(self.messages(), [to_crlf(octets) for octets in NASTY.values()])

    def test_what_others_left_without_an_end_stays_a_message_of_its_own(self):
        for start in (b"Subject: a", b"Subject: a\n", b"Subject: a\n\n", b""):
            self.mbox.write_bytes(FROM + start)
            self.deliver(b"Subject: b\r\n")
            expected = b"Subject: a\r\n" if start else b""
            self.assertEqual(self.messages(), [expected, b"Subject: b\r\n"])

    def test_journal_mbox_then_acknowledgement(self):
        self.put(b"Subject: a\n")
        self.deliver()
        calls, fsync = [], os.fsync
        self.patch(
            os, "fsync", lambda fd: calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))) or fsync(fd)
        )
        self.deliver()
        self.assertTrue(calls[0].startswith("popserv.incoming."), calls)
        self.assertEqual(calls[1:], ["fred.popserv", "fred", "fred.popserv"])
        self.assertEqual([name for name in os.listdir(self.control) if name != "popserv.index"], [])

    def test_nothing_is_lost_between_a_process_that_delivers_and_one_that_removes(self):
        self.store = self.make_store(rewrite="in-place", sleep=time.sleep)
        command = [sys.executable, "-c", DELIVERER, str(self.root / "{user}")]
        seen = []
        with subprocess.Popen(command) as deliverer:
            while deliverer.poll() is None:
                seen += self.fetch_and_remove()
        self.assertEqual(deliverer.returncode, 0)
        seen += self.fetch_and_remove()
        self.assertEqual(sorted(octets for _, octets in seen), sorted(b"Subject: %d\r\n" % n for n in range(60)))
        self.assertEqual(len({unique_id for unique_id, _ in seen}), 60)

    def fetch_and_remove(self):
        maildrop = self.open()
        seen = [(maildrop.uidl(index), self.read(maildrop, index)) for index in range(maildrop.count)]
        self.assertEqual(self.successResultOf(maildrop.commit(set(range(maildrop.count)))), 0)
        self.close(maildrop)
        return seen

    def test_mboxcl2_takes_no_mail_in(self):
        self.assertIn("takes no mail", str(self.failureResultOf(self.make_store(format="mboxcl2").begin(FRED)).value))

    def test_drafts_that_nobody_will_finish_are_removed(self):
        self.deliver()
        draft = self.control / "popserv.incoming.0"
        draft.write_bytes(b"half")
        self.contents()
        self.assertTrue(draft.exists())
        self.clock.advance(37 * 3600)
        self.contents()
        self.assertFalse(draft.exists())

    def test_control_directories_may_be_elsewhere(self):
        store = self.make_store(control=str(self.root / "control" / "{user}"))
        self.deliver(store=store)
        self.assertEqual(len(self.contents(store)), 1)
        self.assertEqual(sorted(os.listdir(self.root)), ["control", "fred"])
