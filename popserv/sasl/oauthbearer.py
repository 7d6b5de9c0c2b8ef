"""OAUTHBEARER (RFC 7628): an OAuth 2.0 access token. Under TLS only, whatever else is permitted."""

from __future__ import annotations

import re

from zope.interface import implementer

from popserv.auth.bearer import BearerToken, token_of
from popserv.auth.scram import unescape
from popserv.errors import MalformedResponse
from popserv.interfaces import IBearerToken, IChannel, IConversation, IMechanism

_MESSAGE = re.compile(
    rb"(?P<flag>[ny]|p=[A-Za-z0-9.-]+),(?:a=(?P<authorization>[^,\x00\x01]*))?,\x01"
    rb"(?P<pairs>(?:[A-Za-z]+=[\t\n\r -~]*\x01)*)\x01"
)


@implementer(IMechanism)
class OAuthBearer:
    """See `popserv.interfaces.IMechanism`."""

    name = b"OAUTHBEARER"
    credential = IBearerToken
    plaintext = True
    client_first = True

    def usable(self, channel: IChannel) -> bool:
        # RFC 7628 section 5
        return bool(channel.tls)

    async def authenticate(self, conversation: IConversation) -> BearerToken:
        match = _MESSAGE.fullmatch(await conversation.first())
        if match is None:
            raise MalformedResponse("this is no message of OAUTHBEARER")
        if match["flag"].startswith(b"p"):
            raise MalformedResponse("OAUTHBEARER has no channel binding")
        pairs = _pairs(match["pairs"])
        name = unescape(match["authorization"] or b"")
        value = pairs.get(b"auth", b"")
        token = token_of(value) if value else b""
        _check_host(pairs, conversation)
        return BearerToken(name, token, conversation, authorization=name)


def _pairs(text: bytes) -> dict[bytes, bytes]:
    pairs: dict[bytes, bytes] = {}
    for pair in text.split(b"\1")[:-1]:
        key, _, value = pair.partition(b"=")
        if key in pairs:
            raise MalformedResponse("a key of OAUTHBEARER stands twice")
        pairs[key] = value
    if b"auth" not in pairs:
        raise MalformedResponse("OAUTHBEARER needs auth")
    return pairs


def _check_host(pairs: dict[bytes, bytes], conversation: IConversation) -> None:
    # RFC 7628 section 3.2: it must be what the server knows of itself. Ports are not compared: with a proxy, or an
    # address translator, in front, clients know another one.
    host = pairs.get(b"host", b"").decode("ascii", "replace").rstrip(".").lower()
    known = (conversation.hostname.lower(), *conversation.channel.names)
    if host and host not in known and "*." + host.partition(".")[2] not in known:
        raise MalformedResponse("host is not the name of this server")


plugin = OAuthBearer()
