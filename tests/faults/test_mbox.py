"""An mbox, and every system call of delivery, of UPDATE and of opening: killed there, or refused by the disk."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from popserv.maildrop import mbox_ids
from popserv.pools import InlinePool
from popserv.stores.mbox import MboxStore, Options

from .injection import Fault, faults, run
from .maildrops import FRED, NEW, Mail, now

FROM = b"From joe@example.org Mon Jan  1 00:00:00 2024\n"
OLD = [b"Subject: one\n\nbody\n", b"Subject: same\n\n.\n", b"Subject: same\n\n.\n", b"Subject: four\n\n>From me\n" * 3]
APPENDED = b"Subject: six\n\nby the MTA\n"


def served(stored: bytes) -> bytes:
    return stored.replace(b"\n>From ", b"\nFrom ").replace(b"\n", b"\r\n")


def put(mbox: Path, *messages: bytes) -> None:
    with mbox.open("ab") as file:
        file.write(b"".join([FROM + message + b"\n" for message in messages]))


class Mailbox(Mail):
    """Fred's mbox."""

    def __init__(self, directory: Path, rewrite: str) -> None:
        super().__init__(directory)
        self.rewrite = rewrite
        self.mbox = self.root / "fred"

    def prepare(self) -> None:
        """Four messages that have been seen once."""
        self.reset()
        put(self.mbox, *OLD)
        self.before = self.contents()
        self.keep()

    def put(self) -> None:
        put(self.mbox, APPENDED)

    def store(self) -> MboxStore:
        clock = Clock()
        clock.advance(time.time())
        options = Options(rewrite=self.rewrite)
        return MboxStore(
            str(self.root / "{user}"),
            InlinePool(),
            clock,
            options=options,
            networked=lambda _: False,
            sleep=lambda _: None,
        )


@pytest.fixture(params=["rename", "in-place"])
def mailbox(request: pytest.FixtureRequest, tmp_path: Path) -> Mailbox:
    mailbox = Mailbox(tmp_path, request.param)
    mailbox.prepare()
    return mailbox


def test_delivery_stores_all_of_a_message_or_nothing_and_says_which(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path, "rename")
    mailbox.prepare()
    whole = run(mailbox.deliver)
    assert whole.answer == "stored"
    for fault in faults(whole.calls):
        mailbox.reset()
        answer = run(mailbox.deliver, fault).answer
        after = mailbox.contents()
        assert mailbox.before.items() <= after.items(), fault
        new = [octets for unique_id, octets in after.items() if unique_id not in mailbox.before]
        assert new in ([], [NEW]), fault
        assert (answer == "stored") <= (new == [NEW]), fault
        assert (answer == "refused") <= (new == []), fault
        assert mailbox.deliver() == "stored", fault
        assert list(mailbox.contents().values())[4:] == [*new, NEW], fault


def test_SEC_012_update_removes_what_was_marked_and_never_anything_else(mailbox: Mailbox) -> None:
    whole = run(mailbox.update)
    assert whole.answer == "removed"
    before = list(mailbox.before.items())
    marked, unmarked = dict(before[:2]), dict(before[2:])
    for fault in faults(whole.calls):
        mailbox.reset()
        answer = run(mailbox.update, fault).answer
        after = mailbox.contents()
        assert unmarked.items() <= after.items(), fault
        rest = [octets for unique_id, octets in after.items() if unique_id not in unmarked]
        if answer != "not opened" and (answer or served(APPENDED) in rest):
            rest.remove(served(APPENDED))
        assert sorted(rest) in subsets(sorted(marked.values())), fault
        if answer == "removed":
            assert rest == [], fault
        elif answer:
            assert marked.items() <= after.items() or not rest, fault
        assert mailbox.deliver() == "stored", fault
        assert sorted(os.listdir(mailbox.root)) == ["fred", "fred.popserv"] or not answer, fault


def test_a_half_cut_mbox_that_others_have_changed_is_not_written_over(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path, "in-place")
    mailbox.prepare()
    calls = run(mailbox.update).calls
    last_truncation = len(calls) - 1 - calls[::-1].index("ftruncate")
    mailbox.reset()
    assert run(mailbox.update, Fault(last_truncation)).answer == ""
    changed = mailbox.mbox.read_bytes().replace(b"Subject: four", b"Subject: FOUR")
    with mailbox.mbox.open("r+b") as file:
        file.write(changed)
    assert any(octets.startswith(b"Subject: FOUR\r\n") for octets in mailbox.contents().values())
    assert mailbox.mbox.read_bytes() == changed
    kept = (mailbox.root / "fred.popserv" / "popserv.undo.kept").read_bytes()
    assert kept.endswith(b"".join(FROM + message + b"\n" for message in [*OLD, APPENDED]))


def test_ids_stay_when_the_map_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbox_ids, "MOST_REMOVED", 0)
    mailbox = Mailbox(tmp_path, "rename")
    put(mailbox.template / "fred", *OLD, OLD[0])
    mailbox.reset()
    maildrop = now(mailbox.store().open(FRED))
    assert now(maildrop.commit({0, 1, 2})) == 0
    now(maildrop.close())
    before = maildrop.uidl(3), maildrop.uidl(4)
    shutil.rmtree(mailbox.template)
    shutil.copytree(mailbox.root, mailbox.template)
    whole = run(mailbox.open_and_close)
    assert whole.calls.count("rename") == 2, "the map was not made anew"
    for fault in faults(whole.calls):
        mailbox.reset()
        run(mailbox.open_and_close, fault)
        assert tuple(mailbox.contents()) == before, fault


def subsets(two: list[bytes]) -> list[list[bytes]]:
    return [[], two[:1], two[1:], two]


def test_what_a_killed_delivery_left_is_told_from_what_others_appended_behind_it(mailbox: Mailbox) -> None:
    whole = run(mailbox.deliver)
    for fault in faults(whole.calls):
        if fault.error:
            continue
        mailbox.reset()
        run(mailbox.deliver, fault)
        put(mailbox.mbox, APPENDED)
        after = mailbox.contents()
        assert mailbox.before.items() <= after.items(), fault
        new = [octets for unique_id, octets in after.items() if unique_id not in mailbox.before]
        assert new in ([served(APPENDED)], [NEW, served(APPENDED)]), fault


def test_what_a_killed_update_left_is_told_from_what_others_appended_behind_it(mailbox: Mailbox) -> None:
    whole = run(mailbox.update)
    unmarked = dict(list(mailbox.before.items())[2:])
    for fault in faults(whole.calls):
        if fault.error:
            continue
        mailbox.reset()
        run(mailbox.update, fault)
        put(mailbox.mbox, b"Subject: late\n")
        after = mailbox.contents()
        assert unmarked.items() <= after.items(), fault
        assert b"Subject: late\r\n" in after.values(), fault
        assert set(after.values()) <= {*mailbox.before.values(), served(APPENDED), b"Subject: late\r\n"}, fault
