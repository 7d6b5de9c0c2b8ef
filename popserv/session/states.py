"""The states of RFC 1939 and every change between them. Nothing else changes state."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """RFC 1939 sections 4 to 6; CLOSED is what follows them."""

    AUTHORIZATION = "AUTHORIZATION"
    TRANSACTION = "TRANSACTION"
    UPDATE = "UPDATE"
    CLOSED = "CLOSED"

    # Members are singletons; hashing them by name costs every command.
    __hash__ = object.__hash__


class Event(Enum):
    """What makes a session change its state."""

    LOGGED_IN = "maildrop locked and opened"
    QUIT = "QUIT"
    COMMITTED = "deletions done"
    ENDED = "connection ended without QUIT"

    __hash__ = object.__hash__


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.AUTHORIZATION: {
        Event.LOGGED_IN: State.TRANSACTION,
        Event.QUIT: State.CLOSED,
        Event.ENDED: State.CLOSED,
    },
    # RFC 1939 section 6: only QUIT leads to UPDATE.
    State.TRANSACTION: {Event.QUIT: State.UPDATE, Event.ENDED: State.CLOSED},
    State.UPDATE: {Event.COMMITTED: State.CLOSED, Event.ENDED: State.CLOSED},
    State.CLOSED: {Event.ENDED: State.CLOSED},
}


def diagram() -> str:
    """The transitions as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", "    [*] --> AUTHORIZATION: greeting"]
    for state, events in TRANSITIONS.items():
        if state is State.CLOSED:
            continue
        for event, target in events.items():
            lines.append(f"    {state.value} --> {target.value}: {event.value}")
    return "\n".join([*lines, "    CLOSED --> [*]"]) + "\n"
