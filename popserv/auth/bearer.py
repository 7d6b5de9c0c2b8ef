"""OAuth 2.0 access tokens (RFC 6750) as credentials, and the last words of an exchange that failed."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Literal, Self

import attrs
from zope.interface import implementer

from popserv.auth.names import prepare, prepare_authorization
from popserv.auth.trail import Trail
from popserv.errors import Cancelled, MalformedResponse
from popserv.interfaces import IBearerToken, IConversation

AUTHORIZATION = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")
"""The value of ``auth`` (RFC 6750 section 2.1); the scheme in any case (RFC 7628 section 4)."""


def token_of(value: bytes) -> bytes:
    """The token in the value of ``auth``. Raises `MalformedResponse`."""
    match = AUTHORIZATION.fullmatch(value)
    if match is None:
        raise MalformedResponse("auth must be Bearer, a space and a token")
    return match[1]


@implementer(IBearerToken)
@attrs.frozen(eq=False)
class BearerToken:
    """See `popserv.interfaces.IBearerToken`. The token tells who it is, `username` is what the client says."""

    username: bytes
    token: bytes = attrs.field(repr=False)
    conversation: IConversation = attrs.field(repr=False)
    schemes: bool = False
    """Whether the client is told of schemes and numbers, as XOAUTH2 has it, and not of names."""
    authorization: bytes = b""
    address: str = ""
    trail: Trail | None = None

    def prepared(self, case: Literal["fold", "keep"]) -> Self:
        """The same with the names prepared. Raises `InvalidName`."""
        return attrs.evolve(
            self,
            username=prepare(self.username, case).encode("utf-8") if self.username else b"",
            authorization=prepare_authorization(self.authorization, case),
        )

    async def refuse(self, status: str, scope: str = "", configuration: str = "") -> None:
        # Whatever the client answers, the exchange has failed (RFC 7628 section 3.2.3), and for the same reason.
        with suppress(Cancelled, MalformedResponse):
            await self.conversation.challenge(self._reason(status, scope, configuration))

    def _reason(self, status: str, scope: str, configuration: str) -> bytes:
        reason = {"status": status}
        if self.schemes:
            reason = {"status": "400" if status == "invalid_request" else "401", "schemes": "bearer"}
        if scope:
            reason["scope"] = scope
        if configuration and not self.schemes:
            reason["openid-configuration"] = configuration
        return json.dumps(reason, separators=(",", ":")).encode("ascii")
