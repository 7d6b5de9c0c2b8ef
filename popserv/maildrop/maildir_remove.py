"""Removing messages from a Maildir at QUIT: exactly those of the snapshot, and for good."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, closing, suppress

from twisted.logger import Logger

from popserv.errors import StoreBroken
from popserv.maildrop.maildir_find import follow_renames
from popserv.maildrop.maildir_folder import CUR, NEW, Folder, opened, unique_part
from popserv.maildrop.maildir_snapshot import Snapshot
from popserv.maildrop.maildir_trash import Trash
from popserv.maildrop.uidmap import Mapping, UidMap

log = Logger()

_ATTEMPTS = 8


def remove(path: bytes, snapshot: Snapshot, indices: Iterable[int], trashed_at: float | None = None) -> int:
    """Remove these messages from the Maildir at `path`: how many of them are still there, or may be. Blocks.

    A message that has been renamed is looked for, one that is gone counts as removed, and a file that has taken its
    place is left alone and counts as still there. The directories are synced before this returns; where that fails,
    what was removed from them is counted as still there, since a power failure may bring it back. With `trashed_at`, in
    seconds since 1970, messages are moved to the Maildir's `popserv.maildrop.maildir_trash.Trash`.
    """
    wanted = list(indices)
    try:
        with opened(path) as folder:
            if not is_same(folder, snapshot):
                log.error("Maildir {path!r} is not the one that was opened: nothing is removed", path=path)
                return len(wanted)
            return _remove(folder, snapshot, wanted, trashed_at)
    except (OSError, StoreBroken) as error:
        log.error("Maildir {path!r} cannot be opened to remove messages: {error!s}", path=path, error=error)
        return len(wanted)


def is_same(folder: Folder, snapshot: Snapshot) -> bool:
    """Whether the messages of the snapshot are here if they are anywhere: another disk may be mounted, or none."""
    (maildir, parts), (known_maildir, known_parts) = folder.identity, snapshot.identity
    return maildir == known_maildir and all(parts.get(part) == known for part, known in known_parts.items())


def _remove(folder: Folder, snapshot: Snapshot, wanted: list[int], trashed_at: float | None) -> int:
    mapped = [index for index in wanted if snapshot.mapped(index)]
    if mapped:
        _retire(folder, [snapshot.unique_id(index) for index in mapped])
    with ExitStack() as opened_for_this:
        trash = None if trashed_at is None else opened_for_this.enter_context(closing(Trash(folder, trashed_at)))
        left = _Removal(folder, snapshot, trash).run(wanted)
    _revive(folder, [snapshot.mapping(index) for index in mapped if index in left])
    return len(left)


def _retire(folder: Folder, unique_ids: list[bytes]) -> None:
    # First the map: should we die in between, a hard link that stays must not come back under the id of its twin.
    with suppress(OSError), closing(UidMap(folder.maildir, create=False)) as uid_map:
        uid_map.remove(unique_ids)


def _revive(folder: Folder, mappings: list[Mapping]) -> None:
    """What is still there keeps its id."""
    if mappings:
        with suppress(OSError), closing(UidMap(folder.maildir, create=False)) as uid_map:
            uid_map.add(mappings)


class _Removal:
    def __init__(self, folder: Folder, snapshot: Snapshot, trash: Trash | None) -> None:
        self._dispose = folder.unlink if trash is None else trash.take
        self._trash = trash
        self._folder = folder
        self._snapshot = snapshot
        self._left: set[int] = set()
        self._removed: dict[bytes, list[int]] = {NEW: [], CUR: []}
        self._error: OSError | None = None

    def run(self, wanted: list[int]) -> set[int]:
        """Those that are still there, or may be."""
        strays = wanted
        for attempt in range(_ATTEMPTS):
            if attempt:
                follow_renames(self._folder, self._snapshot)
            strays = [index for index in strays if self._is_astray(index)]
            if not strays:
                break
        self._give_up(strays)
        self._sync()
        if self._error is not None:
            log.error("{count} messages could not be removed: {error!s}", count=len(self._left), error=self._error)
        return self._left

    def _is_astray(self, index: int) -> bool:
        """Remove a message, unless it is not where it was."""
        path = self._snapshot.files.paths[index]
        try:
            status = self._folder.stat(path)
            if status is None or not self._snapshot.is_file(index, status):
                return True
            self._dispose(path)
        except FileNotFoundError:
            return True
        except OSError as error:
            self._error = error
            self._left.add(index)
        else:
            self._removed[path[:4]].append(index)
        return False

    def _give_up(self, strays: list[int]) -> None:
        """These are gone, except for those whose names other files have now."""
        if not strays:
            return
        paths, lost = self._snapshot.files.paths, set(strays)
        unknown = set(self._folder.paths()).difference([path for index, path in enumerate(paths) if index not in lost])
        names = {unique_part(path) for path in unknown}
        for index in strays:
            if unique_part(paths[index]) in names:
                self._left.add(index)
            else:
                self._removed[paths[index][:4]].append(index)

    def _sync(self) -> None:
        for part, indices in self._removed.items():
            if indices:
                try:
                    if self._trash is not None:
                        # First where they are now: so a power failure may show them in both places, never in none.
                        self._trash.sync()
                    self._folder.sync(part)
                except OSError as error:
                    self._error = error
                    self._left.update(indices)
