"""Looking through an mbox: every message is read, and compared with what is kept about it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import attrs

from popserv.maildrop import mbox_index
from popserv.maildrop.directory_check import check_directory, check_files
from popserv.maildrop.findings import Finding, Report, shown
from popserv.maildrop.locks import LOCK_NAME
from popserv.maildrop.mbox_control import ABANDONED_SECONDS, DRAFT_PREFIX, Place, sweep
from popserv.maildrop.mbox_ids import identify, recognise
from popserv.maildrop.mbox_in_place import KEPT_NAME, UNDO_NAME
from popserv.maildrop.mbox_journal import JOURNAL_NAME, locked_mbox
from popserv.maildrop.mbox_lines import Format
from popserv.maildrop.mbox_locks import MboxLocks
from popserv.maildrop.mbox_rewrite import new_name
from popserv.maildrop.mbox_survey import Survey, survey_of
from popserv.maildrop.uidl import is_unique_id
from popserv.maildrop.uidmap import MAP_NAME
from popserv.maildrop.uidmap_check import check_map

_REINDEX = "forget the index, so that the next session makes it anew"
_FINISH = "finish or undo what was broken off"


@attrs.frozen
class MboxCheck:
    """One look. Everything here blocks, and raises `OSError` and `PopError` where that cannot be done."""

    place: Place
    control: int
    form: Format
    locks: MboxLocks
    settled: bool
    """No session can have it."""

    def report(self, descriptor: int, progress: Callable[[int, int], None]) -> Report:
        """`descriptor` is of the mbox, which other programs are kept from writing to if `settled`."""
        survey = survey_of(descriptor, self.form, None)
        count = len(survey) - survey.first
        progress(count, count)
        findings = [*self._places(), *check_map(self.control, self.settled)]
        findings += [*self._outside(survey), *self._ids(survey), *self._index(survey)]
        unknown = [] if self.settled else ["whether anything is left over: a session may be writing it now"]
        return Report(count, sum(survey.octets[survey.first :]), findings, unknown)

    def _places(self) -> Iterator[Finding]:
        yield from check_directory(self.control, ".")
        yield from check_files(self.control, (mbox_index.INDEX_NAME, MAP_NAME, LOCK_NAME))
        names = os.listdir(self.control)
        if KEPT_NAME in names:
            yield Finding("leftover", f"{KEPT_NAME} has octets of an mbox that another program changed half way")
        if not self.settled:
            return
        for name in (JOURNAL_NAME, UNDO_NAME):
            if name in names:
                yield Finding("leftover", f"{name}: work on the mbox was broken off", _FINISH, self._finish)
        if os.path.lexists(os.path.join(os.path.dirname(self.place.mbox), new_name(self.place.mbox))):
            text = f"{shown(new_name(self.place.mbox))} was never put in the place of the mbox"
            yield Finding("leftover", text, _FINISH, self._finish)
        yield from self._abandoned(names)

    def _finish(self) -> None:
        with locked_mbox(self.place, self.control, self.locks):
            pass

    def _abandoned(self, names: list[str]) -> Iterator[Finding]:
        now = self.locks.now()
        old = [name for name in names if name.startswith(DRAFT_PREFIX) and now - self._ctime(name) > ABANDONED_SECONDS]
        if old:
            text = f"deliveries that were broken off have left files: {len(old)}, among them {old[0]}"
            remedy = f"remove those untouched for {ABANDONED_SECONDS / 3600:.0f} hours"
            yield Finding("leftover", text, remedy, lambda: sweep(self.control, now))

    def _ctime(self, name: str) -> float:
        return os.stat(name, dir_fd=self.control, follow_symlinks=False).st_ctime

    def _outside(self, survey: Survey) -> Iterator[Finding]:
        if survey.preamble:
            yield Finding("entry", f"{survey.preamble} octets stand before the first From_ line and are no mail")

    def _ids(self, survey: Survey) -> Iterator[Finding]:
        ids = recognise(self.control, survey)
        if ids.unknown:
            text = f"messages have no unique-id of their own yet: {len(ids.unknown)}"
            give = partial(identify, self.control, survey, exclusive=False)
            yield Finding("id", text, "give these messages ids of their own", give)
        counts = Counter(ids.of(index) for index in range(survey.first, len(survey)) if index not in ids.unknown)
        for unique_id, count in counts.items():
            if count > 1:
                yield Finding("id", f"{count} messages have the unique-id {shown(unique_id)}")
            if not is_unique_id(unique_id):
                yield Finding("id", f"{shown(unique_id)} is no unique-id (RFC 1939 section 7)")

    def _index(self, survey: Survey) -> Iterator[Finding]:
        if mbox_index.INDEX_NAME not in os.listdir(self.control):
            return
        drop = partial(mbox_index.drop, self.place.control)
        known = mbox_index.load(self.control, self.form)
        if known is None:
            yield Finding("index", f"{mbox_index.INDEX_NAME} is damaged, or of another format", _REINDEX, drop)
        elif known.stamp == survey.stamp and (known.columns, known.digests) != (survey.columns, survey.digests):
            text = f"{mbox_index.INDEX_NAME} is believed, and tells messages otherwise than they are counted"
            yield Finding("octets", text, _REINDEX, drop)
