"""A session's view of a Maildir: the snapshot, its messages, its lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from time import time
from typing import Literal, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.errors import StoreUnavailable
from popserv.interfaces import (
    IDatedMaildrop,
    IExpires,
    IMaildrop,
    IMessage,
    INamedMessages,
    INotesRetrievals,
    IReadyListings,
)
from popserv.maildrop.listing_reader import ListingReader
from popserv.maildrop.locks import SessionLock
from popserv.maildrop.maildir_disposal import Removal, removal
from popserv.maildrop.maildir_folder import unique_part
from popserv.maildrop.maildir_reader import MaildirReader, Source
from popserv.maildrop.maildir_seen import mark_seen
from popserv.maildrop.retention import Retention
from popserv.maildrop.shield import shielded

T = TypeVar("T")


@implementer(IMaildrop, IDatedMaildrop, INotesRetrievals, IReadyListings, IExpires, INamedMessages)
class MaildirMaildrop:
    """See `popserv.interfaces.IMaildrop`."""

    __slots__ = (
        "_closed",
        "_lock",
        "_note_seen",
        "_remove",
        "_seen",
        "_source",
        "_update",
        "_waiting",
        "count",
        "expire",
        "octets",
        "total",
    )

    def __init__(
        self,
        source: Source,
        lock: SessionLock | None,
        *,
        note_seen: bool = False,
        retention: Retention = Retention(),  # noqa: B008 - it is immutable
        now: Callable[[], float] = time,
    ) -> None:
        """Takes `lock` over; None if sessions do not exclude each other, or if there is no Maildir. With `note_seen`
        the messages that were retrieved are marked as seen when the session ends. `retention` says what becomes of
        those that are removed, at a time that `now` gives in seconds since 1970."""
        self._source = source
        self._lock = lock
        self._closed = False
        self._update = False
        self._note_seen = note_seen
        self._remove: Removal = removal(retention, now)
        self.expire = retention.expire
        self._seen: set[int] = set()
        self._waiting: list[Deferred[None]] = []
        self.octets = source.snapshot.octets
        self.count = source.snapshot.layout.count
        self.total = source.snapshot.layout.total

    @property
    def skipped(self) -> Sequence[tuple[bytes, str]]:
        """Paths in the Maildir that are no messages, and why."""
        return self._source.snapshot.skipped

    @property
    def drift(self) -> int:
        """Messages that clients knew by another unique-id, and will fetch again."""
        return self._source.snapshot.drift

    def uidl(self, index: int) -> bytes:
        return self._source.snapshot.unique_id(index)

    def message(self, index: int) -> IMessage:
        return MaildirMessage(self._source, index)

    def listing(self, keyword: Literal["LIST", "UIDL"]) -> ListingReader:
        return ListingReader(*self._source.snapshot.listing(keyword), self._source.disk)

    def file_name(self, index: int) -> bytes:
        return unique_part(self._source.snapshot.files.paths[index])

    def delivered(self) -> Deferred[Sequence[int]]:
        return shielded(self._source.disk.run(self._source.snapshot.delivered).addErrback(_unavailable))

    def commit(self, deleted: Set[int]) -> Deferred[int]:
        if self._closed:
            return fail(StoreUnavailable("maildrop is closed, nothing was removed"))
        if not deleted:
            return succeed(0)
        self._update = True
        source = self._source
        work = source.disk.run(self._remove, source.path, source.snapshot, sorted(deleted))
        return shielded(work.addBoth(self._updated))

    def retrieved(self, index: int) -> None:
        if self._note_seen:
            self._seen.add(index)

    def _updated(self, result: T) -> T:
        self._update = False
        if self._closed:
            self._finish()
        return result

    def close(self) -> Deferred[None]:
        self._closed = True
        if not self._update:
            self._finish()
        if not self._update:
            return succeed(None)
        released: Deferred[None] = Deferred()
        self._waiting.append(released)
        return released

    def _finish(self) -> None:
        """The last thing to do in the Maildir; then the lock is released."""
        seen, self._seen = sorted(self._seen), set()
        if not seen:
            self._release()
            return
        self._update = True
        source = self._source
        source.disk.run(mark_seen, source.path, source.snapshot, seen).addBoth(self._updated)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
        waiting, self._waiting = self._waiting, []
        for released in waiting:
            released.callback(None)


def _unavailable(failure: Failure) -> Failure:
    if isinstance(failure.value, OSError):
        raise StoreUnavailable() from failure.value
    return failure


@implementer(IMessage)
class MaildirMessage:
    """See `popserv.interfaces.IMessage`."""

    __slots__ = ("_index", "_source", "crlf", "needs_stuffing", "octets")

    def __init__(self, source: Source, index: int) -> None:
        self._source = source
        self._index = index
        self.octets = source.snapshot.octets[index]
        self.crlf = source.snapshot.crlf(index)
        self.needs_stuffing = source.snapshot.needs_stuffing(index)

    def open(self) -> MaildirReader:
        return MaildirReader(self._source, self._index)
