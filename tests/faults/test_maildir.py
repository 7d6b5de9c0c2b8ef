"""A Maildir, and every system call of delivery, of UPDATE and of opening: killed there, or refused by the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from popserv.maildrop.index import INDEX_NAME
from popserv.maildrop.maildir_disposal import Undeleted
from popserv.maildrop.retention import Retention
from popserv.maildrop.uidmap import MAP_NAME
from popserv.maildrop.visit import Visit
from popserv.pools import InlinePool
from popserv.stores.maildir import MaildirStore, Options

from .injection import faults, run
from .maildrops import FRED, NEW, Mail, now

OLD = {
    f"{1_700_000_000 + number}.M{number}P1.host:2,S": b"Subject: %d\n\nbody %d\n" % (number, number)
    for number in range(4)
}
LATE = "1700000009.M9P1.host"
LATE_MAIL = b"Subject: late\n\nby the MTA\n"


def served(stored: bytes) -> bytes:
    return stored.replace(b"\n", b"\r\n")


class Maildir(Mail):
    """Fred's Maildir, and an index that has all of it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.maildir = self.root / "fred"

    def prepare(self) -> None:
        """Four messages that have been seen once, long ago."""
        self.reset()
        for part in ("tmp", "new", "cur"):
            (self.maildir / part).mkdir(parents=True)
        for name, octets in OLD.items():
            (self.maildir / "cur" / name).write_bytes(octets)
        self.before = self.contents()
        self.keep()

    def reset(self) -> None:
        super().reset()
        for part in ("new", "cur"):
            if (self.maildir / part).is_dir():
                os.utime(self.maildir / part, (1_700_000_000, 1_700_000_000))
        # A copy has other inodes: with this it has an index.
        if self.maildir.is_dir():
            self.open_and_close()

    def store(self) -> MaildirStore:
        clock = Clock()
        clock.advance(time.time() + 10)
        return MaildirStore(
            str(self.root / "{user}"), InlinePool(), clock, options=Options(), networked=lambda _: False
        )

    def put(self) -> None:
        (self.maildir / "new" / LATE).write_bytes(LATE_MAIL)


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    maildir = Maildir(tmp_path)
    maildir.prepare()
    return maildir


def deliver_at_every_fault(mail: Mail, before: dict[bytes, bytes]) -> None:
    mail.reset()
    whole = run(mail.deliver)
    assert whole.answer == "stored"
    for fault in faults(whole.calls):
        mail.reset()
        answer = run(mail.deliver, fault).answer
        after = mail.contents()
        assert before.items() <= after.items(), fault
        new = [octets for unique_id, octets in after.items() if unique_id not in before]
        assert new in ([], [NEW]), fault
        assert (answer == "stored") <= (new == [NEW]), fault
        assert (answer == "refused") <= (new == []), fault
        assert mail.deliver() == "stored", fault
        assert list(mail.contents().values())[len(before) :] == [*new, NEW], fault


def test_delivery_stores_all_of_a_message_or_nothing_and_says_which(maildir: Maildir) -> None:
    deliver_at_every_fault(maildir, maildir.before)


class Nobodys(Maildir):
    """Where there is no Maildir yet, in a folder of the service's user, who is not root."""

    USER = 4711

    def reset(self) -> None:
        super().reset()
        if os.geteuid() == 0:
            os.chown(self.root, self.USER, self.USER)

    def contents(self) -> dict[bytes, bytes]:
        seen = super().contents()
        if os.geteuid() == 0:
            parts = [self.maildir / part for part in ("tmp", "new", "cur")]
            made = [*filter(Path.exists, [self.maildir, *parts]), *(self.maildir / "new").glob("*")]
            assert {path.stat().st_uid for path in made} <= {self.USER}
        return seen


def test_the_first_delivery_makes_a_maildir_or_can_be_repeated(tmp_path: Path) -> None:
    deliver_at_every_fault(Nobodys(tmp_path), {})


def test_SEC_012_update_removes_what_was_marked_and_never_anything_else(maildir: Maildir) -> None:
    maildir.reset()
    whole = run(maildir.update)
    assert whole.answer == "removed"
    before = list(maildir.before.items())
    marked, unmarked = dict(before[:2]), dict(before[2:])
    for fault in faults(whole.calls):
        maildir.reset()
        answer = run(maildir.update, fault).answer
        after = maildir.contents()
        assert unmarked.items() <= after.items(), fault
        rest = {unique_id: octets for unique_id, octets in after.items() if unique_id not in unmarked}
        if (maildir.maildir / "new" / LATE).exists():
            assert rest.pop(LATE.encode()) == served(LATE_MAIL), fault
        assert rest.items() <= marked.items(), fault
        if answer == "removed":
            assert rest == {}, fault
        assert maildir.contents() == after, fault


