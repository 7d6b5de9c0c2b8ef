"""GSSAPI (RFC 4752): Kerberos V5, without a security layer."""

from __future__ import annotations

from zope.interface import implementer

from popserv.auth.kerberos_exchange import KerberosExchange
from popserv.interfaces import IChannel, IConversation, IKerberosExchange, IMechanism


@implementer(IMechanism)
class Gssapi:
    """See `popserv.interfaces.IMechanism`."""

    name = b"GSSAPI"
    credential = IKerberosExchange
    plaintext = False
    client_first = True

    def usable(self, channel: IChannel) -> bool:  # noqa: ARG002
        return True

    async def authenticate(self, conversation: IConversation) -> KerberosExchange:
        return KerberosExchange(await conversation.first(), conversation)


plugin = Gssapi()
