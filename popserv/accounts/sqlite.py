"""The embedded account database, one SQLite file: ``checkers = ["sqlite:accounts.db"]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from zope.interface import implementer

from popserv.auth.account import Account
from popserv.auth.account_database import AccountsError, Database, DatabaseBusy
from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.success_cache import SuccessCache
from popserv.auth.verifier import PasswordVerifier
from popserv.errors import SystemBroken, SystemTrouble
from popserv.interfaces import IAccount, IAccountDirectory, IAccounts, IBuildContext, IDummyCheck
from popserv.pools import Pool

T = TypeVar("T")


@implementer(ICredentialsChecker, IAccountDirectory, IDummyCheck)
class SqliteAccounts:
    """Checker and directory over a `Database`, whose calls run in `disk` and the hashes in `hashing`.

    Fails with `SystemTrouble` or `SystemBroken` when the database cannot be used, which is logged.
    """

    log = Logger()
    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, database: Database, disk: Pool, hashing: Pool, successes: SuccessCache | None = None) -> None:
        self._database = database
        self._disk = disk
        self._verifier = PasswordVerifier(hashing, successes=successes)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return ensureDeferred(self._check(credentials))

    def check_nothing(self, credentials: Any) -> Deferred[None]:
        return self._verifier.check_dummy(credentials)

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        return ensureDeferred(self._account(avatar_id))

    async def _check(self, credentials: Any) -> bytes:
        try:
            name: str = credentials.username.decode("utf-8")
        except UnicodeDecodeError:
            raise UnknownAccount("no account has such a name") from None
        found = await self._ask(self._database.password_verifier, name)
        if found is None:
            raise UnknownAccount("no account of this name")
        enabled, stored = found
        # A disabled account is checked all the same, so that it takes the same time.
        fits = await self._verifier.check(name, stored or self._verifier.dummy, credentials)
        if not (fits and enabled):
            raise CredentialsRefused("wrong password, or disabled")
        return name.encode("utf-8")

    async def _account(self, avatar_id: bytes) -> IAccount | None:
        try:
            name = avatar_id.decode("utf-8")
        except UnicodeDecodeError:
            return None
        found = await self._ask(self._database.find, name)
        return None if found is None else Account(found.name, found.location, found.home)

    async def _ask(self, method: Callable[[str], T], name: str) -> T:
        try:
            return await self._disk.run(method, name)
        except AccountsError as error:
            self.log.error("account database failed: {reason}", reason=str(error))
            raise (SystemTrouble if isinstance(error, DatabaseBusy) else SystemBroken)() from None


@attrs.frozen
class Options:
    """``[auth.sqlite]`` has no keys."""


@implementer(IAccounts)
class SqlitePlugin:
    """See `popserv.interfaces.IAccounts`; the argument is the path of the file."""

    options = Options

    def check(self, argument: str, options: Options, context: IBuildContext) -> list[str]:  # noqa: ARG002
        try:
            Database(context.path(argument)).find("")
        except AccountsError as error:
            return [str(error)]
        return []

    def build(self, argument: str, options: Options, context: IBuildContext) -> SqliteAccounts:  # noqa: ARG002
        return SqliteAccounts(Database(context.path(argument)), context.disk, context.hashing, context.successes)


plugin = SqlitePlugin()
