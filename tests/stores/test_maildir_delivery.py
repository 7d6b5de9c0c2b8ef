"""The Maildir store: mail coming in."""

from __future__ import annotations

import errno
import os
from unittest import SkipTest

from twisted.internet.defer import Deferred

from popserv.auth.account import Account
from popserv.errors import Busy, DeliveryError, MailSystemFull
from popserv.pools import InlinePool
from popserv.stores.maildir import MaildirStore
from tests.stores.maildirs import FRED, MaildirTestCase


class FullPool:
    """Has room for nothing more."""

    def __init__(self):
        self.full = False

    def run(self, function, *arguments):
        if self.full:
            failed = Deferred()
            failed.errback(Busy())
            return failed
        return InlinePool().run(function, *arguments)


class DeliveryTestCase(MaildirTestCase):
    def begin(self, store=None, account=FRED):
        return self.successResultOf((store or self.store).begin(account))

    def deliver(self, octets=b"Subject: a\r\n\r\nbody\r\n", store=None, account=FRED):
        incoming = self.begin(store, account)
        self.successResultOf(incoming.write(octets))
        self.successResultOf(incoming.commit())

    def tmp(self):
        return os.listdir(self.maildir / "tmp")

    def stored(self):
        return [path.read_bytes() for path in (self.maildir / "new").iterdir()]

    def fails(self, function, error):
        """Make a function of `os` fail; returns what makes it work again."""

        def broken(*_arguments, **_more):
            raise OSError(error, os.strerror(error))

        whole = getattr(os, function)
        self.patch(os, function, broken)
        return lambda: self.patch(os, function, whole)


