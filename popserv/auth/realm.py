"""Our realm: from the name that a checker vouches for to an open maildrop."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.mail.interfaces import IMailboxPOP3
from zope.interface import implementer

from popserv.errors import StoreBroken
from popserv.interfaces import IAccountDirectory, IMaildrop, IMaildropStore
from popserv.maildrop.adapters import MaildropMailbox


@attrs.frozen
class Leave:
    """The logout callable of one session; tells whose it is."""

    account: str
    _maildrop: IMaildrop

    def __call__(self) -> Deferred[None]:
        return self._maildrop.close()


@implementer(IRealm)
class MaildropRealm:
    """Opens the maildrop of an account, locked. The logout callable, a `Leave`, closes it.

    Fails with what the store fails with, so that a maildrop in use and refused credentials stay different things.
    """

    def __init__(self, directory: IAccountDirectory, store: IMaildropStore) -> None:
        self._directory = directory
        self._store = store

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any) -> Deferred[Any]:  # noqa: ARG002
        return ensureDeferred(self._open(avatarId, interfaces))

    async def _open(self, avatar_id: bytes | tuple[()], interfaces: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        if not isinstance(avatar_id, bytes):
            raise StoreBroken("there is no maildrop for anonymous users")
        if IMaildrop not in interfaces and IMailboxPOP3 not in interfaces:
            raise NotImplementedError("this realm has maildrops only")
        account = await self._directory.account(avatar_id)
        if account is None:
            raise StoreBroken("this account has no maildrop")
        maildrop = await self._store.open(account)
        leave = Leave(account.name, maildrop)
        if IMaildrop in interfaces:
            return IMaildrop, maildrop, leave
        return IMailboxPOP3, MaildropMailbox(maildrop), leave