@pytest.mark.parametrize("delete", ["trash", "hide"])
def test_SEC_012_what_is_removed_is_there_or_comes_back(maildir: Maildir, delete: Any) -> None:
    maildir.account = Visit(FRED, retention=Retention(delete=delete))
    maildir.reset()
    whole = run(maildir.update)
    assert whole.answer == "removed"
    for fault in faults(whole.calls):
        maildir.reset()
        answer = run(maildir.update, fault).answer
        after = maildir.contents()
        late = {LATE.encode(): served(LATE_MAIL)} if (maildir.maildir / "new" / LATE).exists() else {}
        assert after.items() <= {**maildir.before, **late}.items(), fault
        assert dict(list(maildir.before.items())[2:]).items() <= after.items(), fault
        assert (answer == "removed") <= (len(after) == 2 + len(late)), fault
        assert now(maildir.store().undelete(maildir.account, 0.0)).left == 0, fault
        assert maildir.contents() == {**maildir.before, **late}, fault


@pytest.mark.parametrize("delete", ["trash", "hide"])
def test_undelete_can_be_repeated(maildir: Maildir, delete: Any) -> None:
    maildir.account = Visit(FRED, retention=Retention(delete=delete))
    maildir.reset()
    maildir.update()
    maildir.keep()
    late = {LATE.encode(): served(LATE_MAIL)}

    def undelete() -> str:
        try:
            return str(now(maildir.store().undelete(maildir.account, 0.0)).back)
        except Exception:
            return "failed"

    maildir.reset()
    whole = run(undelete)
    assert whole.answer == "2"
    for fault in faults(whole.calls):
        maildir.reset()
        run(undelete, fault)
        assert maildir.contents().items() <= {**maildir.before, **late}.items(), fault
        assert undelete() != "failed", fault
        assert now(maildir.store().undelete(maildir.account, 0.0)) == Undeleted(), fault
        assert maildir.contents() == {**maildir.before, **late}, fault


def test_whatever_happens_to_the_index_a_session_sees_the_same(maildir: Maildir) -> None:
    damage = {
        "gone": lambda index: index.unlink(),
        "cut off": lambda index: os.truncate(index, 300),
        "new mail": lambda _index: maildir.put(),
        "removed": lambda _index: os.unlink(maildir.maildir / "cur" / next(iter(OLD))),
    }
    for kind, hurt in damage.items():

        def begin(hurt=hurt) -> dict[bytes, bytes]:
            maildir.reset()
            hurt(maildir.maildir / INDEX_NAME)
            return {
                path.name.partition(":")[0].encode(): served(path.read_bytes())
                for part in ("new", "cur")
                for path in sorted((maildir.maildir / part).iterdir())
            }

        begin()
        whole = run(maildir.open_and_close)
        assert whole.answer == "opened"
        assert whole.calls.count("rename") == 1, f"{kind}: the index was not written"
        for fault in faults(whole.calls):
            there = begin()
            answer = run(maildir.open_and_close, fault).answer
            assert maildir.contents() == there, (kind, fault)
            if fault.error and whole.calls[fault.number] in ("write", "rename", "unlink", "utime"):
                assert answer == "opened", (kind, fault)


def test_P3_036_ids_that_were_told_stay(maildir: Maildir) -> None:
    maildir.reset()
    twin = f"{next(iter(OLD)).partition(':')[0]}:2,R"
    (maildir.maildir / "new" / twin).write_bytes(b"Subject: another of the same name\n\n")
    (maildir.maildir / INDEX_NAME).unlink()
    maildir.keep()

    def tell() -> str:
        try:
            maildrop = now(maildir.store().open(FRED))
        except Exception:
            return ""
        return " ".join(maildrop.uidl(index).decode() for index in range(maildrop.count))

    def begin() -> None:
        # Not `reset`, which would open it.
        Mail.reset(maildir)

    begin()
    whole = run(tell)
    assert len(whole.answer.split()) == 5
    assert (maildir.maildir / MAP_NAME).exists()
    for fault in faults(whole.calls):
        begin()
        told = run(tell, fault).answer
        after = maildir.contents()
        assert len(after) == 5, fault
        assert set(told.encode().split()) <= set(after), fault
        assert maildir.contents() == after, fault
