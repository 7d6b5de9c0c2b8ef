"""An import that is killed, or refused by the disk, at every system call, and begun again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from popserv.maildrop import maildir_import
from popserv.maildrop.findings import Report
from popserv.maildrop.foreign_maildir import ForeignMaildir

from .injection import faults, run
from .maildrops import FRED, now
from .test_maildir import Maildir

FOREIGN = {
    "cur/1600000001.M1P1.old:2,S": b"Subject: one\n\nbody\n",
    "new/1600000002.M2P1.old": b"Subject: two\n\n" + b"text\n" * 30_000,
    "cur/1600000003.M3P1.old:2,": b"Subject: three\r\n\r\n",
}
TOLD = {b"1600000001.M1P1.old": b"0000000a5f000001", b"1600000003.M3P1.old": b"0000000c5f000001"}
IDS = [b"0000000a5f000001", b"1600000002.M2P1.old", b"0000000c5f000001"]


class Importing(Maildir):
    """Fred's Maildir, and one of an old server beside it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.old = directory / "old"
        for part in ("tmp", "new", "cur"):
            (self.old / part).mkdir(parents=True)
        for number, (path, octets) in enumerate(FOREIGN.items()):
            (self.old / path).write_bytes(octets)
            os.utime(self.old / path, (1_600_000_000 + number, 1_600_000_000 + number))

    def take_in(self) -> str:
        try:
            source = ForeignMaildir(os.fsencode(self.old), lambda _folder: TOLD)
            work = self.store().take_in(FRED, source, dry_run=False, progress=lambda _done, _total: None)
            summary = now(work)
        except Exception:
            return "broken off"
        return "complete" if not (summary.failed or summary.changed_ids) else "incomplete"

    def check(self, mend: bool) -> Report:
        report = now(self.store().check(FRED, lock=True, mend=mend, progress=lambda _done, _total: None))
        assert isinstance(report, Report)
        return report

    def times(self) -> dict[str, float]:
        """Of what was imported."""
        return {path.name: path.stat().st_mtime for path in self.maildir.glob("[nc]*/16*")}


@pytest.fixture
def maildir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Importing:
    monkeypatch.setattr(maildir_import, "BATCH", 2)
    maildir = Importing(tmp_path)
    maildir.prepare()
    return maildir


def test_each_message_comes_once_with_its_id_and_time(maildir: Importing) -> None:
    maildir.reset()
    whole = run(maildir.take_in)
    assert whole.answer == "complete"
    complete, times = maildir.contents(), maildir.times()
    assert complete == {**maildir.before, **dict(zip(IDS, served(), strict=True))}
    assert list(times.values()).count(1_600_000_001.0) == 1
    for fault in faults(whole.calls):
        maildir.reset()
        run(maildir.take_in, fault)
        seen = maildir.contents()
        assert maildir.before.items() <= seen.items() <= complete.items(), fault
        assert maildir.take_in() == "complete", fault
        assert (maildir.contents(), maildir.times()) == (complete, times), fault
        assert list((maildir.maildir / "tmp").iterdir()) == [], fault


def test_what_is_removed_between_two_attempts_stays_away(maildir: Importing) -> None:
    """Once the import has noted that the messages are there; until then one may come again, and none is lost."""
    maildir.reset()
    calls = run(maildir.take_in).calls
    for fault in faults(calls):
        if fault.error or fault.half:
            continue
        maildir.reset()
        run(maildir.take_in, fault)
        noted = ledger(maildir).read_bytes() if ledger(maildir).exists() else b""
        removed = [octets for octets in maildir.contents().values() if octets in served()]
        remove_all(maildir)
        assert maildir.take_in() == "complete", fault
        there = list(maildir.contents().values())
        assert not noted.endswith(b"\n.\n") or not set(there) & set(removed), fault
        assert set(there) | set(removed) == set(served()), fault
        assert len(there) == len(set(there)), fault


def test_what_an_import_has_promised_is_found_and_done_by_a_repair(maildir: Importing) -> None:
    maildir.reset()
    calls = run(maildir.take_in).calls
    complete = maildir.contents()
    found = set()
    for fault in faults(calls):
        if fault.error or fault.half:
            continue
        maildir.reset()
        run(maildir.take_in, fault)
        report = maildir.check(mend=True)
        assert all(finding.state == "mended" for finding in report.findings), fault
        assert maildir.check(mend=False).findings == [], fault
        assert maildir.before.items() <= maildir.contents().items() <= complete.items(), fault
        found |= {finding.remedy for finding in report.findings}
    assert "give them their names" in found


def ledger(maildir: Importing) -> Path:
    return maildir.maildir / "popserv.imported"


def remove_all(maildir: Importing) -> None:
    maildrop = now(maildir.store().open(FRED))
    now(maildrop.commit(set(range(maildrop.count))))
    now(maildrop.close())


def served() -> list[bytes]:
    return [octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for octets in FOREIGN.values()]
