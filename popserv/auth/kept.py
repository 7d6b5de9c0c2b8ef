"""What is fetched from a server now and then, and goes on being good while that server is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from popserv.auth.remote import Misconfigured, Standing, Unavailable
from popserv.errors import Busy
from popserv.steady import steady

T = TypeVar("T")

RENEW_SECONDS = 10.0
"""What does not come, and what somebody would like to have anew, is not asked for again sooner."""


class Kept(Generic[T]):
    """The last answer. Who asks while it is being fetched waits for that, so it is fetched once."""

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], clock: IReactorTime, seconds: float, standing: Standing
    ) -> None:
        """`fetch` raises `Unavailable`, `Misconfigured` or `Busy`. After `seconds` the answer is fetched again."""
        self._fetch = fetch
        self._now = steady(clock)
        self._seconds = seconds
        self._standing = standing
        self._answers: list[T] = []
        self._failure: Exception | None = None
        self._fetched = self._tried = self._renewed = -inf
        self._waiting: list[Deferred[None]] | None = None

    async def get(self) -> T:
        """The answer, an old one while there is no newer. Raises what `fetch` raises if there never was any."""
        now = self._now()
        old = now - self._fetched >= self._seconds and now - self._tried >= RENEW_SECONDS
        if not self._answers or old:
            await self._try()
        return self._answer()

    async def newer(self) -> T:
        """The answer, fetched now, or because of another call of this less than `RENEW_SECONDS` ago.

        Raises what `fetch` raises.
        """
        if self._waiting is not None or self._now() - self._renewed >= RENEW_SECONDS:
            self._renewed = self._now()
            await self._try()
        if self._failure is not None:
            raise self._failure
        return self._answer()

    def _answer(self) -> T:
        if not self._answers:
            raise self._failure or Unavailable("nothing was told")
        return self._answers[0]

    async def _try(self) -> None:
        if self._waiting is not None:
            waiting = Deferred[None]()
            self._waiting.append(waiting)
            await waiting
            return
        self._waiting = []
        try:
            self._answers = [await self._standing.watch(self._fetch())]
            self._fetched, self._failure = self._now(), None
        except (Unavailable, Misconfigured, Busy) as error:
            self._failure = error
        finally:
            self._tried = self._now()
            waiters, self._waiting = self._waiting, None
            for each in waiters:
                each.callback(None)
