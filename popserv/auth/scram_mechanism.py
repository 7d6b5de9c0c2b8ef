"""The six SCRAM mechanisms, which differ in hash function and channel binding only."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from popserv.auth.scram import EXCHANGES, INTERFACES, FirstMessage, ScramExchange, check_binding
from popserv.auth.scram_keys import HashName
from popserv.interfaces import IChannel, IConversation, IMechanism

NAMES = {"sha1": b"SCRAM-SHA-1", "sha256": b"SCRAM-SHA-256", "sha512": b"SCRAM-SHA-512"}


@implementer(IMechanism)
class Scram:
    """See `popserv.interfaces.IMechanism`."""

    plaintext = False
    client_first = True

    def __init__(self, hash_name: HashName, plus: bool = False) -> None:
        """`plus` is with channel binding."""
        self.name = NAMES[hash_name] + (b"-PLUS" if plus else b"")
        self.credential: Any = INTERFACES[hash_name]
        self._exchange = EXCHANGES[hash_name]
        self._plus = plus

    def usable(self, channel: IChannel) -> bool:
        return channel.binds or not self._plus

    async def authenticate(self, conversation: IConversation) -> ScramExchange:
        first = FirstMessage.parse(await conversation.first())
        binding = check_binding(first, conversation, self._plus)
        return self._exchange(first.name, first.authorization, first, binding, conversation)
