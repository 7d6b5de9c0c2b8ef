"""Giving messages of a Maildir the unique-ids that another server has told for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing

from popserv.maildrop.maildir_folder import Folder, unique_part
from popserv.maildrop.maildir_snapshot import Snapshot
from popserv.maildrop.mbox_split import HEADER_OCTETS
from popserv.maildrop.told import Adoption, Recogniser, Told, choose, header_hash
from popserv.maildrop.uidl import is_unique_id
from popserv.maildrop.uidmap import Mapping, UidMap


def adopt(folder: Folder, snapshot: Snapshot, told: Sequence[Told], dry: bool) -> Adoption:
    """Let the messages be called as `told` says, in the durable map. To be called with the session lock.

    May be done again, and after it was broken off. With `dry` nothing is written. Blocks; raises `OSError`, and then
    nothing has changed.
    """
    count = snapshot.layout.count
    names = [unique_part(path) for path in snapshot.files.paths] if count else []

    def header(index: int) -> str:
        return header_hash(_start(folder, snapshot.files.paths[index]))

    found = Recogniser(names, snapshot.octets, header).find(told)
    current = {index: snapshot.unique_id(index) for index in range(count)}
    adoption, chosen = choose(told, found, current, is_unique_id)
    if chosen and not dry:
        _write(folder, snapshot, chosen)
    return adoption


def _write(folder: Folder, snapshot: Snapshot, chosen: dict[int, bytes]) -> None:
    files = snapshot.files
    with closing(UidMap(folder.maildir, create=True)) as uid_map:
        uid_map.rename(
            [snapshot.unique_id(index) for index in chosen if snapshot.mapped(index)],
            [
                Mapping(
                    unique_id,
                    files.inodes[index],
                    files.mtimes[index],
                    files.sizes[index],
                    unique_part(files.paths[index]),
                )
                for index, unique_id in chosen.items()
            ],
        )


def _start(folder: Folder, path: bytes) -> bytes:
    """How a message begins; b"" if it is gone."""
    try:
        descriptor = folder.open(path)
    except FileNotFoundError:
        return b""
    try:
        # With CRLF line ends a header is longer than it counts for.
        return os.read(descriptor, 2 * HEADER_OCTETS)
    finally:
        os.close(descriptor)
