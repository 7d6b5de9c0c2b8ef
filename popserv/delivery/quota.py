"""What an account may keep: deliveries beyond it are refused, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from zope.interface import implementer

from popserv.by_account import ByAccount
from popserv.errors import DeliveryError, MailboxFull, MailboxFullForNow, PopError
from popserv.interfaces import IAccount, IDelivery, IIncoming, IReadOnlyStore
from popserv.wire.octets import Scanner


@attrs.frozen
class Quota:
    """What an account may keep; 0 is any number."""

    octets: int = 0
    """As LIST and STAT count them (RFC 1939 section 11)."""
    messages: int = 0

    def __bool__(self) -> bool:
        return bool(self.octets or self.messages)

    def admits(self, messages: int, octets: int) -> bool:
        """Whether an account may have so much."""
        return not ((self.messages and messages > self.messages) or (self.octets and octets > self.octets))


@implementer(IDelivery)
class BoundedDelivery:
    """Delivers as long as there is room. What is there is looked up for each message, in the store itself.

    Two messages that come at the same time may both take the same last room.
    """

    def __init__(
        self, delivery: IDelivery, store: IReadOnlyStore, quotas: ByAccount[Quota], *, defer: bool = False
    ) -> None:
        """With `defer` a sender is told to try again later, which is when there may be room."""
        self._delivery = delivery
        self._store = store
        self._quotas = quotas
        self._full = MailboxFullForNow if defer else MailboxFull

    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        quota = self._quotas.of(account)
        if not quota:
            return self._delivery.begin(account, folder)
        return ensureDeferred(self._begin(account, folder, quota))

    async def _begin(self, account: IAccount, folder: bytes, quota: Quota) -> IIncoming:
        messages, octets = await self._usage(account, folder)
        if not quota.admits(messages + 1, octets):
            raise self._full()
        left = quota.octets - octets if quota.octets else None
        return BoundedIncoming(await self._delivery.begin(account, folder), left, self._full)

    async def _usage(self, account: IAccount, folder: bytes) -> tuple[int, int]:
        try:
            maildrop = await self._store.open_read_only(account, folder)
        except PopError as error:
            raise DeliveryError() from error
        usage = maildrop.count, maildrop.total
        await maildrop.close()
        return usage


@implementer(IIncoming)
class BoundedIncoming:
    """One message that may have so many octets; see `popserv.interfaces.IIncoming`."""

    def __init__(self, incoming: IIncoming, left: int | None, full: Callable[[], DeliveryError]) -> None:
        """`left` is None for any number."""
        self._incoming = incoming
        self._left = left
        self._full = full
        self._scanner = Scanner()

    def write(self, octets: bytes) -> Deferred[None]:
        return ensureDeferred(self._write(octets))

    async def _write(self, octets: bytes) -> None:
        self._scanner.feed(octets)
        self._check(self._scanner.octets)
        await self._incoming.write(octets)

    def commit(self) -> Deferred[None]:
        return ensureDeferred(self._commit())

    async def _commit(self) -> None:
        self._check(self._scanner.finish())
        await self._incoming.commit()

    def abort(self) -> Deferred[None]:
        return self._incoming.abort()

    def _check(self, octets: int) -> None:
        if self._left is not None and octets > self._left:
            raise self._full()
