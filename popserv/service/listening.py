"""Open the sockets, and keep those open whose address stays when everything behind them changes."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.python.systemd import ListenFDs

from popserv.net.prompt import make_prompt
from popserv.service.endpoints import Endpoint, parse


class CannotListen(Exception):
    """An address cannot be listened at; the message names it and says why."""


@attrs.frozen
class Offer:
    """A protocol at an address: `name` is what the ready line calls it, "" if it does not stand there; `endpoint` is a
    string of the configuration."""

    name: str
    endpoint: str
    factory: IProtocolFactory


class Switch(Factory[Any]):
    """Hands new connections to whichever factory is current; those that are open stay with theirs."""

    noisy = False

    def __init__(self, current: IProtocolFactory) -> None:
        self._current = current

    def startFactory(self) -> None:
        self._current.doStart()

    def stopFactory(self) -> None:
        self._current.doStop()

    def logPrefix(self) -> str:
        return "popserv"

    def to(self, factory: IProtocolFactory) -> None:
        """From now on, `factory`."""
        factory.doStart()
        self._current.doStop()
        self._current = factory

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:
        return self._current.buildProtocol(addr)  # type: ignore[arg-type]


@attrs.define(eq=False)
class Port:
    """An open socket and what answers there."""

    name: str
    switch: Switch
    listening: IListeningPort

    @property
    def address(self) -> str:
        """As bound: ``127.0.0.1:110``, ``[::]:110``, or the path of a unix socket."""
        host: Any = self.listening.getHost()
        if isinstance(getattr(host, "name", None), bytes):
            return str(host.name.decode("utf-8", "surrogateescape"))
        return f"[{host.host}]:{host.port}" if ":" in host.host else f"{host.host}:{host.port}"


def _closed(ports: Iterable[Port]) -> Deferred[Any]:
    return DeferredList([maybeDeferred(port.listening.stopListening) for port in ports], consumeErrors=True)


class Ports:
    """All open sockets of the service."""

    def __init__(self, reactor: Any, base: Path) -> None:
        """`base` is what the paths of unix sockets are relative to."""
        self._reactor = reactor
        self._base = base
        self._open: dict[tuple[str, int], Port] = {}

    def ready_line(self) -> str:
        """``popserv ready NAME=ADDRESS[,ADDRESS…] …``."""
        addresses: dict[str, list[str]] = {}
        for port in filter(attrgetter("name"), self._open.values()):
            addresses.setdefault(port.name, []).append(port.address)
        return " ".join(["popserv ready", *(f"{name}={','.join(each)}" for name, each in addresses.items())])

    def change(self, offers: Sequence[Offer]) -> None:
        """Serve `offers` and nothing else. Raises `CannotListen`, and then everything stays as it was."""
        wanted = _keyed(offers)
        opened: dict[tuple[str, int], Port] = {}
        try:
            for key, offer in wanted.items():
                if key not in self._open:
                    opened[key] = self._listen(offer)
        except CannotListen:
            for port in opened.values():
                port.listening.stopListening()
            raise
        before, self._open = self._open, {key: opened.get(key) or self._open[key] for key in wanted}
        for key, port in before.items():
            if key not in wanted:
                port.listening.stopListening()
            else:
                port.name = wanted[key].name
                port.switch.to(wanted[key].factory)

    def close(self) -> Deferred[Any]:
        """Accept nothing any more: fires when all sockets are closed."""
        closing, self._open = self._open, {}
        return _closed(closing.values())

    def close_named(self) -> Deferred[Any]:
        """As `close`, but for sockets that do not stand in the ready line: other processes still reach this one."""
        closing = [port for port in self._open.values() if port.name]
        self._open = {key: port for key, port in self._open.items() if not port.name}
        return _closed(closing)

    def _listen(self, offer: Offer) -> Port:
        endpoint, switch = parse(offer.endpoint), Switch(offer.factory)
        try:
            return Port(offer.name, switch, make_prompt(self._bind(endpoint, switch)))
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
            raise CannotListen(f"{offer.endpoint}: {reason}") from None
        except OSError as error:
            raise CannotListen(f"{offer.endpoint}: {error.strerror or error}") from None

    def _bind(self, endpoint: Endpoint, switch: Switch) -> Any:
        if endpoint.kind == "unix":
            path = str(self._base / endpoint.path)
            return self._reactor.listenUNIX(path, switch, endpoint.backlog, endpoint.mode, endpoint.lockfile)
        if endpoint.kind == "systemd":
            return self._adopt(endpoint, switch)
        interface = endpoint.interface
        if endpoint.kind == "tcp6" and not interface:
            bound = dual_stack_socket(endpoint.port, endpoint.backlog)
            if bound is not None:
                with bound:
                    return self._reactor.adoptStreamPort(bound.fileno(), socket.AF_INET6, switch)
        return self._reactor.listenTCP(endpoint.port, switch, endpoint.backlog, interface)

    @cached_property
    def _inherited(self) -> ListenFDs:
        # Once: reading it takes it out of the environment.
        return ListenFDs.fromEnvironment()

    def _adopt(self, endpoint: Endpoint, switch: Switch) -> Any:
        try:
            if endpoint.name:
                descriptor = self._inherited.inheritedNamedDescriptors()[endpoint.name]
            else:
                descriptor = self._inherited.inheritedDescriptors()[endpoint.index]
        except LookupError:
            raise OSError("systemd has handed over no such socket") from None
        family = getattr(socket, f"AF_{endpoint.domain}")
        return self._reactor.adoptStreamPort(descriptor, family, switch)


def dual_stack_socket(port: int, backlog: int) -> socket.socket | None:
    """A listening socket for IPv6 and IPv4 at every address, or None if this host has no IPv6. Raises `OSError`."""
    try:
        bound = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno == EAFNOSUPPORT:
            return None
        raise
    try:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        bound.bind(("::", port))
        bound.listen(backlog)
    except OSError as error:
        bound.close()
        if error.errno == EADDRNOTAVAIL:
            return None
        raise
    return bound


def _keyed(offers: Sequence[Offer]) -> dict[tuple[str, int], Offer]:
    """By endpoint; one that stands there twice (port 0) is told apart by its number."""
    seen: Counter[str] = Counter()
    keyed: dict[tuple[str, int], Offer] = {}
    for offer in offers:
        keyed[offer.endpoint, seen[offer.endpoint]] = offer
        seen[offer.endpoint] += 1
    return keyed
