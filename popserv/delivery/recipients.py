"""From an address to the account whose maildrop the message goes to."""

from __future__ import annotations

import attrs

from popserv.errors import DeliveryError, PopError, UnknownRecipient
from popserv.interfaces import IAccount, IAccountDirectory


@attrs.frozen
class Recipients:
    """Knows which addresses are accounts."""

    directory: IAccountDirectory
    """Finds the account that an address stands for. Raises `ValueError` for what can be no name."""

    async def find(self, address: bytes) -> IAccount:
        """The account. Raises `UnknownRecipient`, or `DeliveryError` when the directory cannot be asked."""
        try:
            account = await self.directory.account(address)
        except ValueError:
            raise UnknownRecipient() from None
        except PopError as error:
            raise DeliveryError() from error
        if account is None:
            raise UnknownRecipient()
        return account
