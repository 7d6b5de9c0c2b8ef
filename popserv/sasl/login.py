"""LOGIN: name and password, each asked for. No RFC, an expired draft; for clients that know nothing better."""

from __future__ import annotations

from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer

from popserv.auth.credentials import Password
from popserv.errors import MalformedResponse
from popserv.interfaces import IChannel, IConversation, IMechanism


@implementer(IMechanism)
class Login:
    """See `popserv.interfaces.IMechanism`."""

    name = b"LOGIN"
    credential = IUsernamePassword
    plaintext = True
    client_first = True
    """Real clients send the name as an initial response; without one, the server asks for it."""

    def usable(self, channel: IChannel) -> bool:  # noqa: ARG002
        return True

    async def authenticate(self, conversation: IConversation) -> Password:
        name = conversation.initial
        if name is None:
            name = await conversation.challenge(b"Username:")
        password = await conversation.challenge(b"Password:")
        if not (name and password) or b"\0" in name + password:
            raise MalformedResponse("LOGIN needs a name and a password without NUL")
        return Password(name, password)


plugin = Login()
