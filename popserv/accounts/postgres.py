"""Accounts in a PostgreSQL database: ``checkers = ["postgres:"]``, or ``["postgres:CONNINFO"]``.

One query of the administrator's gives what is known of an account. Each login asks it, so that what changes there holds
at once.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any
from zlib import crc32

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from zope.interface import implementer

from popserv.auth.account_rows import Known, known
from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.passwords import UnusableHash, canonical_scheme, plain_secret
from popserv.auth.remote import QUEUE, Misconfigured, Remote, Unavailable
from popserv.auth.scram import INTERFACES
from popserv.auth.scram_keys import HashName
from popserv.auth.scram_source import ScramSource
from popserv.auth.typical import Typical
from popserv.auth.verifier import PasswordVerifier
from popserv.errors import SystemTrouble
from popserv.interfaces import (
    IAccount,
    IAccountDirectory,
    IAccounts,
    IBuildContext,
    ICapable,
    IDummyCheck,
    IScramCredentials,
)

if TYPE_CHECKING:
    from popserv.auth.postgres_query import Query

QUERY = "SELECT name, password, home, location, enabled FROM accounts WHERE name = %(user)s"

_SCRAM = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


@attrs.frozen
class Options:
    """The table ``[auth.postgres]``."""

    conninfo: str = ""
    """How to connect, as libpq has it: "host=db.example.org dbname=mail sslmode=verify-full". What stands behind
    postgres: in checkers goes before it; the five keys below go before both."""
    host: str = ""
    """A host, or the directory of a unix socket."""
    port: int = attrs.field(default=0, validator=[attrs.validators.ge(0), attrs.validators.lt(65536)])
    """0 is that of conninfo, or 5432."""
    dbname: str = ""
    """The database."""
    user: str = ""
    """The role that asks. It needs the right to read what the query reads, and no other."""
    password_file: str = ""
    """A file whose first line is the role's password; read for each new connection."""
    query: str = QUERY
    """Gives the account of a name: %(user)s, or %(local)s and %(domain)s, its parts around the last @; a % of its own
    is written %%. Columns: name and password; optional: home, location (or mail), enabled, nologin, mechanisms,
    allow_nets. Several rows, or an array, of passwords are several forms of one password."""
    default_scheme: str = "crypt"
    """The scheme of passwords without a {SCHEME} prefix."""
    schemes: tuple[str, ...] = ()
    """What most accounts have besides a hash, and so what clients are offered: "SCRAM-SHA-1", "SCRAM-SHA-256",
    "SCRAM-SHA-512"; "PLAIN" is enough for those, for APOP and for CRAM-MD5."""
    connections: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    """Connections at most, and threads; they are kept open."""
    connect_seconds: float = attrs.field(default=3.0, validator=attrs.validators.gt(0))
    """What the server gets to take a connection; 2 at least."""
    answer_seconds: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))
    """What a look-up may take in all; beyond it the login fails with -ERR [SYS/TEMP]."""


