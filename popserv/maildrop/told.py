"""Unique-ids that a server has told its clients, and what the messages are recognised by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

import attrs

from popserv.maildrop.mbox_digest import CHANGING_HEADERS
from popserv.maildrop.mbox_split import HEADER_OCTETS, header_end

Key = TypeVar("Key")


@attrs.frozen
class Told:
    """One message, and what it was called."""

    unique_id: bytes
    name: bytes = b""
    """Its file's name up to the flags; b"" = not known."""
    octets: int | None = None
    """As LIST counts them; None = not known."""
    header: str = ""
    """As `header_hash` gives it; "" = not known."""

    @property
    def content(self) -> tuple[int | None, str]:
        """What it is known by where its name is not."""
        return self.octets, self.header


def header_hash(start: bytes) -> str:
    """SHA-256, in hex, of the header of a message that begins with `start`, with LF line ends.

    Without the headers in which mail readers keep their flags: what is left never changes. Only the first 64 KiB count.
    """
    octets = start.replace(b"\r\n", b"\n")[:HEADER_OCTETS]
    end = header_end(octets)
    return sha256(CHANGING_HEADERS.sub(b"", octets if end < 0 else octets[:end])).hexdigest()


class Recogniser:
    """Finds the message of each `Told` among those that there are, by its name or else by its content.

    What could be several messages is none, but for as many equal messages as there are of equal ones told: they take
    their ids in order.
    """

    def __init__(self, names: Sequence[bytes], octets: Sequence[int], header: Callable[[int], str]) -> None:
        """By index: the names, b"" where there are none; the sizes; and what gives the hash of a header, which may
        raise `OSError`."""
        self._names = _places(enumerate(names))
        self._names.pop(b"", None)
        self._octets = _places(enumerate(octets))
        self._count = len(octets)
        self._header = header
        self._headers: dict[int, str] = {}

    def find(self, told: Sequence[Told]) -> list[int | None]:
        """The index for each of `told`."""
        found: list[int | None] = [self._by_name(each) for each in told]
        taken = {index for index in found if index is not None}
        for content, places in _places((place, told[place].content) for place in _missing(found)).items():
            alike = [index for index in self._alike(*content) if index not in taken]
            if len(alike) == len(places) or len({told[place].unique_id for place in places}) == len(alike) == 1:
                for place, index in zip(places, alike, strict=False):
                    found[place] = index
        return found

    def _by_name(self, told: Told) -> int | None:
        places = self._names.get(told.name, [])
        return places[0] if len(places) == 1 else None

    def _alike(self, octets: int | None, header: str) -> list[int]:
        if not header:
            return []
        places: Iterable[int] = range(self._count) if octets is None else self._octets.get(octets, [])
        return [index for index in places if self._hash(index) == header]

    def _hash(self, index: int) -> str:
        if index not in self._headers:
            self._headers[index] = self._header(index)
        return self._headers[index]


def _missing(found: Sequence[int | None]) -> Iterator[int]:
    return (place for place, index in enumerate(found) if index is None)


def _places(pairs: Iterable[tuple[int, Key]]) -> dict[Key, list[int]]:
    places: dict[Key, list[int]] = {}
    for place, key in pairs:
        places.setdefault(key, []).append(place)
    return places


@attrs.define
class Adoption:
    """What became of ids that messages were to have."""

    adopted: int = 0
    """Messages that have theirs now."""
    unchanged: int = 0
    """That had them already."""
    unmatched: list[Told] = attrs.Factory(list)
    """Nothing here is that message: it has been removed, or is not the same."""
    conflicts: list[Told] = attrs.Factory(list)
    """Another message has this id, or it is no unique-id: so this one keeps what it had."""

    @property
    def complete(self) -> bool:
        """Whether no client will fetch anything again."""
        return not (self.unmatched or self.conflicts)


def choose(
    told: Sequence[Told], found: Sequence[int | None], current: Mapping[int, bytes], is_id: Callable[[bytes], bool]
) -> tuple[Adoption, dict[int, bytes]]:
    """Which message gets which id, by index; `current` are the ids that they have.

    An id that two would have stays with the one that has it, else the first in order gets it; so all are different.
    """
    adoption, chosen = Adoption(), dict[int, bytes]()
    owners = {unique_id: index for index, unique_id in current.items()}
    for each, index in zip(told, found, strict=True):
        if index is None:
            adoption.unmatched.append(each)
        elif current[index] == each.unique_id:
            adoption.unchanged += 1
        elif not is_id(each.unique_id) or index in chosen or owners.get(each.unique_id, index) != index:
            adoption.conflicts.append(each)
        else:
            owners[each.unique_id] = index
            chosen[index] = each.unique_id
            adoption.adopted += 1
    return adoption, chosen
