"""The loop of our own process: Twisted's on epoll, without what it does around each event for the sake of its log.

Elsewhere, and where a reactor is there already, nothing changes.
"""

from __future__ import annotations

import sys
from errno import EINTR
from typing import Any


def install() -> None:
    """Let the reactor of this process be the lean one, if there is none yet and this system has epoll."""
    if "twisted.internet.reactor" in sys.modules:
        return
    from twisted.internet.main import installReactor

    reactor = lean_reactor()
    if reactor is not None:
        installReactor(reactor)  # type: ignore[no-untyped-call]


def lean_reactor() -> Any:
    """A new one; None where there is no epoll."""
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        return None

    class LeanReactor(EPollReactor):
        """Whatever an event raises is logged and ends its connection, as it does in Twisted's."""

        def doPoll(self, timeout: float | None) -> None:
            try:
                events = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables))
            except OSError as error:
                if error.errno == EINTR:
                    return
                raise
            for descriptor, event in events:
                selectable = self._selectables.get(descriptor)
                # An earlier event may have ended it.
                if selectable is not None:
                    self._doReadOrWrite(selectable, descriptor, event)  # type: ignore[no-untyped-call]

        doIteration = doPoll

    return LeanReactor()  # type: ignore[no-untyped-call]


__all__ = ["install", "lean_reactor"]
