"""The embedded account database, one SQLite file: ``checkers = ["sqlite:accounts.db"]``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from popserv.auth.account import Account
from popserv.auth.account_database import (
    VERIFIER_SCHEMES,
    AccountRecord,
    AccountsError,
    Database,
    DatabaseBusy,
    read_account,
    read_verifiers,
)
from popserv.auth.app_passwords import AppPassword, AppPasswords
from popserv.auth.app_passwords import read as read_app_passwords
from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.passwords import is_outdated
from popserv.auth.scram_keys import ITERATIONS, ScramKeys, salt_for
from popserv.auth.success_cache import SuccessCache
from popserv.auth.verifier import PasswordVerifier
from popserv.errors import SystemBroken, SystemTrouble
from popserv.interfaces import (
    IAccount,
    IAccountDirectory,
    IAccountListing,
    IAccounts,
    IBuildContext,
    IDummyCheck,
    IScramCredentials,
    IScramSha256,
)
from popserv.pools import Pool

T = TypeVar("T")

PROTOCOL = "pop3"
"""What application passwords have to be good for here."""


@attrs.frozen
class Known:
    """What the file says of one account, read at once."""

    account: AccountRecord
    verifiers: Mapping[str, str]
    app_passwords: Sequence[AppPassword]

    @property
    def stored(self) -> str:
        """What a password is checked against: the argon2id hash, or whatever there is; "" for nothing."""
        return self.verifiers.get(VERIFIER_SCHEMES[0]) or next(iter(self.verifiers.values()), "")


def look_up(database: Database, name: str) -> Known | None:
    """The account of this prepared name, or None. Blocks; raises as `Database` does."""
    with database.transaction("read") as connection:
        account = read_account(connection, name)
        if account is None:
            return None
        return Known(account, read_verifiers(connection, name), read_app_passwords(connection, name))


@implementer(ICredentialsChecker, IAccountDirectory, IAccountListing, IDummyCheck)
class SqliteAccounts:
    """Checker and directory over a `Database`, whose calls run in `disk` and the hashes in `hashing`.

    Fails with `SystemTrouble` or `SystemBroken` when the database cannot be used, which is logged. `clock` gives the
    wall clock's time.
    """

    log = Logger()
    credentialInterfaces = (IUsernamePassword, IScramSha256)

    def __init__(
        self,
        database: Database,
        disk: Pool,
        hashing: Pool,
        clock: IReactorTime,
        successes: SuccessCache | None = None,
        secret: bytes = b"",
    ) -> None:
        """`secret` makes the salts of accounts that there are not."""
        self._secret = secret
        self._database = database
        self._disk = disk
        self._hashing = hashing
        self._clock = clock
        self._verifier = PasswordVerifier(hashing, successes=successes)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return ensureDeferred(self._check(credentials))

    def check_nothing(self, credentials: Any) -> Deferred[None]:
        if IScramCredentials.providedBy(credentials):
            salt = salt_for(self._secret, credentials.username)
            return ensureDeferred(credentials.prove_nothing(salt, ITERATIONS))
        return self._verifier.check_dummy(credentials)

    def names(self) -> Deferred[Sequence[bytes]]:
        return ensureDeferred(self._names())

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        return ensureDeferred(self._account(avatar_id))

    async def _check(self, credentials: Any) -> bytes:
        try:
            name: str = credentials.username.decode("utf-8")
        except UnicodeDecodeError:
            raise UnknownAccount("no account has such a name") from None
        known = await self._ask(look_up, self._database, name)
        if known is None:
            raise UnknownAccount("no account of this name")
        if IScramCredentials.providedBy(credentials):
            await self._prove(known, credentials)
            return name.encode("utf-8")
        if known.account.enabled and await self._fits_app_password(known, credentials):
            return name.encode("utf-8")
        # Checked even if it may not be used, so that it takes the same time.
        usable = known.account.enabled and known.account.main_password
        fits = await self._verifier.check(name, known.stored or self._verifier.dummy, credentials, usable)
        if not (fits and usable):
            raise CredentialsRefused("wrong password, or disabled")
        self._upgrade(known, credentials)
        return name.encode("utf-8")

    async def _prove(self, known: Known, credentials: Any) -> None:
        """Hold the exchange. Raises `CredentialsRefused`."""
        stored = known.verifiers.get("SCRAM-SHA-256")
        if stored is None:
            await self.check_nothing(credentials)
            raise CredentialsRefused("no keys are kept of its password")
        keys = ScramKeys.from_text(stored.removeprefix("{SCRAM-SHA-256}"))
        if not (known.account.enabled and known.account.main_password):
            await credentials.prove_nothing(keys.salt, keys.iterations)
            raise CredentialsRefused("disabled")
        if not await credentials.prove(keys):
            raise CredentialsRefused("wrong proof")

    async def _fits_app_password(self, known: Known, credentials: Any) -> bool:
        now, address = self._clock.seconds(), getattr(credentials, "address", "")
        for each in known.app_passwords:
            if each.opens(credentials.password, address, PROTOCOL, now):
                if each.is_due(address, now):
                    use = AppPasswords(self._database).touch
                    self._aside(self._disk.run(use, known.account.name, each.label, address, now))
                return True
        return False

    def _upgrade(self, known: Known, credentials: Any) -> None:
        """Hash the password anew if it was hashed with weaker parameters than new ones are."""
        if is_outdated(known.stored):
            replace = self._database.replace_verifiers
            self._aside(self._hashing.run(replace, known.account.name, known.stored, credentials.password))

    def _aside(self, work: Deferred[None]) -> None:
        """A login does not wait for this, and does not fail with it."""
        work.addErrback(lambda failure: self.log.warn("account not updated: {reason}", reason=str(failure.value)))

    async def _names(self) -> Sequence[bytes]:
        return [account.name.encode("utf-8") for account in await self._ask(self._database.list)]

    async def _account(self, avatar_id: bytes) -> IAccount | None:
        try:
            name = avatar_id.decode("utf-8")
        except UnicodeDecodeError:
            return None
        found = await self._ask(self._database.find, name)
        return (
            None if found is None else Account(found.name, found.location, found.home, found.mechanisms, found.enabled)
        )

    async def _ask(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await self._disk.run(function, *arguments)
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
        database = Database(context.path(argument))
        return SqliteAccounts(
            database, context.disk, context.hashing, context.reactor, context.successes, context.secret
        )


plugin = SqlitePlugin()
