"""CRAM-MD5 (RFC 2195): a keyed digest of a challenge, for clients that know nothing better."""

from __future__ import annotations

import re
import time
from os import urandom

from twisted.cred.credentials import IUsernameHashedPassword
from zope.interface import implementer

from popserv.auth.credentials import CramDigest
from popserv.errors import MalformedResponse
from popserv.interfaces import IChannel, IConversation, IMechanism

_RESPONSE = re.compile(rb"([^\0]+) ([0-9a-f]{32})", re.DOTALL)


@implementer(IMechanism)
class CramMd5:
    """See `popserv.interfaces.IMechanism`."""

    name = b"CRAM-MD5"
    credential = IUsernameHashedPassword
    plaintext = False
    client_first = False

    def usable(self, channel: IChannel) -> bool:  # noqa: ARG002
        return True

    async def authenticate(self, conversation: IConversation) -> CramDigest:
        host = conversation.hostname.encode("ascii", "replace")
        challenge = b"<%b.%d@%b>" % (urandom(18).hex().encode("ascii"), time.time(), host)
        match = _RESPONSE.fullmatch(await conversation.challenge(challenge))
        if match is None:
            raise MalformedResponse("CRAM-MD5 needs a name, a space and 32 hexadecimal digits in lower case")
        return CramDigest(match[1], challenge, match[2])


plugin = CramMd5()
