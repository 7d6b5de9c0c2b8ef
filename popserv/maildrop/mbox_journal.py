"""What an append that was broken off leaves in an mbox is cut off again: ``popserv.journal`` says what it was.

Before a message is appended, all of its octets are on the disk in the journal, with the length that the mbox had. The
journal goes when the mbox is synced, and before the delivery is acknowledged. One that is found has been left by a
process that was killed or by a power failure: if all octets are in the mbox, they are a message. Else what is there of
them goes, and what another program has appended behind it meanwhile stays.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import attrs
from twisted.logger import Logger

from popserv.maildrop.mbox_control import Place
from popserv.maildrop.mbox_in_place import undo
from popserv.maildrop.mbox_lines import FROM_LINE_OCTETS, from_line_end
from popserv.maildrop.mbox_locks import Locked, MboxLocks
from popserv.maildrop.mbox_octets import Octets
from popserv.maildrop.mbox_rewrite import cut, is_replaced, sweep_new

JOURNAL_NAME = "popserv.journal"

HEAD_OCTETS = 128

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HEAD = re.compile(rb"popserv append ([0-9]{1,20}) ([0-9]{1,20}) ([0-9]{1,20}) ([0-9]{1,20}) *\n")
_BLOCK = 4096

log = Logger()


@attrs.frozen
class Head:
    """What the journal says of the mbox before the append. The octets that were to be appended begin at `start`."""

    device: int
    inode: int
    length: int
    start: int

    def octets(self) -> bytes:
        text = b"popserv append %d %d %d %d" % (self.device, self.inode, self.length, self.start)
        return text.ljust(HEAD_OCTETS - 1) + b"\n"


def finish_journal(control: int) -> None:
    """Forget the journal, if there is one, for good. Raises `OSError`."""
    with suppress(FileNotFoundError):
        os.unlink(JOURNAL_NAME, dir_fd=control)
        os.fsync(control)


@contextmanager
def locked_mbox(place: Place, control: int, locks: MboxLocks) -> Iterator[Locked]:
    """Lock the mbox when nothing half done is in it any more. Raises as `MboxLocks.held`."""
    done = False
    while not done:
        with locks.held(place.mbox) as locked:
            if _is_recovered(place, control, locked):
                yield locked
                done = True


def _is_recovered(place: Place, control: int, locked: Locked) -> bool:
    """Whether the mbox is in order now; False if there is another file in its place and it has to be locked again."""
    sweep_new(place.mbox)
    undo(control, locked)
    try:
        journal = os.open(JOURNAL_NAME, _READ, dir_fd=control)
    except FileNotFoundError:
        return True
    try:
        torn = _torn(journal, locked.descriptor)
    finally:
        os.close(journal)
    if torn is not None:
        log.warn("a delivery to {path!r} was broken off: {octets} octets go", path=place.mbox, octets=torn[1] - torn[0])
        if torn[1] < os.fstat(locked.descriptor).st_size:
            cut(place, control, locked, [torn])
        else:
            os.ftruncate(locked.descriptor, torn[0])
            os.fsync(locked.descriptor)
    finish_journal(control)
    return not is_replaced(place.mbox, locked)


def _torn(journal: int, mbox: int) -> tuple[int, int] | None:
    """Which octets of the mbox are what is left of the append in the journal; None if there are none."""
    match = _HEAD.fullmatch(os.pread(journal, HEAD_OCTETS, 0))
    if match is None:
        log.error("{name} is not understood", name=JOURNAL_NAME)
        return None
    head = Head(*map(int, match.groups()))
    status = os.fstat(mbox)
    if (status.st_dev, status.st_ino) != (head.device, head.inode) or status.st_size <= head.length:
        return None
    wanted = Octets(journal, os.fstat(journal).st_size)
    found = Octets(mbox, status.st_size)
    behind, whole = _compare(wanted, head.start, found, head.length)
    if whole:
        return None
    if behind == status.st_size:
        return head.length, behind
    foreign = _from_line_before(found, head.length, behind)
    return None if foreign <= head.length else (head.length, foreign)


def _compare(wanted: Octets, start: int, found: Octets, length: int) -> tuple[int, bool]:
    """Up to where the mbox has, behind `length`, what the journal has, and whether that is all of it.

    NULs stand for what never came to the disk in a power failure.
    """
    whole, position = True, length
    while position < found.size and position - length + start < wanted.size:
        block = wanted.get(position - length + start, position - length + start + _BLOCK)
        there = found.get(position, position + len(block))
        if there != block:
            whole = False
            same = next(
                (at for at, (one, other) in enumerate(zip(there, block, strict=False)) if one != other), len(there)
            )
            blank = len(there) - len(there[same:].lstrip(b"\0"))
            if blank < len(there):
                return position + blank, False
        position += len(there)
    return position, whole and position - length == wanted.size - start


def _from_line_before(octets: Octets, start: int, position: int) -> int:
    """Where the last From_ line begins that is not before `start` nor behind `position`; -1 if there is none.

    What two messages begin with may be the same, so that the other one begins before the octets differ.
    """
    first = max(start, position - FROM_LINE_OCTETS)
    window = octets.get(first, position + FROM_LINE_OCTETS)
    for at in range(position - first, -1, -1):
        if window.startswith(b"From ", at) and from_line_end(window, at) >= 0:
            return first + at
    return -1
