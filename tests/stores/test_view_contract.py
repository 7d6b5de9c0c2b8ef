"""The store contract through each view; what a view hides is there all the time, and neither shows nor goes."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from popserv.by_account import ByAccount
from popserv.interfaces import IDelivery, IMaildropStore
from popserv.maildrop.view_marks import HeaderMark, SubjectMark
from popserv.maildrop.view_store import ViewStore
from popserv.maildrop.views import Since, View
from popserv.pools import BoundedPool, InlinePool
from popserv.stores.maildir import MaildirStore
from popserv.testing.store_contract import StoreContract
from tests.stores.maildirs import folder_for, make_maildir

LARGEST = 2_100_000
"""Octets that no message of the contract has."""

OLD = 1_000_000_000


def put(path: Path, octets: bytes, date: int) -> Path:
    path.write_bytes(octets)
    os.utime(path, (date, date))
    return path


class ViewContract(StoreContract):
    """Each of `folders` of the account has a large message, if large ones are hidden, and an old one if these are."""

    view: View
    folders = ("",)

    def make_store(self):
        hidden: list[Path] = []
        root = folder_for(self)
        self.addCleanup(self.check, hidden)
        for folder in self.folders:
            maildir = make_maildir(root / self.account.name / folder)
            if self.view.largest_octets:
                hidden.append(put(maildir / "cur" / "1600000000.large", b"x" * LARGEST, 1_600_000_000))
            if self.view.since:
                hidden.append(put(maildir / "cur" / "1600000000.old", b"Subject: old\r\n", OLD))
        pool = self.pool()
        inner = MaildirStore(str(root / "{user}"), pool, reactor)
        return ViewStore(inner, ByAccount(self.view), inner, pool, reactor)

    def pool(self):
        return InlinePool()

    def check(self, hidden):
        assert all(path.exists() for path in hidden)


class TestLargest(ViewContract, TestCase):
    view = View(largest_octets=LARGEST)


class TestSince(ViewContract, TestCase):
    view = View(since=Since(at=OLD + 1))


class TestNewest(ViewContract, TestCase):
    # Of what the large one leaves; so there is always something to leave out.
    view = View(largest_octets=LARGEST, newest=100)


class TestJunkBesideInbox(ViewContract, TestCase):
    view = View(junk="Junk", mark=SubjectMark.of("[Junk]"))


class TestAllAtOnce(ViewContract, TestCase):
    view = View(LARGEST, Since(days=30), 100, "Junk", HeaderMark.of("X-Junk: yes"), ("*",))
    folders = ("", ".Junk")


class TestAllAtOnceInThreads(TestAllAtOnce):
    def pool(self):
        pool = BoundedPool(reactor, "disk", 2, 100)
        self.addCleanup(pool.stop)
        return pool

    def settle(self):
        return deferLater(reactor, 0.01)


@implementer(IMaildropStore, IDelivery)
class Into:
    """Everything goes to one folder, as for who logs in to it, and for a program that files mail there."""

    def __init__(self, store, detail):
        self._store = store
        self._detail = detail

    def open(self, account, folder=b"INBOX"):
        return self._store.open(account, self._store.folder(account, self._detail))

    def begin(self, account, folder=b"INBOX"):
        return self._store.begin(account, self._store.folder(account, self._detail))


class TestFolderAsLoginName(ViewContract, TestCase):
    view = View(LARGEST, junk="Junk", mark=SubjectMark.of("[Junk]"), folders=("Archive.2025",))
    folders = ("", ".Junk", ".Archive.2025")

    def make_store(self):
        return Into(super().make_store(), "archive.2025")
