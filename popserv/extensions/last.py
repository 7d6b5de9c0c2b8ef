"""LAST (RFC 1225 section 4), which RFC 1725 dropped and old clients still send. Named in `[pop3] extensions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from popserv.session.commands import Command, Extension
from popserv.session.effects import Reply
from popserv.session.states import State
from popserv.wire.arguments import no_argument

if TYPE_CHECKING:
    from popserv.session.session import Session


def last(session: Session, argument: bytes | None) -> Reply:
    no_argument(argument)
    return b"+OK %d\r\n" % session.highest


# It has no registered capability tag, and the clients that send it do not ask.
plugin = Extension((Command(b"LAST", last, frozenset({State.TRANSACTION}), "RFC 1225 section 4"),))
