"""Several stores as one: the scheme of an account's location decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from zope.interface import implementer

from popserv.errors import DeliveryError, StoreBroken
from popserv.interfaces import (
    IAccount,
    IAdoptingStore,
    IDelivery,
    IHasFolders,
    IIncoming,
    IMaildrop,
    IMaildropStore,
    IReadOnlyMaildrop,
    IReadOnlyStore,
    IRetainingStore,
)
from popserv.maildrop.location import split


@implementer(IMaildropStore, IReadOnlyStore, IHasFolders, IRetainingStore, IAdoptingStore, IDelivery)
class StoreRouter:
    """Hands every call to one of `stores`, which are keyed by scheme; accounts without a location get `default`."""

    log = Logger()
    ways = frozenset({"trash", "hide", "expire"})

    def __init__(self, stores: Mapping[str, IMaildropStore], default: str) -> None:
        """`default` is one of the schemes; anything else raises `KeyError`."""
        self._stores = stores
        self._default = stores[default]

    def open(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IMaildrop]:
        store = self._store(account)
        if store is None:
            return fail(StoreBroken())
        return store.open(account, folder)

    def open_read_only(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IReadOnlyMaildrop]:
        store = IReadOnlyStore(self._store(account), None)
        if store is None:
            return fail(StoreBroken("this maildrop cannot be opened to read only"))
        return store.open_read_only(account, folder)

    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        delivery = IDelivery(self._store(account), None)
        if delivery is None:
            return fail(DeliveryError("this maildrop takes no mail in"))
        return delivery.begin(account, folder)

    def folder(self, account: IAccount, name: str) -> bytes | None:
        store = IHasFolders(self._store(account), None)
        return None if store is None else store.folder(account, name)

    def lacking(self, interface: Any) -> list[str]:
        """The schemes of stores that do not provide it."""
        return [scheme for scheme, store in self._stores.items() if not interface.providedBy(store)]

    def store_of(self, account: IAccount) -> IMaildropStore:
        """The store that has the maildrop of this account. Raises `StoreBroken`."""
        store = self._store(account)
        if store is None:
            raise StoreBroken()
        return store

    def tidy(self, account: IAccount, dry: bool = False) -> Deferred[Any]:
        store = IRetainingStore(self._store(account), None)
        return (
            fail(StoreBroken("maildrops of this kind keep nothing for a time"))
            if store is None
            else store.tidy(account, dry)
        )

    def undelete(self, account: IAccount, since: float, dry: bool = False) -> Deferred[Any]:
        store = IRetainingStore(self._store(account), None)
        if store is None:
            return fail(StoreBroken("what is removed from this maildrop is gone for good"))
        return store.undelete(account, since, dry)

    def adopt(self, account: IAccount, told: Sequence[Any], dry: bool = False) -> Deferred[Any]:
        store = IAdoptingStore(self._store(account), None)
        if store is None:
            return fail(StoreBroken("messages of this store cannot be given other unique-ids"))
        return store.adopt(account, told, dry)

    def cannot_retain(self, ways: Set[str]) -> list[str]:
        """The schemes of stores that cannot do all of these; see `IRetainingStore.ways`."""
        return [scheme for scheme, store in self._stores.items() if not ways <= getattr(store, "ways", frozenset())]

    def cannot_be_counted(self) -> list[str]:
        """The schemes of stores that tell nobody what they hold without a session."""
        return self.lacking(IReadOnlyStore)

    def _store(self, account: IAccount) -> IMaildropStore | None:
        if not account.location:
            return self._default
        try:
            scheme, _ = split(account.location)
        except ValueError:
            scheme = ""
        store = self._stores.get(scheme)
        if store is None:
            self.log.error(
                "account {account!r}: no store for the location {location!r}",
                account=account.name,
                location=account.location,
            )
        return store
