"""What QUIT does to a Maildir's messages, and what is done about them later: expiry, emptying the trash, undeleting."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

import attrs
from twisted.logger import Logger

from popserv.errors import StoreBroken
from popserv.maildrop import hidden
from popserv.maildrop.hidden import HIDDEN_NAME
from popserv.maildrop.maildir_folder import Folder, opened
from popserv.maildrop.maildir_remove import is_same, remove
from popserv.maildrop.maildir_snapshot import Snapshot
from popserv.maildrop.maildir_trash import TRASH_NAME, purge, restore, trashed
from popserv.maildrop.retention import DAY_SECONDS, Retention

log = Logger()

Removal = Callable[[bytes, Snapshot, Sequence[int]], int]
"""Takes the path of a Maildir, and messages of a snapshot: how many of them are still there. Blocks, never raises."""

_NS = 1_000_000_000


def removal(retention: Retention, now: Callable[[], float]) -> Removal:
    """What a session of such an account does; `now` gives seconds since 1970."""
    if retention.delete == "trash":
        return lambda path, snapshot, indices: remove(path, snapshot, indices, now())
    return partial(_hide, now) if retention.delete == "hide" else remove


def _hide(now: Callable[[], float], path: bytes, snapshot: Snapshot, indices: Sequence[int]) -> int:
    try:
        with opened(path) as folder:
            if not is_same(folder, snapshot):
                log.error("Maildir {path!r} is not the one that was opened: nothing is hidden", path=path)
                return len(indices)
            hidden.hide(folder.maildir, [snapshot.unique_id(index) for index in indices], now())
    except (OSError, StoreBroken) as error:
        log.error("messages in {path!r} could not be hidden: {error!s}", path=path, error=error)
        return len(indices)
    return 0


@attrs.frozen
class Tidied:
    """How many messages have gone."""

    expired: int = 0
    """Older than the account keeps mail."""
    emptied: int = 0
    """Longer in the trash than they are kept there."""

    @classmethod
    def sum(cls, each: Sequence[Tidied]) -> Tidied:
        return cls(sum(one.expired for one in each), sum(one.emptied for one in each))


def folders_with_removed(maildir: bytes) -> list[bytes]:
    """The paths of those folders of a Maildir where removed messages wait or are hidden. Blocks; raises `OSError`."""
    folders = [maildir + b"/" + name for name in sorted(os.listdir(maildir)) if name.startswith(b".")]
    kept = [os.fsencode(name) for name in (TRASH_NAME, HIDDEN_NAME)]
    return [folder for folder in folders if any(os.path.lexists(folder + b"/" + name) for name in kept)]


def tidy(path: bytes, folder: Folder, snapshot: Snapshot, retention: Retention, now: float, dry: bool) -> Tidied:
    """Remove what has expired and what has been in the trash for too long. To be called with the session lock.

    With `dry` only counts. Blocks; raises `OSError`, and may have removed some of it.
    """
    old = _expired(snapshot, retention, now)
    before = now - retention.trash_days * DAY_SECONDS
    if dry:
        return Tidied(len(old), len(trashed(folder, 0)) - len(trashed(folder, before)))
    left = remove(path, snapshot, old) if old else 0
    if not left:
        _forget(folder, snapshot, set(old))
    return Tidied(len(old) - left, purge(folder, before))


def _expired(snapshot: Snapshot, retention: Retention, now: float) -> list[int]:
    """A message's age is that of its file: mtime is when it was delivered, and stays when it is moved or flagged."""
    if not retention.expire_days or not snapshot.layout.count:
        return []
    before = int((now - retention.expire_days * DAY_SECONDS) * _NS)
    return [index for index, mtime in enumerate(snapshot.files.mtimes) if mtime < before]


def _forget(folder: Folder, snapshot: Snapshot, gone: set[int]) -> None:
    """Drop from the hidden ones those that are `gone`, and those that others have removed."""
    known = hidden.read_hidden(folder.maildir)
    if known:
        there = {snapshot.unique_id(index) for index in range(snapshot.layout.count) if index not in gone}
        living = {unique_id: at for unique_id, at in known.items() if unique_id in there}
        if len(living) < len(known):
            hidden.rewrite(folder.maildir, living)


@attrs.frozen
class Undeleted:
    """How many messages have come back."""

    back: int = 0
    left: int = 0
    """Could not, because another one has its name by now."""

    @classmethod
    def sum(cls, each: Sequence[Undeleted]) -> Undeleted:
        return cls(sum(one.back for one in each), sum(one.left for one in each))


def undelete(folder: Folder, since: float, dry: bool) -> Undeleted:
    """Bring back what was moved to the trash, and show what was hidden, since then. To be called with the session lock.

    With `dry` only counts. Blocks; raises `OSError`, and may have brought back some of it.
    """
    shown = hidden.unhide(folder.maildir, since, dry)
    if dry:
        return Undeleted(shown + len(trashed(folder, since)))
    back, left = restore(folder, since)
    return Undeleted(shown + back, left)
