"""One LMTP session (RFC 2033) as a pure function: a line in, a reply or an effect out.

The commands are those of RFC 5321 with LHLO in place of HELO and EHLO, and one reply for each recipient behind the
data. Every reply has an enhanced status code (RFC 2034, RFC 3463); none holds anything that the client sent.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import attrs

from popserv.delivery.grammar import Path, domain, forward_path, reverse_path
from popserv.errors import DeliveryError
from popserv.limits import Limits
from popserv.wire.lines import Fault

RECIPIENTS = 100
"""In one transaction, which is what RFC 5321 section 4.5.3.1.8 asks for: each has a file open until it is stored."""

COMMAND_OCTETS = 512 + 26 + 14
"""A command line with its CRLF: RFC 5321 section 4.5.3.1.4, and room for SIZE (RFC 1870 section 3) and BODY."""


class State(Enum):
    """Where in a transaction a session is."""

    CONNECTED = "before LHLO"
    READY = "no transaction"
    MAIL = "sender known"
    RECIPIENTS = "recipients known"


class LmtpError(Exception):
    """A command that is answered with this reply. Those that are a `fault` count against `Limits.bad_commands`."""

    def __init__(self, reply: int, status: str, text: str, *, fault: bool = True) -> None:
        self.reply = reply
        self.status = status
        self.text = text
        self.fault = fault
        super().__init__(text)


@attrs.frozen
class LookUp:
    """RCPT: find the account of `address`. Outcome: `LmtpSession.recipient` or `LmtpSession.refuse_recipient`."""

    address: bytes


@attrs.frozen
class Receive:
    """DATA: take the message in. `reply` asks for it; outcome: `LmtpSession.stored`, once for each recipient."""

    reply: bytes


Reply = bytes | LookUp | Receive


def answer(reply: int, status: str, text: str) -> bytes:
    """One reply line."""
    return f"{reply} {status} {text}\r\n".encode("ascii")


def answer_error(error: DeliveryError) -> bytes:
    """The reply for a recipient who does not get the message."""
    return answer(error.reply, error.status, error.text)


class LmtpSession:
    """`handle` takes a line without CRLF and never raises; while an effect is pending it must not be called."""

    def __init__(self, hostname: str, message_octets: int, limits: Limits) -> None:
        self.hostname = hostname
        self.message_octets = message_octets
        self.state = State.CONNECTED
        self.client = ""
        """What LHLO said."""
        self.sender = b""
        """The reverse-path without brackets, b"" for the null one."""
        self.recipients: list[Any] = []
        """The account of each successful RCPT, in order, also when it stands there already."""
        self.ended = ""
        """Why no more lines are taken: "quit" or "errors"; "" while they are."""
        self._limits = limits
        self._faults = 0

    def handle(self, line: bytes) -> Reply:
        """The reply to one line, or the effect that leads to it."""
        verb, space, argument = line.partition(b" ")
        try:
            handler = _COMMANDS.get(verb.upper())
            if handler is None:
                raise LmtpError(500, "5.5.1", "command not recognised")
            return handler(self, argument if space else b"")
        except LmtpError as error:
            return self._failed(error)

    def fault(self, fault: Fault) -> bytes:
        """The reply to what is no line."""
        if fault is Fault.FLOOD:
            self.ended = "errors"
            return b""
        text = "line must end in CRLF" if fault is Fault.BARE_LF else "line is too long"
        reply = self._failed(LmtpError(500, "5.5.2", text))
        if fault is Fault.OVERLONG_AGAIN:
            self.ended = "errors"
        return reply

    def recipient(self, account: Any) -> bytes:
        """The address of this RCPT belongs to `account`."""
        self.recipients.append(account)
        self.state = State.RECIPIENTS
        return answer(250, "2.1.5", "recipient ok")

    def refuse_recipient(self, error: DeliveryError) -> bytes:
        """Nobody has the address, or nobody can tell."""
        return answer_error(error)

    def stored(self, outcome: DeliveryError | None) -> bytes:
        """What became of the message for one recipient (RFC 2033 section 4.2)."""
        if outcome is not None:
            return answer_error(outcome)
        self._faults = 0
        return answer(250, "2.0.0", "message stored")

    def reset(self) -> None:
        """The transaction is over."""
        self.sender = b""
        self.recipients = []
        if self.state is not State.CONNECTED:
            self.state = State.READY

    def _failed(self, error: LmtpError) -> bytes:
        self._faults += error.fault
        if self._faults >= self._limits.bad_commands:
            self.ended = "errors"
            return answer(421, "4.7.0", f"{error.text}; too many bad commands")
        return answer(error.reply, error.status, error.text)


def lhlo(session: LmtpSession, argument: bytes) -> Reply:
    name = domain(argument)
    if name is None:
        raise LmtpError(501, "5.5.4", "LHLO needs a domain or an address literal")
    session.reset()
    session.client = name
    session.state = State.READY
    offers = [session.hostname, "PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", f"SIZE {session.message_octets}"]
    lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
    return "".join(line + "\r\n" for line in lines).encode("ascii")


def not_lmtp(_session: LmtpSession, _argument: bytes) -> Reply:
    # RFC 2033 section 4.1
    raise LmtpError(500, "5.5.1", "this is LMTP: use LHLO")


def mail(session: LmtpSession, argument: bytes) -> Reply:
    if session.state is State.CONNECTED:
        raise LmtpError(503, "5.5.1", "LHLO first")
    if session.state is not State.READY:
        raise LmtpError(503, "5.5.1", "sender is known already")
    sender = reverse_path(argument)
    if isinstance(sender, str):
        raise LmtpError(501, "5.1.7", sender)
    _check_parameters(session, sender)
    session.sender = sender.address
    session.state = State.MAIL
    return answer(250, "2.1.0", "sender ok")


def _check_parameters(session: LmtpSession, sender: Path) -> None:
    for key, value in sender.parameters.items():
        if key == b"SIZE":
            if not (value.isdigit() and len(value) <= 20):
                raise LmtpError(501, "5.5.4", "SIZE must be a number")
            if int(value) > session.message_octets:
                text = f"message is too large, the limit is {session.message_octets} octets"
                raise LmtpError(552, "5.3.4", text, fault=False)
        elif key == b"BODY":
            if value.upper() not in (b"7BIT", b"8BITMIME"):
                raise LmtpError(501, "5.5.4", "BODY must be 7BIT or 8BITMIME")
        else:
            raise LmtpError(555, "5.5.4", "parameter is not supported", fault=False)


def rcpt(session: LmtpSession, argument: bytes) -> Reply:
    if session.state not in (State.MAIL, State.RECIPIENTS):
        raise LmtpError(503, "5.5.1", "MAIL first")
    if len(session.recipients) >= RECIPIENTS:
        return answer(452, "4.5.3", "too many recipients")
    recipient = forward_path(argument)
    if isinstance(recipient, str):
        raise LmtpError(501, "5.1.3", recipient)
    if recipient.parameters:
        raise LmtpError(555, "5.5.4", "parameter is not supported", fault=False)
    return LookUp(recipient.address)


def data(session: LmtpSession, argument: bytes) -> Reply:
    _no_argument(argument)
    if not session.recipients:
        # RFC 2033 section 4.2. Who sends many commands at once does not know yet that no recipient is.
        raise LmtpError(503, "5.5.1", "no valid recipients", fault=session.state is not State.MAIL)
    return Receive(b"354 end data with <CR><LF>.<CR><LF>\r\n")


def rset(session: LmtpSession, argument: bytes) -> Reply:
    _no_argument(argument)
    session.reset()
    return answer(250, "2.0.0", "ok")


def noop(_session: LmtpSession, _argument: bytes) -> Reply:
    return answer(250, "2.0.0", "ok")


def vrfy(_session: LmtpSession, argument: bytes) -> Reply:
    if not argument:
        raise LmtpError(501, "5.5.4", "VRFY needs an address")
    return answer(252, "2.0.0", "send mail and see")


def help_(_session: LmtpSession, _argument: bytes) -> Reply:
    return answer(214, "2.0.0", "LHLO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT")


def quit_(session: LmtpSession, argument: bytes) -> Reply:
    _no_argument(argument)
    session.ended = "quit"
    return answer(221, "2.0.0", "bye")


def _no_argument(argument: bytes) -> None:
    if argument:
        raise LmtpError(501, "5.5.4", "this command takes no argument")


_COMMANDS: dict[bytes, Callable[[LmtpSession, bytes], Reply]] = {
    b"LHLO": lhlo,
    b"HELO": not_lmtp,
    b"EHLO": not_lmtp,
    b"MAIL": mail,
    b"RCPT": rcpt,
    b"DATA": data,
    b"RSET": rset,
    b"NOOP": noop,
    b"VRFY": vrfy,
    b"HELP": help_,
    b"QUIT": quit_,
}
