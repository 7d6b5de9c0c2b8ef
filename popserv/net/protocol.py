"""The Twisted protocol: glue between octets, lines, the session and the transport."""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.auth.login import Peer
from popserv.errors import PopError, SystemTrouble
from popserv.interfaces import INotesRetrievals
from popserv.net import tls
from popserv.net.channel import Channel
from popserv.net.connection import Connection
from popserv.net.ending import unsent
from popserv.net.listener import Listener
from popserv.net.offer import offer
from popserv.net.outflow import Body, MessageBody, Outflow, listing_body
from popserv.net.performer import Performer
from popserv.net.timeouts import Timeouts
from popserv.session.capabilities import NOTHING, Offer
from popserv.session.effects import Effect, SendListing, SendMessage, StartTLS
from popserv.session.session import Dialect, Session
from popserv.session.states import Event, State
from popserv.wire.lines import LineBuffer
from popserv.wire.replies import err, ok


@implementer(IPushProducer, IHandshakeListener)
class POP3Server(Connection):
    """One connection.

    Lines are taken while no effect is pending and the transport takes octets; all replies of a turn leave in one write.
    The protocol is the transport's producer for its whole life: when the peer does not read, no line is taken and no
    chunk is read, and when lines wait, nothing is received. So memory is bounded by one receive and two chunks.
    """

    log = Logger()

    def __init__(self, listener: Listener, timeouts: Timeouts, dialect: Dialect, timestamp: bytes) -> None:
        super().__init__(listener, timeouts, LineBuffer(listener.limits))
        self._outflow = Outflow(self._write, listener.limits.chunk_octets)
        self._dialect = dialect
        self._timestamp = timestamp
        self._running = False
        self._pending = False  # an effect has no outcome yet
        self._performing = False
        self._outcome: bytes | None = None
        self._next_turn: Any = None
        self._handshaking = False
        self._unsent = 0
        self._tls = self._cipher = ""

    # --- the connection

    def connectionMade(self) -> None:
        listener = self._listener
        assert listener.login is not None  # noqa: S101 - a POP3 listener has one
        super().connectionMade()
        self._session = Session(NOTHING, self._limits, dialect=self._dialect, report=self._report)
        self._performer = Performer(self._session, listener.login, self._peer, self._replied, listener.hostname)
        self._refusal = listener.registry.opened(self, self._host)
        self._login_deadline = self._started + self._limits.login_seconds
        if not self._implicit:
            self._timeouts.at(self, self._login_deadline)
            self._greet()
        elif self._refusal:
            # It can be told nothing before a handshake, for which whoever floods us has time.
            self._abort("refused")
        else:
            self._await_handshake()

    def _greet(self) -> None:
        self.transport.registerProducer(self, True)
        self._session.begin(self._offer(), self._timestamp, bool(self._tls))
        if self._refusal:
            self._end_with(err(self._refusal, SystemTrouble.code), "refused")
            return
        timestamp = f" {self._session.timestamp.decode('ascii')}" if self._session.timestamp else ""
        self._write(ok(f"{self._listener.hostname} POP3 server ready{timestamp}"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        self._timeouts.forget(self)
        self._outflow.stop()
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._performer.lost()
        self._listener.registry.closed(self)
        self._lines.clear()
        self._log_end(self._why or self._why_lost(reason))

    def _why_lost(self, reason: Failure) -> str:
        if self._handshaking:
            return tls.why_refused(reason.value)
        return "peer closed" if isinstance(reason.value, ConnectionDone) else "connection lost"

    def _log_end(self, why: str) -> None:
        counters, maildrop = self._session.counters, getattr(self._session, "maildrop", None)
        drift = getattr(maildrop, "drift", 0)
        self._listener.observer.event(
            "closed",
            session=self.session_id,
            peer=self._host,
            user=self._performer.name,
            tls=self._tls,
            cipher=self._cipher,
            mech=self._performer.mechanism if self._performer.name else "",
            retr=(counters.retr, counters.retr_octets),
            top=(counters.top, counters.top_octets),
            dele=counters.deleted,
            skipped=len(getattr(maildrop, "skipped", ())),
            **({"drift": drift} if drift else {}),
            seconds=self._timeouts.now() - self._started,
            why=why,
        )

    def _peer(self, mechanism: str) -> Peer:
        return Peer(self._host, self.session_id, self._tls, mechanism)

    def _report(self, defect: BaseException) -> None:
        failure = Failure(defect)  # type: ignore[no-untyped-call]
        self.log.failure("session {session}: defect", failure, session=self.session_id)

    # --- lines

    def _received(self, octets: bytes) -> None:
        self._lines.feed(octets)
        self._run()

    def _run(self) -> None:
        """One turn: take lines until there is none, or an effect is pending, or others should have their turn."""
        if self._running or self._blocked:
            self._listen_or_not()
            return
        self._running = True
        session, out = self._session, self._out
        lines, octets = self._limits.turn_lines, self._limits.turn_octets
        line = b""
        heard = False
        while lines > 0 and octets > 0 and not session.ended:
            line = self._lines.next(session.exchange)  # type: ignore[assignment]
            if line is None:
                break
            lines -= 1
            heard = True
            reply = session.handle(line) if line.__class__ is bytes else session.fault(line)  # type: ignore[arg-type]
            if reply.__class__ is not bytes:
                reply = self._perform(reply)  # type: ignore[arg-type, assignment]
                if reply is None:
                    break
            out.append(reply)  # type: ignore[arg-type]
            octets -= len(reply)  # type: ignore[arg-type]
        self._running = False
        self._flush()
        if heard and not self._outflow.paused:
            # Octets that make no line are no command: whoever sends them only is idle.
            self._await_peer()
        self._after_turn(line is not None)

    @property
    def _blocked(self) -> bool:
        return bool(
            self._pending or self._outflow.paused or self._ending is not None or self._handshaking or self._gone
        )

    def _after_turn(self, more: bool) -> None:
        """What follows a turn that left whole lines behind (`more`) or not."""
        if self._blocked:
            self._listen_or_not()
        elif self._session.ended:
            self._end("quit" if self._session.last_event is not Event.ENDED else "errors")
        elif more and self._lines.pending:
            if self._next_turn is None:
                self._next_turn = self._listener.reactor.callLater(0, self._take_turn)
            self._listen_or_not()
        elif self._eof:
            self._end("peer closed")
        else:
            self._listen_or_not()

    def _take_turn(self) -> None:
        self._next_turn = None
        self._run()

    def _listen_or_not(self) -> None:
        """Receive only while nothing received waits to be handled."""
        self._receive(not (self._lines.pending and (self._blocked or self._next_turn is not None)))

    # --- effects

    def _perform(self, effect: Effect) -> bytes | None:
        """The octets an effect leads to, or None if they come later, through `_replied`."""
        self._pending = True
        self._performing = True
        self._outcome = None
        if isinstance(effect, SendMessage | SendListing):
            self._send(effect)
        elif isinstance(effect, StartTLS):
            self._start_tls(effect)
        else:
            self._performer.perform(effect)
        self._performing = False
        outcome = self._outcome
        if outcome is not None:
            self._settled()
        return outcome

    def _replied(self, reply: bytes) -> None:
        """The outcome of an effect."""
        if self._performing:
            self._outcome = reply if self._outcome is None else self._outcome + reply
            return
        if self._ending is not None:
            return  # shed or timed out meanwhile
        self._settled()
        self._out.append(reply)
        self._flush()
        self._await_peer()
        self._run()

    def _settled(self) -> None:
        self._pending = False
        if self._login_deadline < inf and self._session.state is State.TRANSACTION:
            self._login_deadline = inf
            self._listener.registry.logged_in(self)
            self._await_peer()

    def _send(self, effect: SendMessage | SendListing) -> None:
        out: list[bytes] = []
        header = effect.header if isinstance(effect, SendMessage) else b""
        try:
            body: Body
            if isinstance(effect, SendMessage):
                body = MessageBody(self._session.maildrop.message(effect.index), effect.lines)
            else:
                body = listing_body(effect.blocks, effect.whole, self._session.maildrop)
            whole = self._outflow.at_hand(body, header, out, self._limits.turn_octets)
        except Exception:
            # Whatever is in `out`: nothing has left.
            self._send_failed(Failure(), started=False)  # type: ignore[no-untyped-call]
            return
        if whole:
            self._note_sent(effect, body)
            self._replied(b"".join(out))
            return
        if out:
            self._out += out
            header = b""
        self._flush()
        self._outflow.rest(header).addCallbacks(
            lambda _: self._sent(effect, body),
            lambda failure: self._send_failed(failure, started=not header or body.octets > 0),
        )

    def _sent(self, effect: SendMessage | SendListing, body: Body) -> None:
        self._note_sent(effect, body)
        self._replied(b"")

    def _note_sent(self, effect: SendMessage | SendListing, body: Body) -> None:
        self._session.sent(effect, body.octets)
        maildrop = self._session.maildrop
        if isinstance(effect, SendMessage) and effect.lines is None and INotesRetrievals.providedBy(maildrop):
            maildrop.retrieved(effect.index)

    def _send_failed(self, failure: Failure, started: bool) -> None:
        if self._gone:
            return  # broken off by us
        error = failure.value
        if not isinstance(error, PopError):
            self.log.failure("session {session}: message cannot be read", failure, session=self.session_id)
            error = SystemTrouble()
        if started:
            # Never a terminator behind a short body: the client would take it for the whole message.
            self._abort("message cannot be read")
        else:
            self._replied(self._session.failed(error))

    # --- TLS

    def _start_tls(self, effect: StartTLS) -> None:
        if self._lines.pending:
            self._replied(self._session.tls_refused())
            return
        self._write(effect.reply)
        self.transport.unregisterProducer()
        self._await_handshake()
        self.transport = tls.start(self, self.transport, self._listener.tls, self._listener.reactor)

    def _offer(self) -> Offer:
        return offer(self._listener, self._address, self._performer.channel)

    def _await_handshake(self) -> None:
        self._handshaking = True
        handshake = self._timeouts.now() + self._limits.handshake_seconds
        self._timeouts.at(self, min(handshake, self._login_deadline))

    def handshakeCompleted(self) -> None:
        self._tls = tls.version(self.transport)
        self._cipher = tls.cipher(self.transport)
        if not self._tls:
            self._abort("TLS version")
            return
        self._performer.channel = Channel(self.transport, self._tls)
        self._handshaking = False
        self._pending = False
        self._timeouts.at(self, self._login_deadline)
        if self._implicit:
            self._greet()
        else:
            self._session.tls_started(self._offer())
            self._outflow.paused = False  # whom the transport below had paused, it has forgotten
            self.transport.registerProducer(self, True)

    # --- the peer's pace

    def pauseProducing(self) -> None:
        self._outflow.paused = True
        self._await_peer()

    def resumeProducing(self) -> None:
        if self._raw.disconnecting:
            # TLS has ended below us, and whatever is written is lost: let the transport close.
            self.transport.unregisterProducer()
            return
        self._outflow.resume()
        self._await_peer()
        if not self._gone:
            self._run()

    def _await_peer(self) -> None:
        """In TRANSACTION the peer has time to take what is sent or, if it has, to send a command."""
        if self._session.state is not State.TRANSACTION or self._ending is not None:
            return
        if self._outflow.paused:
            self._unsent = unsent(self._raw)
            self._timeouts.set(self, self._limits.write_seconds)
        else:
            self._unsent = 0
            self._timeouts.set(self, self._limits.idle_seconds)

    def _timed_out(self) -> None:
        if self._handshaking:
            self._abort("handshake timeout")
        elif self._session.exchange:
            self._end_with(err("this exchange took too long"), "login timeout")
        elif self._session.state is State.AUTHORIZATION:
            # RFC 1939 section 3: an autologout sends no reply.
            self._end("login timeout")
        elif self._outflow.paused:
            self._judge_progress()
        elif self._pending:
            self._timeouts.set(self, self._limits.idle_seconds)
        elif left := unsent(self._raw):
            # Still taking what we wrote long ago.
            self._unsent = self._unsent or left + 1
            self._judge_progress()
        elif self._unsent:
            self._await_peer()
        else:
            self._end("idle timeout")

    def _judge_progress(self) -> None:
        left = unsent(self._raw)
        if left < self._unsent:
            self._unsent = left
            self._timeouts.set(self, self._limits.write_seconds)
        else:
            self._abort("write timeout")

    # --- the end

    def _end(self, why: str) -> None:
        super()._end(why)
        # Nothing comes of the session any more: the maildrop is free, however long the peer takes to go.
        self._performer.lost()

    def _peer_finished(self) -> None:
        if not self._blocked and self._next_turn is None:
            self._end("peer closed")

    def drain(self) -> None:
        """The server is shutting down: strangers leave now, sessions when they are done."""
        if self._session.state is State.AUTHORIZATION:
            self.shed()

    def shed(self) -> None:
        """Leave now: others need the place, or the server stops. An UPDATE is not broken off."""
        if not self._ending and self._session.state is not State.UPDATE:
            self._leave("server cannot keep this connection, try again later", "shed")

    def give_way(self, account: str) -> None:
        """Let another session of this account have its maildrop; nothing is removed.

        An UPDATE is not broken off, and neither is a login: whoever asks may ask again.
        """
        if self._session.state is State.TRANSACTION and self._performer.name == account and not self._ending:
            self._leave("another session has taken this maildrop over", "taken over")

    def _leave(self, text: str, why: str) -> None:
        if self._handshaking or self._outflow.busy:
            self._abort(why)
        else:
            self._end_with(err(text, SystemTrouble.code), why)
