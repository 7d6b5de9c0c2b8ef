"""INBOX and the folder for junk as one maildrop, INBOX first."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Callable, Iterator, Sequence, Set
from hashlib import sha256
from typing import Any, Literal, overload

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import alsoProvides, implementer

from popserv.errors import DEFECTS
from popserv.interfaces import IExpires, IMaildrop, IMessage, IMessageReader, INotesRetrievals, IReadyListings
from popserv.maildrop.uidl import MARK as MADE_HERE
from popserv.maildrop.view_marks import Mark, MarkedMessage

log = Logger()

BLOCK = 500
"""Lines of a listing that are made at a time."""


def unique_id_in(folder: bytes, unique_id: bytes) -> bytes:
    """The unique-id of a message of `folder` beside those of INBOX: 54 octets that no message of INBOX has.

    It depends on nothing else, so it stays as long as the message has its own.
    """
    digest = sha256(folder + b"\0" + unique_id).digest()
    return MADE_HERE + b"j" + b32encode(digest).rstrip(b"=")


class JoinedSizes(Sequence[int]):
    """Two sequences, one behind the other, the second with `more` added to each. Copies neither."""

    def __init__(self, first: Sequence[int], second: Sequence[int], more: int) -> None:
        self._first = first
        self._second = second
        self._more = more

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...

    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        index = range(len(self))[index]  # counts from the end where it is negative, and raises IndexError
        start = len(self._first)
        return self._first[index] if index < start else self._second[index - start] + self._more


@implementer(IMaildrop, INotesRetrievals, IExpires)
class MergedMaildrop:
    """See above. A message of `junk` is marked, and has a unique-id of its own; see `unique_id_in`.

    Has ready listings if `inbox` has.
    """

    def __init__(self, inbox: IMaildrop, junk: IMaildrop, folder: bytes, mark: Mark | None) -> None:
        """Takes both over. `folder` is what the store calls the folder of `junk`."""
        self._inbox = inbox
        self._junk = junk
        self._folder = folder
        self._mark = mark
        more = 0 if mark is None else mark.octets
        self.count = inbox.count + junk.count
        self.octets = JoinedSizes(inbox.octets, junk.octets, more)
        self.total = inbox.total + junk.total + more * junk.count
        skipped = [getattr(each, "skipped", ()) for each in (inbox, junk)]
        self.skipped: Sequence[tuple[bytes, str]] = [*skipped[0], *skipped[1]]
        """Paths that are no messages, and why; for the log."""
        self.expire: str = getattr(inbox, "expire", "NEVER")
        if IReadyListings.providedBy(inbox):
            alsoProvides(self, IReadyListings)

    def uidl(self, index: int) -> bytes:
        if index < self._inbox.count:
            return self._inbox.uidl(index)
        return unique_id_in(self._folder, self._junk.uidl(index - self._inbox.count))

    def message(self, index: int) -> IMessage:
        if index < self._inbox.count:
            return self._inbox.message(index)
        message = self._junk.message(index - self._inbox.count)
        return message if self._mark is None else MarkedMessage(message, self._mark)

    def listing(self, keyword: Literal["LIST", "UIDL"]) -> IMessageReader:
        """See `popserv.interfaces.IReadyListings`; to be called only if this is provided."""
        what: Callable[[int], Any] = self.octets.__getitem__ if keyword == "LIST" else self.uidl
        line = b"%d %d\r\n" if keyword == "LIST" else b"%d %b\r\n"
        blocks = (
            b"".join([line % (index + 1, what(index)) for index in range(start, min(start + BLOCK, self.count))])
            for start in range(self._inbox.count, self.count, BLOCK)
        )
        return JoinedListing(IReadyListings(self._inbox).listing(keyword), blocks)

    def commit(self, deleted: Set[int]) -> Deferred[int]:
        # Both at once: a maildrop that is closed meanwhile lets what has begun come to its end.
        start = self._inbox.count
        of_junk = Deferred.fromCoroutine(_removed(self._junk, {each - start for each in deleted if each >= start}))
        of_inbox = Deferred.fromCoroutine(_removed(self._inbox, {each for each in deleted if each < start}))
        return Deferred.fromCoroutine(_sum(of_inbox, of_junk))

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(_closed(self._inbox.close(), self._junk.close()))

    def retrieved(self, index: int) -> None:
        in_inbox = index < self._inbox.count
        noting = INotesRetrievals(self._inbox if in_inbox else self._junk, None)
        if noting is not None:
            noting.retrieved(index if in_inbox else index - self._inbox.count)


async def _removed(maildrop: IMaildrop, deleted: Set[int]) -> int:
    """How many are still there, or may be; a maildrop that fails does not take back what the other has done."""
    try:
        return await maildrop.commit(deleted)
    except DEFECTS:
        log.failure("one of two folders could not remove its deleted messages")
        return len(deleted)


async def _sum(first: Deferred[int], second: Deferred[int]) -> int:
    return await first + await second


async def _closed(*closing: Deferred[None]) -> None:
    for each in closing:
        await each


@implementer(IMessageReader)
class JoinedListing:
    """The lines of `first`, then `blocks` of further lines. See `popserv.interfaces.IMessageReader`."""

    def __init__(self, first: IMessageReader, blocks: Iterator[bytes]) -> None:
        self._first: IMessageReader | None = first
        self._blocks = blocks
        self._rest = b""

    def read_nowait(self, octets: int) -> bytes | None:
        if self._first is not None:
            found = self._first.read_nowait(octets)
            if found or found is None:
                return found
            self.close()
        return self._next(octets)

    def read(self, octets: int) -> Deferred[bytes]:
        if self._first is None:
            return succeed(self._next(octets))
        return Deferred.fromCoroutine(self._read(self._first, octets))

    async def _read(self, first: IMessageReader, octets: int) -> bytes:
        if found := await first.read(octets):
            return found
        self.close()
        return self._next(octets)

    def close(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            first.close()

    def _next(self, octets: int) -> bytes:
        self._rest = self._rest or next(self._blocks, b"")
        given, self._rest = self._rest[:octets], self._rest[octets:]
        return given
