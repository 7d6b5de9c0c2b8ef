"""Some messages of a maildrop, in its order, as a maildrop of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from functools import partial

from twisted.internet.defer import Deferred
from zope.interface import alsoProvides, implementer

from popserv.interfaces import IDatedMaildrop, IExpires, IMaildrop, IMessage, INotesRetrievals


@implementer(IMaildrop, INotesRetrievals, IExpires)
class Selection:
    """See `popserv.interfaces.IMaildrop`. Takes the maildrop over; what is not selected is never removed.

    Is dated if the maildrop is. Has no ready listings: every number in them would be another one.
    """

    def __init__(self, maildrop: IMaildrop, indices: Sequence[int]) -> None:
        """`indices`, ascending, are of `maildrop`; a range is of step 1."""
        self._maildrop = maildrop
        self._indices = indices
        self._notes = INotesRetrievals(maildrop, None)
        self.octets = _at(indices, maildrop.octets)
        self.count = len(self.octets)
        self.total = sum(self.octets)
        self.skipped: Sequence[tuple[bytes, str]] = getattr(maildrop, "skipped", ())
        self.drift: int = getattr(maildrop, "drift", 0)
        self.expire: str = getattr(maildrop, "expire", "NEVER")
        if IDatedMaildrop.providedBy(maildrop):
            alsoProvides(self, IDatedMaildrop)

    def uidl(self, index: int) -> bytes:
        return self._maildrop.uidl(self._indices[index])

    def message(self, index: int) -> IMessage:
        return self._maildrop.message(self._indices[index])

    def retrieved(self, index: int) -> None:
        if self._notes is not None:
            self._notes.retrieved(self._indices[index])

    def delivered(self) -> Deferred[Sequence[int]]:
        """See `popserv.interfaces.IDatedMaildrop`; to be called only if this is provided."""
        return IDatedMaildrop(self._maildrop).delivered().addCallback(partial(_at, self._indices))

    def commit(self, deleted: Set[int]) -> Deferred[int]:
        return self._maildrop.commit({self._indices[index] for index in deleted})

    def close(self) -> Deferred[None]:
        return self._maildrop.close()


def _at(indices: Sequence[int], values: Sequence[int]) -> Sequence[int]:
    if isinstance(indices, range):
        return values[indices.start : indices.stop]
    return [values[index] for index in indices]


def without(maildrop: IMaildrop, hidden: Callable[[bytes], bool]) -> IMaildrop:
    """The messages whose unique-ids are not `hidden`; `maildrop` itself if these are all."""
    indices = [index for index in range(maildrop.count) if not hidden(maildrop.uidl(index))]
    return maildrop if len(indices) == maildrop.count else Selection(maildrop, indices)
