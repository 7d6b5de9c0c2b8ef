"""PLAIN (RFC 4616): authorization identity, authentication identity and password in one message."""

from __future__ import annotations

from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer

from popserv.auth.credentials import Password
from popserv.errors import MalformedResponse
from popserv.interfaces import IChannel, IConversation, IMechanism


@implementer(IMechanism)
class Plain:
    """See `popserv.interfaces.IMechanism`."""

    name = b"PLAIN"
    credential = IUsernamePassword
    plaintext = True
    client_first = True

    def usable(self, channel: IChannel) -> bool:  # noqa: ARG002
        return True

    async def authenticate(self, conversation: IConversation) -> Password:
        parts = (await conversation.first()).split(b"\0")
        if len(parts) != 3:
            raise MalformedResponse("PLAIN needs exactly two NUL octets")
        authorization, name, password = parts
        if not (name and password):
            raise MalformedResponse("PLAIN needs a name and a password")
        for part in parts:
            _utf8(part)
        return Password(name, password, authorization)


def _utf8(part: bytes) -> None:
    try:
        part.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedResponse("PLAIN message must be UTF-8") from None


plugin = Plain()
