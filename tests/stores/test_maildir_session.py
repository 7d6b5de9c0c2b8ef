"""The Maildir store: what happens to messages, and to the lock, while a session lasts."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from popserv.errors import MaildropInUse, MessageVanished, StoreBroken, StoreUnavailable
from popserv.maildrop import maildir_reader, maildir_scan
from popserv.maildrop.holder import Holder
from popserv.wire.octets import measure
from tests.stores.maildirs import FRED, MaildirTestCase, make_maildir

HOLDER = """
import sys
from twisted.internet.task import Clock
from popserv.auth.account import Account
from popserv.pools import InlinePool
from popserv.stores.maildir import MaildirStore

maildrop = MaildirStore(sys.argv[1], InlinePool(), Clock()).open(Account("fred")).result
print(maildrop.count, flush=True)
sys.stdin.read()
"""


class SlowPool:
    """Does the work when it is told to."""

    def __init__(self):
        self.waiting = []

    def run(self, function, *arguments):
        deferred = Deferred()
        self.waiting.append((deferred, function, arguments))
        return deferred

    def work(self):
        waiting, self.waiting = self.waiting, []
        for deferred, function, arguments in waiting:
            try:
                result = function(*arguments)
            except Exception:
                deferred.errback()
            else:
                deferred.callback(result)


class TestLock(MaildirTestCase):
    def test_a_session_of_another_process_excludes_ours_until_it_is_killed(self):
        self.put("1.a")
        command = [sys.executable, "-c", HOLDER, str(self.root / "{user}")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            self.assertEqual(holder.stdout.readline(), b"1\n")
            start = time.monotonic()
            self.failureResultOf(self.store.open(FRED), MaildropInUse)
            self.assertLess(time.monotonic() - start, 1)
            found = Holder.parse((self.maildir / "popserv.lock").read_bytes())
            self.assertEqual((found.pid, found.host), (holder.pid, os.uname().nodename))
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        self.close(self.open())

    def test_stores_of_one_process_exclude_each_other(self):
        maildrop = self.open()
        self.failureResultOf(self.make_store().open(FRED), MaildropInUse)
        self.close(maildrop)
        self.close(self.open(self.make_store()))

    def test_the_lock_file_stays_and_is_private(self):
        self.close(self.open())
        status = (self.maildir / "popserv.lock").stat()
        self.assertEqual(status.st_mode & 0o777, 0o600)
        self.close(self.open())
        self.assertEqual((self.maildir / "popserv.lock").stat().st_ino, status.st_ino)

    def test_without_locks_two_sessions_read_and_remove_at_once(self):
        self.put("1.a")
        store = self.make_store(exclusive=False)
        first, second = self.open(store), self.open(store)
        self.assertEqual(self.successResultOf(first.commit({0})), 0)
        self.assertEqual(self.successResultOf(second.commit({0})), 0)
        self.assertFalse((self.maildir / "popserv.lock").exists())

    def test_without_locks_what_another_session_has_removed_is_gone_for_readers(self):
        self.put("1.a", b"a\r\n")
        self.put("2.b", b"b\r\n")
        store = self.make_store(exclusive=False)
        first, second = self.open(store), self.open(store)
        self.assertEqual(self.successResultOf(first.commit({0})), 0)
        self.failureResultOf(second.message(0).open().read(100), MessageVanished)
        self.assertEqual(self.read(second, 1), b"b\r\n")
        self.assertEqual(self.ids(store), [b"2.b"])

    def test_something_else_in_place_of_the_lock_file(self):
        os.mkfifo(self.maildir / "popserv.lock")
        self.failureResultOf(self.store.open(FRED), StoreBroken)
        (self.maildir / "popserv.lock").unlink()
        (self.maildir / "popserv.lock").symlink_to(self.root / "elsewhere")
        self.failureResultOf(self.store.open(FRED), StoreBroken)
        self.assertFalse((self.root / "elsewhere").exists())

    def test_where_no_lock_file_can_be_made_the_directory_is_locked(self):
        self.put("1.a")
        make = os.open

        def full(path, flags, *rest, **more):
            if flags & os.O_CREAT and path == "popserv.lock":
                raise OSError(errno.ENOSPC, "No space left on device")
            return make(path, flags, *rest, **more)

        self.patch(os, "open", full)
        maildrop = self.open()
        self.assertEqual(maildrop.count, 1)
        self.failureResultOf(self.make_store().open(FRED), MaildropInUse)
        self.patch(os, "open", make)
        self.failureResultOf(self.make_store().open(FRED), MaildropInUse)
        self.close(maildrop)
        maildrop = self.open()
        self.patch(os, "open", full)
        self.failureResultOf(self.make_store().open(FRED), MaildropInUse)
        self.close(maildrop)

    def test_a_lock_file_that_somebody_removes_lets_nobody_in(self):
        self.put("1.a")
        maildrop = self.open()
        (self.maildir / "popserv.lock").unlink()
        self.failureResultOf(self.make_store().open(FRED), MaildropInUse)
        self.close(maildrop)
        self.close(self.open())

    def test_where_directories_cannot_be_locked_the_file_is_enough(self):
        lock = fcntl.flock

        def flock(descriptor, kind):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EBADF, "Bad file descriptor")
            lock(descriptor, kind)

        self.patch(fcntl, "flock", flock)
        self.put("1.a")
        maildrop = self.open()
        self.failureResultOf(self.make_store().open(FRED), MaildropInUse)
        self.close(maildrop)
        self.close(self.open())

    def test_a_failed_opening_releases_the_lock(self):
        scandir = os.scandir

        def broken(_descriptor):
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "scandir", broken)
        self.failureResultOf(self.store.open(FRED), StoreUnavailable)
        self.patch(os, "scandir", scandir)
        self.close(self.open())

    def test_an_opening_cancelled_while_a_thread_has_it_releases_the_lock(self):
        pool = SlowPool()
        opening = self.make_store(disk=pool).open(FRED)
        opening.cancel()
        self.failureResultOf(opening, CancelledError)
        pool.work()
        self.close(self.open())

    def test_close_during_commit_keeps_the_lock_until_the_commit_is_done(self):
        self.put("1.a")
        pool = SlowPool()
        opening = self.make_store(disk=pool).open(FRED)
        pool.work()
        maildrop = self.successResultOf(opening)
        committing, closing = maildrop.commit({0}), maildrop.close()
        self.assertNoResult(closing)
        self.failureResultOf(self.store.open(FRED), MaildropInUse)
        pool.work()
        self.assertEqual(self.successResultOf(committing), 0)
        self.successResultOf(closing)
        self.assertEqual(self.open().count, 0)

    def test_no_commit_after_close(self):
        self.put("1.a")
        maildrop = self.open()
        self.close(maildrop)
        self.failureResultOf(maildrop.commit({0}), StoreUnavailable)
        self.assertEqual(self.names(), ["cur/1.a"])

    def test_estale_is_answered_with_one_more_look(self):
        self.put("1.a")
        listdir, errors = os.listdir, [errno.ESTALE]

        def stale(descriptor):
            if errors:
                raise OSError(errors.pop(), "Stale file handle")
            return listdir(descriptor)

        self.patch(os, "listdir", stale)
        self.assertEqual(self.ids(), [b"1.a"])


class TestReading(MaildirTestCase):
    def setUp(self):
        super().setUp()
        self.path = self.put("1.a", b"Subject: a\n\nbody\n", part="new")

    def next_chunk(self, reader):
        chunk = reader.read_nowait(1 << 20)
        if chunk is None:
            results = []
            reader.read(1 << 20).addBoth(results.append)
            chunk = results.pop()
            if isinstance(chunk, Failure):
                chunk.raiseException()
        return chunk

    def descriptors(self):
        return len(os.listdir("/proc/self/fd"))

    def test_a_message_that_has_moved_and_got_flags_is_found(self):
        maildrop = self.open()
        os.rename(self.path, os.fsencode(self.maildir) + b"/cur/1.a:2,S")
        message = maildrop.message(0)
        self.assertIsNone(message.open().read_nowait(1000))
        self.assertEqual(self.read(maildrop), b"Subject: a\r\n\r\nbody\r\n")

    def test_a_message_that_is_gone_has_vanished(self):
        maildrop = self.open()
        os.unlink(self.path)
        reader = maildrop.message(0).open()
        self.assertIsNone(reader.read_nowait(1000))
        self.failureResultOf(reader.read(1000), MessageVanished)
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 0)

    def test_nothing_counts_as_removed_from_a_maildir_that_is_out_of_reach(self):
        maildrop = self.open()
        self.maildir.rename(self.root / "away")
        self.failureResultOf(maildrop.message(0).open().read(1000), MessageVanished)
        self.assertEqual(self.successResultOf(maildrop.commit({0})), 1)

    def test_nothing_counts_as_removed_where_another_maildir_is_in_its_place(self):
        for part in (".", "cur"):
            maildrop = self.open()
            place = self.maildir / part
            place.rename(self.root / "away")
            make_maildir(self.maildir) if part == "." else place.mkdir()
            self.assertEqual(self.successResultOf(maildrop.commit({0})), 1)
            self.close(maildrop)
            shutil.rmtree(place)
            (self.root / "away").rename(place)
            self.assertEqual(self.open_and_close().count, 1)

    def open_and_close(self):
        maildrop = self.open()
        self.close(maildrop)
        return maildrop

    def test_another_file_under_the_same_name_is_not_the_message(self):
        maildrop = self.open()
        other = self.put("other", b"Subject: b\n\nbody\n", part="tmp")
        os.rename(other, self.path)
        self.assertIsNone(maildrop.message(0).open().read_nowait(1000))
        self.failureResultOf(maildrop.message(0).open().read(1000), MessageVanished)

    def test_a_file_changed_in_place_is_not_the_message(self):
        maildrop = self.open()
        with open(self.path, "r+b") as file:
            file.write(b"S")
        os.utime(self.path, ns=(5, 5))
        self.failureResultOf(maildrop.message(0).open().read(1000), StoreUnavailable)
        self.close(maildrop)
        maildrop = self.open()
        self.assertEqual(len(self.read(maildrop)), maildrop.octets[0])

    def test_a_file_cut_short_while_it_is_read_never_ends_well(self):
        for io in ("auto", "threads", "inline"):
            os.unlink(self.path)
            self.path = self.put(f"1.{io}", b"x" * 300_000)
            maildrop = self.open(self.make_store(io=io))
            reader = maildrop.message(0).open()
            self.assertEqual(len(self.successResultOf(reader.read(1000))), 1000)
            os.truncate(self.path, 200_000)
            with self.assertRaises(MessageVanished):
                while self.next_chunk(reader):
                    pass
            reader.close()
            self.close(maildrop)

    def test_octets_that_were_counted_wrong_are_never_let_out_whole_and_are_counted_again(self):
        self.patch(maildir_scan, "measure", lambda stored: (5, False, False))
        maildrop = self.open()
        self.patch(maildir_scan, "measure", measure)
        self.failureResultOf(maildrop.message(0).open().read(1000), StoreUnavailable)
        self.close(maildrop)
        self.assertEqual(list(self.open().octets), [20])

    def test_what_is_in_memory_comes_at_once(self):
        maildrop = self.open()
        reader = maildrop.message(0).open()
        if reader.read_nowait(1000) is None:
            self.skipTest("this file system or kernel promises nothing")
        self.assertEqual(reader.read_nowait(1000), b"")
        reader.close()

    def test_without_the_calls_that_never_block_everything_comes_from_the_pool(self):
        self.patch(maildir_reader, "open_cached", lambda path: None)
        maildrop = self.open()
        reader = maildrop.message(0).open()
        self.assertIsNone(reader.read_nowait(1000))
        self.assertEqual(self.successResultOf(reader.read(8)), b"Subject:")
        self.patch(maildir_reader, "read_cached", lambda *_: None)
        self.assertIsNone(reader.read_nowait(1000))
        self.assertEqual(self.successResultOf(reader.read(100)), b" a\r\n\r\nbody\r\n")
        self.assertEqual(reader.read_nowait(1000), b"")
        reader.close()

    def test_reads_are_no_larger_than_the_message(self):
        asked = []
        pread = os.pread
        self.patch(os, "pread", lambda fd, octets, position: asked.append(octets) or pread(fd, octets, position))
        maildrop = self.open(self.make_store(io="threads"))
        self.read(maildrop, octets=1 << 20)
        self.assertEqual(asked, [17])

    def test_a_reader_never_yields_more_than_twice_what_was_asked_for(self):
        self.put("2.b", b"\n" * 1000 + b"x")
        maildrop = self.open()
        reader = maildrop.message(1).open()
        for octets in (1, 7, 1001):
            self.assertLessEqual(len(self.successResultOf(reader.read(octets))), 2 * octets)
        reader.close()

    def test_closing_while_a_thread_reads_closes_the_file_afterwards(self):
        pool = SlowPool()
        opening = self.make_store(disk=pool, io="threads").open(FRED)
        pool.work()
        maildrop = self.successResultOf(opening)
        before = self.descriptors()
        for cancel in (False, True):
            for first in (False, True):
                reader = maildrop.message(0).open()
                if first:
                    reading = reader.read(1)
                    pool.work()
                    self.assertEqual(self.successResultOf(reading), b"S")
                reading = reader.read(100)
                if cancel:
                    reading.cancel()
                    self.failureResultOf(reading, CancelledError)
                reader.close()
                pool.work()
                if not cancel:
                    self.failureResultOf(reading, StoreUnavailable)
                self.assertEqual(self.descriptors(), before)

    def test_failed_reads_leave_nothing_open(self):
        maildrop = self.open(self.make_store(io="threads"))
        before = self.descriptors()

        def broken(*_arguments):
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "pread", broken)
        reader = maildrop.message(0).open()
        self.failureResultOf(reader.read(100), StoreUnavailable)
        reader.close()
        self.assertEqual(self.descriptors(), before)

    def test_a_closed_reader_does_not_pretend_to_be_at_the_end(self):
        reader = self.open().message(0).open()
        reader.close()
        self.assertRaises(StoreUnavailable, reader.read_nowait, 100)
        self.failureResultOf(reader.read(100), StoreUnavailable)


class TestRemoving(MaildirTestCase):
    def setUp(self):
        super().setUp()
        for number in range(3):
            self.put(f"{number}.x:2,", b"number %d\n" % number)

    def test_P3_042_messages_are_removed_wherever_they_went(self):
        maildrop = self.open()
        os.rename(self.maildir / "cur" / "1.x:2,", self.maildir / "cur" / "1.x:2,FS")
        os.rename(self.maildir / "cur" / "2.x:2,", self.maildir / "new" / "2.x")
        self.assertEqual(self.successResultOf(maildrop.commit({1, 2})), 0)
        self.assertEqual(self.names(), ["cur/0.x:2,"])

    def test_what_has_vanished_counts_as_removed(self):
        maildrop = self.open()
        os.unlink(self.maildir / "cur" / "1.x:2,")
        self.assertEqual(self.successResultOf(maildrop.commit({0, 1})), 0)
        self.assertEqual(self.names(), ["cur/2.x:2,"])

    def test_a_file_that_is_not_the_message_is_left_alone_and_reported(self):
        maildrop = self.open()
        os.rename(self.put("other", b"another\n", part="tmp"), self.maildir / "cur" / "1.x:2,")
        self.assertEqual(self.successResultOf(maildrop.commit({0, 1})), 1)
        self.assertEqual(self.names(), ["cur/1.x:2,", "cur/2.x:2,"])

    def test_a_directory_in_place_of_a_message_is_left_alone(self):
        maildrop = self.open()
        os.unlink(self.maildir / "cur" / "1.x:2,")
        (self.maildir / "cur" / "1.x:2,").mkdir()
        self.assertEqual(self.successResultOf(maildrop.commit({1})), 1)
        self.assertTrue((self.maildir / "cur" / "1.x:2,").is_dir())

    def test_one_that_cannot_be_removed_does_not_keep_the_others(self):
        unlink = os.unlink

        def refuse(path, **more):
            if b"1.x" in os.fsencode(path):
                raise OSError(errno.EROFS, "Read-only file system")
            unlink(path, **more)

        maildrop = self.open()
        self.patch(os, "unlink", refuse)
        self.assertEqual(self.successResultOf(maildrop.commit({0, 1, 2})), 1)
        self.assertEqual(self.names(), ["cur/1.x:2,"])

    def test_the_directory_is_synced_after_the_last_removal_and_before_the_answer(self):
        calls = []
        unlink, fsync = os.unlink, os.fsync
        self.patch(os, "unlink", lambda path, **more: calls.append("unlink") or unlink(path, **more))
        self.patch(
            os, "fsync", lambda fd: calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))) or fsync(fd)
        )
        self.put("7.new", part="new")
        maildrop = self.open()
        self.successResultOf(maildrop.commit({0, 1, 3}))
        self.assertEqual(calls[:3], ["unlink"] * 3)
        self.assertEqual(sorted(calls[3:]), ["cur", "new"])

    def test_what_could_not_be_synced_is_not_called_gone(self):
        maildrop = self.open()

        def broken(_descriptor):
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "fsync", broken)
        self.assertEqual(self.successResultOf(maildrop.commit({0, 1})), 2)


CHILD = """
import os, sys
from twisted.internet.task import Clock
from popserv.auth.account import Account
from popserv.pools import InlinePool
from popserv.stores.maildir import MaildirStore

