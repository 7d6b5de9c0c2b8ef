"""Access tokens of an OAuth 2.0 provider: ``checkers = ["oauth2:https://id.example.org"]``; OAUTHBEARER, XOAUTH2.

A token that is a JWT is verified here, with the provider's keys; of any other the provider is asked. Accounts are those
of the other databases. The argument is the issuer: each checker knows one, and tokens of others are left to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from popserv.auth.chain import CredentialsRefused, UnknownAccount
from popserv.auth.json_web import BlockingWeb, Web, check_address, read_authorities
from popserv.auth.oauth_provider import Places, Provider
from popserv.auth.remote import first_line
from popserv.auth.token_claims import Claims, Demands, TokenRefused, Unverified
from popserv.interfaces import IAccounts, IBearerToken, IBuildContext, IDummyCheck, INamesOnly

_SIZES = ("256", "384", "512")
ALGORITHMS = (*(f"{kind}{size}" for kind in ("RS", "PS", "ES") for size in _SIZES), "EdDSA", "Ed25519")
"""Those with public keys; with the others whoever can verify a token can make one."""

LIBRARIES = ("joserfc", "treq")


def _algorithms(_record: Any, _field: Any, value: tuple[str, ...]) -> None:
    if not value or not set(value) <= set(ALGORITHMS):
        raise ValueError(f"must be some of {', '.join(ALGORITHMS)}")


def _within(least: float, most: float) -> list[Any]:
    return [attrs.validators.ge(least), attrs.validators.le(most)]


@attrs.frozen
class Options:
    """The table ``[auth.oauth2]``."""

    issuer: str = ""
    """The provider, as ``iss`` in its tokens has it, to the letter. What stands behind oauth2: in checkers goes before
    it."""
    audience: tuple[str, ...] = ()
    """What tokens for this service have in ``aud``, one of these; the provider's administrator knows. Without any
    nobody is let in: a token for some other program must not open mail."""
    scope: str = ""
    """What a token has to permit, with spaces between several: "mail"."""
    username: str = "email"
    """The claim that is the account's name: email, preferred_username, username, sub. Nobody must be able to set it to
    somebody else's name at the provider."""
    unknown_accounts: bool = False
    """Whether a token also opens a maildrop, at maildrop.location, for a name that no other database knows. Where
    oauth2: stands alone in checkers, it does."""
    token_types: tuple[str, ...] = ("at+jwt",)
    """What ``typ`` of a JWT may be: "at+jwt" (RFC 9068). With "jwt" any JWT will do, and one that does not say:
    Keycloak and Microsoft need it. Then nothing but audience and scope tells an access token from others."""
    algorithms: tuple[str, ...] = attrs.field(default=("RS256", "PS256", "ES256", "EdDSA"), validator=_algorithms)
    """Signatures that count; none is made with a shared secret."""
    introspect: Literal["opaque", "always", "never"] = "opaque"
    """Which tokens the provider is asked of (RFC 7662), if client_id is set: those that are no JWT; all, so that a
    token that was taken back opens nothing; or none."""
    client_id: str = ""
    """Who asks the provider."""
    client_secret_file: str = ""
    """A file whose first line is the secret of client_id; read for each question."""
    metadata: str = ""
    """The address of the provider's metadata. Otherwise that of OpenID Connect, or else of RFC 8414, for the issuer."""
    jwks: str = ""
    """The address of its keys, if its metadata shall not be asked."""
    introspection: str = ""
    """The same for introspection."""
    ca_file: str = ""
    """Authorities that vouch for the provider, PEM; those that the host trusts when it is empty."""
    skew_seconds: float = attrs.field(default=30.0, validator=_within(0, 300))
    """What clocks may differ by."""
    keys_seconds: float = attrs.field(default=3600.0, validator=_within(10, 86400))
    """When metadata and keys are fetched again. A key that is not known is looked for at once, every ten seconds at
    most; while the provider is away, the old ones stay good."""
    remember_seconds: float = attrs.field(default=60.0, validator=_within(0, 60))
    """For so long the provider is not asked again of the same token."""
    answer_seconds: float = attrs.field(default=5.0, validator=_within(0.1, 10))
    """What each question to the provider may take; beyond it the login fails with -ERR [SYS/TEMP]."""


