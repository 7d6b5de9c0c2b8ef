"""Removing messages from an mbox at QUIT: exactly those of the snapshot, and for good."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from twisted.logger import Logger

from popserv.errors import PopError
from popserv.maildrop import mbox_index
from popserv.maildrop.mbox_control import open_control
from popserv.maildrop.mbox_ids import Ids, retired
from popserv.maildrop.mbox_in_place import NotDurable
from popserv.maildrop.mbox_journal import locked_mbox
from popserv.maildrop.mbox_locks import Locked, MboxLocks
from popserv.maildrop.mbox_octets import Octets
from popserv.maildrop.mbox_reader import Source
from popserv.maildrop.mbox_rewrite import cut
from popserv.maildrop.mbox_survey import Stamp, Survey, is_as_surveyed, survey_of

log = Logger()


def remove(source: Source, ids: Ids, locks: MboxLocks, indices: Iterable[int]) -> int:
    """Remove these messages of the survey: how many of them are still there, or may be. Blocks.

    What another program has written meanwhile stays: new mail, and messages that have moved, which are looked for by
    what they are known by. One that is gone counts as removed.
    """
    wanted = sorted(indices)
    try:
        control = open_control(source.place)
    except OSError as error:
        log.error("no messages could be removed from {path!r}: {error!s}", path=source.place.mbox, error=error)
        return len(wanted)
    try:
        with locked_mbox(source.place, control, locks) as locked:
            _Removal(source, ids, control, locked, locks.now).run(wanted)
    except FileNotFoundError:
        return 0
    except (OSError, PopError) as error:
        log.error("messages could not be removed from {path!r}: {error!s}", path=source.place.mbox, error=error)
        return len(wanted)
    finally:
        os.close(control)
    return 0


class _Removal:
    def __init__(self, source: Source, ids: Ids, control: int, locked: Locked, now: Callable[[], float]) -> None:
        self._source = source
        self._ids = ids
        self._control = control
        self._locked = locked
        self._now = now

    def run(self, wanted: list[int]) -> None:
        """Raises `OSError`, and then all of them count as still there."""
        found, doomed = self._find(wanted)
        if not doomed:
            return
        with retired(self._control, self._ids, wanted) as take_back:
            try:
                self._cut(found, doomed)
            except NotDurable:
                raise
            except OSError:
                take_back()
                raise

    def _find(self, wanted: list[int]) -> tuple[Survey, list[int]]:
        """What is in the mbox now, and which of that has to go."""
        form = self._source.form
        known = mbox_index.load(self._control, form)
        for survey in (survey_of(self._locked.descriptor, form, known), None):
            found = survey or survey_of(self._locked.descriptor, form, None)
            doomed = counterparts(self._source.survey, found, wanted)
            octets = Octets(self._locked.descriptor, found.stamp.size)
            if all(is_as_surveyed(octets, found, index) for index in doomed):
                break
        return found, doomed

    def _cut(self, found: Survey, doomed: list[int]) -> None:
        cuts = [(found.starts[index], found.nexts[index]) for index in doomed]
        status = cut(self._source.place, self._control, self._locked, cuts)
        rest = found.without(set(doomed), Stamp.of(status))
        mbox_index.save(self._control, self._source.form, rest, self._now())


def counterparts(before: Survey, now: Survey, wanted: list[int]) -> list[int]:
    """Where the wanted messages of an earlier survey are now, in order; of what is gone nothing.

    Of equal messages so many are left as were not wanted.
    """
    count = len(before)
    if now.starts[:count] == before.starts and now.crcs[:count] == before.crcs:
        return wanted
    then_at, now_at = _places(before), _places(now)
    found: list[int] = []
    for digest, marked in _places(before, wanted).items():
        then, there = then_at[digest], now_at.get(digest, [])
        if len(there) >= len(then):
            found += [place for index, place in zip(then, there, strict=False) if index in marked]
        else:
            found += there[len(then) - len(marked) :]
    return sorted(found)


def _places(survey: Survey, indices: Iterable[int] | None = None) -> dict[bytes, list[int]]:
    places: dict[bytes, list[int]] = {}
    for index in range(len(survey)) if indices is None else indices:
        places.setdefault(survey.digest(index), []).append(index)
    return places
