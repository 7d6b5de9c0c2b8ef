"""Who a Kerberos principal is: ``checkers = ["kerberos:KEYTAB"]``, for GSSAPI.

The accounts stand in another database, if there is any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, ensureDeferred
from zope.interface import implementer

from popserv.auth.chain import CredentialsRefused
from popserv.auth.names import InvalidName, prepare
from popserv.interfaces import IAccounts, IBuildContext, ICapable, IKerberosExchange, INamesOnly

if TYPE_CHECKING:
    from popserv.auth.kerberos import Acceptor

QUEUE = 64


@attrs.frozen
class Options:
    """The table ``[auth.kerberos]``."""

    realms: tuple[str, ...] = ()
    """Realms whose principals have accounts: EXAMPLE.ORG. At least one. Their case counts."""
    keep_realm: bool = False
    """The account of fred@EXAMPLE.ORG is fred@example.org, and not fred."""
    service: str = "pop"
    """The first part of the service's principal, pop/mail.example.org."""
    hosts: tuple[str, ...] = ()
    """The names that clients know this host by; server.hostname when it is empty."""
    threads: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    """Exchanges whose tokens are looked at together."""


@attrs.frozen
class PrincipalRule:
    """Accounts by principal. One with an instance (fred/admin) has none, and no realm but these has any."""

    realms: frozenset[str]
    keep_realm: bool
    case: Literal["fold", "keep"]

    def account(self, principal: str) -> str:
        """The prepared name. Raises `InvalidName`."""
        name, _, realm = principal.rpartition("@")
        # A backslash stands before a "/" or "@" that belongs to the name.
        if realm not in self.realms or not name or set(name) & set("/\\@"):
            raise InvalidName("this principal has no account")
        return prepare((f"{name}@{realm.lower()}" if self.keep_realm else name).encode("utf-8"), self.case)


@implementer(ICredentialsChecker, ICapable, INamesOnly)
class KerberosAccounts:
    """Names the account of a principal. Never asks the next database: an exchange can be held once."""

    credentialInterfaces = (IKerberosExchange,)

    def __init__(self, acceptor: Acceptor, rule: PrincipalRule) -> None:
        """While `acceptor` has no credential, GSSAPI is not announced."""
        self._acceptor = acceptor
        self._rule = rule

    def verifies(self, credential: Any) -> bool:  # noqa: ARG002
        return self._acceptor.able()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return ensureDeferred(self._check(credentials))

    async def _check(self, credentials: Any) -> bytes:
        principal = await credentials.establish(self._acceptor)
        try:
            return self._rule.account(principal).encode("utf-8")
        except InvalidName:
            raise CredentialsRefused("this principal has no account") from None


@implementer(IAccounts)
class KerberosPlugin:
    """See `popserv.interfaces.IAccounts`; the argument is the path of a keytab."""

    options = Options

    def check(self, argument: str, options: Options, context: IBuildContext) -> list[str]:
        try:
            wrong = _acceptor(argument, options, context).look()
        except ValueError as error:
            return [str(error)]
        return [wrong] if wrong else []

    def build(self, argument: str, options: Options, context: IBuildContext) -> KerberosAccounts:
        """Raises `ValueError` for options that cannot be, and without gssapi. Looks for the keytab."""
        acceptor = _acceptor(argument, options, context)
        acceptor.note(acceptor.look())
        return KerberosAccounts(acceptor, PrincipalRule(frozenset(options.realms), options.keep_realm, context.case))


def _acceptor(argument: str, options: Options, context: IBuildContext) -> Acceptor:
    """Raises `ValueError`."""
    if not argument:
        raise ValueError("needs a keytab: kerberos:KEYTAB")
    if not options.realms:
        raise ValueError("[auth.kerberos] realms must name a realm")
    try:
        from popserv.auth.kerberos import Acceptor
    except ImportError as error:
        raise ValueError(f"it needs gssapi, which the extra popserv[gssapi] brings: {error}") from error
    hosts = frozenset(host.lower() for host in options.hosts or (context.hostname,))
    pool = context.pool("kerberos", options.threads, QUEUE)
    return Acceptor(str(context.path(argument)), options.service, hosts, pool, context.reactor)


plugin = KerberosPlugin()
