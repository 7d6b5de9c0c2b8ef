"""EXTERNAL (RFC 4422 appendix A): the client is who its TLS certificate says."""

from __future__ import annotations

from zope.interface import implementer

from popserv.auth.client_certificate import ClientCertificate
from popserv.errors import LoginRefused, MalformedResponse
from popserv.interfaces import IChannel, IClientCertificate, IConversation, IMechanism


@implementer(IMechanism)
class External:
    """See `popserv.interfaces.IMechanism`."""

    name = b"EXTERNAL"
    credential = IClientCertificate
    plaintext = False
    client_first = True

    def usable(self, channel: IChannel) -> bool:
        return channel.certificate is not None

    async def authenticate(self, conversation: IConversation) -> ClientCertificate:
        identity = await conversation.first()
        if b"\0" in identity:
            raise MalformedResponse("an authorization identity has no NUL octet")
        try:
            identity.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedResponse("an authorization identity must be UTF-8") from None
        certificate = conversation.channel.certificate
        if certificate is None:
            raise LoginRefused()
        return ClientCertificate(certificate, identity)


plugin = External()
