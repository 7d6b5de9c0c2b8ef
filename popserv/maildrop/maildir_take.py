"""Taking a snapshot of a Maildir: from its index as far as that goes, and the index kept up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from popserv.maildrop import index as on_disk
from popserv.maildrop.index import NEVER, Index, Origin, is_trusted
from popserv.maildrop.maildir_folder import CUR, NEW, Folder
from popserv.maildrop.maildir_snapshot import Columns, Entry, Snapshot
from popserv.maildrop.maildir_survey import Known, Surveyor, order, without_former_names
from popserv.maildrop.octet_source import InMemory
from popserv.maildrop.spare_indexes import SpareIndexes
from popserv.maildrop.uidmap import mentions
from popserv.nowait import NotAtHand

Identify = Callable[[Folder, list[Entry]], list[Entry]]
"""Gives ids to those whose names give none of their own; returns those that have one."""


@attrs.frozen
class Taker:
    """How snapshots are taken, and what is remembered of them. Everything here blocks."""

    boot: bytes
    """See `popserv.maildrop.index.boot_id`."""
    now: Callable[[], float]
    """Seconds since 1970."""
    spare: SpareIndexes = attrs.Factory(SpareIndexes)

    def take_known(self, folder: Folder) -> Snapshot:
        """What its index says. Raises `NotAtHand` if that is not all, or more than a reading of a moment."""
        index = on_disk.load(folder, self.boot)
        if index is None or not (index.vouched and isinstance(index.source, InMemory)):
            raise NotAtHand
        if not on_disk.is_current(index.origin, folder):
            raise NotAtHand
        return index.snapshot(folder)

    def take(self, folder: Folder, identify: Identify, *, trust: bool, write: bool) -> Snapshot:
        """Read the Maildir. Raises `OSError`.

        `trust` says that the times of directories tell whether anything has changed in them, `write` that the index
        may be written.
        """
        index = on_disk.load(folder, self.boot) or self._spare(folder)
        if index is None:
            return self._update(folder, Known(None, folder), False, identify, write)
        if not trust:
            index = index.without_times()
        known = Known(index, folder)
        if on_disk.is_current(index.origin, folder):
            if not index.vouched:
                self._keep(folder, index.origin, known.snapshot, write)
            return known.snapshot
        return self._update(folder, known, index.origin.uid_map == on_disk.uid_map_of(folder), identify, write)

    def drop(self, folder: Folder, *, write: bool) -> None:
        """Let the next session look at every message anew. Never raises."""
        self.spare.drop(folder)
        if write:
            on_disk.drop(folder.maildir)

    def _spare(self, folder: Folder) -> Index | None:
        index = self.spare.get(folder)
        return index if index is not None and index.origin.inodes == on_disk.inodes_of(folder) else None

    def _update(self, folder: Folder, known: Known, ids_hold: bool, identify: Identify, write: bool) -> Snapshot:
        skipped: list[tuple[bytes, str]] = []
        found = Surveyor(folder, known, skipped).survey(self.now)
        if ids_hold and not found.fresh and len(found.kept) == known.snapshot.layout.count:
            snapshot = known.snapshot
            snapshot.skipped = skipped
            changed = False
        else:
            merged = _merged(folder, known, found.kept, found.fresh) if ids_hold else None
            columns = merged or _identified(folder, known, found.kept, found.fresh, identify, skipped)
            layout, octets = columns.packed()
            snapshot = Snapshot(folder.device, folder.identity, layout, InMemory(octets), skipped)
            snapshot.drift = 0 if merged or known.index is None else _drift(known.snapshot.columns(), columns)
            changed = True
        # What is skipped may become a message without a change of names: it is looked at every time.
        listed = found.listed if not skipped else {NEW: NEVER, CUR: NEVER}
        if changed or any(is_trusted(each) and not is_trusted(known.listed(part)) for part, each in listed.items()):
            # After the ids: they may have been written just now.
            origin = Origin(on_disk.inodes_of(folder), listed, on_disk.uid_map_of(folder))
            self._keep(folder, origin, snapshot, write)
        return snapshot

    def _keep(self, folder: Folder, origin: Origin, snapshot: Snapshot, write: bool) -> None:
        layout = snapshot.layout
        if not layout.count:
            self.drop(folder, write=write)
            return
        octets = snapshot.source.get(0, layout.whole)
        if write and on_disk.save(folder, self.boot, origin, layout, octets):
            self.spare.drop(folder)
        else:
            self.spare.put(folder, Index(origin, layout, InMemory(octets), vouched=True))


def _merged(folder: Folder, known: Known, kept: Sequence[int], fresh: list[Entry]) -> Columns | None:
    """The index without what is gone and with what is `fresh`; None if it takes more than that to tell their ids."""
    old = known.snapshot
    gone = set(range(old.layout.count)).difference(kept)
    changes: list[tuple[int, int, Entry | None]] = [(row, 1, None) for row in gone]
    if len({entry.unique for entry in fresh}) < len(fresh):
        return None
    if known.has_map and mentions(folder.maildir, [entry.unique for entry in fresh if known.same(entry) is None]):
        return None
    for entry in sorted(fresh, key=lambda entry: order(entry.unique)):
        if not gone.issuperset(known.named(entry.unique)):
            return None
        former = known.same(entry)
        if former is not None and old.mapped(former):
            entry.unique_id = old.unique_id(former)
        changes.append((known.place(entry.unique), 0, entry))
    changes.sort(key=lambda change: change[:2])
    return _changed(old.columns(), changes)


def _drift(old: Columns, new: Columns) -> int:
    """How many messages had another id before."""
    before = dict(zip(zip(old.inodes, old.mtimes, old.sizes, strict=True), old.ids, strict=True))
    files = zip(new.inodes, new.mtimes, new.sizes, strict=True)
    return sum(before.get(file, own) != own for file, own in zip(files, new.ids, strict=True))


def _changed(old: Columns, changes: list[tuple[int, int, Entry | None]]) -> Columns:
    """`changes` are rows in order: what comes before one, or, with None, that it is left out."""
    columns = Columns()
    row = 0
    for at, _, entry in changes:
        columns.extend(old, row, at)
        row = at
        if entry is None:
            row += 1
        else:
            columns.append([entry])
    columns.extend(old, row, len(old.ids))
    return columns


def _identified(
    folder: Folder,
    known: Known,
    kept: Sequence[int],
    fresh: list[Entry],
    identify: Identify,
    skipped: list[tuple[bytes, str]],
) -> Columns:
    """All messages, each with an id as if there were no index."""
    candidates = fresh
    if kept:
        candidates = without_former_names(folder, [known.snapshot.entry(row) for row in kept] + fresh)
    identified = identify(folder, candidates)
    if len(identified) < len(candidates):
        have = {entry.path for entry in identified}
        lost = [entry.path for entry in candidates if entry.path not in have]
        skipped += [(path, "its unique-id could not be kept") for path in lost]
    identified.sort(key=lambda entry: (order(entry.unique), entry.unique_id or b""))
    columns = Columns()
    columns.append(identified)
    return columns
