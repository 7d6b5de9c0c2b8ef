"""SIGHUP reloads, SIGTERM and SIGINT end in order, and a second one at once."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from twisted.application.service import Service

from popserv.service.lifecycle import MailService


class Signals(Service):
    """For a process that is the service; an application that embeds it has signals of its own."""

    def __init__(self, service: MailService, reactor: Any) -> None:
        self._service = service
        self._reactor = reactor
        self._ending = False
        self._first: dict[int, Any] = {}

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        signal.signal(signal.SIGHUP, self._reload)
        # The reactor sets its own handlers when it starts; they are what the first signal has to reach.
        self._reactor.callWhenRunning(self._install)

    def _install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._first[number] = signal.signal(number, self._end)

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._service.reload)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._ending:
            self._reactor.callFromThread(self._service.hurry)
            return
        self._ending = True
        first = self._first[number]
        if callable(first):
            first(number, frame)
