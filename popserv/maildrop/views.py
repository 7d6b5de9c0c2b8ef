"""What sessions see of a maildrop: less than there is, or more than INBOX.

A view changes nothing in the store: what it hides is neither removed nor counted out of a quota, and comes back as it
was when the view is given up.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import attrs

from popserv.maildrop.view_marks import Mark

ANY_FOLDER = "*"

_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY_SECONDS = 86400
_SECOND = 1_000_000_000


@attrs.frozen
class Since:
    """A time that is the same for ever, or so many days back."""

    days: int = 0
    """Back from now; 0 = `at` counts."""
    at: float = 0.0
    """Seconds since 1970."""

    @classmethod
    def parse(cls, text: str) -> Since | None:
        """From "30d" or "2026-01-31" (its beginning, UTC); None for "". Raises `ValueError`."""
        if not text:
            return None
        if days := _DAYS.fullmatch(text):
            return cls(days=int(days[1]))
        if not _DATE.fullmatch(text):
            raise ValueError('must be a number of days, "30d", or a date, "2026-01-31"')
        day = date.fromisoformat(text)
        return cls(at=datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())

    def earliest(self, now: float) -> int:
        """What is delivered earlier is hidden: nanoseconds since 1970. `now` in seconds since 1970."""
        return round((now - self.days * _DAY_SECONDS if self.days else self.at) * _SECOND)


@attrs.frozen
class View:
    """What the sessions of an account see; by default INBOX, and all of it."""

    largest_octets: int = 0
    """Messages with more, as LIST counts them, are hidden; 0 = none are."""
    since: Since | None = None
    newest: int = 0
    """So many of the others, the last ones in order; 0 = all of them."""
    junk: str = ""
    """The folder whose messages follow those of INBOX, as people call it; "" = none."""
    mark: Mark | None = None
    """What tells a message of `junk` from others; None = nothing does."""
    folders: tuple[str, ...] = ()
    """Folders that may be logged in to, as people call them; with `ANY_FOLDER` all."""

    @property
    def narrows(self) -> bool:
        """Whether messages may be hidden."""
        return bool(self.largest_octets or self.since or self.newest)

    def folder(self, detail: str) -> str | None:
        """The folder that a ``+detail`` behind a login name stands for; None if it stands for none."""
        for name in self.folders:
            if name != ANY_FOLDER and name.casefold() == detail.casefold():
                return name
        return detail if ANY_FOLDER in self.folders and detail else None
