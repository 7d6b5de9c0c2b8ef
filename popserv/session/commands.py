"""The command record, and the tables a session looks commands up in: one per state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs

from popserv.session.effects import Reply
from popserv.session.states import State

if TYPE_CHECKING:
    from popserv.session.capabilities import Capability
    from popserv.session.session import Session

Handler = Callable[["Session", bytes | None], Reply]
"""Takes the session and the argument (None = there was none); raises `PopError`."""


@attrs.frozen
class Command:
    """One command: its verb in upper case, where it is permitted, and who defines it."""

    verb: bytes
    handler: Handler
    states: frozenset[State]
    rfc: str
    exact: bool = False
    """Whether a trailing space belongs to the argument."""


@attrs.frozen
class Extension:
    """Plug-in: commands and capabilities beyond the standard ones."""

    commands: tuple[Command, ...] = ()
    capabilities: tuple[Capability, ...] = ()


class Tables:
    """The commands of one protocol, by state."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self.commands = tuple(commands)
        self.known = frozenset(command.verb for command in self.commands)
        self.exact = frozenset(command.verb for command in self.commands if command.exact)
        self.by_state: dict[State, dict[bytes, Handler]] = {
            state: {command.verb: command.handler for command in self.commands if state in command.states}
            for state in State
        }
