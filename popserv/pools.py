"""Bounded thread pools: where work that blocks is done, and where too much of it is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from popserv.errors import Busy

T = TypeVar("T")

STOP_SECONDS = 5.0
"""What work in a thread gets to finish when nobody waits for its result any more."""


class Pool(Protocol):
    """Runs blocking functions. `run` always returns a Deferred; it fails with `Busy` when the queue is full."""

    def run(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]: ...


class InlinePool:
    """Runs everything at once in the caller's thread: for tests and for one-shot commands."""

    def run(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        return execute(function, *arguments)


class _Threads(ThreadPool):
    """One that waits for a dead disk must not keep the process from ending."""

    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]


class BoundedPool:
    """Threads of our own, apart from the reactor's, with a bounded queue.

    `threads` run at a time; `queue` more may wait. The threads start with the first call and end with `stop`.
    """

    def __init__(self, reactor: Any, name: str, threads: int, queue: int) -> None:
        self._reactor = reactor
        self._pool = _Threads(0, threads, name)
        self._room = threads + queue
        self._under_way = 0

    def run(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        if self._under_way >= self._room:
            return fail(Busy())
        if not self._pool.started:
            self._pool.start()
        self._under_way += 1
        return deferToThreadPool(self._reactor, self._pool, function, *arguments).addBoth(self._done)

    def _done(self, result: T) -> T:
        self._under_way -= 1
        return result

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the threads; blocks until those under way are done, but for so many seconds at most."""
        if self._pool.started:
            stopper = Thread(target=self._pool.stop, daemon=True)
            stopper.start()
            stopper.join(seconds)
