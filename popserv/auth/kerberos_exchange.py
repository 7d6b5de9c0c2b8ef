"""The exchange of SASL GSSAPI (RFC 4752) as credentials. No security layer is offered."""

from __future__ import annotations

from typing import Any, Literal, Self

import attrs
from zope.interface import implementer

from popserv.auth.names import InvalidName, prepare_authorization
from popserv.auth.trail import Trail
from popserv.errors import LoginRefused, MalformedResponse
from popserv.interfaces import IConversation, IKerberosExchange

NO_LAYER = b"\x01\0\0\0"
"""The bit of "no security layer", and a largest message of 0 octets (RFC 4752 section 3.3)."""


def identity_of(choice: bytes) -> bytes:
    """The authorization identity of the client's last message, b"" for none. Raises `MalformedResponse`."""
    if choice[:4] != NO_LAYER:
        raise MalformedResponse("GSSAPI takes no security layer, and no message size with that")
    identity = choice[4:]
    if b"\0" in identity:
        raise MalformedResponse("an authorization identity has no NUL octet")
    try:
        identity.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedResponse("an authorization identity must be UTF-8") from None
    return identity


@implementer(IKerberosExchange)
@attrs.define(eq=False)
class KerberosExchange:
    """See `popserv.interfaces.IKerberosExchange`. Neither name is known before `establish`."""

    first: bytes = attrs.field(repr=False)
    """The client's first token."""
    conversation: IConversation = attrs.field(repr=False)
    username: bytes = b""
    authorization: bytes = b""
    """Set by `establish`, prepared."""
    address: str = ""
    trail: Trail | None = None
    case: Literal["fold", "keep"] = "fold"

    def prepared(self, case: Literal["fold", "keep"]) -> Self:
        """The same, to prepare names so."""
        return attrs.evolve(self, case=case)

    async def establish(self, acceptor: Any) -> str:
        context = acceptor.begin()
        answer = await context.step(self.first)
        while not context.principal:
            if not answer:
                raise LoginRefused()
            answer = await context.step(await self.conversation.challenge(answer))
        # RFC 4752 section 3.1: the client answers the last token with nothing.
        if answer and await self.conversation.challenge(answer):
            raise MalformedResponse("GSSAPI needs an empty response here")
        choice = await self.conversation.challenge(await context.wrap(NO_LAYER))
        try:
            self.authorization = prepare_authorization(identity_of(await context.unwrap(choice)), self.case)
        except InvalidName:
            raise LoginRefused() from None
        principal: str = context.principal
        return principal
