"""Some messages of a maildrop, in its order, as a maildrop of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from twisted.internet.defer import Deferred
from zope.interface import implementer

from popserv.interfaces import IExpires, IMaildrop, IMessage, INotesRetrievals


@implementer(IMaildrop, INotesRetrievals, IExpires)
class Selection:
    """See `popserv.interfaces.IMaildrop`. Takes the maildrop over; what is not selected is never removed."""

    def __init__(self, maildrop: IMaildrop, indices: Sequence[int]) -> None:
        """`indices`, ascending, are of `maildrop`."""
        self._maildrop = maildrop
        self._indices = indices
        self._notes = INotesRetrievals(maildrop, None)
        octets = maildrop.octets
        self.octets: Sequence[int] = [octets[index] for index in indices]
        self.count = len(self.octets)
        self.total = sum(self.octets)
        self.skipped: Sequence[tuple[bytes, str]] = getattr(maildrop, "skipped", ())
        self.drift: int = getattr(maildrop, "drift", 0)
        self.expire: str = getattr(maildrop, "expire", "NEVER")

    def uidl(self, index: int) -> bytes:
        return self._maildrop.uidl(self._indices[index])

    def message(self, index: int) -> IMessage:
        return self._maildrop.message(self._indices[index])

    def retrieved(self, index: int) -> None:
        if self._notes is not None:
            self._notes.retrieved(self._indices[index])

    def commit(self, deleted: Set[int]) -> Deferred[int]:
        return self._maildrop.commit({self._indices[index] for index in deleted})

    def close(self) -> Deferred[None]:
        return self._maildrop.close()


def without(maildrop: IMaildrop, hidden: Callable[[bytes], bool]) -> IMaildrop:
    """The messages whose unique-ids are not `hidden`; `maildrop` itself if these are all."""
    indices = [index for index in range(maildrop.count) if not hidden(maildrop.uidl(index))]
    return maildrop if len(indices) == maildrop.count else Selection(maildrop, indices)
