"""Unique-ids of files that share the unchanging part of their names.

The Maildir rules forbid such files, and copying by hand makes them. The eldest keeps the id that the name gives, each
other one gets an id of its own in the durable map, and so does a file that comes under a name that was once shared.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing

from twisted.logger import Logger

from popserv.maildrop.maildir_folder import Folder
from popserv.maildrop.maildir_snapshot import Entry
from popserv.maildrop.uidl import from_name, made_up
from popserv.maildrop.uidmap import Mapping, UidMap

log = Logger()


def identify(folder: Folder, entries: list[Entry]) -> list[Entry]:
    """Give ids to the entries whose names give none of their own; returns the entries that have one.

    An id is told to nobody before it is on the disk: where it cannot be written, that entry is left out this time.
    """
    names = Counter([entry.unique for entry in entries])
    shared = {name for name, count in names.items() if count > 1} if len(names) < len(entries) else set()
    try:
        uid_map = UidMap(folder.maildir, create=bool(shared))
    except FileNotFoundError:
        # Nothing was ever in it; and if it cannot be made now, the eldest are those whose ids are certain.
        return _eldest(entries, shared) if shared else entries
    with closing(uid_map):
        shared |= uid_map.names & names.keys()
        fresh: list[Mapping] = []
        for name, group in _groups(entries, shared).items():
            fresh += _assign(uid_map, name, sorted(group, key=_age))
        return _keep(uid_map, entries, fresh)


def _groups(entries: list[Entry], names: set[bytes]) -> dict[bytes, list[Entry]]:
    groups: dict[bytes, list[Entry]] = {name: [] for name in names}
    for entry in entries:
        if entry.unique in groups:
            groups[entry.unique].append(entry)
    return groups


def _assign(uid_map: UidMap, name: bytes, group: list[Entry]) -> list[Mapping]:
    """Give each of `group` its id; the mappings that are new."""
    known = uid_map.living(name)
    # A restored backup has other inodes; times and sizes it keeps.
    for exact in (True, False):
        for entry in group:
            if entry.unique_id is None:
                mapping = next((one for one in known if _belongs(one, entry, exact)), None)
                if mapping is not None:
                    entry.unique_id = mapping.unique_id
                    known.remove(mapping)
    fresh = []
    given_out = name in uid_map.names
    for entry in group:
        if entry.unique_id is None:
            entry.unique_id = made_up() if given_out else from_name(name)
            given_out = True
            fresh.append(Mapping(entry.unique_id, entry.inode, entry.mtime_ns, entry.size, name))
    return fresh


def _belongs(mapping: Mapping, entry: Entry, exact: bool) -> bool:
    same = (mapping.mtime_ns, mapping.size) == (entry.mtime_ns, entry.size)
    return same and (mapping.inode == entry.inode or not exact)


def _age(entry: Entry) -> tuple[int, int, bytes]:
    # The octets of a copy are written later, if it does not say otherwise; its inode is made later, always.
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


def _eldest(entries: list[Entry], shared: set[bytes]) -> list[Entry]:
    """Of those that share a name only the one which has its id from that."""
    chosen = {min(group, key=_age).path for group in _groups(entries, shared).values()}
    log.error(
        "duplicates of {count} messages left out of a session: their unique-ids cannot be kept", count=len(shared)
    )
    return [entry for entry in entries if entry.unique not in shared or entry.path in chosen]
