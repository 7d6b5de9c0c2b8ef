"""XOAUTH2, which large mail providers had before there was OAUTHBEARER. Under TLS only, whatever else is permitted."""

from __future__ import annotations

import re

from zope.interface import implementer

from popserv.auth.bearer import BearerToken, token_of
from popserv.errors import MalformedResponse
from popserv.interfaces import IBearerToken, IChannel, IConversation, IMechanism

_MESSAGE = re.compile(rb"user=(?P<name>[^\x00\x01]+)\x01auth=(?P<auth>[ -~]+)\x01\x01")


@implementer(IMechanism)
class XOAuth2:
    """See `popserv.interfaces.IMechanism`."""

    name = b"XOAUTH2"
    credential = IBearerToken
    plaintext = True
    client_first = True

    def usable(self, channel: IChannel) -> bool:
        return bool(channel.tls)

    async def authenticate(self, conversation: IConversation) -> BearerToken:
        match = _MESSAGE.fullmatch(await conversation.first())
        if match is None:
            raise MalformedResponse("XOAUTH2 needs user and auth")
        token = token_of(match["auth"])
        return BearerToken(match["name"], token, conversation, schemes=True, authorization=match["name"])


plugin = XOAuth2()
