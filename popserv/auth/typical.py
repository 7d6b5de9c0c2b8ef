"""What most stored passwords are like, learnt from the accounts that are looked up.

A database that can be asked for one account at a time does not say; but a name that it does not know should cost what
those cost that it knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from popserv.auth.passwd_lines import kind_of

MOST_KINDS = 64


class Typical:
    """Counts kinds of stored passwords, and keeps the latest of each as an example."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def see(self, stored: str) -> None:
        """An account has this stored password."""
        kind = kind_of(stored)
        if kind in self._examples or len(self._examples) < MOST_KINDS:
            self._kinds[kind] += 1
            self._examples[kind] = stored

    def example(self, among: Callable[[str], bool] = lambda _stored: True) -> str | None:
        """One of the commonest kind that is `among` those wanted; None if none has been seen."""
        examples = (self._examples[kind] for kind, _count in self._kinds.most_common())
        return next((stored for stored in examples if among(stored)), None)
