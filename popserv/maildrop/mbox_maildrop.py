"""A session's view of an mbox: the survey, its messages, its lock."""

from __future__ import annotations

from collections.abc import Callable, Set

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from popserv.errors import StoreUnavailable
from popserv.interfaces import IMaildrop, IMessage
from popserv.maildrop.locks import SessionLock
from popserv.maildrop.mbox_ids import Ids
from popserv.maildrop.mbox_locks import MboxLocks
from popserv.maildrop.mbox_reader import MboxMessage, Source
from popserv.maildrop.mbox_remove import remove
from popserv.maildrop.shield import shielded


@implementer(IMaildrop)
class MboxMaildrop:
    """See `popserv.interfaces.IMaildrop`."""

    def __init__(
        self,
        source: Source,
        ids: Ids,
        locks: MboxLocks,
        lock: SessionLock | None,
        hides: Callable[[list[bytes]], int] | None = None,
    ) -> None:
        """Takes `source` and `lock` over; None if sessions do not exclude each other, or if there is no mbox.

        `hides` hides messages in the place of removing them: how many are still shown. It blocks, and never raises.
        """
        self._source = source
        self._ids = ids
        self._locks = locks
        self._lock = lock
        self._closed = False
        self._update = False
        self._waiting: list[Deferred[None]] = []
        survey = source.survey
        self._hides = hides
        self._places = [place for place in range(survey.first, len(survey)) if place not in ids.unknown]
        self.octets = [survey.octets[place] for place in self._places]
        self.count = len(self.octets)
        self.total = sum(self.octets)

    @property
    def skipped(self) -> list[tuple[bytes, str]]:
        """What in the mbox is no message, and why."""
        preamble = self._source.survey.preamble
        return [(self._source.place.mbox, f"no From_ line before octet {preamble}")] if preamble else []

    def uidl(self, index: int) -> bytes:
        return self._ids.of(self._places[index])

    def message(self, index: int) -> IMessage:
        return MboxMessage(self._source, self._places[index])

    def commit(self, deleted: Set[int]) -> Deferred[int]:
        if self._closed:
            return fail(StoreUnavailable("maildrop is closed, nothing was removed"))
        if not deleted:
            return succeed(0)
        self._update = True
        return shielded(self._dispose(sorted(deleted)).addBoth(self._updated))

    def _dispose(self, indices: list[int]) -> Deferred[int]:
        if self._hides is not None:
            return self._source.disk.run(self._hides, [self.uidl(index) for index in indices])
        places = [self._places[index] for index in indices]
        return self._source.disk.run(remove, self._source, self._ids, self._locks, places)

    def _updated(self, result: int) -> int:
        self._update = False
        if self._closed:
            self._release()
        return result

    def close(self) -> Deferred[None]:
        self._closed = True
        if not self._update:
            self._release()
            return succeed(None)
        released: Deferred[None] = Deferred()
        self._waiting.append(released)
        return released

    def _release(self) -> None:
        self._source.close()
        if self._lock is not None:
            self._lock.release()
        waiting, self._waiting = self._waiting, []
        for released in waiting:
            released.callback(None)
