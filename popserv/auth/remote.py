"""Asks a server that may be slow or away: in threads of its own, over connections that are kept, never for too long.

A thread uses one connection at a time, so as many connections as threads are enough, and nobody waits for one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any, Generic, TypeVar
from weakref import finalize

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from popserv.errors import SystemBroken, SystemTrouble
from popserv.pools import Pool

T = TypeVar("T")
C = TypeVar("C")

QUEUE = 256
"""Requests that may wait for a thread."""


class Unavailable(Exception):
    """The server cannot be asked now; later it may. The message is for the log."""


class Misconfigured(Exception):
    """The server does not do what it is asked for, and will not, until an administrator acts. The same."""


def first_line(path: Path) -> str:
    """The secret of ours that stands in this file. Blocks. Raises `Misconfigured`, which names the file."""
    try:
        secret = path.read_text("utf-8").partition("\n")[0].removesuffix("\r")
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"{path}: it is not UTF-8") from None
    if not secret:
        raise Misconfigured(f"{path}: the first line, which is the password, is empty")
    return secret


class Connections(Generic[C]):
    """Connections to one server, for any number of threads."""

    def __init__(self, connect: Callable[[float], C], close: Callable[[C], None]) -> None:
        """`connect` is given the time by `monotonic` when it has to be done, and raises `Unavailable`.

        `close` must not raise, nor know of this object: what is idle is closed when nobody has the object any more,
        after a reload for one.
        """
        self._connect = connect
        self._close = close
        self._idle: deque[C] = deque()
        finalize(self, _close_all, self._idle, close)

    def use(self, deadline: float, work: Callable[[C], T]) -> T:
        """What `work` makes of a connection. Blocks; raises what `connect` and `work` raise.

        A kept connection may have died of age meanwhile, so after `Unavailable` the next one is tried, and a new one at
        last. No connection is kept over an exception.
        """
        while True:
            connection, kept = self._take(deadline)
            try:
                result = work(connection)
            except BaseException as error:
                self._close(connection)
                if not (kept and isinstance(error, Unavailable) and monotonic() < deadline):
                    raise
            else:
                self._idle.append(connection)
                return result

    def _take(self, deadline: float) -> tuple[C, bool]:
        try:
            return self._idle.pop(), True
        except IndexError:
            return self._connect(deadline), False


def _close_all(connections: deque[C], close: Callable[[C], None]) -> None:
    while connections:
        close(connections.pop())


class Standing:
    """Whether a server answers, as the log has it: told when that changes, and not with each request."""

    log = Logger()

    def __init__(self, name: str) -> None:
        """`name` is for the log."""
        self._name = name
        self._complaint = ""

    async def watch(self, work: Awaitable[T]) -> T:
        """What `work` gives or raises; `Unavailable` and `Misconfigured` are logged once for each new reason."""
        try:
            answer = await work
        except (Unavailable, Misconfigured) as error:
            self._complain(str(error))
            raise
        if self._complaint:
            self._complaint = ""
            self.log.info("{name}: answers again", name=self._name)
        return answer

    def _complain(self, reason: str) -> None:
        if reason != self._complaint:
            self._complaint = reason
            self.log.error("{name}: cannot be asked: {reason}", name=self._name, reason=reason)


async def answered(work: Awaitable[T]) -> T:
    """What `work` gives. Raises `SystemTrouble` for `Unavailable` and `SystemBroken` for `Misconfigured`."""
    try:
        return await work
    except Unavailable as error:
        raise SystemTrouble() from error
    except Misconfigured as error:
        raise SystemBroken() from error


class Remote:
    """A server as the reactor's thread sees it."""

    def __init__(self, name: str, pool: Pool, seconds: float) -> None:
        """`name` is for the log. Each request gets so many `seconds`, waiting for a thread included."""
        self._standing = Standing(name)
        self._pool = pool
        self._seconds = seconds

    async def ask(self, function: Callable[..., T], *arguments: Any) -> T:
        """What ``function(deadline, *arguments)`` gives in a thread; `deadline` is by `time.monotonic`.

        Raises `SystemTrouble` for `Unavailable` and `SystemBroken` for `Misconfigured`, which are logged once for as
        long as the reason is the same, and `popserv.errors.Busy`.
        """
        deadline = monotonic() + self._seconds
        return await answered(self._standing.watch(self._pool.run(_in_time, deadline, function, *arguments)))


class Impatient:
    """A pool for calls that may hang: after so many seconds nobody waits for one any more.

    It keeps its thread, so that no more of them pile up than the pool has room for.
    """

    def __init__(self, pool: Pool, clock: IReactorTime, seconds: float) -> None:
        self._pool = pool
        self._clock = clock
        self._seconds = seconds

    def run(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """As `popserv.pools.Pool`; fails with `Unavailable` when it is too late."""
        answer: Deferred[T] = Deferred()
        self._pool.run(function, *arguments).chainDeferred(answer)
        return answer if answer.called else answer.addTimeout(self._seconds, self._clock, _too_late)


def _too_late(_cancelled: Any, seconds: float) -> Failure:
    return Failure(Unavailable(f"it is too slow: no answer in {seconds:g} s"))  # type: ignore[no-untyped-call]


def _in_time(deadline: float, function: Callable[..., T], *arguments: Any) -> T:
    if monotonic() >= deadline:
        raise Unavailable("it is too slow: no connection came free in time")
    return function(deadline, *arguments)
