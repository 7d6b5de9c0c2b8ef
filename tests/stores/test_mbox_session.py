"""The mbox store: sessions, while other programs write to the same file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from popserv.auth.account import Account
from popserv.errors import MaildropInUse, MessageVanished, StoreBroken, StoreUnavailable
from popserv.maildrop.maildir_disposal import Undeleted
from popserv.maildrop.mbox_locks import MboxLocks
from popserv.maildrop.retention import Retention
from popserv.maildrop.visit import Visit
from popserv.wire.octets import to_crlf
from tests import corpus
from tests.stores.mboxes import FRED, FROM, MboxTestCase

INTERNAL = (
    b"From MAILER-DAEMON Mon Jan  1 00:00:00 2024\n"
    b"Date: 1 Jan 2024 00:00:00 +0000\n"
    b"From: Mail System Internal Data <MAILER-DAEMON@example.org>\n"
    b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n"
    b"X-IMAP: 1700000000 0000000003\nStatus: RO\n\nThis text is part of the internal format.\n\n"
)


class TestOpening(MboxTestCase):
    def test_a_missing_file_and_an_empty_one_are_empty_maildrops(self):
        self.assertEqual(self.contents(), [])
        self.assertEqual(os.listdir(self.root), [])
        self.mbox.touch()
        self.assertEqual(self.contents(), [])

    def test_real_messages_come_out_octet_for_octet(self):
        samples = [sample.octets for source in (corpus.own, corpus.shared, corpus.pythons) for sample in source()]
        for octets in samples:
            self.deliver(octets)
        self.assertEqual(self.messages(), [to_crlf(octets) for octets in samples])

    def test_what_c_client_keeps_in_front_is_no_mail_and_stays(self):
        self.mbox.write_bytes(INTERNAL)
        self.put(b"Subject: a\n", b"Subject: b\n")
        self.assertEqual(self.messages(), [b"Subject: a\r\n", b"Subject: b\r\n"])
        self.assertEqual(self.remove(0), 0)
        self.assertEqual(self.mbox.read_bytes(), INTERNAL + FROM + b"Subject: b\n\n")

    def test_mail_that_claims_to_be_internal_data_is_mail_unless_it_is_the_first(self):
        self.put(b"Subject: a\n")
        with self.mbox.open("ab") as file:
            file.write(INTERNAL)
        self.assertEqual(len(self.contents()), 2)

    def test_headers_in_which_mail_readers_keep_flags_are_served_as_stored(self):
        stored = (
            b"Status: RO\nX-Status: A\nX-UID: 77\nX-IMAPbase: 1 2\nX-Mozilla-Status: 0001\nContent-Length: 9\n\nbody\n"
        )
        self.put(stored)
        self.assertEqual(self.messages(), [stored.replace(b"\n", b"\r\n")])

    def test_what_is_no_message_is_left_out_kept_and_named(self):
        self.mbox.write_bytes(b"junk\n\n")
        self.put(b"Subject: a\n", b"Subject: b\n")
        maildrop = self.open()
        self.assertEqual([path for path, _ in maildrop.skipped], [os.fsencode(self.mbox)])
        self.close(maildrop)
        self.assertEqual(self.remove(0), 0)
        self.assertEqual(self.mbox.read_bytes(), b"junk\n\n" + FROM + b"Subject: b\n\n")

    def test_links_second_names_and_other_things_are_refused(self):
        other = self.root / "other"
        other.write_bytes(FROM + b"Subject: secret\n\n")
        self.mbox.symlink_to(other)
        self.failureResultOf(self.store.open(FRED), StoreBroken)
        self.mbox.unlink()
        os.link(other, self.mbox)
        self.failureResultOf(self.store.open(FRED), StoreBroken)
        self.mbox.unlink()
        os.mkfifo(self.mbox)
        self.failureResultOf(self.store.open(FRED), StoreBroken)
        self.mbox.unlink()
        self.put(b"Subject: a\n")
        os.truncate(self.mbox, 1 << 40)
        self.failureResultOf(self.store.open(FRED), StoreBroken)

    def test_control_directories_on_network_file_systems_are_refused_unless_shared(self):
        self.put(b"Subject: a\n")
        self.failureResultOf(self.make_store(networked=lambda _: True).open(FRED), StoreBroken)
        self.close(self.open(self.make_store(networked=lambda _: True, shared=True)))

    def test_nothing_stays_open(self):
        self.put(b"Subject: a\n")
        before = len(os.listdir("/proc/self/fd"))
        self.contents()
        self.remove(0)
        self.deliver()
        self.failureResultOf(self.store.open(Account("ann", "mbox:relative")), StoreBroken)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


HOLDER = """
import sys
from twisted.internet.task import Clock
from popserv.auth.account import Account
from popserv.pools import InlinePool
from popserv.stores.mbox import MboxStore

