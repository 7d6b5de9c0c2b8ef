"""Who stays anonymous (RFC 4505), and the trace that he may leave."""

from __future__ import annotations

import stringprep
from typing import Literal, Self

import attrs
from twisted.cred.credentials import IAnonymous
from zope.interface import implementer

from popserv.auth.names import InvalidName, check_direction
from popserv.auth.trail import Trail
from popserv.interfaces import IOurCredentials

TOKEN_CHARACTERS = 255
TRACE_OCTETS = 4 * TOKEN_CHARACTERS

_PROHIBITED = (
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
"""RFC 4505 section 3. Nothing is mapped there, and no character is too new."""


@implementer(IAnonymous, IOurCredentials)
@attrs.frozen
class Anonymous:
    """Nobody in particular; see `popserv.interfaces.IOurCredentials`."""

    trace: str = ""
    """What he says of himself, prepared: an e-mail address, a token, or nothing. Proves nothing; is for the log."""
    username: bytes = b""
    authorization: bytes = b""
    address: str = ""
    """Where the client connects from, numeric; "" = not known."""
    trail: Trail | None = attrs.field(default=None, eq=False)

    def prepared(self, case: Literal["fold", "keep"]) -> Self:  # noqa: ARG002
        """The same: there is no name."""
        return self


def prepare_trace(message: bytes) -> str:
    """The trace that is in an ANONYMOUS message (RFC 4505 section 2). Raises `popserv.auth.names.InvalidName`."""
    if len(message) > TRACE_OCTETS:
        raise InvalidName(f"it is longer than {TRACE_OCTETS} octets")
    try:
        trace = message.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidName("it is not UTF-8") from None
    local, at, domain = trace.rpartition("@")
    if at and not (local and domain):
        raise InvalidName("it is no e-mail address, and a token has no @")
    if not at and len(trace) > TOKEN_CHARACTERS:
        raise InvalidName(f"it is longer than {TOKEN_CHARACTERS} characters")
    if any(prohibited(character) for character in trace for prohibited in _PROHIBITED):
        raise InvalidName("it has a character that is not allowed")
    check_direction(trace)
    return trace
