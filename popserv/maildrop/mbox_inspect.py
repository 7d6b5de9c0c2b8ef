"""What stands in the way of serving mboxes on this host, for this user; nothing is changed by looking."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice

_LOOKED_AT = 1000


def missing(place: str, control: str, rename: bool, dotlock: bool) -> Iterator[str]:
    """What an administrator should know: `place` and `control` are absolute and may have placeholders.

    `control` is "" if it is beside the mbox, `rename` says that a new file takes the place of the old one, `dotlock`
    that dotlocks are made. Blocks.
    """
    folder = _fixed_folder(place)
    if not os.path.isdir(folder):
        return
    if not _is_writable(folder):
        if rename:
            yield f'{folder}: is not writable, so no message can be removed: set rewrite = "in-place"'
        if dotlock:
            yield f"{folder}: is not writable, so no dotlock can be made: take it out of locks if the MTA makes none"
        if not control:
            yield f"{folder}: is not writable, so popserv can keep nothing beside the mboxes: set control"
    elif rename and os.geteuid() != 0 and _has_files_of_others(folder):
        yield f'{folder}: mboxes of others can be replaced by root alone: set rewrite = "in-place"'
    above = _fixed_folder(control) if control else ""
    if above and os.path.isdir(above) and not _is_writable(above):
        yield f"{above}: is not writable, so popserv can keep nothing there"


def _fixed_folder(place: str) -> str:
    """The directory above the first placeholder; "" if everything depends on the account."""
    return os.path.dirname(place.partition("{")[0]) if not place.startswith("{") else ""


def _is_writable(folder: str) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def _has_files_of_others(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            found = [entry.stat(follow_symlinks=False) for entry in islice(entries, _LOOKED_AT)]
    except OSError:
        return False
    return any(stat.S_ISREG(status.st_mode) and status.st_uid != os.geteuid() for status in found)
