"""One SASL exchange: between the lines a client sends and the coroutine of a mechanism."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from popserv.errors import PopError
from popserv.interfaces import IChannel, IConversation
from popserv.net.channel import CLEAR


@implementer(IConversation)
class Conversation:
    """See `popserv.interfaces.IConversation`. `send` is given each challenge, decoded."""

    def __init__(
        self,
        initial: bytes | None,
        send: Callable[[bytes], None],
        channel: IChannel = CLEAR,
        hostname: str = "localhost",
        offered: tuple[bytes, ...] = (),
    ) -> None:
        self.initial = initial
        self.channel = channel
        self.hostname = hostname
        self.offered = offered
        self._send = send
        self._waiting: Deferred[bytes] | None = None

    def challenge(self, octets: bytes) -> Deferred[bytes]:
        self._waiting = waiting = Deferred[bytes]()
        self._send(octets)
        return waiting

    async def first(self) -> bytes:
        # RFC 5034 section 4: without an initial response the client is asked by an empty challenge.
        return self.initial if self.initial is not None else await self.challenge(b"")

    def answer(self, response: bytes | PopError) -> None:
        """Hand the client's response, or the error that ends the exchange, to the mechanism."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if isinstance(response, PopError):
            waiting.errback(response)
        else:
            waiting.callback(response)