@implementer(ICredentialsChecker, IAccountDirectory, IDummyCheck, ICapable)
class PostgresAccounts:
    """Checker and directory over a `Query`.

    Fails with `SystemTrouble` or `SystemBroken` when the server does not answer it, which is logged.
    """

    log = Logger()
    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword, *INTERFACES.values())

    def __init__(
        self, query: Query, remote: Remote, context: IBuildContext, default_scheme: str, schemes: frozenset[str]
    ) -> None:
        """`schemes` are the canonical names of those that most accounts have besides a hash."""
        self._query = query
        self._remote = remote
        self._case = context.case
        self._default_scheme = default_scheme
        self._plain = "PLAIN" in schemes
        self._proved = frozenset(INTERFACES) if self._plain else frozenset(map(_SCRAM.get, schemes))
        self._verifier = PasswordVerifier(context.hashing, default_scheme, context.successes)
        self._scram = ScramSource(context.hashing, context.secret, default_scheme)
        self._passwords = Typical()
        self._proofs = Typical()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return ensureDeferred(self._check(credentials))

    def check_nothing(self, credentials: Any) -> Deferred[None]:
        return ensureDeferred(self._check_nothing(credentials))

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        return ensureDeferred(self._account(avatar_id))

    def verifies(self, credential: Any) -> bool:
        for hash_name, interface in INTERFACES.items():
            if credential.isOrExtends(interface):
                return hash_name in self._proved
        return self._plain or not credential.isOrExtends(IUsernameHashedPassword)

    async def _check(self, credentials: Any) -> bytes:
        found = await self._find(credentials.username)
        if found is None:
            raise UnknownAccount("no account of this name")
        if found.complaint:
            self._complain(found)
        if IScramCredentials.providedBy(credentials):
            fits = await self._prove(found, credentials)
        else:
            # The secret is checked even if the account may not be used, so that it takes the same time.
            fits = await self._fits(found, credentials) and found.entry.admits(getattr(credentials, "address", ""))
        if not fits:
            raise CredentialsRefused("wrong password, or not from here, or barred")
        return found.entry.name.encode("utf-8")

    async def _prove(self, found: Known, credentials: Any) -> bool:
        """Hold the SCRAM exchange."""
        hash_name: HashName = credentials.hash_name
        stored = next((each for each in found.verifiers if self._scram.can(each, hash_name)), "")
        keys = await self._scram.keys(credentials.username, stored, hash_name)
        if keys is None:
            await self._check_nothing(credentials)
            return False
        if not found.entry.admits(credentials.address):
            await credentials.prove_nothing(keys.salt, keys.iterations)
            return False
        return bool(await credentials.prove(keys))

    async def _fits(self, found: Known, credentials: Any) -> bool:
        if IUsernamePassword.providedBy(credentials):
            entry, usable = found.entry, found.entry.admits(getattr(credentials, "address", ""))
            return await self._verifier.check(entry.name, entry.stored or self._verifier.dummy, credentials, usable)
        secret = next(filter(None, map(self._secret, found.verifiers)), None)
        return bool(credentials.checkPassword(secret or b"nothing")) and secret is not None

    def _secret(self, stored: str) -> bytes | None:
        try:
            return plain_secret(stored, self._default_scheme)
        except UnusableHash:
            return None

    async def _check_nothing(self, credentials: Any) -> None:
        if IScramCredentials.providedBy(credentials):
            typical = self._proofs.example(partial(self._scram.can, hash_name=credentials.hash_name)) or ""
            keys = await self._scram.nobodys(credentials.username, typical, credentials.hash_name)
            await credentials.prove_nothing(keys.salt, keys.iterations)
        elif IUsernamePassword.providedBy(credentials):
            await self._verifier.check_dummy(credentials)
        else:
            credentials.checkPassword(b"nothing")

    async def _account(self, avatar_id: bytes) -> IAccount | None:
        found = await self._find(avatar_id)
        if found is not None and found.entry.account is None:
            self._complain(found)
            raise SystemTrouble()
        return found.entry.account if found is not None else None

    async def _find(self, name: bytes) -> Known | None:
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            return None
        found = known(text, await self._remote.ask(self._query.rows, text), self._case)
        if found is not None:
            self._learn(found)
        return found

    def _learn(self, found: Known) -> None:
        for stored in found.verifiers:
            self._proofs.see(stored)
        if found.entry.stored:
            self._passwords.see(found.entry.stored)
            self._verifier.stand_in(self._passwords.example())

    def _complain(self, found: Known) -> None:
        self.log.error(
            "postgres: account cannot be used: account={account} reason={reason}",
            account=found.entry.name,
            reason=found.complaint,
        )


@implementer(IAccounts)
class PostgresPlugin:
    """See `popserv.interfaces.IAccounts`; the argument is a connection string of libpq, or empty."""

    options = Options

    def check(self, argument: str, options: Options, context: IBuildContext) -> list[str]:
        try:
            _query(argument, options, context).rows(monotonic() + options.answer_seconds, "popserv-check")
        except (Unavailable, Misconfigured, ValueError) as error:
            return [str(error)]
        return []

    def build(self, argument: str, options: Options, context: IBuildContext) -> PostgresAccounts:
        """Raises `ValueError` for options that cannot be, and without psycopg. Does not connect."""
        schemes = frozenset(map(canonical_scheme, options.schemes))
        # Databases share no threads: each may be slow on its own.
        pool = context.pool(f"postgres-{crc32(argument.encode('utf-8')):x}", options.connections, QUEUE)
        return PostgresAccounts(
            _query(argument, options, context),
            Remote("postgres", pool, options.answer_seconds),
            context,
            canonical_scheme(options.default_scheme),
            schemes,
        )


def _query(argument: str, options: Options, context: IBuildContext) -> Query:
    """Raises `ValueError`."""
    try:
        from popserv.auth.postgres_query import Query, connect, conninfo
    except ImportError as error:
        raise ValueError(f"it needs psycopg, which the extra popserv[postgres] brings: {error}") from error
    given = {
        "host": options.host,
        "port": str(options.port or ""),
        "dbname": options.dbname,
        "user": options.user,
    }
    password_file = context.path(options.password_file) if options.password_file else None
    where = conninfo(argument or options.conninfo, given, password_file)
    return Query(options.query, partial(connect, where, options.connect_seconds, options.answer_seconds))


plugin = PostgresPlugin()
