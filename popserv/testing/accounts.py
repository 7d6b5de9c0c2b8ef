"""The shortest correct account database, to be used in tests and to be copied from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from popserv.auth.account import Account
from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.interfaces import IAccount, IAccountDirectory


@implementer(ICredentialsChecker, IAccountDirectory)
class MemoryAccounts:
    """Accounts from a mapping of prepared names to passwords, for both of Twisted's password interfaces.

    Comparing costs nothing to speak of, so there is nothing that an unknown name would have to make up for
    (`popserv.interfaces.IDummyCheck`).
    """

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    def __init__(self, passwords: Mapping[str, bytes]) -> None:
        self._passwords = {name.encode("utf-8"): password for name, password in passwords.items()}

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        password = self._passwords.get(credentials.username)
        if password is None:
            return fail(UnknownAccount("no account of this name"))
        if not credentials.checkPassword(password):
            return fail(CredentialsRefused("wrong password"))
        return succeed(credentials.username)

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        known = avatar_id in self._passwords
        return succeed(Account(avatar_id.decode("utf-8")) if known else None)
