"""Messages that are there for other readers only: their unique-ids, in ``popserv.hidden`` in the maildrop's directory.

It is truth, not a cache, and belongs into backups. Lines are appended and synced before QUIT is answered; a last line
without its end is what an interrupted write has left and counts for nothing. The lines are::

    SECONDS ID    this message was hidden then, in seconds since 1970
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from popserv.maildrop.files import open_owned, read_all, replace, write_at
from popserv.maildrop.uidl import is_unique_id

HIDDEN_NAME = "popserv.hidden"

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_hidden(folder: int) -> dict[bytes, int]:
    """When each of the hidden messages was hidden, by unique-id. Blocks; raises `OSError`."""
    try:
        descriptor = os.open(HIDDEN_NAME, os.O_RDONLY | _FLAGS, dir_fd=folder)
    except FileNotFoundError:
        return {}
    try:
        return dict(_parse(read_all(descriptor)))
    finally:
        os.close(descriptor)


def hide(folder: int, unique_ids: Iterable[bytes], now: float) -> None:
    """Hide these for good. Blocks; raises `OSError`, and then none of them is hidden."""
    lines = b"".join([b"%d %b\n" % (now, unique_id) for unique_id in unique_ids])
    with _locked(folder) as descriptor:
        whole = read_all(descriptor).rfind(b"\n") + 1
        os.ftruncate(descriptor, whole)
        try:
            write_at(descriptor, lines, whole)
            os.fsync(descriptor)
            os.fsync(folder)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, whole)
            raise


def unhide(folder: int, since: float, dry: bool) -> int:
    """Show again what was hidden since then, seconds since 1970: how many. With `dry` only counts.

    To be called with the session lock. Blocks; raises `OSError`.
    """
    known = read_hidden(folder)
    still = {unique_id: at for unique_id, at in known.items() if at < since}
    if len(still) < len(known) and not dry:
        rewrite(folder, still)
    return len(known) - len(still)


def rewrite(folder: int, hidden: Mapping[bytes, int]) -> None:
    """Let these be all that are hidden. To be called with the session lock. Blocks; raises `OSError`."""
    replace(folder, HIDDEN_NAME, b"".join([b"%d %b\n" % (at, unique_id) for unique_id, at in hidden.items()]))


@contextmanager
def _locked(folder: int) -> Iterator[int]:
    """The file, made if need be; sessions without a session lock write one after the other."""
    descriptor = open_owned(HIDDEN_NAME, os.O_RDWR | _FLAGS, folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _parse(content: bytes) -> Iterator[tuple[bytes, int]]:
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        seconds, _, unique_id = line.partition(b" ")
        if seconds.isdigit() and len(seconds) < 20 and is_unique_id(unique_id):
            yield unique_id, int(seconds)
