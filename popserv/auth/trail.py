"""What became of a login inside: for the log and for diagnosis, never for the client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from popserv.auth.pace import Pace


@attrs.define
class Trail:
    """One login's way through the account databases."""

    answers: list[tuple[str, str]] = attrs.Factory(list)
    """Each database that was asked, as the configuration names it, and what it said."""
    checker: str = ""
    """The database that let the credentials pass."""
    reason: str = ""
    """Why there is no login: a class of reasons, one word."""
    mechanism: str = ""
    """USER, APOP, or the SASL mechanism."""
    master: str = ""
    """The account whose credentials these are, where they open another one's maildrop."""
    trace: str = ""
    """What somebody who stays anonymous says of himself (RFC 4505 section 2); unverified."""
    work: str = ""
    """What kind of stored password was checked, "" for none."""
    begun: float = 0.0
    """When the client sent what is being answered; seconds, of `pace`."""
    pace: Pace | None = attrs.field(default=None, repr=False)
    """What has to say when an answer is due; None = nothing has."""
    afterwards: list[Callable[[], None]] = attrs.Factory(list)
    """What is to be done if the login succeeds."""

    def succeeded(self) -> None:
        """The login has come to its end, and is good."""
        for action in self.afterwards:
            action()

    def asked(self, checker: str, answer: str) -> None:
        """A database has answered: "accepted", "unknown", "refused" or "failed"."""
        self.answers.append((checker, answer))
        if answer == "accepted":
            self.checker = checker
        self.reason = {"unknown": "unknown-account", "refused": "credentials"}.get(answer, "")
