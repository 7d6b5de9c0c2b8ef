"""Our realm: from the name that a checker vouches for to an open maildrop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import implementer

from popserv.auth.policy import Gate
from popserv.errors import NoSuchAccount, StoreBroken
from popserv.interfaces import IAccount, IAccountDirectory, IMaildrop, IMaildropStore, IReadOnlyStore
from popserv.maildrop.adapters import MaildropMailbox
from popserv.maildrop.visit import Visit

INBOX = b"INBOX"


def _nothing() -> None:
    pass


def _inbox(_account: IAccount, _name: bytes) -> bytes:
    return INBOX


class Once:
    """Calls a function the first time that it is called."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


@attrs.frozen
class Leave:
    """The logout callable of one session; tells whose it is."""

    account: str
    _maildrop: IMaildrop
    _left: Callable[[], None]

    def __call__(self) -> Deferred[None]:
        self._left()
        return self._maildrop.close()


@implementer(IRealm)
class MaildropRealm:
    """Opens the maildrop of an account, locked; for anonymous users the public one, to read only.

    The logout callable, a `Leave`, closes it. Fails with what the store fails with, so that a maildrop in use and
    refused credentials stay different things.
    """

    def __init__(
        self,
        directory: IAccountDirectory,
        store: IMaildropStore,
        gate: Gate | None = None,
        public: str = "",
        folder: Callable[[IAccount, bytes], bytes] = _inbox,
    ) -> None:
        """`gate` may be against a login though the credentials are good. `public` is the prepared name of the account
        that anonymous users are let in to; "" for none. `folder` gives the folder that an account is let in to when a
        client writes its name so, and may raise `StoreBroken`."""
        self._directory = directory
        self._store = store
        self._gate = gate
        self._public = public
        self._folder = folder

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any) -> Deferred[Any]:
        return ensureDeferred(self._open(avatarId, mind, interfaces))

    async def _open(
        self, avatar_id: bytes | tuple[()], mind: object, interfaces: tuple[Any, ...]
    ) -> tuple[Any, Any, Any]:
        anonymous = not isinstance(avatar_id, bytes)
        if anonymous and not self._public:
            raise StoreBroken("there is no maildrop for anonymous users")
        if IMaildrop not in interfaces and IMailboxPOP3 not in interfaces:
            raise NotImplementedError("this realm has maildrops only")
        name = avatar_id if isinstance(avatar_id, bytes) else self._public.encode("utf-8")
        account = await self._directory.account(name)
        if account is None:
            if anonymous:
                raise StoreBroken("the public maildrop has no account")
            raise NoSuchAccount()
        if anonymous:
            maildrop, left = await self._visit(account, mind), _nothing
        else:
            maildrop, left = await self._enter(account, mind), partial(self._leave, account)
        leave = Leave(account.name, maildrop, Once(left))
        if IMaildrop in interfaces:
            return IMaildrop, maildrop, leave
        return IMailboxPOP3, MaildropMailbox(maildrop), leave

    async def _enter(self, account: IAccount, mind: object) -> IMaildrop:
        visit = Visit(account, getattr(mind, "address", ""), getattr(mind, "session", ""))
        typed = getattr(mind, "name", b"")
        if self._gate is None:
            return await self._store.open(visit, self._folder(account, typed))
        self._gate.enter(account, mind)
        try:
            return await self._store.open(visit, self._folder(account, typed))
        except BaseException:
            self._gate.undo(account)
            raise

    async def _visit(self, account: IAccount, mind: object) -> IMaildrop:
        """Without a lock, and without a place among the account's sessions: strangers must not use them up."""
        if self._gate is not None:
            self._gate.check(account, mind)
        store = IReadOnlyStore(self._store, None)
        if store is None:
            raise StoreBroken("this store has no maildrop for anonymous users")
        return await store.open_read_only(Visit(account))

    def _leave(self, account: IAccount) -> None:
        if self._gate is not None:
            self._gate.leave(account)
