"""The AUTHORIZATION state: USER, PASS, APOP, AUTH, STLS, QUIT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from popserv.errors import Refused
from popserv.session.commands import Command
from popserv.session.effects import ApopLogin, Converse, PasswordLogin, Reply, StartTLS
from popserv.session.states import Event, State
from popserv.wire import arguments
from popserv.wire.replies import multiline, ok

if TYPE_CHECKING:
    from popserv.session.session import Session


def user(session: Session, argument: bytes | None) -> Reply:
    # RFC 8314 section 4.1: refused for the connection, whatever the name is.
    if not session.offer.user:
        raise Refused(session.no_password_here)
    session.user = arguments.name(argument)
    # RFC 1939 section 13: the same answer whether the name exists or not.
    return ok("send PASS")


def pass_(session: Session, argument: bytes | None) -> Reply:
    name, session.user = session.user, None
    if not session.offer.user:
        raise Refused(session.no_password_here)
    if name is None:
        raise Refused("PASS must follow a successful USER")
    return PasswordLogin(name, arguments.secret(argument))


def apop(session: Session, argument: bytes | None) -> Reply:
    if not session.offer.apop:
        raise Refused("APOP is not available on this connection")
    name, digest = arguments.apop(argument)
    return ApopLogin(name, session.timestamp, digest)


def auth(session: Session, argument: bytes | None) -> Reply:
    if argument is None:
        # Not in RFC 5034, but clients older than CAPA ask so which mechanisms there are.
        return multiline("mechanisms follow", [mechanism.name for mechanism in session.offer.mechanisms])
    name, initial = arguments.mechanism(argument, session.limits.sasl_octets)
    for mechanism in session.offer.mechanisms:
        if mechanism.name == name:
            break
    else:
        raise Refused("this mechanism is not available on this connection")
    if initial is not None and not mechanism.client_first:
        # RFC 5034 section 4
        raise Refused("this mechanism takes no initial response")
    return Converse(mechanism, initial)


def stls(session: Session, argument: bytes | None) -> Reply:
    arguments.no_argument(argument)
    if session.tls:
        raise Refused("TLS is active already")
    if not session.offer.stls:
        raise Refused("TLS is not available here")
    return StartTLS(ok("begin TLS"))


def quit_(session: Session, argument: bytes | None) -> Reply:
    arguments.no_argument(argument)
    session.change(Event.QUIT)
    return ok("bye")


_HERE = frozenset({State.AUTHORIZATION})

COMMANDS = (
    Command(b"USER", user, _HERE, "RFC 1939 section 7"),
    Command(b"PASS", pass_, _HERE, "RFC 1939 section 7", exact=True),
    Command(b"APOP", apop, _HERE, "RFC 1939 section 7"),
    Command(b"AUTH", auth, _HERE, "RFC 5034 section 4"),
    Command(b"STLS", stls, _HERE, "RFC 2595 section 4"),
    Command(b"QUIT", quit_, _HERE, "RFC 1939 section 4"),
)
