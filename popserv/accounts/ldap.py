"""Accounts in an LDAP directory: ``checkers = ["ldap:ldaps://ldap.example.org"]``.

The service searches for the entry of a name, and then binds as this entry with the password that the client gave. The
directory alone sees whether it is right, so nothing is remembered of it here.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from zope.interface import implementer

from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.entries import Attributes, Entry
from popserv.auth.passwd_lines import NotUnderstood
from popserv.auth.remote import QUEUE, Misconfigured, Remote, Unavailable
from popserv.auth.verifier import passwords_of
from popserv.errors import SystemTrouble
from popserv.interfaces import IAccount, IAccountDirectory, IAccounts, IBuildContext, IDummyCheck

if TYPE_CHECKING:
    from popserv.auth.ldap_server import Directory

NOBODY = "popserv-nobody"


@attrs.frozen
class Options:
    """The table ``[auth.ldap]``."""

    uris: tuple[str, ...] = ()
    """Servers, asked in order until one answers: ldaps://HOST, ldap://HOST, ldapi://%2Frun%2Fslapd%2Fldapi. What stands
    behind ldap: in checkers, with spaces between several, goes before it."""
    starttls: bool = True
    """ldap:// goes on with TLS at once. Without, passwords cross the network as they are."""
    ca_file: str = ""
    """Authorities that vouch for the servers, PEM; those that the host trusts when it is empty."""
    bind_dn: str = ""
    """Who searches; anybody when it is empty."""
    bind_password_file: str = ""
    """A file whose first line is the password of bind_dn; read for each new connection."""
    base: str = ""
    """Where accounts are searched for: "ou=people,dc=example,dc=org"."""
    scope: Literal["sub", "one", "base"] = "sub"
    """How deep below base."""
    filter: str = "(uid={user})"
    """Which entry is that of an account: {user}, or {local} and {domain}, its parts around the last @."""
    dn: str = ""
    """Where entries have names that can be told without searching: "uid={user},ou=people,dc=example,dc=org". The filter
    has to fit nevertheless."""
    name: str = "uid"
    """The attribute that holds the account's name. One of its values has to be the name that was asked for."""
    home: str = ""
    """The attribute that holds the home directory, for {home} in a location: "homeDirectory"."""
    location: str = ""
    """The attribute that holds the account's own maildrop.location."""
    enabled: str = ""
    """The attribute that has to be TRUE for a login."""
    dummy_dn: str = ""
    """An entry whose password nobody knows, hashed like all others. Binding to it is what an unknown name costs;
    without one, a bind to an entry that there is not."""
    connections: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    """Threads, each of which has a connection for searching and one for binding at most; they are kept open."""
    connect_seconds: float = attrs.field(default=3.0, validator=attrs.validators.gt(0))
    """What each server gets to take a connection, before the next one is asked."""
    answer_seconds: float = attrs.field(default=8.0, validator=attrs.validators.gt(0))
    """What a login may take in all; beyond it the login fails with -ERR [SYS/TEMP]."""


@implementer(ICredentialsChecker, IAccountDirectory, IDummyCheck)
class LdapAccounts:
    """Checker and directory over a `Directory`.

    Fails with `SystemTrouble` or `SystemBroken` when no server answers, which is logged.
    """

    log = Logger()
    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, directory: Directory, remote: Remote, attributes: Attributes, dummy_dn: str) -> None:
        """`dummy_dn` is what an unknown name binds to."""
        self._directory = directory
        self._remote = remote
        self._attributes = attributes
        self._dummy_dn = dummy_dn

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return ensureDeferred(self._check(credentials))

    def check_nothing(self, credentials: Any) -> Deferred[None]:
        return ensureDeferred(self._check_nothing(credentials))

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        return ensureDeferred(self._account(avatar_id))

    async def _check(self, credentials: Any) -> bytes:
        try:
            entry = await self._find(credentials.username)
        except NotUnderstood:
            await self._check_nothing(credentials)
            raise CredentialsRefused("its entry is not understood") from None
        if entry is None:
            raise UnknownAccount("no account of this name")
        # Bound even if the account may not be used, so that it takes the same time.
        fits = await self._remote.ask(self._directory.binds, entry.dn, passwords_of(credentials))
        if not (fits and entry.enabled):
            raise CredentialsRefused("wrong password, or barred")
        return entry.account.name.encode("utf-8")

    async def _check_nothing(self, credentials: Any) -> None:
        await self._remote.ask(self._directory.binds, self._dummy_dn, passwords_of(credentials))

    async def _account(self, avatar_id: bytes) -> IAccount | None:
        try:
            entry = await self._find(avatar_id)
        except NotUnderstood:
            raise SystemTrouble() from None
        return None if entry is None else entry.account

    async def _find(self, name: bytes) -> Entry | None:
        """Raises `NotUnderstood`, which is logged."""
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            return None
        try:
            found = await self._remote.ask(self._directory.find, text)
            return self._attributes.entry(text, found)
        except NotUnderstood as error:
            self.log.error(
                "ldap: account cannot be used: account={account} reason={reason}", account=text, reason=str(error)
            )
            raise


@implementer(IAccounts)
class LdapPlugin:
    """See `popserv.interfaces.IAccounts`; the argument is servers with spaces between them, or empty."""

    options = Options

    def check(self, argument: str, options: Options, context: IBuildContext) -> list[str]:
        try:
            _directory(argument, options, context).find(monotonic() + options.answer_seconds, "popserv-check")
        except (Unavailable, Misconfigured, ValueError) as error:
            return [str(error)]
        return []

    def build(self, argument: str, options: Options, context: IBuildContext) -> LdapAccounts:
        """Raises `ValueError` for options that cannot be, and without python-ldap. Does not connect."""
        # Databases share no threads: each may be slow on its own.
        pool = context.pool(f"ldap-{crc32(argument.encode('utf-8')):x}", options.connections, QUEUE)
        return LdapAccounts(
            _directory(argument, options, context),
            Remote("ldap", pool, options.answer_seconds),
            Attributes(options.name, options.home, options.location, options.enabled, context.case),
            options.dummy_dn or f"cn={NOBODY},{options.base}".rstrip(","),
        )


def _directory(argument: str, options: Options, context: IBuildContext) -> Directory:
    """Raises `ValueError`."""
    try:
        from popserv.auth import ldap_server
    except ImportError as error:
        raise ValueError(f"it needs python-ldap, which the extra popserv[ldap] brings: {error}") from error
    access = ldap_server.Access(
        uris=tuple(argument.split()) or options.uris,
        starttls=options.starttls,
        ca_file=context.path(options.ca_file) if options.ca_file else None,
        bind_dn=options.bind_dn,
        password_file=context.path(options.bind_password_file) if options.bind_password_file else None,
        seconds=options.connect_seconds,
    )
    wanted = [name for name in (options.name, options.home, options.location, options.enabled) if name]
    search = ldap_server.Search(options.base, options.scope, options.filter, options.dn, tuple(wanted))
    return ldap_server.Directory(access, search)


plugin = LdapPlugin()
