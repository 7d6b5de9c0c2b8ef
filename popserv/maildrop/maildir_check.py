"""Looking through a Maildir: every message is read, and compared with what is kept about it.

What other programs may change at any time (a file that vanishes, a name that is new) is no finding.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial

import attrs

from popserv.maildrop import index as on_disk
from popserv.maildrop.directory_check import check_directory, check_files
from popserv.maildrop.findings import Finding, Report, shown
from popserv.maildrop.hidden import HIDDEN_NAME
from popserv.maildrop.import_ledger import LEDGER_NAME, Ledger
from popserv.maildrop.locks import LOCK_NAME
from popserv.maildrop.maildir_folder import ABANDONED_SECONDS, Folder
from popserv.maildrop.maildir_ids import identify, recognise
from popserv.maildrop.maildir_import import finish_import
from popserv.maildrop.maildir_incoming import make_maildir
from popserv.maildrop.maildir_scan import NoMessage, examine
from popserv.maildrop.maildir_snapshot import Entry, Snapshot
from popserv.maildrop.maildir_survey import without_former_names
from popserv.maildrop.uidl import from_name, is_unique_id
from popserv.maildrop.uidmap import MAP_NAME
from popserv.maildrop.uidmap_check import check_map

_LEFTOVERS = ("popserv.index.new", "popserv.uidmap.new", "popserv.hidden.new")
_PARTS = ("new", "cur", "tmp")
_REINDEX = "forget the index, so that the next session makes it anew"
_SWEEP = f"remove those untouched for {ABANDONED_SECONDS / 3600:.0f} hours"
_GIVE_IDS = "give these messages ids of their own"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.frozen
class MaildirCheck:
    """One look. Everything here blocks, and raises `OSError` where the disk fails."""

    folder: Folder
    path: bytes
    """Where it is."""
    settled: bool
    """No session can have it."""
    now: float
    """Seconds since 1970."""
    progress: Callable[[int, int], None]

    def report(self) -> Report:
        findings = [*self._places(), *check_map(self.folder.maildir, self.settled)]
        entries = [*self._entries(findings)]
        findings += [*self._ids(entries), *self._index(entries)]
        octets = sum(entry.measured[0] for entry in entries)
        unknown = [] if self.settled else ["whether anything is left over: a session may be writing it now"]
        return Report(len(entries), octets, findings, unknown)

    def _places(self) -> Iterator[Finding]:
        """Directories and popserv's own files."""
        maildir = self.folder.maildir
        yield from check_directory(maildir, ".")
        for part in _PARTS:
            if part not in os.listdir(maildir):
                text = f"the directory {part} is missing"
                yield Finding("permission", text, "make the missing directories", partial(make_maildir, self.path))
            else:
                yield from check_directory(maildir, part)
        own = (on_disk.INDEX_NAME, MAP_NAME, LOCK_NAME, LEDGER_NAME, HIDDEN_NAME)
        yield from check_files(maildir, own)
        if self.settled:
            yield from self._left_over()
        yield from self._abandoned()

    def _left_over(self) -> Iterator[Finding]:
        for name in _LEFTOVERS:
            if name in os.listdir(self.folder.maildir):
                unlink = partial(os.unlink, name, dir_fd=self.folder.maildir)
                yield Finding("leftover", f"{name} was never finished", f"remove {name}", unlink)
        with closing(Ledger(self.folder.maildir, create=False)) as ledger:
            if ledger.begun:
                text = f"an import was broken off while it gave names to messages: {len(ledger.begun)}"
                yield Finding("leftover", text, "give them their names", partial(finish_import, self.folder))

    def _abandoned(self) -> Iterator[Finding]:
        """As `Folder.sweep` judges them, which is what removes them."""
        with suppress(FileNotFoundError, NotADirectoryError):
            tmp = os.open("tmp", _DIRECTORY, dir_fd=self.folder.maildir)
            try:
                names = [name for name in os.listdir(tmp) if self._is_abandoned(tmp, name)]
            finally:
                os.close(tmp)
            if names:
                text = f"tmp has files of deliveries that were broken off: {len(names)}, among them {shown(names[0])}"
                sweep = partial(self.folder.sweep, self.now)
                yield Finding("leftover", text, _SWEEP, sweep)

    def _is_abandoned(self, tmp: int, name: str) -> bool:
        with suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=tmp, follow_symlinks=False)
            age = self.now - max(found.st_atime, found.st_mtime, found.st_ctime)
            return stat.S_ISREG(found.st_mode) and age > ABANDONED_SECONDS
        return False

    def _entries(self, findings: list[Finding]) -> list[Entry]:
        """The messages, their octets counted; what is none goes to `findings`."""
        paths = sorted(self.folder.paths())
        entries = []
        for done, path in enumerate(paths):
            self.progress(done, len(paths))
            try:
                entries.append(examine(self.folder, path))
            except FileNotFoundError:
                continue
            except NoMessage as reason:
                findings.append(Finding("entry", f"{shown(path)} is no message: {reason}"))
        self.progress(len(paths), len(paths))
        return without_former_names(self.folder, entries)

    def _ids(self, entries: list[Entry]) -> Iterator[Finding]:
        """What they are is left in the entries."""
        known = recognise(self.folder, entries)
        if len(known) < len(entries):
            have = {entry.path for entry in known}
            first = next(entry.path for entry in entries if entry.path not in have)
            text = (
                f"messages have no unique-id of their own yet: {len(entries) - len(known)}, among them {shown(first)}"
            )
            fresh = [attrs.evolve(entry, unique_id=None) for entry in entries]
            yield Finding("id", text, _GIVE_IDS, lambda: identify(self.folder, fresh))
        counts = Counter(entry.unique_id or from_name(entry.unique) for entry in known)
        for unique_id, count in counts.items():
            if count > 1:
                yield Finding("id", f"{count} messages have the unique-id {shown(unique_id)}")
            if not is_unique_id(unique_id):
                yield Finding("id", f"{shown(unique_id)} is no unique-id (RFC 1939 section 7)")

    def _index(self, entries: list[Entry]) -> Iterator[Finding]:
        if on_disk.INDEX_NAME not in os.listdir(self.folder.maildir):
            return
        # Without the kernel's word for it, all of it is compared with its sum.
        index = on_disk.load(self.folder, b"")
        drop = partial(on_disk.drop, self.folder.maildir)
        if index is None:
            yield Finding("index", f"{on_disk.INDEX_NAME} is damaged, or none of this Maildir", _REINDEX, drop)
            return
        snapshot = index.snapshot(self.folder)
        if snapshot.columns().packed() != (snapshot.layout, snapshot.source.get(0, snapshot.layout.whole)):
            yield Finding("index", f"{on_disk.INDEX_NAME} contradicts itself", _REINDEX, drop)
            return
        current = all(index.origin.holds(*each) for each in self.folder.stamps().items())
        if self.settled and current and set(snapshot.files.paths) != {entry.path for entry in entries}:
            text = f"{on_disk.INDEX_NAME} is believed, and knows other messages than there are"
            yield Finding("index", text, _REINDEX, drop)
        ids_hold = index.origin.uid_map == on_disk.uid_map_of(self.folder)
        yield from self._rows(snapshot, entries, ids_hold, drop)

    def _rows(
        self, snapshot: Snapshot, entries: list[Entry], ids_hold: bool, drop: Callable[[], None]
    ) -> Iterator[Finding]:
        """The messages as the index has them, against what they are."""
        counted = {entry.path: entry for entry in entries}
        files = snapshot.files
        for row, path in enumerate(files.paths):
            entry = counted.get(path)
            if entry is None or files.inodes[row] != entry.inode:
                continue
            if (files.mtimes[row], files.sizes[row]) != (entry.mtime_ns, entry.size):
                yield Finding("octets", f"{shown(path)} was written to after it was counted", _REINDEX, drop)
            elif snapshot.measured(row) != entry.measured:
                told, true = snapshot.octets[row], entry.measured[0]
                yield Finding("octets", f"{shown(path)} has {true} octets, the index says {told}", _REINDEX, drop)
            unique_id = entry.unique_id or from_name(entry.unique)
            if ids_hold and snapshot.unique_id(row) != unique_id:
                told_id = shown(snapshot.unique_id(row))
                yield Finding("id", f"{shown(path)} is {shown(unique_id)}, the index says {told_id}", _REINDEX, drop)
