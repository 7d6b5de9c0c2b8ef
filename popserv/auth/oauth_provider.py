"""An OAuth 2.0 provider: its metadata, its keys, and its word on tokens that only it can read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.interfaces import IReactorTime

from popserv.auth.json_web import NotThere, Question, Rejected, Web, check_address
from popserv.auth.kept import Kept
from popserv.auth.remote import Misconfigured, Standing, Unavailable, answered
from popserv.auth.token_claims import Claims, TokenRefused
from popserv.steady import steady

if TYPE_CHECKING:
    from popserv.auth.token_keys import PublicKey

MOST_ANSWERS = 4096
"""Answers on single tokens that are remembered."""
LONGEST_TOKEN = 64 * 1024
"""Octets, as many as mechanisms take."""
USUAL_TOKEN = 16 * 1024
"""A question on one that is no longer is as every provider takes it. For longer ones, some have no room."""
REFUSED_SECONDS = 5.0
"""For so long at most the provider is not asked again for a token that it refused."""


@attrs.frozen
class Places:
    """Where a provider is asked. What is "" stands in its metadata (RFC 8414)."""

    issuer: str
    metadata: str = ""
    """"" for the two addresses that are made of the issuer."""
    keys: str = ""
    introspection: str = ""

    def metadata_addresses(self) -> Sequence[str]:
        """Those to be tried, in order."""
        if self.metadata:
            return (self.metadata,)
        return (self.openid_configuration(), self._authorization_server())

    def openid_configuration(self) -> str:
        """As OpenID Connect Discovery has it: behind the issuer."""
        return self.metadata or self.issuer.rstrip("/") + "/.well-known/openid-configuration"

    def _authorization_server(self) -> str:
        """As RFC 8414 section 3.1 has it: between host and path."""
        parts = urlsplit(self.issuer)
        path = "/.well-known/oauth-authorization-server" + parts.path.rstrip("/")
        return parts._replace(path=path).geturl()


class Provider:
    """Asks a provider. What it answers is kept, and goes on being good while it is away."""

    def __init__(
        self,
        places: Places,
        web: Callable[[], Web],
        clock: IReactorTime,
        seconds: float,
        client: Callable[[], Awaitable[tuple[str, str]]] | None = None,
        remember: float = 60.0,
    ) -> None:
        """`web` is made when it is first needed. Metadata and keys are asked for again after `seconds`, a token after
        `remember`. `client` gives the id and the secret for introspection; None if tokens are not introspected."""
        self.places = places
        self._make_web = web
        self._web: Web | None = None
        self._clock = clock
        self._client = client
        self._metadata = Kept(self._fetch_metadata, clock, seconds, self._standing("metadata"))
        self._keys = Kept(self._fetch_keys, clock, seconds, self._standing("keys"))
        self._introspecting = self._standing("introspection")
        self._answers = Answers(clock, remember)

    def _standing(self, what: str) -> Standing:
        return Standing(f"oauth2: {what} of {self.places.issuer}")

    async def verified(self, token: bytes, header: Claims) -> Claims:
        """The claims of a JWT, if the provider has signed it.

        Raises `TokenRefused`, and `SystemTrouble` or `SystemBroken` where there are no keys.
        """
        from popserv.auth.token_keys import find, verify

        key = find(await answered(self._keys.get()), header)
        if key is None:
            # It may be a new one.
            key = find(await answered(self._keys.newer()), header)
        if key is None:
            raise TokenRefused("key")
        return verify(token, key)

    async def introspected(self, token: bytes) -> Claims | None:
        """What the provider says of a token (RFC 7662), None for nothing good.

        Raises `SystemTrouble` and `SystemBroken`. Also None where there is nobody to ask, and for what is too long.
        """
        if len(token) > LONGEST_TOKEN:
            return None
        remembered = self._answers.find(token)
        if remembered is None:
            remembered = await answered(self._introspecting.watch(self._introspect(token)))
            self._answers.keep(token, remembered)
        return remembered or None

    async def look(self) -> None:
        """Ask for what is needed before a token comes. Raises `Unavailable` and `Misconfigured`."""
        await self._keys.newer()
        if self._client is not None:
            await self._client()
            if not await self._introspection_address():
                raise Misconfigured(f"{self.places.issuer}: its metadata has no introspection_endpoint")

    async def _introspect(self, token: bytes) -> Claims:
        """Empty for a token that is not good, or not known."""
        address = await self._introspection_address() if self._client is not None else ""
        if self._client is None or not address:
            return {}
        form = {"token": token.decode("ascii"), "token_type_hint": "access_token"}
        try:
            answer = await self._ask(Question(address, form, await self._client()))
        except Rejected:
            if len(token) <= USUAL_TOKEN:
                raise
            # Its own tokens are shorter; and whoever sends longer ones must not make it look as if it were down.
            return {}
        if not isinstance(answer, dict) or not isinstance(answer.get("active"), bool):
            raise Unavailable(f"{address}: this is no answer on a token")
        return answer if answer["active"] else {}

    async def _introspection_address(self) -> str:
        if self.places.introspection:
            return self.places.introspection
        return _address(await self._metadata.get(), "introspection_endpoint")

    async def _fetch_keys(self) -> Sequence[PublicKey]:
        from popserv.auth.token_keys import key_set

        address = self.places.keys or _address(await self._metadata.get(), "jwks_uri")
        if not address:
            raise Misconfigured(f"{self.places.issuer}: its metadata has no jwks_uri")
        try:
            return key_set(await self._ask(Question(address)))
        except Misconfigured as error:
            raise Misconfigured(f"{address}: {error}") from None

    async def _fetch_metadata(self) -> Claims:
        *others, last = self.places.metadata_addresses()
        for address in others:
            try:
                return self._checked(address, await self._ask(Question(address)))
            except NotThere:
                pass
        return self._checked(last, await self._ask(Question(last)))

    def _checked(self, address: str, metadata: Any) -> Claims:
        if not isinstance(metadata, dict):
            raise Misconfigured(f"{address}: this is no metadata of a provider")
        if metadata.get("issuer") != self.places.issuer:
            # RFC 8414 section 3.3
            raise Misconfigured(f"{address}: the issuer in it is not {self.places.issuer}")
        return metadata

    async def _ask(self, question: Question) -> Any:
        if self._web is None:
            self._web = self._make_web()
        return await self._web.ask(question)


def _address(metadata: Claims, key: str) -> str:
    """An address in the metadata, "" if it is not there. Raises `Misconfigured`."""
    address = metadata.get(key, "")
    try:
        if not isinstance(address, str):
            raise ValueError(key)
        if address:
            check_address(address)
    except ValueError:
        raise Misconfigured(f"{key} in the metadata is no address that may be asked") from None
    return address


class Answers:
    """What the provider has said of tokens lately. The tokens themselves are not kept."""

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._now = steady(clock)
        self._seconds = seconds
        self._kept: OrderedDict[bytes, tuple[float, Claims]] = OrderedDict()

    def find(self, token: bytes) -> Claims | None:
        """The answer on a token, empty if that was no; None if it has to be asked for."""
        key = sha256(token).digest()
        until, claims = self._kept.get(key, (0.0, {}))
        if self._now() >= until:
            self._kept.pop(key, None)
            return None
        return claims

    def keep(self, token: bytes, claims: Claims) -> None:
        seconds = self._seconds if claims else min(self._seconds, REFUSED_SECONDS)
        self._kept[sha256(token).digest()] = (self._now() + seconds, claims)
        while len(self._kept) > MOST_ANSWERS:
            self._kept.popitem(last=False)
