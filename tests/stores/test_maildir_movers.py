"""The Maildir store while others deliver into the same Maildir, set flags and move messages all the time."""

from __future__ import annotations

import os
import random
import threading
import time

from twisted.internet.task import Clock

from tests.stores.maildirs import FRED, MaildirTestCase


class TestMovers(MaildirTestCase):
    seconds = 1.0

    def setUp(self):
        super().setUp()
        self.stored = {}
        self.stopped = threading.Event()

    def deliver(self):
        store = self.make_store()
        while not self.stopped.wait(0.005):
            octets = b"Subject: %d\r\n\r\nbody\r\n" % len(self.stored)
            incoming = store.begin(FRED).result
            incoming.write(octets)
            if incoming.commit().result is None:
                self.stored[octets] = True

    def move(self):
        choose = random.Random(1)
        while not self.stopped.wait(0.001):
            for part in (self.maildir / "new", self.maildir / "cur"):
                names = os.listdir(part)
                for name in choose.sample(names, min(3, len(names))):
                    flags = "".join(sorted(choose.sample("FRST", 2)))
                    try:
                        (part / name).rename(self.maildir / "cur" / f"{name.split(':')[0]}:2,{flags}")
                    except FileNotFoundError:
                        continue  # a session has removed it meanwhile

    def test_nothing_is_lost_or_seen_twice_or_changes_its_id_or_comes_back(self):
        threads = [threading.Thread(target=target) for target in (self.deliver, self.move)]
        for thread in threads:
            thread.start()
        try:
            self.watch()
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join()
        self.assertFalse((self.maildir / "popserv.uidmap").exists())

    def watch(self):
        ids, removed, sessions = {}, set(), 0
        end = time.monotonic() + self.seconds
        while time.monotonic() < end or not removed:
            expected = set(self.stored) - removed
            maildrop = self.open()
            seen = [self.read(maildrop, index) for index in range(maildrop.count)]
            self.assertEqual(len(set(seen)), maildrop.count)
            self.assertLessEqual(expected, set(seen))
            self.assertFalse(removed & set(seen))
            for index, octets in enumerate(seen):
                self.assertEqual(ids.setdefault(octets, maildrop.uidl(index)), maildrop.uidl(index))
            if maildrop.count > 30:
                self.assertEqual(self.successResultOf(maildrop.commit(set(range(0, maildrop.count, 2)))), 0)
                removed.update(seen[::2])
            self.close(maildrop)
            sessions += 1
        self.assertGreater(sessions, 10)


class WallClock(Clock):
    """As the clock of a server: the times of directories that change all the time are believed and are not."""

    def seconds(self):
        return time.time()


class TestMoversByTheWallClock(TestMovers):
    def setUp(self):
        super().setUp()
        self.clock = WallClock()
        self.store = self.make_store()
