"""Looking through maildrops and mending them, one account after the other."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from popserv.delivery.recipients import Recipients
from popserv.errors import StoreBroken
from popserv.interfaces import IAccount, IImports, ITended
from popserv.maildrop.findings import Report
from popserv.maildrop.foreign import ForeignMail, Summary
from popserv.maildrop.router import StoreRouter
from popserv.service import access
from popserv.service.schema import Config
from popserv.service.upkeep import everybody

Progress = Callable[[int, int], None]


@attrs.frozen
class Tending:
    """The accounts and maildrops of one configuration."""

    accounts: access.Accounts
    store: StoreRouter

    @classmethod
    def of(cls, config: Config, context: access.BuildContext) -> Tending:
        """Raises `ConfigErrors`."""
        return cls(access.accounts(config, context), access.store(config, context))

    async def find(self, user: bytes) -> IAccount:
        """The account that an address is for. Raises `UnknownRecipient`, or `DeliveryError` where it cannot be told."""
        return await Recipients(self.accounts.directory()).find(user)

    async def everybody(self) -> list[IAccount]:
        """All accounts of databases that can list theirs, each once. Raises what databases raise."""
        return await everybody(self.accounts.listings(), self.accounts.directory())

    async def check(self, account: IAccount, *, lock: bool, mend: bool, progress: Progress) -> Report:
        """As `popserv.interfaces.ITended.check`. Raises `PopError`."""
        report: Report = await self._tended(account).check(account, lock=lock, mend=mend, progress=progress)
        return report

    async def reindex(self, account: IAccount) -> tuple[int, int]:
        """As `popserv.interfaces.ITended.reindex`. Raises `PopError`."""
        return await self._tended(account).reindex(account)

    async def take_in(
        self, account: IAccount, source: ForeignMail, folder: bytes, *, dry_run: bool, progress: Progress
    ) -> Summary:
        """As `popserv.interfaces.IImports.take_in`. Raises `PopError` and `DeliveryError`."""
        store = IImports(self.store.store_of(account), None)
        if store is None:
            raise StoreBroken("maildrops of this kind cannot keep what clients know imported mail by")
        summary: Summary = await store.take_in(account, source, folder, dry_run=dry_run, progress=progress)
        return summary

    def _tended(self, account: IAccount) -> ITended:
        store = ITended(self.store.store_of(account), None)
        if store is None:
            raise StoreBroken("maildrops of this kind cannot be looked through")
        return store
