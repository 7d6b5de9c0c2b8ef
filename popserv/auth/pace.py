"""Answers that would tell by their time who has an account are given when the slowest of them would be.

What a refusal costs depends on how many databases were asked and on how the password is stored. Work for nothing makes
up for that where there is one database; with several, time has to: each kind of answer is watched, and all of them
wait for the dearest kind.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from math import ceil, log
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from popserv.auth.trail import Trail
from popserv.interfaces import IConversation
from popserv.steady import steady

LEAST_SECONDS = 0.05
"""Nothing is due earlier: a timer goes off up to a millisecond late, how much, its setting decides."""

STEP = 1.04
"""From the least, what is due rises in steps of this factor, so that small changes of load do not show."""

MOST_SECONDS = 5.0
"""Longer than this nobody waits for the time of others."""

MARGIN = 1.2
REMEMBERED = 16
"""Answers of a kind; three quarters of them, by length, count."""
MOST_KINDS = 64
FORGET_SECONDS = 900.0
HOLD_SECONDS = 120.0
"""What has risen does not fall for so long."""


@implementer(IConversation)
class Paced:
    """A conversation in which the time that the client takes for its answers is not counted as ours."""

    def __init__(self, conversation: IConversation, pace: Pace, trail: Trail) -> None:
        self._conversation = conversation
        self._pace = pace
        self._trail = trail

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conversation, name)

    async def challenge(self, octets: bytes) -> bytes:
        try:
            return await self._conversation.challenge(octets)
        finally:
            self._pace.begin(self._trail)

    async def first(self) -> bytes:
        try:
            return await self._conversation.first()
        finally:
            self._pace.begin(self._trail)


@attrs.frozen
class _Seen:
    seconds: float
    at: float


class Pace:
    """Watches how long answers take, and holds them back."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._now = steady(clock)
        self._kinds: OrderedDict[tuple[str, ...], deque[_Seen]] = OrderedDict()
        self._latest: dict[str, _Seen] = {}

    def begin(self, trail: Trail) -> None:
        """The client has sent what the next answer is to."""
        trail.begun = self._now()
        trail.pace = self

    async def hold(self, answer: str, trail: Trail, least: float = 0.0, most: float = MOST_SECONDS) -> None:
        """Wait until this kind of `answer`, and `least` seconds since the beginning, are due; for the others' sake not
        beyond `most`."""
        taken = self._now() - trail.begun
        self._note((answer, str(len(trail.answers)), trail.work, trail.reason), taken)
        due = max(least, min(most, self._due(answer)))
        if due > taken:
            await deferLater(self._clock, due - taken)

    def _note(self, kind: tuple[str, ...], seconds: float) -> None:
        seen = self._kinds.setdefault(kind, deque(maxlen=REMEMBERED))
        seen.append(_Seen(seconds, self._now()))
        self._kinds.move_to_end(kind)
        if len(self._kinds) > MOST_KINDS:
            self._kinds.popitem(last=False)

    def _due(self, answer: str) -> float:
        dearest = max(self._usual(seen) for kind, seen in self._kinds.items() if kind[0] == answer)
        due, now = _step(dearest * MARGIN), self._now()
        latest = self._latest.get(answer)
        if latest is None or due >= latest.seconds or latest.at + HOLD_SECONDS < now:
            latest = self._latest[answer] = _Seen(due, now)
        return latest.seconds

    def _usual(self, seen: deque[_Seen]) -> float:
        """What most of these took, of those that are not forgotten."""
        since = self._now() - FORGET_SECONDS
        times = sorted(each.seconds for each in seen if each.at > since)
        return times[len(times) * 3 // 4] if times else 0.0


def _step(seconds: float) -> float:
    if not seconds:
        return 0.0
    steps = max(0, ceil(log(seconds / LEAST_SECONDS, STEP)))
    return min(MOST_SECONDS, LEAST_SECONDS * STEP**steps)
