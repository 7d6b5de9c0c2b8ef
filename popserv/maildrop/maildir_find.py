"""Finding messages whose names have changed: flags were set, or they moved from new to cur."""

from __future__ import annotations

from popserv.maildrop.maildir_folder import Folder, unique_part
from popserv.maildrop.maildir_snapshot import Snapshot


def find(folder: Folder, unique: bytes, inode: int) -> bytes | None:
    """The path by which a message goes now; None if it is gone."""
    for path in folder.paths():
        if unique_part(path) == unique:
            status = folder.stat(path)
            if status is not None and status.st_ino == inode:
                return path
    return None


def follow_renames(folder: Folder, snapshot: Snapshot) -> None:
    """Give the messages of the snapshot the paths by which they go now; those that are gone keep theirs.

    All at once, since a mail program that sets a flag sets it for many, and each look-up reads the directories.
    """
    known = snapshot.files.paths
    paths = set(folder.paths())
    strays: dict[bytes, list[int]] = {}
    for index, path in enumerate(known):
        if path not in paths:
            strays.setdefault(unique_part(path), []).append(index)
    taken = set(known)
    for path in paths - taken:
        for index in strays.get(unique_part(path), ()):
            status = folder.stat(path)
            if status is not None and snapshot.is_file(index, status):
                known[index] = path
