"""Taking a snapshot of a Maildir: from its index as far as that goes, and the index kept up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from popserv.maildrop import index as on_disk
from popserv.maildrop.index import NEVER, Origin, is_trusted
from popserv.maildrop.maildir_folder import CUR, NEW, Folder
from popserv.maildrop.maildir_scan import Message, count_octets
from popserv.maildrop.maildir_snapshot import Columns, Entry, Snapshot
from popserv.maildrop.maildir_survey import Known, order, survey, without_former_names
from popserv.maildrop.octet_source import InMemory
from popserv.maildrop.sizes import Measured, Sizes

Identify = Callable[[Folder, list[Entry]], list[Entry]]
"""Gives ids to those whose names give none of their own; returns those that have one."""


@attrs.frozen
class Taker:
    """How snapshots are taken: what is remembered, what is asked, what may be written. Everything here blocks."""

    boot: bytes
    """See `popserv.maildrop.index.boot_id`."""
    sizes: Sizes
    """For Maildirs whose index cannot be written."""
    now: Callable[[], float]
    """Seconds since 1970."""

    def take(self, folder: Folder, identify: Identify, *, trust: bool, write: bool) -> Snapshot:
        """Read the Maildir. Raises `OSError`.

        `trust` says that the times of directories tell whether anything has changed in them, `write` that the index
        may be written.
        """
        index = on_disk.load(folder, self.boot)
        if index is None:
            return self._update(folder, Known(None, folder), False, identify, write)
        if not trust:
            index = index.without_times()
        known = Known(index, folder)
        ids_hold = index.origin.uid_map == on_disk.uid_map_of(folder)
        if ids_hold and all(index.origin.holds(*each) for each in folder.stamps().items()):
            if write and not index.vouched:
                self._keep(folder, index.origin, known.snapshot)
            return known.snapshot
        return self._update(folder, known, ids_hold, identify, write)

    def _update(self, folder: Folder, known: Known, ids_hold: bool, identify: Identify, write: bool) -> Snapshot:
        skipped: list[tuple[bytes, str]] = []
        found = survey(folder, known, self.now, skipped)
        recall = _recall(known, self.sizes, folder.device)
        messages, scanned = count_octets(folder, found.fresh, recall, skipped)
        # What is skipped may become a message without a change of names: it is looked at every time.
        listed = found.listed if not skipped else {NEW: NEVER, CUR: NEVER}
        if ids_hold and not messages and len(found.kept) == known.snapshot.layout.count:
            snapshot = known.snapshot
            snapshot.skipped = skipped
            worth = any(is_trusted(each) and not is_trusted(known.listed(part)) for part, each in listed.items())
        else:
            columns = (_merged(known, found.kept, messages) if ids_hold else None) or _identified(
                folder, known, found.kept, messages, identify, skipped
            )
            layout, octets = columns.packed()
            snapshot = Snapshot(folder.device, folder.identity, layout, InMemory(octets), skipped)
            worth = True
        # After the ids: they may have been written just now.
        origin = Origin(on_disk.inodes_of(folder), listed, on_disk.uid_map_of(folder))
        if not (write and worth and self._keep(folder, origin, snapshot)):
            self.sizes.remember([(entry.file(folder.device), measured) for entry, measured in scanned])
        return snapshot

    def _keep(self, folder: Folder, origin: Origin, snapshot: Snapshot) -> bool:
        if not snapshot.layout.count:
            on_disk.drop(folder.maildir)
            return True
        octets = snapshot.source.get(0, snapshot.layout.whole)
        return on_disk.save(folder, self.boot, origin, snapshot.layout, octets)


def _recall(known: Known, sizes: Sizes, device: int) -> Callable[[Entry], Measured | None]:
    if known.index is None:
        return lambda entry: sizes.get(entry.file(device))
    return lambda entry: known.measured(entry) or sizes.get(entry.file(device))


def _merged(known: Known, kept: Sequence[int], messages: list[Message]) -> Columns | None:
    """The index without what is gone and with `messages`; None if it takes more than that to tell their ids."""
    old = known.snapshot
    gone = set(range(old.layout.count)).difference(kept)
    changes: list[tuple[int, int, Message | None]] = [(row, 1, None) for row in gone]
    if len({entry.unique for entry, _ in messages}) < len(messages):
        return None
    for entry, measured in sorted(messages, key=lambda message: order(message[0].unique)):
        if not gone.issuperset(known.named(entry.unique)):
            return None
        former = known.row(entry)
        if former is not None and old.mapped(former):
            entry.unique_id = old.unique_id(former)
        elif former is None and known.has_map:
            return None
        changes.append((known.place(entry.unique), 0, (entry, measured)))
    changes.sort(key=lambda change: change[:2])
    return _changed(old.columns(), changes)


def _changed(old: Columns, changes: list[tuple[int, int, Message | None]]) -> Columns:
    """`changes` are rows in order: what comes before one, or, with None, that it is left out."""
    columns = Columns()
    row = 0
    for at, _, message in changes:
        columns.extend(old, row, at)
        row = at
        if message is None:
            row += 1
        else:
            columns.append(*message)
    columns.extend(old, row, len(old.ids))
    return columns


def _identified(
    folder: Folder,
    known: Known,
    kept: Sequence[int],
    messages: list[Message],
    identify: Identify,
    skipped: list[tuple[bytes, str]],
) -> Columns:
    """All messages, each with an id as if there were no index."""
    measured = {known.snapshot.files.paths[row]: known.snapshot.measured(row) for row in kept}
    measured.update((entry.path, known_octets) for entry, known_octets in messages)
    entries = [known.snapshot.entry(row) for row in kept] + [entry for entry, _ in messages]
    candidates = without_former_names(folder, entries)
    identified = identify(folder, candidates)
    if len(identified) < len(candidates):
        have = {entry.path for entry in identified}
        lost = [entry.path for entry in candidates if entry.path not in have]
        skipped += [(path, "its unique-id could not be kept") for path in lost]
    identified.sort(key=lambda entry: (*order(entry.unique), entry.unique_id or b""))
    columns = Columns()
    for entry in identified:
        columns.append(entry, measured[entry.path])
    return columns
