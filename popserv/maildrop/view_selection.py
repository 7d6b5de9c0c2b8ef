"""Which messages of one folder a view shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, islice
from operator import and_

from twisted.logger import Logger

from popserv.errors import StoreBroken
from popserv.interfaces import IDatedMaildrop, IMaildrop
from popserv.maildrop.selection import Selection
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
    return maildrop if len(shown) == maildrop.count else Selection(maildrop, shown)


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
