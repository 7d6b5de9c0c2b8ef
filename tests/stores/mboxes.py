"""What the tests of the mbox store share: an mbox in a directory of its own, and octets put there by hand."""

from __future__ import annotations

import time

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv.auth.account import Account
from popserv.pools import InlinePool
from popserv.stores.mbox import MboxStore, Options
from tests.stores.maildirs import folder_for

FRED = Account("fred")

FROM = b"From joe@example.org Mon Jan  1 00:00:00 2024\n"


class MboxTestCase(SynchronousTestCase):
    """Fred's mbox would be at `self.mbox`."""

    def setUp(self):
        self.root = folder_for(self)
        self.mbox = self.root / "fred"
        self.control = self.root / "fred.popserv"
        self.clock = Clock()
        self.clock.advance(time.time() + 60)
        self.store = self.make_store()

    def make_store(self, exclusive=True, networked=lambda _: False, sleep=lambda _: None, **options):
        """A store without anything in memory, as after a restart. It tries to get a lock, and does not wait for it."""
        return MboxStore(
            str(self.root / "{user}"),
            InlinePool(),
            self.clock,
            options=Options(**options),
            exclusive=exclusive,
            networked=networked,
            sleep=sleep,
        )

    def put(self, *messages):
        """Append messages, which have LF line ends, as an MTA would."""
        with self.mbox.open("ab") as file:
            file.write(b"".join([FROM + message + b"\n" for message in messages]))

    def open(self, store=None):
        return self.successResultOf((store or self.store).open(FRED))

    def read(self, maildrop, index=0, octets=1 << 16):
        reader = maildrop.message(index).open()
        try:
            chunks = []
            while chunk := self.successResultOf(reader.read(octets)):
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            reader.close()

    def close(self, maildrop):
        self.successResultOf(maildrop.close())

    def contents(self, store=None):
        """What a new session sees, in order: unique-ids and octets."""
        maildrop = self.open(store)
        seen = [(maildrop.uidl(index), self.read(maildrop, index)) for index in range(maildrop.count)]
        self.assertEqual([len(octets) for _, octets in seen], list(maildrop.octets))
        self.close(maildrop)
        return seen

    def messages(self, store=None):
        return [octets for _, octets in self.contents(store)]

    def deliver(self, octets=b"Subject: a\r\n\r\nbody\r\n", store=None, account=FRED):
        incoming = self.successResultOf((store or self.store).begin(account))
        self.successResultOf(incoming.write(octets))
        self.successResultOf(incoming.commit())

    def remove(self, *indices, store=None):
        """How many of them a session could not remove."""
        maildrop = self.open(store)
        left = self.successResultOf(maildrop.commit(set(indices)))
        self.close(maildrop)
        return left
