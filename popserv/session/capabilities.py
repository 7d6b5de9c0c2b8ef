"""CAPA (RFC 2449 section 5): each capability, when it holds and with which value. Values are true or absent."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from popserv._version import __version__
from popserv.session.commands import Command
from popserv.session.effects import Reply
from popserv.session.states import State
from popserv.wire.arguments import no_argument
from popserv.wire.replies import multiline

if TYPE_CHECKING:
    from popserv.session.session import Session


def _names(mechanisms: tuple[Any, ...]) -> tuple[bytes, ...]:
    # Compared and hashed by these: a mechanism need not be hashable.
    return tuple(mechanism.name for mechanism in mechanisms)


@attrs.frozen
class Offer:
    """What this connection offers now. Computed outside, afresh when TLS starts; the session only reads it."""

    user: bool
    """USER and PASS are permitted."""
    mechanisms: tuple[Any, ...] = attrs.field(default=(), eq=_names)
    """`popserv.interfaces.IMechanism`: those AUTH accepts, in the order in which they are announced."""
    apop: bool = False
    """APOP is permitted; only then the greeting has a timestamp (RFC 2449 section 6: it is the announcement)."""
    stls: bool = False
    """STLS is permitted."""
    login_delay: int = 0
    """Seconds between two logins of one account, 0 for none (RFC 2449 section 6.5)."""
    expire: str = "NEVER"
    """How long mail is kept, as EXPIRE says it (RFC 2449 section 6.7)."""


NOTHING = Offer(user=False)
"""Before the server has spoken."""


@attrs.frozen
class Capability:
    """One line of CAPA: `value` gives its parameters ("" for none), or None when the tag does not hold now."""

    tag: str
    value: Callable[[Offer, State], str | None]
    rfc: str


def _always(_offer: Offer, _state: State) -> str:
    return ""


def _user(offer: Offer, _state: State) -> str | None:
    return "" if offer.user else None


def _sasl(offer: Offer, _state: State) -> str | None:
    # RFC 5034 section 3: stays after a successful AUTH; without a mechanism the tag is left out.
    return " ".join(mechanism.name.decode("ascii") for mechanism in offer.mechanisms) or None


def _stls(offer: Offer, state: State) -> str | None:
    # RFC 2595 section 4: the tag means that the command is permitted now.
    return "" if offer.stls and state is State.AUTHORIZATION else None


def _expire(offer: Offer, _state: State) -> str:
    # RFC 2449 section 6.7: before the login for everybody, then for the account.
    return offer.expire


def _login_delay(offer: Offer, _state: State) -> str | None:
    # RFC 2449 section 6.5: the same for every account.
    return str(offer.login_delay) if offer.login_delay else None


def _implementation(_offer: Offer, state: State) -> str | None:
    # RFC 2449 section 6.9 permits TRANSACTION only: no version for strangers.
    return f"popserv-{__version__}" if state is State.TRANSACTION else None


STANDARD = (
    Capability("TOP", _always, "RFC 2449 section 6.1"),
    Capability("UIDL", _always, "RFC 2449 section 6.8"),
    Capability("USER", _user, "RFC 2449 section 6.2"),
    Capability("SASL", _sasl, "RFC 5034 section 3"),
    Capability("STLS", _stls, "RFC 2595 section 4"),
    Capability("RESP-CODES", _always, "RFC 2449 section 6.4"),
    Capability("AUTH-RESP-CODE", _always, "RFC 3206 section 6"),
    Capability("PIPELINING", _always, "RFC 2449 section 6.6"),
    Capability("LOGIN-DELAY", _login_delay, "RFC 2449 section 6.5"),
    Capability("EXPIRE", _expire, "RFC 2449 section 6.7"),
    Capability("IMPLEMENTATION", _implementation, "RFC 2449 section 6.9"),
)


@lru_cache(maxsize=64)
def reply(capabilities: tuple[Capability, ...], offer: Offer, state: State) -> bytes:
    """The whole answer to CAPA."""
    lines = []
    for capability in capabilities:
        value = capability.value(offer, state)
        if value is not None:
            lines.append(f"{capability.tag} {value}".rstrip().encode("ascii"))
    return multiline("capability list follows", lines)


def capa(session: Session, argument: bytes | None) -> Reply:
    no_argument(argument)
    return reply(session.capabilities, session.offer, session.state)


COMMANDS = (Command(b"CAPA", capa, frozenset({State.AUTHORIZATION, State.TRANSACTION}), "RFC 2449 section 5"),)
