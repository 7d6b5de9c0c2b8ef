"""From an address to the account whose maildrop the message goes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from popserv.errors import DeliveryError, PopError, UnknownRecipient
from popserv.interfaces import IAccount, IAccountDirectory


@attrs.frozen
class Recipients:
    """Knows which addresses are accounts."""

    directory: IAccountDirectory
    forms: Callable[[bytes], Sequence[bytes]]
    """The accounts that an address may stand for, see `popserv.auth.naming.Naming`; raises `ValueError`."""

    async def find(self, address: bytes) -> IAccount:
        """The account. Raises `UnknownRecipient`, or `DeliveryError` when the directory cannot be asked."""
        try:
            names = self.forms(address)
        except ValueError:
            raise UnknownRecipient() from None
        for name in names:
            try:
                account = await self.directory.account(name)
            except PopError as error:
                raise DeliveryError() from error
            if account is not None:
                return account
        raise UnknownRecipient()