os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = MaildirStore(sys.argv[1], InlinePool(), Clock())
maildrop = store.open(Account("fred")).result
reader = maildrop.message(0).open()
print(maildrop.count, reader.read(100).result, maildrop.commit({0}).result)
"""


class TestReadOnly(MaildirTestCase):
    def test_a_maildir_that_may_only_be_read_opens_and_says_that_nothing_was_removed(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        self.put("1.a", b"body\n")
        self.root.chmod(0o755)
        arguments = [sys.executable, "-c", CHILD, str(self.root / "{user}")]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
        self.assertEqual(done.stdout, "1 b'body\\r\\n' 1\n", done.stderr)
        self.assertEqual(self.names(), ["cur/1.a"])

    def test_a_file_that_may_not_be_read_is_skipped(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become somebody else")
        os.chmod(self.put("0.secret"), 0)
        self.put("1.a", b"body\n")
        self.root.chmod(0o755)
        arguments = [sys.executable, "-c", CHILD, str(self.root / "{user}")]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
        self.assertEqual(done.stdout, "1 b'body\\r\\n' 1\n", done.stderr)


class Abandoned(MaildirTestCase):
    """What deliveries that were broken off have left in tmp."""

    def leave(self, name):
        path = self.maildir / "tmp" / name
        path.write_bytes(b"half a mess")
        return path

    def open_at(self, seconds):
        self.clock.advance(seconds - self.clock.seconds())
        self.close(self.open())

    def test_files_in_tmp_are_removed_after_36_hours_and_not_before(self):
        path = self.leave("1.a")
        touched = path.stat().st_ctime
        self.open_at(touched + 36 * 3600 - 1)
        self.assertTrue(path.exists())
        self.open_at(touched + 36 * 3600 + 1)
        self.assertFalse(path.exists())

    def test_nothing_but_files_is_removed_and_the_login_works_whatever_is_there(self):
        (self.maildir / "tmp" / "folder").mkdir()
        (self.maildir / "tmp" / "link").symlink_to(self.put("1.a"))
        self.open_at(self.leave("2.b").stat().st_ctime + 40 * 3600)
        self.assertEqual(sorted(path.name for path in (self.maildir / "tmp").iterdir()), ["folder", "link"])
        self.assertEqual(self.names(), ["cur/1.a"])

    def test_a_maildir_without_tmp_can_be_opened(self):
        (self.maildir / "tmp").rmdir()
        self.put("1.a")
        self.assertEqual(self.ids(), [b"1.a"])
