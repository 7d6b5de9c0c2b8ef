"""Marking messages as seen, for those who read the same Maildir by other means."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from popserv.errors import StoreBroken
from popserv.maildrop.maildir_folder import CUR, Folder, opened, unique_part
from popserv.maildrop.maildir_snapshot import Snapshot

_FLAGS = b"2,"


def seen_path(path: bytes) -> bytes | None:
    """Where a message goes when it has been seen; None if it is there, or if its name cannot tell."""
    info = path[4:].partition(b":")[2] or _FLAGS
    if not info.startswith(_FLAGS) or b"S" in info:
        return None
    return CUR + unique_part(path) + b":" + _FLAGS + bytes(sorted(info[len(_FLAGS) :] + b"S"))


def mark_seen(path: bytes, snapshot: Snapshot, indices: Iterable[int]) -> None:
    """Give these messages of the Maildir at `path` the flag S, and move those in new to cur. Blocks. Never raises.

    One that has been renamed or removed meanwhile is left as it is.
    """
    with suppress(OSError, StoreBroken), opened(path) as folder:
        for index in indices:
            with suppress(OSError):
                _mark(folder, snapshot, index)


def _mark(folder: Folder, snapshot: Snapshot, index: int) -> None:
    path = snapshot.files.paths[index]
    target = seen_path(path)
    found = folder.stat(path)
    if target is None or found is None or not snapshot.is_file(index, found):
        return
    if folder.stat(target) is None:
        folder.rename(path, target)