class TestDelivery(DeliveryTestCase):
    def test_LM_005_file_then_name_then_directory(self):
        self.put("1.old")
        calls = []
        fsync, link = os.fsync, os.link

        def sync(descriptor):
            calls.append(os.readlink(f"/proc/self/fd/{descriptor}").split("/")[-2 if not calls else -1])
            fsync(descriptor)

        self.patch(os, "fsync", sync)
        self.patch(os, "link", lambda *names, **more: calls.append("link") or link(*names, **more))
        self.deliver()
        self.assertEqual(calls, ["tmp", "link", "new"])
        self.assertEqual(self.tmp(), [])

    def test_octets_are_stored_as_they_come(self):
        self.deliver(b"a\r\nb\nc\r\r\n")
        self.assertEqual(self.stored(), [b"a\r\nb\nc\r\r\n"])

    def test_line_ends_lf_converts_line_ends_and_nothing_else(self):
        store = self.make_store(line_ends="lf")
        incoming = self.begin(store)
        for chunk in (b"a\r", b"\nb\nc\r\r", b"\nd\r\n", b"\r"):
            self.successResultOf(incoming.write(chunk))
        self.successResultOf(incoming.commit())
        self.assertEqual(self.stored(), [b"a\nb\nc\r\r\nd\n\r"])

    def test_a_missing_maildir_is_made_private_and_synced(self):
        umask = os.umask(0)
        self.addCleanup(os.umask, umask)
        synced = set()
        fsync = os.fsync
        self.patch(os, "fsync", lambda fd: synced.add(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
        store = MaildirStore(str(self.root / "{domain}" / "{local}"), InlinePool(), self.clock)
        self.deliver(store=store, account=Account("ann@example.org"))
        made = ["example.org", "example.org/ann", *(f"example.org/ann/{part}" for part in ("tmp", "new", "cur"))]
        for path in made:
            self.assertEqual((self.root / path).stat().st_mode & 0o777, 0o700, path)
        self.assertLessEqual({str(self.root), *(str(self.root / path) for path in made)}, synced)

    def test_directories_that_a_killed_delivery_left_are_synced_by_the_next_first_one(self):
        synced = set()
        fsync = os.fsync
        self.patch(os, "fsync", lambda fd: synced.add(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
        self.deliver()
        here = [self.root, self.maildir, *(self.maildir / part for part in ("tmp", "new", "cur"))]
        self.assertLessEqual(set(map(str, here)), synced)
        synced.clear()
        self.deliver()
        self.assertNotIn(str(self.maildir), synced)

    def test_what_root_delivers_belongs_to_whom_the_maildir_belongs(self):
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        for path in (self.root, self.maildir, *self.maildir.iterdir()):
            os.chown(path, 12345, 54321)
        self.deliver()
        [path] = (self.maildir / "new").iterdir()
        self.assertEqual((path.stat().st_uid, path.stat().st_gid), (12345, 54321))
        self.deliver(account=Account("ann"))
        for made in (self.root / "ann", *(self.root / "ann").iterdir(), *(self.root / "ann" / "new").iterdir()):
            self.assertEqual((made.stat().st_uid, made.stat().st_gid), (12345, 54321), made)

    def test_what_root_makes_for_an_account_belongs_to_whom_its_database_says(self):
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        self.deliver(account=Account("ann", owner=(12345, 54321)))
        made = [self.root / "ann", *(self.root / "ann").iterdir(), *(self.root / "ann" / "new").iterdir()]
        self.assertEqual(len(made), 5)
        for each in made:
            self.assertEqual((each.stat().st_uid, each.stat().st_gid), (12345, 54321), each)
        self.assertEqual(self.root.stat().st_uid, 0)

    def test_a_message_on_its_way_costs_one_descriptor(self):
        before = len(os.listdir("/proc/self/fd"))
        incoming = [self.begin() for _ in range(10)]
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 10)
        for each in incoming[:5]:
            self.successResultOf(each.commit())
        for each in incoming[5:]:
            self.successResultOf(each.abort())
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual((len(self.stored()), self.tmp()), (5, []))

    def test_messages_are_private(self):
        umask = os.umask(0)
        self.addCleanup(os.umask, umask)
        self.deliver()
        [path] = (self.maildir / "new").iterdir()
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_names_never_repeat_and_tell_the_order(self):
        second = self.make_store()
        for number in range(20):
            self.deliver(b"%d\r\n" % number, second if number % 3 else self.store)
            if number == 9:
                self.clock.advance(1)
        names = [path.name for path in (self.maildir / "new").iterdir()]
        self.assertEqual(len(set(names)), 20)
        self.assertTrue(all(name.startswith("170000000") and len(name) <= 70 for name in names), names)
        maildrop = self.open()
        early = {self.read(maildrop, index) for index in range(10)}
        self.assertEqual(early, {b"%d\r\n" % number for number in range(10)})

    def test_odd_host_names_do_not_leave_the_directory(self):
        store = MaildirStore(str(self.root / "{user}"), InlinePool(), self.clock, hostname="../a:b/\u00e9")
        self.deliver(store=store)
        [name] = os.listdir(self.maildir / "new")
        self.assertTrue(name.endswith("...\\057a\\072b\\057\\303\\251"), name)

    def test_what_is_there_is_never_replaced(self):
        incoming = self.begin()
        [name] = self.tmp()
        self.put(name, b"there already\n", part="new")
        self.successResultOf(incoming.write(b"body\r\n"))
        self.failureResultOf(incoming.commit(), DeliveryError)
        self.successResultOf(incoming.abort())
        self.assertEqual(self.stored(), [b"there already\n"])
        self.assertEqual(self.tmp(), [])

    def test_file_systems_without_links_get_a_rename(self):
        self.fails("link", errno.EPERM)
        self.deliver(b"body\r\n")
        self.assertEqual((self.stored(), self.tmp()), ([b"body\r\n"], []))

    def test_abort_leaves_nothing_even_if_the_pool_is_full(self):
        pool = FullPool()
        incoming = self.begin(self.make_store(disk=pool))
        self.successResultOf(incoming.write(b"body\r\n"))
        pool.full = True
        self.failureResultOf(incoming.commit(), DeliveryError)
        self.successResultOf(incoming.abort())
        self.successResultOf(incoming.abort())
        self.assertEqual((self.tmp(), self.stored()), ([], []))

    def test_writing_after_the_end_writes_nowhere(self):
        incoming = self.begin()
        self.successResultOf(incoming.abort())
        self.failureResultOf(incoming.write(b"body\r\n"), DeliveryError)
        self.failureResultOf(incoming.commit(), DeliveryError)
        self.assertEqual(self.stored(), [])

    def test_a_beginning_that_is_cancelled_leaves_nothing(self):
        works = []

        class SlowPool:
            def run(self, function, *arguments):
                deferred = Deferred()
                works.append(lambda: deferred.callback(function(*arguments)))
                return deferred

        before = len(os.listdir("/proc/self/fd"))
        beginning = self.make_store(disk=SlowPool()).begin(FRED)
        beginning.addErrback(lambda _: None)
        beginning.cancel()
        while works:
            works.pop(0)()
        self.assertEqual(self.tmp(), [])
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_links_in_place_of_new_or_tmp_are_not_followed(self):
        other = self.root / "other"
        other.mkdir()
        for part in ("new", "tmp"):
            (self.maildir / part).rmdir()
            (self.maildir / part).symlink_to(other)
            self.failureResultOf(self.store.begin(FRED), DeliveryError)
            (self.maildir / part).unlink()
            (self.maildir / part).mkdir()
        self.assertEqual(os.listdir(other), [])

    def test_other_folders_and_missing_homes_are_refused(self):
        self.failureResultOf(self.store.begin(FRED, b"Drafts"), DeliveryError)
        store = MaildirStore("{home}/Maildir", InlinePool(), self.clock)
        self.failureResultOf(store.begin(FRED), DeliveryError)


class TestFaults(DeliveryTestCase):
    def test_a_full_disk_is_said_to_be_full_at_every_step(self):
        for error in (errno.ENOSPC, errno.EDQUOT):
            for function in ("write", "fsync", "link"):
                incoming = self.begin()
                repair = self.fails(function, error)
                results = []
                incoming.write(b"body\r\n").addCallback(lambda _: incoming.commit()).addErrback(results.append)  # noqa: B023
                self.assertIsInstance(results[0].value, MailSystemFull, function)
                repair()
                self.successResultOf(incoming.abort())
                self.assertEqual((self.tmp(), self.stored()), ([], []), function)

    def test_a_message_whose_directory_could_not_be_synced_is_not_there(self):
        incoming = self.begin()
        self.successResultOf(incoming.write(b"body\r\n"))
        fsync, done = os.fsync, []

        def fail_second(descriptor):
            if done:
                raise OSError(errno.EIO, "Input/output error")
            done.append(fsync(descriptor))

        self.patch(os, "fsync", fail_second)
        self.failureResultOf(incoming.commit(), DeliveryError)
        self.successResultOf(incoming.abort())
        self.assertEqual((self.tmp(), self.stored()), ([], []))

    def test_a_disk_that_takes_part_of_a_write_gets_the_rest_again(self):
        write = os.write
        self.patch(os, "write", lambda descriptor, octets: write(descriptor, octets[:7]))
        self.deliver(b"0123456789" * 5)
        self.assertEqual(self.stored(), [b"0123456789" * 5])
