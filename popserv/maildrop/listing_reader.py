"""LIST and UIDL as they stand in a snapshot: read in pieces, sent as they are."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from popserv.errors import StoreUnavailable
from popserv.interfaces import IMessageReader
from popserv.maildrop.octet_source import OctetSource
from popserv.maildrop.shield import shielded
from popserv.pools import Pool


@implementer(IMessageReader)
class ListingReader:
    """The octets of `source` from `start` up to `stop`. See `popserv.interfaces.IMessageReader`."""

    __slots__ = ("_disk", "_position", "_source", "_stop")

    def __init__(self, source: OctetSource, start: int, stop: int, disk: Pool) -> None:
        self._source = source
        self._position = start
        self._stop = stop
        self._disk = disk

    def read_nowait(self, octets: int) -> bytes | None:
        found = self._source.get_nowait(self._position, self._want(octets))
        return None if found is None else self._advance(found)

    def read(self, octets: int) -> Deferred[bytes]:
        want = self._want(octets)
        if not want:
            return succeed(b"")
        work = self._disk.run(self._source.get, self._position, want)
        return shielded(work.addCallbacks(self._advance, _failed))

    def close(self) -> None:
        self._stop = self._position

    def _want(self, octets: int) -> int:
        return min(max(octets, 1), self._stop - self._position)

    def _advance(self, found: bytes) -> bytes:
        self._position += len(found)
        return found


def _failed(failure: Failure) -> Failure:
    if isinstance(failure.value, OSError):
        raise StoreUnavailable() from failure.value
    return failure
