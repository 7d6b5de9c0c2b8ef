"""Unique-ids of the messages of an mbox.

A message has its id from what it is known by, its digest. What this cannot give is in the durable map: ids of messages
that are equal, in their order, and which ids have been removed, so that a message like one of those gets another. In
the map the name of a message is its digest.

So the map would grow with every message that is removed. When most of it is about those, it is made anew: with the ids
of all messages that are there, and with another token, which goes into the ids that digests give from then on. What
was given before needs no longer be remembered then.
"""

from __future__ import annotations

from base64 import b32decode, b32encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha256

import attrs
from twisted.logger import Logger

from popserv.maildrop import uidmap
from popserv.maildrop.mbox_survey import Survey
from popserv.maildrop.uidl import from_name, made_up
from popserv.maildrop.uidmap import MAP_NAME, UidMap

MOST_REMOVED = 1000
"""So many ids are remembered in any case; or as many as there are messages."""

_TOKEN_NAME = b""

log = Logger()


def natural_id(digest: bytes, token: bytes = b"") -> bytes:
    """The unique-id that a digest gives under a token."""
    return from_name(_name_of(sha256(token + digest).digest() if token else digest))


def _name_of(digest: bytes) -> bytes:
    return b32encode(digest).rstrip(b"=")


def _digest_of(name: bytes) -> bytes:
    """The reverse; b"" if it is no name of a digest."""
    try:
        return b32decode(name + b"=" * (-len(name) % 8))
    except ValueError:
        return b""


@attrs.frozen
class Ids:
    """The unique-ids of a survey, by its indices."""

    survey: Survey
    others: Mapping[int, bytes] = attrs.field(factory=dict)
    """Those that digests do not give."""
    unknown: frozenset[int] = frozenset()
    """The messages whose ids could not be kept."""
    token: bytes = b""

    def of(self, index: int) -> bytes:
        return self.others.get(index) or natural_id(self.survey.digest(index), self.token)

    def mapping(self, index: int) -> uidmap.Mapping:
        """For the durable map."""
        return _mapping(self.of(index), _name_of(self.survey.digest(index)))


def identify(control: int, survey: Survey, exclusive: bool) -> Ids:
    """Give each message its id. An id is told to nobody before it is on the disk. Raises `OSError`.

    `exclusive` says that there is no other session of this maildrop.
    """
    digests = {index: survey.digest(index) for index in range(survey.first, len(survey))}
    counts = Counter(digests.values())
    equal = {digest for digest, count in counts.items() if count > 1} if len(counts) < len(digests) else set()
    try:
        uid_map = UidMap(control, create=bool(equal))
    except FileNotFoundError:
        return Ids(survey)
    with closing(uid_map):
        noted = equal.union(map(_digest_of, uid_map.names))
        groups: dict[bytes, list[int]] = {}
        for index, digest in digests.items():
            if digest in noted:
                groups.setdefault(digest, []).append(index)
        ids = _assign(uid_map, survey, groups)
        if exclusive and not ids.unknown and len(uid_map.removed) > max(MOST_REMOVED, len(survey)):
            _compact(uid_map, ids)
        return ids


def recognise(control: int, survey: Survey) -> Ids:
    """As `identify`, but nothing is written: a message that would get a new id has none yet. Raises `OSError`.

    `control` may be negative, where there is no such directory.
    """
    groups: dict[bytes, list[int]] = {}
    for index in range(survey.first, len(survey)):
        groups.setdefault(survey.digest(index), []).append(index)
    try:
        uid_map = UidMap(control, create=False) if control >= 0 else None
    except FileNotFoundError:
        uid_map = None
    if uid_map is None:
        return Ids(survey, {}, frozenset(index for indices in groups.values() for index in indices[1:]))
    others: dict[int, bytes] = {}
    unknown: set[int] = set()
    with closing(uid_map):
        token, names = _token(uid_map), uid_map.names
        for digest, indices in groups.items():
            name = _name_of(digest)
            known = [mapping.unique_id for mapping in uid_map.living(name)]
            if name not in names:
                known = [natural_id(digest, token)]
            others.update(zip(indices, known, strict=False))
            unknown.update(indices[len(known) :])
    return Ids(survey, others, frozenset(unknown), token)


def _token(uid_map: UidMap) -> bytes:
    tokens = uid_map.living(_TOKEN_NAME)
    return tokens[-1].unique_id if tokens else b""


def _assign(uid_map: UidMap, survey: Survey, groups: Mapping[bytes, list[int]]) -> Ids:
    token = _token(uid_map)
    names = uid_map.names
    others: dict[int, bytes] = {}
    added: list[uidmap.Mapping] = []
    made: set[int] = set()
    gone: list[bytes] = []
    for digest, indices in groups.items():
        name = _name_of(digest)
        known = [mapping.unique_id for mapping in uid_map.living(name)]
        if name not in names:
            known = [natural_id(digest, token)]
            added.append(_mapping(known[0], name))
        gone += known[len(indices) :]
        for index in indices[len(known) :]:
            known.append(made_up())
            added.append(_mapping(known[-1], name))
            made.add(index)
        others.update(zip(indices, known, strict=False))
    try:
        if gone:
            uid_map.remove(gone)
        if added:
            uid_map.add(added)
    except OSError as error:
        log.error(
            "{name}: {count} messages left out of a session: {error!s}", name=MAP_NAME, count=len(made), error=error
        )
        return Ids(survey, others, frozenset(made), token)
    return Ids(survey, others, frozenset(), token)


def _compact(uid_map: UidMap, ids: Ids) -> None:
    survey = ids.survey
    present = [ids.mapping(index) for index in range(survey.first, len(survey))]
    try:
        uid_map.replace([_mapping(made_up(), _TOKEN_NAME), *present])
    except OSError as error:
        log.warn("{name} cannot be made smaller: {error!s}", name=MAP_NAME, error=error)


@contextmanager
def retired(control: int, ids: Ids, indices: Iterable[int]) -> Iterator[Callable[[], None]]:
    """Note that the ids of these messages must not be given again; what it gives is called if they stay theirs.

    Raises `OSError`.
    """
    with closing(UidMap(control, create=True)) as uid_map:
        uid_map.retire([ids.mapping(index) for index in indices])
        yield uid_map.take_back


def _mapping(unique_id: bytes, name: bytes) -> uidmap.Mapping:
    return uidmap.Mapping(unique_id, 0, 0, 0, name)
