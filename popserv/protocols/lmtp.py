"""LMTP (RFC 2033): how mail comes in."""

from __future__ import annotations

from collections.abc import Coroutine
from time import time
from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.delivery.headers import received, return_path
from popserv.delivery.intake import Intake
from popserv.delivery.recipients import Recipients
from popserv.delivery.session import COMMAND_OCTETS, LmtpSession, LookUp, Receive, Reply, answer
from popserv.delivery.unstuff import Unstuffer
from popserv.errors import DeliveryError
from popserv.interfaces import IMailProtocol
from popserv.limits import Limits
from popserv.net.connection import Connection
from popserv.net.listener import Listener
from popserv.net.timeouts import Timeouts
from popserv.wire.lines import LineBuffer

BATCH = 64 * 1024
"""Octets of a message that are written at a time."""


class Reception:
    """The data phase of one transaction."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self._unstuffer = Unstuffer()
        self._batch: list[bytes] = []
        self._octets = 0
        self.rest: bytes | None = None
        """What came behind the end of the data; None while it goes on."""

    def feed(self, octets: bytes) -> None:
        content, self.rest = self._unstuffer.feed(octets)
        self._batch.append(content)
        self._octets += len(content)

    @property
    def due(self) -> bool:
        """Whether something has to be written before more is taken in."""
        return self._octets >= BATCH or self.whole

    @property
    def whole(self) -> bool:
        """Whether the end of the data has come."""
        return self.rest is not None

    def take(self) -> bytes:
        """What is to be written."""
        octets = b"".join(self._batch)
        self._batch, self._octets = [], 0
        return octets


@implementer(IPushProducer)
class LmtpServer(Connection):
    """One connection. Nothing is received while a store works or the peer does not read its replies."""

    log = Logger()

    def __init__(self, listener: Listener, timeouts: Timeouts) -> None:
        super().__init__(listener, timeouts, LineBuffer(_with_room_for_commands(listener.limits)))
        assert listener.directory is not None and listener.delivery is not None  # noqa: S101 - composed so
        self._delivery = listener.delivery
        self._recipients = Recipients(listener.directory)
        self._session = LmtpSession(listener.hostname, listener.message_octets, listener.limits)
        self._data = b""  # received in the data phase and not looked at
        self._reception: Reception | None = None
        self._busy = self._pumping = self._stalled = self._draining = False
        self._messages = self._stored = self._deliveries = 0

    # --- the connection

    def connectionMade(self) -> None:
        super().connectionMade()
        registry = self._listener.registry
        self.transport.registerProducer(self, True)
        self._timeouts.set(self, self._limits.idle_seconds)
        refusal = registry.opened(self, self._host)
        registry.logged_in(self)  # nobody logs in here
        if refusal:
            self._end_with(answer(421, "4.3.2", refusal), "refused")
        else:
            self._write(f"220 {self._listener.hostname} LMTP server ready\r\n".encode("ascii"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        self._gone = True
        self._timeouts.forget(self)
        self._listener.registry.closed(self)
        self._end_deliveries()
        if self._reception is not None and not self._busy:
            ensureDeferred(self._reception.intake.abort())
        self._listener.observer.event(
            "closed",
            session=self.session_id,
            peer=self._host,
            protocol="lmtp",
            stored=self._stored,
            seconds=self._timeouts.now() - self._started,
            why=self._why or "connection lost",
        )

    def _received(self, octets: bytes) -> None:
        self._timeouts.set(self, self._limits.idle_seconds)
        if self._reception is not None:
            self._data += octets
        else:
            self._lines.feed(octets)
        self._pump()

    # --- lines and data, one thing at a time

    @property
    def _blocked(self) -> bool:
        return self._busy or self._stalled or self._gone or self._ending is not None

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        while not self._blocked and not self._session.ended and self._step():
            pass
        self._pumping = False
        self._flush()
        if not self._blocked:
            self._settle()
        self._receive(not (self._busy or self._stalled))

    def _settle(self) -> None:
        """Nothing is left to be done with what has come in."""
        if self._session.ended:
            self._end(self._session.ended)
        elif self._draining and self._reception is None:
            self._end_with(answer(421, "4.3.2", "server is shutting down"), "drained")
        elif self._eof:
            self._end("peer closed")

    def _step(self) -> bool:
        """Do one thing; False when there is none."""
        if self._reception is not None:
            return self._take_data(self._reception)
        if self._draining:
            return False
        line = self._lines.next()
        if line is None:
            return False
        reply = self._session.handle(line) if isinstance(line, bytes) else self._session.fault(line)
        self._end_deliveries(left=len(self._session.recipients))  # fewer, where a transaction was given up
        self._act(reply)
        return True

    def _act(self, reply: Reply) -> None:
        if isinstance(reply, bytes):
            self._out.append(reply)
        elif isinstance(reply, LookUp):
            self._start(self._look_up(reply))
        else:
            self._start(self._begin(reply))

    def _take_data(self, reception: Reception) -> bool:
        data, self._data = self._data, b""
        if not data:
            return False
        reception.feed(data)
        if reception.due:
            self._start(self._write_batch(reception))
        return True

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._busy = True
        ensureDeferred(work).addErrback(self._defect).addBoth(self._done)

    def _done(self, _result: None) -> None:
        self._busy = False
        if self._gone and self._reception is not None:
            reception, self._reception = self._reception, None
            ensureDeferred(reception.intake.abort())
        self._pump()

    def _defect(self, failure: Failure) -> None:
        self.log.failure("session {session}: unexpected failure", failure, session=self.session_id)
        self._gone = True  # nothing that has come is looked at, and no part of a message is stored
        self._abort("defect")

    # --- effects

    async def _look_up(self, effect: LookUp) -> None:
        try:
            account = await self._recipients.find(effect.address)
        except DeliveryError as error:
            self._out.append(self._session.refuse_recipient(error))
            return
        if self._gone or not self._listener.registry.begin_delivery():
            self._out.append(answer(452, "4.5.3", "too many messages on their way, try again later"))
            return
        self._deliveries += 1
        self._out.append(self._session.recipient(account))

    def _end_deliveries(self, left: int = 0) -> None:
        """Of those that have begun so many are left."""
        ended, self._deliveries = self._deliveries - left, left
        self._listener.registry.end_deliveries(ended)

    @property
    def _message_id(self) -> str:
        """What the log and the message itself call it."""
        return f"{self.session_id}.{self._messages}"

    async def _begin(self, effect: Receive) -> None:
        session = self._session
        self._messages += 1
        head = return_path(session.sender) + received(
            session.client, self._host, self._listener.hostname, self._message_id, time()
        )
        self._reception = Reception(Intake(self._delivery, self._listener.message_octets))
        self._data = self._lines.take_rest()
        await self._reception.intake.begin(session.recipients, head)
        self._out.append(effect.reply)

    async def _write_batch(self, reception: Reception) -> None:
        await reception.intake.write(reception.take())
        rest = reception.rest
        if rest is None or self._gone:
            return
        # RFC 2033 section 4.2: a reply for each successful RCPT, each as soon as it is known.
        for account in self._session.recipients:
            outcome = await reception.intake.commit(account)
            self._write(self._session.stored(outcome))
            self._report(account.name, reception.intake.octets, outcome)
        await reception.intake.abort()
        self._reception = None
        self._session.reset()
        self._end_deliveries()
        self._lines.feed(rest + self._data)
        self._data = b""

    def _report(self, name: str, octets: int, outcome: DeliveryError | None) -> None:
        self._stored += outcome is None
        self._listener.observer.event(
            "delivered",
            session=self.session_id,
            peer=self._host,
            message=self._message_id,
            user=name,
            octets=octets,
            status="2.0.0" if outcome is None else outcome.status,
        )

    # --- the peer's pace

    def pauseProducing(self) -> None:
        self._stalled = True

    def resumeProducing(self) -> None:
        self._stalled = False
        self._pump()

    # --- the end

    def _peer_finished(self) -> None:
        self._pump()

    def _timed_out(self) -> None:
        if self._busy:
            self._timeouts.set(self, self._limits.idle_seconds)
        elif self._stalled:
            self._abort("write timeout")
        else:
            self._end_with(answer(421, "4.4.2", "idle for too long"), "idle timeout")

    def drain(self) -> None:
        """The server is shutting down: a message that is coming in may come to its end."""
        self._draining = True
        self._pump()

    def shed(self) -> None:
        """The server does not wait any longer, except for a message that has come as a whole: it may be stored."""
        self._draining = True
        whole = self._reception is not None and self._reception.whole
        if self._ending is None and not whole:
            self._end_with(answer(421, "4.3.2", "server is shutting down"), "shed")


def _with_room_for_commands(limits: Limits) -> Limits:
    """`limits` are for POP3 too, whose lines are shorter."""
    return attrs.evolve(limits, command_octets=max(limits.command_octets, COMMAND_OCTETS))


class LmtpFactory(Factory[LmtpServer]):
    """Builds an `LmtpServer` for each connection of one listener."""

    noisy = False

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._timeouts = Timeouts(listener.reactor)

    def buildProtocol(self, addr: IAddress | None) -> LmtpServer:  # noqa: ARG002 - Twisted's signature
        return LmtpServer(self._listener, self._timeouts)


@implementer(IMailProtocol)
class Lmtp:
    """See `popserv.interfaces.IMailProtocol`."""

    default_tls = "off"
    tls_modes = ("off",)

    def factory(self, listener: Listener) -> LmtpFactory:
        return LmtpFactory(listener)


plugin = Lmtp()
