"""Letting sessions into maildrops that may be taken: what is said of the session that is in there, or who asks it out.

Both happen behind a good login only (RFC 2449 section 8.1.2).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from zope.interface import implementer

from popserv.by_account import ByAccount
from popserv.errors import MaildropInUse, StoreBroken
from popserv.interfaces import IAccount, IMaildrop, IMaildropStore, IReadOnlyMaildrop, IReadOnlyStore
from popserv.maildrop.holder import Holder
from popserv.maildrop.retention import KEPT, Retention
from popserv.maildrop.visit import Visit

Tells = Literal["nothing", "since", "from"]
"""What of the session that has a maildrop another one is told: nothing, since when, or also the client's address."""

Ask = Callable[[Holder, str], Coroutine[Any, Any, bool]]
"""Asks for the maildrop of the account of this name: whether its lock is free now, or may be soon."""

PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 3.0
"""What a session that is in UPDATE gets to end, and whoever answers slowly to answer."""


@implementer(IMaildropStore, IReadOnlyStore)
class Admission:
    """Opens the maildrops of `store`."""

    def __init__(
        self,
        store: IMaildropStore,
        clock: Any,
        *,
        tells: Tells = "since",
        ask: Ask | None = None,
        socket: str = "",
        retentions: ByAccount[Retention] = KEPT,
    ) -> None:
        """`ask` asks the session that has a maildrop to leave it; None = nobody is asked. `socket` is where this
        process can be asked, too. `retentions` say what becomes of mail that sessions remove."""
        self._store = store
        self._clock = clock
        self._tells = tells
        self._ask = ask
        self._socket = socket
        self._retentions = retentions

    def open(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IMaildrop]:
        """As the store does; waits for a session that leaves."""
        visit = account if isinstance(account, Visit) else Visit(account)
        known = attrs.evolve(visit, socket=self._socket, retention=self._retentions.of(visit))
        return Deferred.fromCoroutine(self._open(known, folder))

    def open_read_only(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IReadOnlyMaildrop]:
        store = IReadOnlyStore(self._store, None)
        if store is None:
            return fail(StoreBroken("this maildrop cannot be opened to read only"))
        return store.open_read_only(account, folder)

    async def _open(self, visit: Visit, folder: bytes) -> IMaildrop:
        deadline = self._clock.seconds() + PATIENCE_SECONDS
        deaf: Holder | None = None  # has been asked, and did not answer
        while True:
            try:
                return await self._store.open(visit, folder)
            except MaildropInUse as in_use:
                holder = in_use.holder
                if self._ask is None or self._clock.seconds() >= deadline or (deaf is not None and deaf == holder):
                    raise MaildropInUse(self._text(in_use), holder) from None
            # A lock that has just been taken may not say by whom yet: nobody, or whoever had it before.
            if holder is not None and not await self._ask(holder, visit.name):
                deaf = holder
            await deferLater(self._clock, PAUSE_SECONDS)

    def _text(self, in_use: MaildropInUse) -> str:
        holder = in_use.holder
        if not isinstance(holder, Holder) or self._tells == "nothing":
            return in_use.text
        whence = f" from {holder.address}" if self._tells == "from" and holder.address else ""
        return f"{in_use.text} since {holder.time}{whence}"
