"""Unique-ids of the messages of an mbox.

A message has its id from what it is known by, its digest. What this cannot give is in the durable map: ids of messages
that are equal, in their order, and of one that comes again when a message like it has been removed. In the map the name
of a message is the id that its digest gives.
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager

from twisted.logger import Logger

from popserv.maildrop import uidmap
from popserv.maildrop.mbox_survey import Survey
from popserv.maildrop.uidl import from_name, made_up
from popserv.maildrop.uidmap import MAP_NAME, UidMap

log = Logger()


def natural_id(digest: bytes) -> bytes:
    """The unique-id that a digest gives."""
    return from_name(b32encode(digest).rstrip(b"="))


def _digest_of(name: bytes) -> bytes:
    """The digest that gives this id; b"" if none does."""
    try:
        return b32decode(name + b"=" * (-len(name) % 8))
    except ValueError:
        return b""


class Ids:
    """The unique-ids of a survey, by its indices."""

    __slots__ = ("_others", "_survey", "unknown")

    def __init__(self, survey: Survey, others: Mapping[int, bytes], unknown: frozenset[int]) -> None:
        """`others` are those that digests do not give, `unknown` the messages whose ids could not be kept."""
        self._survey = survey
        self._others = others
        self.unknown = unknown

    def of(self, index: int) -> bytes:
        return self._others.get(index) or natural_id(self._survey.digest(index))


def identify(control: int, survey: Survey) -> Ids:
    """Give each message its id. An id is told to nobody before it is on the disk. Raises `OSError`."""
    digests = {index: survey.digest(index) for index in range(survey.first, len(survey))}
    counts = Counter(digests.values())
    equal = {digest for digest, count in counts.items() if count > 1} if len(counts) < len(digests) else set()
    try:
        uid_map = UidMap(control, create=bool(equal))
    except FileNotFoundError:
        return Ids(survey, {}, frozenset())
    with closing(uid_map):
        names = uid_map.names | uid_map.removed
        noted = equal.union(map(_digest_of, names))
        groups: dict[bytes, list[int]] = {}
        for index, digest in digests.items():
            if digest in noted:
                groups.setdefault(natural_id(digest), []).append(index)
        return _assign(uid_map, names, survey, groups)


def _assign(uid_map: UidMap, names: set[bytes], survey: Survey, groups: Mapping[bytes, list[int]]) -> Ids:
    others: dict[int, bytes] = {}
    fresh: dict[int, uidmap.Mapping] = {}
    gone: list[bytes] = []
    for name, indices in groups.items():
        known = [mapping.unique_id for mapping in uid_map.living(name)]
        if name not in names:
            fresh[indices[0]] = _mapping(name, name)
            known = [name]
        others.update(zip(indices, known, strict=False))
        gone += known[len(indices) :]
        for index in indices[len(known) :]:
            others[index] = made_up()
            fresh[index] = _mapping(others[index], name)
    return Ids(survey, others, _kept(uid_map, fresh, gone))


def _kept(uid_map: UidMap, fresh: Mapping[int, uidmap.Mapping], gone: list[bytes]) -> frozenset[int]:
    """Write down what is new; the messages whose ids cannot be told, because that failed."""
    try:
        if gone:
            uid_map.remove(gone)
        if fresh:
            uid_map.add(fresh.values())
    except OSError as error:
        unknown = frozenset(index for index, mapping in fresh.items() if mapping.unique_id != mapping.name)
        log.error(
            "{name}: {count} messages left out of a session: {error!s}", name=MAP_NAME, count=len(unknown), error=error
        )
        return unknown
    return frozenset()


@contextmanager
def retired(control: int, unique_ids: Iterable[bytes]) -> Iterator[Callable[[], None]]:
    """Note that these ids must not be given again; what it gives is called if they stay with their messages.

    Raises `OSError`.
    """
    with closing(UidMap(control, create=True)) as uid_map:
        uid_map.remove(unique_ids)
        yield uid_map.take_back


def _mapping(unique_id: bytes, name: bytes) -> uidmap.Mapping:
    return uidmap.Mapping(unique_id, 0, 0, 0, name)
