"""Mail of another server, with all that clients know it by; and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import attrs


@attrs.frozen
class ForeignMessage:
    """One message, not read yet."""

    key: bytes
    """What tells it from all others of its source, today and in a year; no blanks and no line ends."""
    name: bytes
    """What it is to be called in a Maildir, without flags."""
    unique_id: bytes
    """What clients know it by; b"" where nobody knows."""
    flags: bytes
    """Maildir flags, sorted, such as b"FS"."""
    seen: bool
    """A mail reader has listed it: it belongs into ``cur``."""
    mtime_ns: int
    """When it was delivered, nanoseconds since 1970."""
    size: int
    """Of its octets as they are stored."""
    where: str
    """For people to find it again."""
    chunks: Callable[[], Iterator[bytes]]
    """Its octets as they are stored. Blocks; raises `OSError` where they cannot be read, or have changed."""


class ForeignMail(Protocol):
    """A maildrop of another server. Everything blocks; raises `OSError` and `popserv.errors.StoreBroken`."""

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of where it lies."""

    def messages(self) -> Sequence[ForeignMessage]:
        """All of them, in their order."""

    @property
    def skipped(self) -> Sequence[tuple[str, str]]:
        """What stands among them and is no message, and why."""

    def close(self) -> None:
        """Give back what is open."""


@attrs.define
class Summary:
    """What an import has done, or would do."""

    messages: int = 0
    """That the source has."""
    imported: int = 0
    octets: int = 0
    """Of those that were imported, as they are stored."""
    already: int = 0
    """That were imported before; some may have been removed since."""
    changed_ids: list[str] = attrs.Factory(list)
    """Where messages are that have other unique-ids here: theirs were somebody else's, or these were here before."""
    failed: list[tuple[str, str]] = attrs.Factory(list)
    """Where messages are that could not be imported, and why."""
    skipped: list[tuple[str, str]] = attrs.Factory(list)
    """What is no message, and why."""

    def add(self, other: Summary) -> None:
        """Count in what another import has done."""
        for name, value in attrs.asdict(other, recurse=False).items():
            setattr(self, name, getattr(self, name) + value)