@implementer(ICredentialsChecker, IDummyCheck)
class OAuth2Accounts:
    """Takes tokens of one provider. Fails with `SystemTrouble` or `SystemBroken` when that is needed and away.

    A token that it knows and that is not good is refused in the client's own words (RFC 7628 section 3.2.2); one that
    nobody knew, by `check_nothing`.
    """

    log = Logger()
    credentialInterfaces = (IBearerToken,)

    def __init__(
        self,
        provider: Provider,
        demands: Demands,
        algorithms: frozenset[str],
        introspect: Literal["opaque", "always", "never"],
        now: Callable[[], float],
    ) -> None:
        """`now` gives seconds since the epoch."""
        self._provider = provider
        self._demands = demands
        self._algorithms = algorithms
        self._introspect = introspect
        self._now = now

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return ensureDeferred(self._check(credentials))

    def check_nothing(self, credentials: Any) -> Deferred[None]:
        return ensureDeferred(self._refuse(credentials, TokenRefused("nobody knows it")))

    async def _check(self, credentials: Any) -> bytes:
        try:
            name = await self._name(credentials.token)
        except TokenRefused as refusal:
            await self._refuse(credentials, refusal)
            raise CredentialsRefused("the token is not good") from None
        if name is None:
            raise UnknownAccount("not a token of this provider")
        return name

    async def _name(self, token: bytes) -> bytes | None:
        """None if it is not for us to say. Raises `TokenRefused`."""
        read = Unverified.read(token)
        if read is not None and read.issuer != self._demands.issuer:
            return None
        if read is None or self._introspect == "always":
            return await self._asked(token)
        self._demands.check_header(read.header, self._algorithms)
        claims = await self._provider.verified(token, read.header)
        return self._demands.name(claims, self._now(), introspected=False)

    async def _asked(self, token: bytes) -> bytes | None:
        claims: Claims | None = None
        if token and self._introspect != "never":
            claims = await self._provider.introspected(token)
        return None if claims is None else self._demands.name(claims, self._now(), introspected=True)

    async def _refuse(self, credentials: Any, refusal: TokenRefused) -> None:
        self.log.info(
            "oauth2: token refused: issuer={issuer} peer={peer} why={why}",
            issuer=self._demands.issuer,
            peer=getattr(credentials, "address", ""),
            why=str(refusal),
        )
        where = self._provider.places.openid_configuration()
        await credentials.refuse(refusal.status, " ".join(sorted(self._demands.scope)), where)


@implementer(IAccounts)
class OAuth2Plugin:
    """See `popserv.interfaces.IAccounts`; the argument is an issuer, or empty."""

    options = Options

    def check(self, argument: str, options: Options, context: IBuildContext) -> list[str]:
        options = _for_issuer(argument, options)
        wrong = list(_wrong(options))
        if wrong:
            return wrong
        trouble: list[Failure] = []
        try:
            provider = _provider(options, context, partial(BlockingWeb, options.answer_seconds))
            # Nothing here waits for a reactor, so it is done when this returns.
            ensureDeferred(provider.look()).addErrback(trouble.append)
        except (OSError, ValueError) as error:
            return [f"ca_file: {error}"]
        return [str(failure.value) for failure in trouble]

    def build(self, argument: str, options: Options, context: IBuildContext) -> OAuth2Accounts:
        """Raises `ValueError` for options that cannot be, `OSError`, and `ValueError` without joserfc and treq.

        Asks nobody yet.
        """
        options = _for_issuer(argument, options)
        for wrong in _wrong(options):
            raise ValueError(wrong)

        def web(authorities: bytes | None) -> Web:
            from popserv.auth.json_treq import ReactorWeb

            return ReactorWeb(context.reactor, options.answer_seconds, authorities)

        checker = OAuth2Accounts(
            _provider(options, context, web),
            _demands(options, context),
            frozenset(options.algorithms),
            options.introspect,
            context.reactor.seconds,
        )
        if not options.unknown_accounts:
            alsoProvides(checker, INamesOnly)
        return checker


def _for_issuer(argument: str, options: Options) -> Options:
    """With the issuer in the argument. What belongs to another one in the table is left out, its secret above all."""
    if options.issuer and argument not in ("", options.issuer):
        options = attrs.evolve(options, metadata="", jwks="", introspection="", client_id="", client_secret_file="")
    return attrs.evolve(options, issuer=argument or options.issuer)


def _wrong(options: Options) -> Iterator[str]:
    """What cannot be, one way or another."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        yield f"it needs {' and '.join(missing)}, which the extra popserv[oauth] brings"
    if not options.issuer:
        yield "needs an issuer: oauth2:https://id.example.org"
    for key in ("issuer", "metadata", "jwks", "introspection"):
        try:
            if address := getattr(options, key):
                check_address(address)
        except ValueError as error:
            yield f"{key}: {error}"
    if "?" in options.issuer:
        yield "issuer: must not have a query (RFC 8414 section 2)"
    if not options.audience:
        yield "audience: must be set: without it a token for any program would open mail"
    if bool(options.client_id) != bool(options.client_secret_file):
        yield "client_id: goes with client_secret_file"
    if options.introspect == "always" and not options.client_id:
        yield 'client_id: is needed for introspect = "always"'


def _provider(options: Options, context: IBuildContext, web: Callable[[bytes | None], Web]) -> Provider:
    """Raises `OSError` and `ValueError` for what cannot be read in `ca_file`."""
    authorities = read_authorities(context.path(options.ca_file)) if options.ca_file else None
    secret = context.path(options.client_secret_file)

    async def client() -> tuple[str, str]:
        return options.client_id, await context.disk.run(first_line, secret)

    return Provider(
        Places(options.issuer, options.metadata, options.jwks, options.introspection),
        partial(web, authorities),
        context.reactor,
        options.keys_seconds,
        client if options.client_id and options.introspect != "never" else None,
        options.remember_seconds,
    )


def _demands(options: Options, context: IBuildContext) -> Demands:
    return Demands(
        issuer=options.issuer,
        audience=frozenset(options.audience),
        scope=frozenset(options.scope.split()),
        username=options.username,
        skew=options.skew_seconds,
        types=frozenset(map(str.lower, options.token_types)),
        case=context.case,
    )


plugin = OAuth2Plugin()
