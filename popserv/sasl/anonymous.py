"""ANONYMOUS (RFC 4505): the client says nothing of itself that could be verified."""

from __future__ import annotations

from twisted.cred.credentials import IAnonymous
from zope.interface import implementer

from popserv.auth.anonymous import Anonymous, prepare_trace
from popserv.auth.names import InvalidName
from popserv.errors import MalformedResponse
from popserv.interfaces import IChannel, IConversation, IMechanism


@implementer(IMechanism)
class AnonymousMechanism:
    """See `popserv.interfaces.IMechanism`."""

    name = b"ANONYMOUS"
    credential = IAnonymous
    plaintext = False
    client_first = True

    def usable(self, channel: IChannel) -> bool:  # noqa: ARG002
        return True

    async def authenticate(self, conversation: IConversation) -> Anonymous:
        message = await conversation.first()
        try:
            return Anonymous(prepare_trace(message))
        except InvalidName:
            raise MalformedResponse("ANONYMOUS takes an e-mail address, a token or nothing") from None


plugin = AnonymousMechanism()
