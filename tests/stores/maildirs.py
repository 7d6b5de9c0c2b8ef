"""What the tests of the Maildir store share: a Maildir in a directory of its own, and files put there by hand."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from popserv.auth.account import Account
from popserv.nowait import on_network
from popserv.pools import InlinePool
from popserv.stores.maildir import MaildirStore, Options

FRED = Account("fred")


def folder_for(case) -> Path:
    """A new directory that is gone after the test."""
    path = Path(tempfile.mkdtemp(prefix="popserv-test-")).resolve()
    case.addCleanup(shutil.rmtree, path, ignore_errors=True)
    return path


def make_maildir(path: Path) -> Path:
    for part in ("tmp", "new", "cur"):
        (path / part).mkdir(parents=True)
    return path


class MaildirTestCase(SynchronousTestCase):
    """Fred has an empty Maildir at `self.maildir`."""

    def setUp(self):
        self.root = folder_for(self)
        self.maildir = make_maildir(self.root / "fred")
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.store = self.make_store()

    def make_store(self, disk=None, exclusive=True, networked=on_network, boot=None, **options):
        """A store without anything in memory, as after a restart."""
        return MaildirStore(
            str(self.root / "{user}"),
            disk or InlinePool(),
            self.clock,
            options=Options(**options),
            exclusive=exclusive,
            networked=networked,
            boot=boot,
        )

    def put(self, name, octets=b"Subject: a\n\nbody\n", part="cur"):
        path = os.fsencode(self.maildir / part) + b"/" + (name if isinstance(name, bytes) else name.encode())
        with open(path, "wb") as file:
            file.write(octets)
        return path

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

    def ids(self, store=None):
        """Unique-ids of a new session, in order."""
        maildrop = self.open(store)
        self.close(maildrop)
        return [maildrop.uidl(index) for index in range(maildrop.count)]

    def names(self):
        """All there is in new and cur."""
        return sorted(
            path.relative_to(self.maildir).as_posix()
            for part in ("new", "cur")
            for path in (self.maildir / part).iterdir()
        )