opened = MboxStore(sys.argv[1], InlinePool(), Clock()).open(Account("fred"))
print(opened.result.count, flush=True)
sys.stdin.read()
"""


class TestLocks(MboxTestCase):
    def test_P3_018_a_session_of_another_process_excludes_ours_until_it_is_killed(self):
        self.put(b"Subject: a\n")
        command = [sys.executable, "-c", HOLDER, str(self.root / "{user}")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            self.assertEqual(holder.stdout.readline(), b"1\n")
            self.failureResultOf(self.store.open(FRED), MaildropInUse)
            self.deliver()
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        self.assertEqual(len(self.contents()), 2)

    def test_the_MTAs_locks_are_held_while_an_mbox_is_read_and_not_for_the_session(self):
        self.put(b"Subject: a\n")
        for kind in ("fcntl", "flock", "dotlock"):
            other = MboxLocks((kind,), 0.0, self.clock.seconds, lambda _: None)
            store = self.make_store(locks=(kind,), lock_seconds=1.0)
            with other.held(os.fsencode(self.mbox)):
                self.failureResultOf(store.open(FRED), StoreUnavailable)
            maildrop = self.open(store)
            with other.held(os.fsencode(self.mbox)):
                self.assertEqual(self.read(maildrop), b"Subject: a\r\n")
                self.assertEqual(self.successResultOf(maildrop.commit({0})), 1)
            self.close(maildrop)

    def test_a_dotlock_names_this_process_and_is_gone_afterwards(self):
        self.put(b"Subject: a\n")
        dotlock = self.root / "fred.lock"
        with MboxLocks(("dotlock",), 0.0, self.clock.seconds, lambda _: None).held(os.fsencode(self.mbox)):
            self.assertEqual(dotlock.read_bytes().split()[0], b"%d" % os.getpid())
        self.assertFalse(dotlock.exists())

    def test_a_dotlock_of_others_is_left_over_after_five_minutes_and_one_of_ours_when_nobody_holds_it(self):
        self.put(b"Subject: a\n")
        dotlock = self.root / "fred.lock"
        dotlock.write_bytes(b"0")
        os.utime(dotlock, (self.clock.seconds() - 299,) * 2)
        self.failureResultOf(self.store.open(FRED), StoreUnavailable)
        os.utime(dotlock, (self.clock.seconds() - 301,) * 2)
        self.assertEqual(len(self.contents()), 1)
        dotlock.write_bytes(b"%d popserv\n" % os.getpid())
        self.assertEqual(len(self.contents()), 1)
        self.assertFalse(dotlock.exists())

    def test_an_mbox_that_was_replaced_while_it_was_waited_for_is_locked_anew(self):
        self.put(b"Subject: a\n")

        def replace(_seconds):
            if (self.root / "fred.lock").exists():
                (self.root / "new").write_bytes(FROM + b"Subject: b\n\n")
                os.rename(self.root / "new", self.mbox)
                (self.root / "fred.lock").unlink()

        (self.root / "fred.lock").write_bytes(b"0")
        locks = MboxLocks(("fcntl", "dotlock"), 1.0, time.time, replace)
        with locks.held(os.fsencode(self.mbox)) as locked:
            self.assertTrue(os.path.samestat(os.fstat(locked.descriptor), self.mbox.stat()))

    def test_P3_017_stores_of_one_process_exclude_each_other_unless_told_not_to(self):
        self.put(b"Subject: a\n")
        maildrop = self.open()
        self.failureResultOf(self.make_store().open(FRED), MaildropInUse)
        self.close(maildrop)
        store = self.make_store(exclusive=False)
        first, second = self.open(store), self.open(store)
        self.assertEqual(self.successResultOf(first.commit({0})), 0)
        self.assertEqual(self.read(second), b"Subject: a\r\n")
        self.assertEqual(self.successResultOf(second.commit({0})), 0)


class TestSnapshot(MboxTestCase):
    big = b"Subject: big\n\n" + b"0123456789abcde\n" * 20_000

    def test_an_mbox_that_was_replaced_is_still_read_as_it_was(self):
        self.put(b"Subject: a\n", b"Subject: b\n")
        maildrop = self.open()
        (self.root / "new").write_bytes(FROM + b"Subject: c\n\n")
        os.rename(self.root / "new", self.mbox)
        self.assertEqual([self.read(maildrop, index) for index in (0, 1)], [b"Subject: a\r\n", b"Subject: b\r\n"])

    def test_a_message_that_was_written_over_never_comes_out(self):
        self.put(b"Subject: a\n", self.big)
        for io in ("auto", "threads", "inline"):
            maildrop = self.open(self.make_store(io=io))
            stored = self.mbox.read_bytes()
            self.mbox.write_bytes(stored.replace(b"Subject: a", b"Subject: x").replace(b"9abcde\n", b"9ABCDE\n"))
            for index in (0, 1):
                reader = maildrop.message(index).open()
                with self.assertRaises(MessageVanished):
                    first = reader.read_nowait(1000)
                    if first is None:
                        raise self.failureResultOf(reader.read(1000)).value
                reader.close()
            self.close(maildrop)
            self.mbox.write_bytes(stored)

    def test_a_message_that_is_written_over_while_it_is_read_never_ends_well(self):
        self.put(self.big)
        maildrop = self.open()
        reader = maildrop.message(0).open()
        let_out = len(self.successResultOf(reader.read(1000)))
        with self.mbox.open("r+b") as file:
            file.seek(-100, os.SEEK_END)
            file.write(b"!")
        results = []
        while not results or isinstance(results[-1], bytes):
            reader.read(1 << 16).addBoth(results.append)
        results.pop().trap(MessageVanished)
        self.assertLess(let_out + sum(map(len, results)), maildrop.octets[0])
        reader.close()

    def test_new_mail_meanwhile_disturbs_nobody(self):
        self.put(self.big, b"Subject: b\n")
        maildrop = self.open()
        reader = maildrop.message(0).open()
        octets = self.successResultOf(reader.read(1000))
        self.put(b"Subject: new\n")
        while chunk := self.successResultOf(reader.read(1 << 16)):
            octets += chunk
        reader.close()
        self.assertEqual(octets, self.big.replace(b"\n", b"\r\n"))

    def test_an_mbox_cut_short_is_noticed(self):
        self.put(self.big, b"Subject: b\n")
        maildrop = self.open()
        os.truncate(self.mbox, 1000)
        for index in (0, 1):
            self.failureResultOf(maildrop.message(index).open().read(1 << 20), MessageVanished)

    def test_after_the_end_of_the_session_nothing_is_read(self):
        self.put(b"Subject: a\n")
        maildrop = self.open()
        message = maildrop.message(0)
        self.close(maildrop)
        self.failureResultOf(message.open().read(100), StoreUnavailable)
        self.failureResultOf(maildrop.commit({0}), StoreUnavailable)


class TestIndex(MboxTestCase):
    def index(self):
        return self.control / "popserv.index"

    def test_a_second_session_reads_nothing_and_new_mail_alone(self):
        self.put(b"Subject: a\n" + b"x" * 5000 + b"\n", b"Subject: b\n")
        self.assertEqual(len(self.contents()), 2)
        read, pread = [], os.pread

        def spy(descriptor, octets, position):
            if os.readlink(f"/proc/self/fd/{descriptor}") == str(self.mbox):
                read.append(position)
            return pread(descriptor, octets, position)

        self.patch(os, "pread", spy)
        self.close(self.open())
        self.assertEqual(read, [])

    def test_whatever_is_in_its_place_the_maildrop_is_the_same(self):
        self.put(b"Subject: a\n", b"Subject: b\n")
        before = self.contents()
        good = self.index().read_bytes()
        for octets in (b"", b"junk", good[:-1], good[:40] + b"\xff" + good[41:], good + b"x", bytes(len(good))):
            self.index().write_bytes(octets)
            self.assertEqual(self.contents(), before)
            self.assertEqual(self.index().read_bytes(), good)
        self.index().unlink()
        self.index().mkdir()
        self.assertEqual(self.contents(), before)

    def test_messages_that_others_changed_in_place_are_seen_as_they_are(self):
        self.put(b"Status: O\n\na\n", b"Subject: b\n", b"Subject: c\n")
        [(first, _), *rest] = self.contents()
        octets = self.mbox.read_bytes().replace(b"Status: O\n", b"Status: R\n")
        with self.mbox.open("r+b") as file:
            file.write(octets)
        self.assertEqual(self.contents(), [(first, b"Status: R\r\n\r\na\r\n"), *rest])

    def test_a_wrong_one_serves_nothing_wrong_and_lasts_for_one_session(self):
        self.put(b"Subject: a\n", b"Subject: b\n", b"Subject: c\n")
        self.contents()
        status = self.mbox.stat()
        with self.mbox.open("r+b") as file:
            file.seek(len(FROM) + len(b"Subject: a\n\n") + len(FROM))
            file.write(b"Xubject")
        os.utime(self.mbox, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.put(b"Subject: d\n")
        maildrop = self.open()
        self.failureResultOf(maildrop.message(1).open().read(100), StoreUnavailable)
        self.close(maildrop)
        self.assertEqual(self.messages()[1], b"Xubject: b\r\n")


class TestHiding(MboxTestCase):
    """Sessions of an account whose mail is hidden and not removed."""

    hides = Visit(FRED, retention=Retention(delete="hide"))

    def shown(self, account=FRED):
        maildrop = self.successResultOf(self.make_store().open(account))
        found = [maildrop.uidl(index) for index in range(maildrop.count)]
        self.successResultOf(maildrop.close())
        return found

    def hide(self, *indices):
        maildrop = self.successResultOf(self.make_store().open(self.hides))
        left = self.successResultOf(maildrop.commit(set(indices)))
        self.successResultOf(maildrop.close())
        return left

    def test_hidden_messages_stay_in_the_mbox_and_come_back_under_their_ids(self):
        self.put(b"Subject: a\n", b"Subject: b\n", b"Subject: b\n", b"Subject: c\n")
        before, octets = self.shown(), self.mbox.read_bytes()
        self.assertEqual(self.hide(1, 3), 0)
        self.assertEqual(self.mbox.read_bytes(), octets)
        self.assertEqual([self.shown(), self.shown(self.hides)], [[before[0], before[2]]] * 2)
        self.assertEqual(self.hide(0), 0)
        self.put(b"Subject: d\n")
        self.assertEqual(len(self.shown()), 2)
        undeleted = self.successResultOf(self.store.undelete(FRED, 0.0, True))
        self.assertEqual(undeleted, Undeleted(3))
        self.assertEqual(self.successResultOf(self.store.undelete(FRED, 0.0)), Undeleted(3))
        self.assertEqual(self.shown()[:4], before)
        self.assertEqual(self.successResultOf(self.store.undelete(FRED, 0.0)), Undeleted())

    def test_what_cannot_be_hidden_is_still_shown(self):
        self.put(b"Subject: a\n")
        maildrop = self.successResultOf(self.store.open(self.hides))
        (self.control / "popserv.hidden").mkdir()
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 1)
        self.successResultOf(maildrop.close())
        (self.control / "popserv.hidden").rmdir()
        self.assertEqual(len(self.shown()), 1)

    def test_a_session_keeps_them_from_coming_back(self):
        self.put(b"Subject: a\n")
        maildrop = self.successResultOf(self.store.open(FRED))
        self.failureResultOf(self.store.undelete(FRED, 0.0), MaildropInUse)
        self.successResultOf(maildrop.close())
