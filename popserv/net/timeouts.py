"""One coarse timer for many connections: setting a deadline is an attribute, not a delayed call."""

from __future__ import annotations

from math import ceil, inf
from typing import Any, Protocol

from popserv.steady import steady


class Timed(Protocol):
    """Something with a deadline. The first two attributes belong to `Timeouts`."""

    deadline: float
    bucket: int

    def timed_out(self) -> None: ...


NOWHERE = -1

OVERDUE_TICKS = 5
"""A call that is later than this is waiting for a wall clock that was set back."""


class Timeouts:
    """Calls `timed_out` of what has passed its deadline, within one `tick` (seconds) of it.

    Each connection stands in the bucket of the second in which it has to be looked at. A deadline that moves away
    leaves it there: it is put where it belongs when its bucket comes up.

    A reactor's time is that of the wall clock, which can be set. So time is taken from a clock that nobody sets, and
    the reactor only says when to look at it; if its next call has become overdue, any new deadline makes a new one.
    """

    def __init__(self, clock: Any, tick: float = 1.0) -> None:
        """`clock` is a reactor, or a `twisted.internet.task.Clock`, whose own time is taken then."""
        self._clock = clock
        self._seconds = steady(clock)
        self._tick = tick
        self._due = 0.0
        self._buckets: dict[int, set[Timed]] = {}
        self._call: Any = None

    def now(self) -> float:
        return self._seconds()

    def set(self, timed: Timed, seconds: float) -> None:
        """Let `timed` time out `seconds` from now, whatever it had before."""
        self.at(timed, self.now() + seconds)

    def at(self, timed: Timed, deadline: float) -> None:
        """Let `timed` time out at `deadline` (of `now`); `math.inf` is never."""
        timed.deadline = deadline
        if deadline == inf:
            return
        bucket = ceil(deadline / self._tick)
        if timed.bucket == NOWHERE or bucket < timed.bucket:
            self._move(timed, bucket)

    def forget(self, timed: Timed) -> None:
        """No more time-outs for `timed`."""
        self._move(timed, NOWHERE)

    def _move(self, timed: Timed, bucket: int) -> None:
        if timed.bucket != NOWHERE:
            old = self._buckets[timed.bucket]
            old.discard(timed)
            if not old:
                del self._buckets[timed.bucket]
        timed.bucket = bucket
        if bucket != NOWHERE:
            self._buckets.setdefault(bucket, set()).add(timed)
            if self._call is None:
                self._schedule()
            elif self.now() > self._due + OVERDUE_TICKS * self._tick:
                self._call.cancel()
                self._schedule()
        elif not self._buckets and self._call is not None:
            self._call.cancel()
            self._call = None

    def _schedule(self) -> None:
        """At the next full tick, where a bucket ends."""
        now = self.now()
        self._due = self._tick * (int(now / self._tick) + 1)
        self._call = self._clock.callLater(self._due - now, self._ticked)

    def _ticked(self) -> None:
        # First of all, so that a time-out that raises does not stop those of others.
        self._schedule()
        now = self.now()
        current = int(now / self._tick)
        for bucket in sorted(key for key in self._buckets if key <= current):
            for timed in list(self._buckets.get(bucket, ())):
                if timed.bucket != bucket:
                    continue  # a time-out before it has ended or moved it
                deadline = timed.deadline
                self._move(timed, NOWHERE)
                if deadline <= now:
                    timed.timed_out()
                else:
                    self.at(timed, deadline)
