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

from popserv.errors import MaildropInUse, StoreBroken
from popserv.interfaces import IAccount, IMaildrop, IMaildropStore, IReadOnlyMaildrop, IReadOnlyStore
from popserv.maildrop.holder import Holder
from popserv.maildrop.retention import Retentions
from popserv.maildrop.visit import Visit

Tells = Literal["nothing", "since", "from"]
"""What of the session that has a maildrop another one is told: nothing, since when, or also the client's address."""

Ask = Callable[[Holder, str], Coroutine[Any, Any, bool]]
"""Asks for the maildrop of the account of this name: whether its lock is free now, or may be soon."""

PAUSE_SECONDS = 0.05
ATTEMPTS = 60
"""A session that is in UPDATE gets three seconds to end."""


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
        retentions: Retentions = Retentions(),  # noqa: B008 - it is immutable
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
        left = ATTEMPTS
        while True:
            try:
                return await self._store.open(visit, folder)
            except MaildropInUse as in_use:
                left -= 1
                if not left or not await self._may_wait(in_use.holder, visit.name):
                    raise MaildropInUse(self._text(in_use), in_use.holder) from None
            await deferLater(self._clock, PAUSE_SECONDS)

    async def _may_wait(self, holder: Holder | None, name: str) -> bool:
        if self._ask is None:
            return False
        # Without a holder the lock has just been taken, and the file does not say by whom yet.
        return holder is None or await self._ask(holder, name)

    def _text(self, in_use: MaildropInUse) -> str:
        holder = in_use.holder
        if not isinstance(holder, Holder) or self._tells == "nothing":
            return in_use.text
        whence = f" from {holder.address}" if self._tells == "from" and holder.address else ""
        return f"{in_use.text} since {holder.time}{whence}"
