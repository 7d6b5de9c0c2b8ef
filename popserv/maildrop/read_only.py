"""A maildrop that can be read and not changed, made of any other one."""

from __future__ import annotations

from collections.abc import Sequence, Set

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import alsoProvides, implementer

from popserv.errors import ReadOnly
from popserv.interfaces import IDatedMaildrop, IMaildrop, IMessage, INamedMessages, IReadOnlyMaildrop


@implementer(IReadOnlyMaildrop, INamedMessages)
class ReadOnlyMaildrop:
    """See `popserv.interfaces.IReadOnlyMaildrop`. Closes what it is made of, and is dated if that is."""

    read_only = True

    def __init__(self, maildrop: IMaildrop) -> None:
        self._maildrop = maildrop
        self.count = maildrop.count
        self.octets = maildrop.octets
        self.total = maildrop.total
        self.skipped: Sequence[tuple[bytes, str]] = getattr(maildrop, "skipped", ())
        """Paths that are no messages, and why; for the log."""
        dated = IDatedMaildrop(maildrop, None)
        if dated is not None:
            self.delivered = dated.delivered
            alsoProvides(self, IDatedMaildrop)

    def uidl(self, index: int) -> bytes:
        return self._maildrop.uidl(index)

    def message(self, index: int) -> IMessage:
        return self._maildrop.message(index)

    def file_name(self, index: int) -> bytes:
        """See `popserv.interfaces.INamedMessages`; b"" where messages have no names."""
        named = INamedMessages(self._maildrop, None)
        return b"" if named is None else named.file_name(index)

    def commit(self, deleted: Set[int]) -> Deferred[int]:
        return fail(ReadOnly()) if deleted else succeed(0)

    def close(self) -> Deferred[None]:
        return self._maildrop.close()
