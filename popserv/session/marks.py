"""The DELE set of a session, with the visible totals kept up to date."""

from __future__ import annotations

from collections.abc import Sequence

from popserv.errors import Refused


class DeletionMarks:
    """Which messages of a snapshot are marked as deleted (RFC 1939 section 5, DELE). Indices are 0-based."""

    __slots__ = ("_octets", "_total", "count", "deleted", "octets")

    def __init__(self, octets: Sequence[int], total: int) -> None:
        self._octets = octets
        self._total = total
        self.clear()

    def clear(self) -> None:
        """Forget all marks (RSET)."""
        self.deleted: set[int] = set()
        self.count = len(self._octets)
        """Messages not marked."""
        self.octets = self._total
        """Their octets."""

    def mark(self, index: int) -> None:
        """Mark one. Raises `Refused` if it is marked already."""
        self.check(index)
        self.deleted.add(index)
        self.count -= 1
        self.octets -= self._octets[index]

    def check(self, index: int) -> None:
        """Raises `Refused` if it is marked."""
        if index in self.deleted:
            raise Refused("message is marked as deleted")
