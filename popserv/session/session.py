"""One POP3 session as a pure function: a line in, a reply or an effect out.

No transport, no Deferred, no clock. `Session.handle` never raises, whatever the line is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from popserv import plugins
from popserv.errors import BadSyntax, Cancelled, LoginRefused, PopError, Refused, SystemTrouble
from popserv.limits import Limits
from popserv.session import authorization, capabilities, transaction
from popserv.session.capabilities import Capability, Offer
from popserv.session.commands import Tables
from popserv.session.effects import Commit, Effect, Reply, Respond, SendMessage
from popserv.session.marks import DeletionMarks
from popserv.session.states import TRANSITIONS, Event, State
from popserv.wire.arguments import response
from popserv.wire.lines import Fault
from popserv.wire.replies import continuation, err, ok


@attrs.frozen
class Dialect:
    """Which commands and capabilities a session has: the standard ones and those of named extensions."""

    tables: Tables
    capabilities: tuple[Capability, ...]

    @classmethod
    def of(cls, extensions: Sequence[str] = ()) -> Dialect:
        """With the plug-ins of these names added. Raises `popserv.plugins.UnknownPlugin`."""
        commands = [*authorization.COMMANDS, *transaction.COMMANDS, *capabilities.COMMANDS]
        tags = [*capabilities.STANDARD]
        for name in extensions:
            extension = plugins.find("extensions", name)
            commands += extension.commands
            tags += extension.capabilities
        return cls(Tables(commands), tuple(tags))


STANDARD = Dialect.of()


@attrs.define
class Counters:
    """What the session line tells: how often, and how many octets."""

    retr: int = 0
    retr_octets: int = 0
    top: int = 0
    top_octets: int = 0
    deleted: int = 0


def _ignore(_error: BaseException) -> None:
    """For sessions nobody wants defects of reported."""


class Session:
    """The state machine of RFC 1939.

    `handle` takes a line without its CRLF. While an effect is pending, and after `ended`, it must not be called. The
    outcome methods take what an effect led to; those that return octets return the reply to send.
    """

    __slots__ = (
        "_doomed",
        "_failures",
        "_faults",
        "_report",
        "_steps",
        "_table",
        "_tables",
        "capabilities",
        "counters",
        "ended",
        "exchange",
        "highest",
        "last_event",
        "limits",
        "maildrop",
        "marks",
        "offer",
        "state",
        "timestamp",
        "tls",
        "user",
    )

    maildrop: Any
    """`popserv.interfaces.IMaildrop`, in TRANSACTION."""
    marks: DeletionMarks

    def __init__(
        self,
        offer: Offer,
        limits: Limits,
        *,
        dialect: Dialect = STANDARD,
        report: Callable[[BaseException], None] = _ignore,
    ) -> None:
        self.offer = offer
        self.timestamp = b""
        self.capabilities = dialect.capabilities
        self.state = State.AUTHORIZATION
        self.user: bytes | None = None
        """The name that USER gave, waiting for PASS."""
        self.tls = False
        self.exchange = False
        """Whether the next line is a SASL response."""
        self.ended = False
        """Whether the connection ends after what has been returned."""
        self.last_event: Event | None = None
        """What changed the state last."""
        self.highest = 0
        """The highest message-number retrieved since login or RSET; 0 for none."""
        self.counters = Counters()
        self._tables = dialect.tables
        self._table = self._tables.by_state[self.state]
        self.limits = limits
        self._report = report
        self._doomed = False  # the next error is the last one
        self._faults = 0
        self._failures = 0
        self._steps = 0

    # --- lines

    def handle(self, line: bytes) -> Reply:
        """The reply to one line (without CRLF), or the effect that leads to it."""
        try:
            if self.exchange:
                return self._respond(line)
            return self._command(line)
        except PopError as error:
            return self.failed(error)
        except Exception as defect:
            self._report(defect)
            return err("internal error", SystemTrouble.code)

    def fault(self, fault: Fault) -> Reply:
        """The reply to what is no line at all; it ends a SASL exchange as any bad response does."""
        if fault is Fault.FLOOD:
            self._end()
            return b""
        self.user = None
        error = BadSyntax("line must end in CRLF" if fault is Fault.BARE_LF else "line is too long")
        self._doomed = fault is Fault.OVERLONG_AGAIN
        if self.exchange:
            self.exchange = False
            return Respond(error)
        return self.failed(error)

    def _command(self, line: bytes) -> Reply:
        verb, _, argument = line.partition(b" ")
        handler = self._table.get(verb)
        if handler is None:
            verb = verb.upper()
            handler = self._table.get(verb)
            if handler is None:
                self.user = None
                raise self._no_handler(verb)
        if self.user is not None and verb != b"PASS":
            # RFC 1939 section 7: PASS is valid right after USER only.
            self.user = None
        if not argument:
            return handler(self, None)
        if argument.endswith(b" ") and verb not in self._tables.exact:
            # Old clients send one space too many.
            argument = argument[:-1]
        return handler(self, argument)

    def _no_handler(self, verb: bytes) -> PopError:
        if verb in self._tables.known:
            return Refused(f"not in the {self.state.value} state")
        return BadSyntax("unknown command")

    def _respond(self, line: bytes) -> Reply:
        self.exchange = False
        if line == b"*":
            # RFC 5034 section 4
            return Respond(Cancelled())
        try:
            return Respond(response(line, self.limits.sasl_octets))
        except PopError as malformed:
            return Respond(malformed)

    # --- outcomes

    def begin(self, offer: Offer, timestamp: bytes, tls: bool) -> None:
        """The server greets; `timestamp` is for APOP, if that is offered."""
        self.offer = offer
        self.timestamp = timestamp if offer.apop else b""
        self.tls = tls

    def failed(self, error: PopError) -> bytes:
        """The one place where an error becomes ``-ERR``, is counted, and ends the session if it was one too many."""
        text = error.text
        if error.clients_fault:
            self._faults += 1
            if self._faults >= self.limits.bad_commands:
                self._end()
                text += "; too many bad commands"
        if self._doomed or self.state is State.UPDATE:
            self._end()
        return err(text, error.code)

    def challenge(self, octets: bytes) -> bytes:
        """The mechanism has something to say; the next line is the response."""
        self._steps += 1
        if self._steps > self.limits.sasl_steps:
            self._end()
            return err("too many steps in this exchange")
        self.exchange = True
        return continuation(octets)

    def logged_in(self, maildrop: Any) -> bytes:
        """The credentials are good and the lock is held (RFC 1939 section 4)."""
        self.maildrop = maildrop
        self.marks = DeletionMarks(maildrop.octets, maildrop.total)
        # Not every maildrop says so; see `popserv.interfaces.IExpires`.
        self.offer = attrs.evolve(self.offer, expire=getattr(maildrop, "expire", self.offer.expire))
        self.change(Event.LOGGED_IN)
        return ok(f"{maildrop.count} messages ({maildrop.total} octets)")

    def login_failed(self, error: PopError) -> bytes:
        """No login; another one may follow, but not for ever."""
        self._steps = 0
        if isinstance(error, LoginRefused):
            self._failures += 1
            if self._failures >= self.limits.login_failures:
                self._end()
        return self.failed(error)

    def sent(self, effect: Effect, octets: int) -> None:
        """A message or a listing is on its way, whole: `octets` of it before stuffing."""
        if isinstance(effect, SendMessage):
            if effect.lines is None:
                self.counters.retr += 1
                self.counters.retr_octets += octets
            else:
                self.counters.top += 1
                self.counters.top_octets += octets

    def committed(self, effect: Commit, left: int) -> bytes:
        """UPDATE is over: `left` of the marked messages are still there (RFC 1939 section 6)."""
        self.change(Event.COMMITTED)
        marked = len(effect.deleted)
        self.counters.deleted = marked - left
        if left:
            return err(f"{left} of {marked} deleted messages not removed", SystemTrouble.code)
        return ok(f"bye, {marked} messages removed" if marked else "bye")

    def tls_started(self, offer: Offer) -> None:
        """TLS is active: what the client said in the clear is forgotten (RFC 2595 section 4; RFC 3207 section 4.2)."""
        self.tls = True
        self.offer = offer
        self.user = None
        self.timestamp = b""

    def tls_refused(self) -> bytes:
        """Octets followed STLS: somebody may have put them there (RFC 2595 section 4)."""
        self._end()
        return err("data after STLS")

    # --- state

    @property
    def no_password_here(self) -> str:
        """Why USER and PASS are refused on this connection."""
        if self.offer.stls:
            return "no password in the clear: use STLS first"
        return "USER and PASS are not available on this connection"

    def change(self, event: Event) -> None:
        """Follow the table of `popserv.session.states`."""
        self.last_event = event
        self.state = TRANSITIONS[self.state][event]
        self._table = self._tables.by_state[self.state]
        self.ended = self.state is State.CLOSED

    def _end(self) -> None:
        self.exchange = False
        self.change(Event.ENDED)


__all__ = ["STANDARD", "Counters", "Dialect", "Session"]
