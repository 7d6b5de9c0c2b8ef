"""From an address to the account whose maildrop the message goes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from popserv.errors import DeliveryError, PopError, UnknownRecipient
from popserv.interfaces import IAccount, IAccountDirectory


def _without_details(local: bytes) -> list[bytes]:
    """`local`, then without its last ``+detail``, then without the one before, and so on."""
    forms = [local]
    while b"+" in local:
        local = local.rpartition(b"+")[0]
        forms.append(local)
    return forms


@attrs.frozen
class Recipients:
    """Knows which addresses are accounts: by the whole address, without ``+detail``, by local part in our domains."""

    directory: IAccountDirectory
    prepare: Callable[[bytes], str]
    """`popserv.auth.names.prepare` with the configured case; raises `ValueError`."""
    domains: Sequence[str] = ()
    """Those whose local parts are accounts."""

    async def find(self, address: bytes) -> IAccount:
        """The account. Raises `UnknownRecipient`, or `DeliveryError` when the directory cannot be asked."""
        for candidate in self._candidates(address):
            try:
                name = self.prepare(candidate)
            except ValueError:
                continue
            try:
                account = await self.directory.account(name.encode("utf-8"))
            except PopError as error:
                raise DeliveryError() from error
            if account is not None:
                return account
        raise UnknownRecipient()

    def _candidates(self, address: bytes) -> list[bytes]:
        local, at, domain = address.rpartition(b"@")
        if not at:
            local, domain = address, b""
        domain = domain.removesuffix(b".")
        locals_ = _without_details(local)
        names = [each + at + domain for each in locals_]
        if at and domain.decode("utf-8", "replace").lower() in {name.lower() for name in self.domains}:
            names += locals_
        return [name for name in dict.fromkeys(names) if name]
