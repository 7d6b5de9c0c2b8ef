"""A store as sessions see it, each account by its view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from popserv.by_account import ByAccount
from popserv.errors import DEFECTS, DeliveryError, StoreBroken
from popserv.interfaces import (
    IAccount,
    IDelivery,
    IHasFolders,
    IIncoming,
    IMaildrop,
    IMaildropStore,
    IReadOnlyMaildrop,
    IReadOnlyStore,
)
from popserv.maildrop.read_only import ReadOnlyMaildrop
from popserv.maildrop.view_merged import MergedMaildrop
from popserv.maildrop.view_selection import narrowed
from popserv.maildrop.views import View
from popserv.pools import Pool

INBOX = b"INBOX"

Open = Callable[[IAccount, bytes], Deferred[Any]]


@implementer(IMaildropStore, IReadOnlyStore, IDelivery)
class ViewStore:
    """Opens the maildrops of `store` through `views`. Mail goes in as if there were none.

    In each folder that is opened the messages are chosen as `View` has them, in its order; then INBOX and the folder
    for junk are put together. Their locks are taken in this order, too, and both or none.
    """

    def __init__(
        self, store: IMaildropStore, views: ByAccount[View], folders: IHasFolders, disk: Pool, clock: Any
    ) -> None:
        """`folders` knows the folders of `store`; `disk` does what may take long; `clock` gives the wall clock's
        time."""
        self._store = store
        self._views = views
        self._folders = folders
        self._disk = disk
        self._clock = clock

    def open(self, account: IAccount, folder: bytes = INBOX) -> Deferred[IMaildrop]:
        return self._opened(self._store.open, account, folder)

    def open_read_only(self, account: IAccount, folder: bytes = INBOX) -> Deferred[IReadOnlyMaildrop]:
        store = IReadOnlyStore(self._store, None)
        if store is None:
            return fail(StoreBroken("this maildrop cannot be opened to read only"))
        return self._opened(store.open_read_only, account, folder).addCallback(_read_only)

    def begin(self, account: IAccount, folder: bytes = INBOX) -> Deferred[IIncoming]:
        delivery = IDelivery(self._store, None)
        if delivery is None:
            return fail(DeliveryError("this maildrop takes no mail in"))
        return delivery.begin(account, folder)

    def folder(self, account: IAccount, detail: str) -> bytes:
        """What to open for a login name with this ``+detail`` ("" = none): INBOX, unless that is a folder's name.

        Raises `StoreBroken` where any folder may be named, and none can have that name.
        """
        name = self._views.of(account).folder(detail)
        return INBOX if name is None or name.upper() == INBOX.decode("ascii") else self._named(account, name)

    def _named(self, account: IAccount, name: str) -> bytes:
        folder = self._folders.folder(account, name)
        if folder is None:
            raise StoreBroken("there is no such folder")
        return folder

    def _opened(self, open_: Open, account: IAccount, folder: bytes) -> Deferred[Any]:
        view = self._views.of(account)
        if not view.junk or folder != INBOX:
            return Deferred.fromCoroutine(self._narrowed(open_, account, folder, view))
        return Deferred.fromCoroutine(self._merged(open_, account, view))

    async def _merged(self, open_: Open, account: IAccount, view: View) -> IMaildrop:
        folder = self._named(account, view.junk)
        inbox = await self._narrowed(open_, account, INBOX, view)
        try:
            junk = await self._narrowed(open_, account, folder, view)
        except DEFECTS:
            await inbox.close()
            raise
        return MergedMaildrop(inbox, junk, folder, view.mark)

    async def _narrowed(self, open_: Open, account: IAccount, folder: bytes, view: View) -> IMaildrop:
        maildrop: IMaildrop = await open_(account, folder)
        try:
            return await narrowed(maildrop, view, self._disk, self._clock.seconds())
        except DEFECTS:
            await maildrop.close()
            raise


def _read_only(maildrop: Any) -> IReadOnlyMaildrop:
    if getattr(maildrop, "read_only", False):
        found: IReadOnlyMaildrop = maildrop
        return found
    return ReadOnlyMaildrop(maildrop)
