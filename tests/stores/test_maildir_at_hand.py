"""A Maildir that the kernel has in memory is opened without a thread, and no other one is."""

from __future__ import annotations

import os

from twisted.internet.defer import fail

from popserv.auth.account import Account
from popserv.errors import Busy, MaildropInUse
from popserv.maildrop.index import SMALL_OCTETS
from popserv.maildrop.locks import LOCK_NAME
from popserv.pools import InlinePool

from .maildirs import FRED, MaildirTestCase


class Threads(InlinePool):
    """Counts what is done there; `closed`, nothing is."""

    def __init__(self):
        self.count = 0
        self.closed = False

    def run(self, function, *arguments):
        if self.closed:
            return fail(Busy())
        self.count += 1
        return super().run(function, *arguments)


class TestAtHand(MaildirTestCase):
    def setUp(self):
        super().setUp()
        self.put("1.a")
        self.threads = Threads()
        self.store = self.make_store(self.threads, boot=b"b" * 36)
        # As long ago as it has to be for the times of the directories to be relied on.
        self.clock.advance(os.stat(self.maildir / "cur").st_mtime - self.clock.seconds() + 3600)
        self.assertEqual(self.ids(), [b"1.a"])
        self.threads.count = 0

    def test_the_second_session_needs_no_thread(self):
        self.threads.closed = True
        maildrop = self.open()
        self.assertEqual((maildrop.count, maildrop.uidl(0)), (1, b"1.a"))
        self.close(maildrop)
        self.assertEqual(self.ids(), [b"1.a"])

    def test_it_has_the_lock_and_says_who_has(self):
        self.threads.closed = True
        maildrop = self.open()
        error = self.failureResultOf(self.store.open(FRED), MaildropInUse).value
        self.assertEqual(error.holder.pid, os.getpid())
        self.close(maildrop)

    def test_what_is_new_is_read_in_a_thread(self):
        self.put("2.b", part="new")
        self.assertEqual(self.ids(), [b"1.a", b"2.b"])
        self.assertEqual(self.threads.count, 1)
        maildrop = self.open()
        self.close(maildrop)

    def test_so_is_everything_where_the_kernel_or_the_operator_says_so(self):
        for options in ({"io": "threads"}, {"networked": lambda _descriptor: True, "shared": True}):
            store = self.make_store(self.threads, boot=b"b" * 36, **options)
            self.threads.count = 0
            for expected in (1, 2, 3):
                self.assertEqual(self.ids(store), [b"1.a"])
                self.assertEqual(self.threads.count, expected)

    def test_nothing_counts_as_at_hand_that_is_not_all_there(self):
        for name in ("popserv.index", LOCK_NAME):
            (self.maildir / name).unlink()
            self.threads.count = 0
            self.assertEqual(self.ids(), [b"1.a"])
            self.assertEqual(self.threads.count, 1, name)
            self.ids()
            self.assertEqual(self.threads.count, 1, name)

    def test_a_large_index_is_not_read_at_once(self):
        for number in range(SMALL_OCTETS // 60):
            self.put(f"3.{number:04}")
        self.clock.advance(7200)
        for expected in (1, 2):
            self.ids()
            self.assertEqual(self.threads.count, expected)

    def test_another_account_is_another_maildir(self):
        self.threads.closed = True
        self.failureResultOf(self.store.open(Account("ann")), Busy)
