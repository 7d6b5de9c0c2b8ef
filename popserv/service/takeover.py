"""``lock = "takeover"``: processes that serve the same maildrops ask each other to end sessions.

At a unix socket, by one line of JSON, ``{"session": ID, "account": NAME}``, which is answered by another one,
``{"asked": true}``, when the session has been asked to leave. Before that the one that is asked says
``{"ready": true}``: so a process that comes to itself when nobody waits for it any more ends no session. Only the same
user and root may ask, and only they are asked. Within one process it goes without the socket.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from errno import ECONNREFUSED, ENAMETOOLONG, EPERM
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from popserv.maildrop.holder import Holder
from popserv.net.registry import Registry
from popserv.service.listening import Offer

SECONDS = 1.0
"""What a process has to answer, and what a connection may take to ask."""

_CREDENTIALS = struct.Struct("iII")  # struct ucred: process, user, group
_MOST_OCTETS = 4096
_PATH_OCTETS = 107
_PREFIX = "takeover-"
_SETTLED_SECONDS = 60.0
_READY = b'{"ready": true}'
_ASKED = b'{"asked": true}'


GiveWay = Callable[[str, str], None]
"""Asks the session of this id to leave the maildrop of this account."""


class Unanswered(Exception):
    """The other process is gone, is none of ours, or speaks otherwise."""


class _Line(LineOnlyReceiver):
    """One line from a peer that may be trusted; anybody else is cut off before anything is said or heard."""

    delimiter = b"\n"
    MAX_LENGTH = _MOST_OCTETS
    transport: Any

    def connectionMade(self) -> None:
        self.trusted = _is_ours(self.transport.getHandle())
        if not self.trusted:
            self.transport.abortConnection()

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002 - Twisted's signature
        self.transport.abortConnection()


def _is_ours(connected: socket.socket) -> bool:
    """Whether the process at the other end of a unix socket is of our own user, or root."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user in (0, os.geteuid())


def _sweep(folder: Path, now: float) -> None:
    """Remove the sockets in `folder` that processes have left behind, and whose names nobody listens at any more."""
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # One that is new may be about to be listened at.
            if path.is_socket() and now - path.lstat().st_mtime > _SETTLED_SECONDS and _is_deserted(path):
                path.unlink()


def _is_deserted(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) == ECONNREFUSED


class Answering(_Line):
    """The process that is asked."""

    log = Logger()

    def __init__(self, give_way: GiveWay, reactor: Any) -> None:
        self._give_way = give_way
        self._reactor = reactor
        self._timer: Any = None

    def connectionMade(self) -> None:
        super().connectionMade()
        if self.trusted:
            self._timer = self._reactor.callLater(SECONDS, self.transport.abortConnection)
            self.sendLine(_READY)  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:
        try:
            asked = json.loads(line)
            session, account = str(asked["session"]), str(asked["account"])
        except (ValueError, TypeError, KeyError, RecursionError):
            self.transport.abortConnection()
            return
        self._give_way(session, account)
        self.sendLine(_ASKED)  # type: ignore[no-untyped-call]
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class AnsweringFactory(Factory[Answering]):
    """For the socket of this process."""

    noisy = False

    def __init__(self, give_way: GiveWay, reactor: Any) -> None:
        self._give_way = give_way
        self._reactor = reactor

    def buildProtocol(self, addr: IAddress | None) -> Answering:  # noqa: ARG002 - Twisted's signature
        return Answering(self._give_way, self._reactor)


class Asking(_Line):
    """The process that asks."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self.answer: Deferred[None] = Deferred(lambda _: self.transport.abortConnection())

    def lineReceived(self, line: bytes) -> None:
        if line == _READY and self.trusted:
            self.sendLine(self._question)  # type: ignore[no-untyped-call]
            return
        self.transport.loseConnection()
        if line == _ASKED and not self.answer.called:
            self.answer.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        if not self.answer.called:
            self.answer.errback(Unanswered("it has ended the connection"))


class AskingFactory(Factory[Asking]):
    """For one question."""

    noisy = False

    def __init__(self, question: bytes) -> None:
        self._question = question

    def buildProtocol(self, addr: IAddress | None) -> Asking:  # noqa: ARG002 - Twisted's signature
        return Asking(self._question)


class Takeovers:
    """This process among those that serve the same maildrops."""

    log = Logger()

    def __init__(self, reactor: Any, registry: Registry) -> None:
        self._reactor = reactor
        self._registry = registry
        self._temporary: TemporaryDirectory[str] | None = None
        self.socket = ""
        """The path at which this process is asked, once it can be."""

    def listener(self, runtime: str, base: Path, environment: Mapping[str, str]) -> Offer:
        """Where to listen, and what answers there. The path is chosen once and stays.

        In the folder `runtime`, relative to `base` and made if need be; "" is that of $RUNTIME_DIRECTORY, or a
        temporary one. Raises `OSError`, also for a folder that others may write to.
        """
        if not self.socket:
            folder = self._folder(runtime, base, environment)
            _sweep(folder, self._reactor.seconds())
            path = str(folder / f"{_PREFIX}{os.getpid()}-{token_hex(4)}")
            if len(os.fsencode(path)) > _PATH_OCTETS:
                raise OSError(ENAMETOOLONG, os.strerror(ENAMETOOLONG))
            self.socket = path
        escaped = re.sub(r"([:\\])", r"\\\1", self.socket)
        return Offer(
            "", f"unix:{escaped}:mode=600:lockfile=0", AnsweringFactory(self._registry.give_way, self._reactor)
        )

    def stop(self) -> None:
        """Remove the folder, if it was a temporary one."""
        if self._temporary is not None:
            self._temporary.cleanup()

    def _folder(self, runtime: str, base: Path, environment: Mapping[str, str]) -> Path:
        named = runtime or environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        if not named:
            self._temporary = TemporaryDirectory(prefix="popserv-")
            return Path(self._temporary.name)
        folder = base / named
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
            raise PermissionError(EPERM, "others may write there")
        return folder

    async def ask(self, holder: Holder, account: str) -> bool:
        """Ask the session that has the maildrop of `account` to leave: whether its lock may be free soon."""
        if not holder.socket or holder.host != os.uname().nodename:
            return False
        if holder.socket == self.socket:
            self._registry.give_way(holder.session, account)
            return True
        try:
            await self._ask(holder, account)
        except (Unanswered, ConnectError, TimeoutError, OSError, ValueError) as error:
            self.log.warn(
                "process {pid} cannot be asked for the maildrop of {account!a}: {error!s}",
                pid=holder.pid,
                account=account,
                error=error,
            )
            return False
        return True

    async def _ask(self, holder: Holder, account: str) -> None:
        question = json.dumps({"session": holder.session, "account": account}).encode("ascii")
        endpoint: Any = UNIXClientEndpoint(  # type: ignore[no-untyped-call]
            self._reactor, holder.socket, timeout=SECONDS
        )
        asking = await endpoint.connect(AskingFactory(question))
        await asking.answer.addTimeout(SECONDS, self._reactor)
