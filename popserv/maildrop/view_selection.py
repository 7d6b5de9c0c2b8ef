"""Some of the messages of a maildrop, as a maildrop of its own."""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import compress, islice
from operator import and_

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from popserv.errors import StoreBroken
from popserv.interfaces import IDatedMaildrop, IMaildrop, IMessage, INotesRetrievals
from popserv.maildrop.shield import shielded
from popserv.maildrop.views import View
from popserv.pools import Pool

log = Logger()


async def narrowed(maildrop: IMaildrop, view: View, disk: Pool, now: float) -> IMaildrop:
    """What `view` leaves of `maildrop`: itself if that is everything. `now` in seconds since 1970.

    Looking at each of a million messages takes a while, so it is done in `disk`. Raises `StoreUnavailable` and `Busy`,
    and `StoreBroken` where messages have no dates and need them; nothing is closed then.
    """
    if not view.narrows:
        return maildrop
    dates: Sequence[int] = ()
    earliest = 0
    if view.since is not None and maildrop.count:
        dated = IDatedMaildrop(maildrop, None)
        if dated is None:
            log.error("a view is by date, and this maildrop does not know when its messages came")
            raise StoreBroken()
        dates = await dated.delivered()
        earliest = view.since.earliest(now)
    if not (dates or view.largest_octets):
        return _narrow(maildrop, view, dates, earliest)
    return await shielded(disk.run(_narrow, maildrop, view, dates, earliest))


def _narrow(maildrop: IMaildrop, view: View, dates: Sequence[int], earliest: int) -> IMaildrop:
    shown = _select(view, maildrop.octets, dates, earliest)
    return maildrop if len(shown) == maildrop.count else SelectedMaildrop(maildrop, shown)


def _select(view: View, octets: Sequence[int], dates: Sequence[int], earliest: int) -> Sequence[int]:
    """The indices of what is shown. From the end, and no further than it takes to have the newest."""
    count = len(octets)
    newest = view.newest or count
    tests = []
    if view.largest_octets:
        tests.append(map(view.largest_octets.__ge__, octets[::-1]))
    if dates:
        tests.append(map(earliest.__le__, dates[::-1]))
    if not tests:
        return range(max(0, count - newest), count)
    passed = tests[0] if len(tests) == 1 else map(and_, *tests)
    shown = list(islice(compress(range(count - 1, -1, -1), passed), newest))
    shown.reverse()
    return shown


@implementer(IMaildrop, INotesRetrievals)
class SelectedMaildrop:
    """The messages of `maildrop` that have these indices, in order. The others can be neither read nor removed.

    It has no ready listings: every number in them would be another one.
    """

    def __init__(self, maildrop: IMaildrop, shown: Sequence[int]) -> None:
        """Takes `maildrop` over: closes it when it is closed itself."""
        self._maildrop = maildrop
        self._shown = shown
        self.count = len(shown)
        octets = maildrop.octets
        if isinstance(shown, range):
            self.octets = octets[shown.start : shown.stop]
        else:
            self.octets = [octets[index] for index in shown]
        self.total = sum(self.octets)
        self.skipped: Sequence[tuple[bytes, str]] = getattr(maildrop, "skipped", ())
        """Paths that are no messages, and why; for the log."""

    def uidl(self, index: int) -> bytes:
        return self._maildrop.uidl(self._shown[index])

    def message(self, index: int) -> IMessage:
        return self._maildrop.message(self._shown[index])

    def commit(self, deleted: Set[int]) -> Deferred[int]:
        return self._maildrop.commit({self._shown[index] for index in deleted})

    def close(self) -> Deferred[None]:
        return self._maildrop.close()

    def retrieved(self, index: int) -> None:
        noting = INotesRetrievals(self._maildrop, None)
        if noting is not None:
            noting.retrieved(self._shown[index])
