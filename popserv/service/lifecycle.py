"""The running service: opens, says that it is ready, reloads as a whole, and leaves in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.logger import Logger

from popserv.limits import Limits
from popserv.net.registry import Registry
from popserv.service.config import ConfigErrors
from popserv.service.listening import CannotListen, Offer, Ports
from popserv.service.schema import Config
from popserv.service.upkeep import Nightly, Upkeep


@attrs.frozen
class Composition:
    """What a configuration turns into."""

    offers: Sequence[Offer]
    limits: Limits
    upkeep: Upkeep | None = None
    nightly: str = "00:00"
    """When `upkeep` is done, by the local clock."""


class Composes(Protocol):
    """What the service needs of a composer."""

    registry: Registry

    def compose(self, config: Config) -> Composition: ...

    def stop(self) -> None: ...


class MailService(MultiService):
    """All listeners of a configuration."""

    log = Logger()

    def __init__(
        self,
        composer: Composes,
        first: Composition,
        reactor: Any,
        base: Path,
        load: Callable[[], Config] | None,
        announce: Callable[[str], None] | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._composer = composer
        self._first: Composition | None = first
        self._reactor = reactor
        self._load = load
        self._announce = announce
        self._hurry: Deferred[None] | None = None
        self._nightly = Nightly(reactor)
        self.ports = Ports(reactor, base)

    # --- start

    def privilegedStartService(self) -> None:
        """Open all sockets. Raises `CannotListen`, and then none is open."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._open()

    def startService(self) -> None:
        self._open()
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._ready)

    def _open(self) -> None:
        if self._first is not None:
            first, self._first = self._first, None
            self._serve(first)

    def _serve(self, composition: Composition) -> None:
        self.ports.change(composition.offers)
        self._composer.registry.limits = composition.limits
        self._nightly.serve(composition.upkeep, composition.nightly)

    def _ready(self) -> None:
        if self.running:
            line = self.ports.ready_line()
            self.log.info("{line}", line=line)
            if self._announce is not None:
                self._announce(line)

    # --- reload

    def reload(self) -> None:
        """Serve new connections as the configuration says now, or, if anything is wrong with it, as before."""
        if not self.running:
            return
        if self._hurry is not None:
            self.log.error("popserv reload refused: it is stopping")
            return
        if self._load is None:
            self.log.error("popserv reload refused: there is no configuration file to read again")
            return
        try:
            self._serve(self._composer.compose(self._load()))
        except (ConfigErrors, CannotListen) as trouble:
            self.log.error("popserv reload refused: {reason}", reason=" ".join(str(trouble).split()))
        except Exception:
            self.log.failure("popserv reload refused: defect")
        else:
            self.log.info("popserv reloaded")

    # --- stop

    def stopService(self) -> Deferred[None]:
        """Accept nothing any more, let sessions finish, and end: fires when they have, or have had their time."""
        self._nightly.stop()
        self._hurry = Deferred()
        return ensureDeferred(self._stop(self._hurry))

    def hurry(self) -> None:
        """Do not wait any longer for sessions to finish."""
        if self._hurry is not None and not self._hurry.called:
            self._hurry.callback(None)

    async def _stop(self, hurry: Deferred[None]) -> None:
        registry = self._composer.registry
        await self.ports.close()
        self.log.info("popserv stops: {count} connections", count=len(registry))
        either: Deferred[Any] = DeferredList([registry.drain(), hurry], fireOnOneCallback=True)
        await either
        await super().stopService()  # type: ignore[no-untyped-call]
        if len(registry):
            # Those that are left end with the reactor, and what they do then still needs the pools.
            self._reactor.addSystemEventTrigger("after", "shutdown", self._composer.stop)
        else:
            self._composer.stop()
