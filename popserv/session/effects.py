"""What a session cannot do itself: everything that needs the outside.

A handler returns either octets (a complete reply) or one of these. Whoever performs it tells the session the outcome
and gets the reply in exchange; until then the session takes no line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import attrs

from popserv.errors import PopError


@attrs.frozen
class PasswordLogin:
    """USER and PASS. Outcome: `Session.logged_in` or `Session.login_failed`."""

    name: bytes
    password: bytes = attrs.field(repr=False)


@attrs.frozen
class ApopLogin:
    """APOP; `timestamp` is the one of this connection's greeting. Outcome as `PasswordLogin`."""

    name: bytes
    timestamp: bytes
    digest: bytes = attrs.field(repr=False)


@attrs.frozen
class Converse:
    """Begin a SASL exchange. Outcome: `Session.challenge`, or as `PasswordLogin`."""

    mechanism: Any
    """`popserv.interfaces.IMechanism`."""
    initial: bytes | None = attrs.field(repr=False)
    """The initial response, decoded; None if there was none."""


@attrs.frozen
class Respond:
    """Go on with the SASL exchange: the client's response, or the error that ends it. Outcome as `Converse`."""

    response: bytes | PopError = attrs.field(repr=False)


@attrs.frozen
class SendMessage:
    """RETR and TOP: `header` is the ``+OK`` line, `lines` the body lines of TOP, None for all.

    Outcome: `Session.sent`; or `Session.failed` if not one octet has left, else the connection is aborted.
    """

    index: int
    header: bytes
    lines: int | None = None


@attrs.frozen
class SendListing:
    """A long listing: blocks of ready wire text, header first, terminator last. Outcome: `Session.sent`."""

    blocks: Iterator[bytes]
    whole: Literal["LIST", "UIDL"] | None = None
    """What lies between is this for every message of the maildrop, which may have it at hand."""


@attrs.frozen
class Commit:
    """QUIT: remove these (0-based), release the lock. Outcome: `Session.committed` or `Session.failed`."""

    deleted: frozenset[int]


@attrs.frozen
class StartTLS:
    """STLS: `reply` leaves in the clear, then TLS. Outcome: `Session.tls_started`.

    If an octet follows the command in the buffer: `Session.tls_refused`, and no handshake.
    """

    reply: bytes


Effect = PasswordLogin | ApopLogin | Converse | Respond | SendMessage | SendListing | Commit | StartTLS
Reply = bytes | Effect
