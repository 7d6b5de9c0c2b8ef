"""Unique-ids of files that share the unchanging part of their names.

The Maildir rules forbid such files, and copying by hand makes them. The one that was made first keeps the id that the
name gives, each other one gets an id of its own in the durable map, and so does a file that comes under a name that was
once shared. Where it is not known which was made first, none keeps it: a message that is fetched twice is a nuisance,
one that is taken for another is lost.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from contextlib import closing

from twisted.logger import Logger

from popserv.maildrop.maildir_folder import Folder
from popserv.maildrop.maildir_snapshot import Entry
from popserv.maildrop.uidl import from_name, made_up
from popserv.maildrop.uidmap import MAP_NAME, Mapping, UidMap

log = Logger()

_SECOND = 1_000_000_000
_NO_MAP = frozenset({None, errno.ENOENT, errno.ELOOP})
"""What says that there is no map. Where there is one and it cannot be read now, ids from names would be wrong ones."""


def identify(folder: Folder, entries: list[Entry]) -> list[Entry]:
    """Give ids to the entries whose names give none of their own; returns the entries that have one.

    An id is told to nobody before it is on the disk: where it cannot be written, that entry is left out this time.
    Raises `OSError` where there is a map that cannot be read.
    """
    names = Counter([entry.unique for entry in entries])
    shared = {name for name, count in names.items() if count > 1} if len(names) < len(entries) else set()
    try:
        uid_map = UidMap(folder.maildir, create=bool(shared))
    except FileNotFoundError:
        # Nothing was ever in it; and if it cannot be made now, the eldest are those whose ids are certain.
        return _eldest(folder, entries, shared) if shared else entries
    except OSError as error:
        if error.errno not in _NO_MAP:
            raise
        # What was once shared is not known, but what is shared now.
        log.error("{name} cannot be used: {error!s}", name=MAP_NAME, error=error)
        return [entry for entry in entries if entry.unique not in shared]
    with closing(uid_map):
        shared |= uid_map.names & names.keys()
        fresh: list[Mapping] = []
        for name, group in _groups(entries, shared).items():
            fresh += _assign(folder, uid_map, name, sorted(group, key=_order))
        return _keep(uid_map, entries, fresh)


def recognise(folder: Folder, entries: list[Entry]) -> list[Entry]:
    """As `identify`, but nothing is written: an entry that would get a new id is left out until a session gives it."""
    names = Counter([entry.unique for entry in entries])
    shared = {name for name, count in names.items() if count > 1}
    try:
        uid_map = UidMap(folder.maildir, create=False)
    except OSError as error:
        if error.errno not in _NO_MAP:
            raise
        return [entry for entry in entries if entry.unique not in shared]
    with closing(uid_map):
        shared |= uid_map.names & names.keys()
        for name, group in _groups(entries, shared).items():
            _recognise(uid_map.living(name), sorted(group, key=_order))
    return [entry for entry in entries if entry.unique not in shared or entry.unique_id is not None]


def _groups(entries: list[Entry], names: set[bytes]) -> dict[bytes, list[Entry]]:
    groups: dict[bytes, list[Entry]] = {name: [] for name in names}
    for entry in entries:
        if entry.unique in groups:
            groups[entry.unique].append(entry)
    return groups


def _assign(folder: Folder, uid_map: UidMap, name: bytes, group: list[Entry]) -> list[Mapping]:
    """Give each of `group` its id; the mappings that are new."""
    _recognise(uid_map.living(name), group)
    eldest = None if name in uid_map.names else _first_made(folder, group)
    fresh = []
    for entry in group:
        if entry.unique_id is None:
            entry.unique_id = from_name(name) if entry is eldest else made_up()
            fresh.append(Mapping(entry.unique_id, entry.inode, entry.mtime_ns, entry.size, name))
    return fresh


def _recognise(known: list[Mapping], group: list[Entry]) -> None:
    """Give ids of the map to the files that have them, the surest signs first."""
    for alike in _SIGNS:
        for entry in group:
            if entry.unique_id is None:
                mapping = next((one for one in known if alike(one, entry)), None)
                if mapping is not None:
                    entry.unique_id = mapping.unique_id
                    known.remove(mapping)


_SIGNS: tuple[Callable[[Mapping, Entry], bool], ...] = (
    lambda one, entry: (one.inode, one.mtime_ns, one.size) == (entry.inode, entry.mtime_ns, entry.size),
    # A restored backup has other inodes; times, or at least their seconds, and sizes it keeps.
    lambda one, entry: (one.mtime_ns, one.size) == (entry.mtime_ns, entry.size),
    lambda one, entry: (one.inode, one.size) == (entry.inode, entry.size),
    lambda one, entry: (one.mtime_ns // _SECOND, one.size) == (entry.mtime_ns // _SECOND, entry.size),
)


def _first_made(folder: Folder, group: list[Entry]) -> Entry | None:
    """The file of which it is certain that it was there before the others, None if it is of none."""
    births = [(folder.born(entry.path), entry) for entry in group]
    known = sorted(((at, entry.inode, entry) for at, entry in births if at is not None), key=lambda each: each[:2])
    if len(known) < len(group):
        return None
    (at, inode, eldest), others = known[0], known[1:]
    # Of hard links either will do.
    return eldest if all(other > at or link == inode for other, link, _ in others) else None


def _order(entry: Entry) -> tuple[int, int, bytes]:
    return entry.mtime_ns, entry.ctime_ns, entry.path


def _keep(uid_map: UidMap, entries: list[Entry], fresh: list[Mapping]) -> list[Entry]:
    """The entries whose ids are on the disk, once the `fresh` ones are written, or certain without that."""
    if not fresh:
        return entries
    try:
        uid_map.add(fresh)
    except OSError as error:
        unwritten = {mapping.unique_id for mapping in fresh if mapping.unique_id != from_name(mapping.name)}
        log.error("{count} duplicates left out of a session: {error!s}", count=len(unwritten), error=error)
        return [entry for entry in entries if entry.unique_id not in unwritten]
    return entries


def _eldest(folder: Folder, entries: list[Entry], shared: set[bytes]) -> list[Entry]:
    """Of those that share a name only the one which has its id from that."""
    first = (_first_made(folder, group) for group in _groups(entries, shared).values())
    chosen = {entry.path for entry in first if entry is not None}
    log.error(
        "duplicates of {count} messages left out of a session: their unique-ids cannot be kept", count=len(shared)
    )
    return [entry for entry in entries if entry.unique not in shared or entry.path in chosen]
