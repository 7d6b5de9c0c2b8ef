"""One message on its way into the maildrops of several accounts at once."""

from __future__ import annotations

from collections.abc import Iterable

from popserv.errors import DeliveryError, MessageTooLarge
from popserv.interfaces import IAccount, IDelivery, IIncoming


class Intake:
    """Writes the same octets for each account; what fails for one does not touch the others.

    An account that is named twice gets the message once.
    """

    def __init__(self, delivery: IDelivery, message_octets: int) -> None:
        self._delivery = delivery
        self._limit = message_octets
        self.octets = 0
        """What has come, without the header fields in front, whether it was kept or not."""
        self._incoming: dict[str, IIncoming] = {}
        self._failed: dict[str, DeliveryError] = {}
        self._committed: set[str] = set()

    async def begin(self, accounts: Iterable[IAccount], head: bytes) -> None:
        """Begin for each account with the header fields `head`, which do not count against the limit."""
        for account in accounts:
            if account.name in self._incoming or account.name in self._failed:
                continue
            try:
                incoming = await self._delivery.begin(account)
                self._incoming[account.name] = incoming
                await incoming.write(head)
            except DeliveryError as error:
                await self._fail(account.name, error)

    async def write(self, octets: bytes) -> None:
        """Append; beyond the limit everything is given up and what follows is dropped."""
        self.octets += len(octets)
        for name, incoming in list(self._incoming.items()):
            try:
                if self.octets > self._limit:
                    raise MessageTooLarge()
                await incoming.write(octets)
            except DeliveryError as error:
                await self._fail(name, error)

    async def commit(self, account: IAccount) -> DeliveryError | None:
        """Store the message for this account: None when it is there for good, else why not."""
        name = account.name
        if name in self._incoming and name not in self._committed:
            try:
                await self._incoming[name].commit()
                self._committed.add(name)
            except DeliveryError as error:
                await self._fail(name, error)
        return self._failed.get(name)

    async def abort(self) -> None:
        """Leave nothing behind of what is not committed."""
        for name, incoming in self._incoming.items():
            if name not in self._committed:
                await incoming.abort()

    async def _fail(self, name: str, error: DeliveryError) -> None:
        self._failed[name] = error
        incoming = self._incoming.pop(name, None)
        if incoming is not None:
            await incoming.abort()
