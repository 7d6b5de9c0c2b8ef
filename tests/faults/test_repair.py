"""Mending a damaged map of unique-ids, killed or refused by the disk at every system call."""

from __future__ import annotations

from pathlib import Path

import pytest

from popserv.maildrop.uidmap import MAP_NAME
from popserv.maildrop.uidmap_check import DAMAGED_NAME

from .injection import faults, run
from .maildrops import FRED, now
from .test_maildir import OLD, Maildir

DAMAGE = b"+ what is this\n"


class Damaged(Maildir):
    """Two files share a name, so that their ids are in the map, which is damaged."""

    def prepare(self) -> None:
        super().prepare()
        [first, *_] = OLD
        (self.maildir / "new" / first.partition(":")[0]).write_bytes(b"Subject: its copy\n\n")
        self.before = self.contents()
        self.good = self.map.read_bytes()
        self.map.write_bytes(DAMAGE + self.good)
        self.keep()

    @property
    def map(self) -> Path:
        return self.maildir / MAP_NAME

    def repair(self) -> str:
        try:
            report = now(self.store().check(FRED, lock=True, mend=True, progress=lambda _done, _total: None))
        except Exception:
            return "not looked at"
        left = [finding for finding in report.findings if finding.state != "mended"]
        return "in order" if not left else "not mended"


@pytest.fixture
def maildir(tmp_path: Path) -> Damaged:
    maildir = Damaged(tmp_path)
    maildir.prepare()
    return maildir


def test_no_id_is_lost_and_the_damaged_map_is_kept(maildir: Damaged) -> None:
    maildir.reset()
    whole = run(maildir.repair)
    assert whole.answer == "in order"
    for fault in faults(whole.calls):
        maildir.reset()
        run(maildir.repair, fault)
        assert maildir.map.read_bytes() in (DAMAGE + maildir.good, maildir.good), fault
        assert maildir.repair() == "in order", fault
        assert maildir.map.read_bytes() == maildir.good, fault
        kept = [path.read_bytes() for path in maildir.maildir.glob(f"{DAMAGED_NAME}*")]
        assert DAMAGE + maildir.good in kept, fault
        assert maildir.contents() == maildir.before, fault
