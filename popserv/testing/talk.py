"""A SASL exchange without a connection: for tests of mechanisms, and of checkers that go on with an exchange."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import attrs
from zope.interface import implementer

from popserv.errors import Cancelled
from popserv.interfaces import IChannel, IConversation

Respond = Callable[[bytes], bytes]
"""A client: what it says to a challenge. One that speaks first answers an empty challenge with its first message."""

MOST_CHALLENGES = 20


@implementer(IChannel)
@attrs.define
class TalkChannel:
    """A connection that is said to have these things."""

    tls: str = "TLSv1.3"
    data: dict[str, bytes] = attrs.Factory(dict)
    """Channel-binding data by type."""
    certificate: bytes | None = None
    names: tuple[str, ...] = ()
    asked: list[str] = attrs.Factory(list)
    """The types whose data was asked for."""

    @property
    def binds(self) -> bool:
        return bool(self.data)

    def binding(self, kind: str) -> bytes | None:
        self.asked.append(kind)
        return self.data.get(kind)


@implementer(IConversation)
@attrs.define
class Talk:
    """A conversation with a client that answers at once, and may raise a `PopError` instead.

    More than `MOST_CHALLENGES` are an `AssertionError`.
    """

    initial: bytes | None
    respond: Respond
    channel: Any = attrs.Factory(TalkChannel)
    offered: tuple[bytes, ...] = ()
    hostname: str = "localhost"
    challenges: list[bytes] = attrs.Factory(list)
    """All that were sent."""

    async def challenge(self, octets: bytes) -> bytes:
        self.challenges.append(octets)
        if len(self.challenges) > MOST_CHALLENGES:
            raise AssertionError("this exchange has no end")
        return self.respond(octets)

    async def first(self) -> bytes:
        return await self.challenge(b"") if self.initial is None else self.initial


def altered(respond: Respond, step: int, change: Respond) -> Respond:
    """A client whose answer number `step`, 0-based, is what `change` makes of the right one.

    `change` may raise a `PopError`: so the client cancels, or leaves. It cancels, too, when it is lost afterwards.
    """
    steps = count()

    def answer(challenge: bytes) -> bytes:
        number = next(steps)
        if number < step:
            return respond(challenge)
        if number == step:
            return change(respond(challenge))
        try:
            return respond(challenge)
        except Exception:
            raise Cancelled() from None

    return answer
