"""What is known of the messages of an mbox: where they are, how large, and what they are known by.

A survey is made by reading the file once. What has been appended since an earlier one is all that is read anew.
"""

from __future__ import annotations

import os
from array import array
from typing import Self
from zlib import crc32

import attrs

from popserv.maildrop.mbox_digest import DIGEST_OCTETS, Digest, is_internal_data
from popserv.maildrop.mbox_lines import Format, unquoting
from popserv.maildrop.mbox_octets import Octets
from popserv.maildrop.mbox_split import HEADER_OCTETS, Range, ranges
from popserv.wire.octets import Scanner

_CRLF = 1
_STUFFING = 2
_INTERNAL = 4

_POSITIONS = 4  # so many columns, the first ones, are positions in the file


@attrs.frozen
class Stamp:
    """What the kernel says of a file; it changes with everything that is written to it. Times in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def file(self) -> tuple[int, int]:
        return self.device, self.inode


class Survey:
    """The messages of an mbox as columns, in the order of the file. Complete, it does not change any more."""

    __slots__ = ("crcs", "digests", "ends", "flags", "heads", "nexts", "octets", "stamp", "starts")

    def __init__(self, stamp: Stamp) -> None:
        self.stamp = stamp
        self.starts = array("Q")
        self.heads = array("Q")
        self.ends = array("Q")
        self.nexts = array("Q")
        self.octets = array("Q")
        self.crcs = array("Q")
        self.flags = array("B")
        self.digests = bytearray()

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def columns(self) -> tuple[array[int], ...]:
        """All but the digests."""
        return self.starts, self.heads, self.ends, self.nexts, self.octets, self.crcs, self.flags

    @property
    def first(self) -> int:
        """The index of the first one that is mail."""
        return 1 if self.flags and self.flags[0] & _INTERNAL else 0

    @property
    def preamble(self) -> int:
        """Octets at the start of the file that belong to no message."""
        return self.starts[0] if self.starts else self.stamp.size

    def range(self, index: int) -> Range:
        return Range(self.starts[index], self.heads[index], self.ends[index], self.nexts[index])

    def digest(self, index: int) -> bytes:
        return bytes(self.digests[index * DIGEST_OCTETS : (index + 1) * DIGEST_OCTETS])

    def crlf(self, index: int) -> bool:
        return bool(self.flags[index] & _CRLF)

    def needs_stuffing(self, index: int) -> bool:
        return bool(self.flags[index] & _STUFFING)

    def measure(self, octets: Octets, form: Format, each: Range) -> None:
        """Append the message at `each`, which is read. Raises `OSError`."""
        from_line = octets.get(each.start, each.head)
        scanner, digest, lines, crc, raw = Scanner(), Digest(), unquoting(form), crc32(from_line), 0
        for chunk in octets.chunks(each.head, each.end):
            crc = crc32(chunk, crc)
            digest.feed(chunk)
            changed = chunk if lines is None else lines.feed(chunk)
            raw += len(changed)
            scanner.feed(changed)
        if lines is not None:
            rest = lines.finish()
            raw += len(rest)
            scanner.feed(rest)
        self.octets.append(scanner.finish())
        # What is stored is what a reader yields only if no ">" was taken away, either.
        crlf = scanner.crlf and raw == each.end - each.head
        internal = not self.starts and is_internal_data(from_line, octets.get(each.head, each.head + HEADER_OCTETS))
        self.flags.append(crlf * _CRLF | scanner.needs_stuffing * _STUFFING | internal * _INTERNAL)
        self.crcs.append(crc)
        self.digests += digest.finish()
        for column, position in zip(self.columns, (each.start, each.head, each.end, each.next), strict=False):
            column.append(position)

    def forget_last(self) -> None:
        for column in self.columns:
            column.pop()
        del self.digests[-DIGEST_OCTETS:]

    def without(self, indices: set[int], stamp: Stamp) -> Survey:
        """What it becomes when these messages are cut out of the file, which then has this stamp."""
        rest = Survey(stamp)
        kept = [index for index in range(len(self)) if index not in indices]
        gone, shifts = 0, []
        for index in range(len(self)):
            shifts.append(gone)
            gone += self.nexts[index] - self.starts[index] if index in indices else 0
        for column, of_rest in zip(self.columns, rest.columns, strict=True):
            of_rest.extend([column[index] for index in kept])
        for positions in rest.columns[:_POSITIONS]:
            for place, index in enumerate(kept):
                positions[place] -= shifts[index]
        rest.digests += b"".join([self.digest(index) for index in kept])
        return rest


def is_as_surveyed(octets: Octets, survey: Survey, index: int) -> bool:
    """Whether this message, with its From_ line, is still where it was. Raises `OSError`."""
    each = survey.range(index)
    if each.end > octets.size:
        return False
    crc = crc32(octets.get(each.start, each.head))
    for chunk in octets.chunks(each.head, each.end):
        crc = crc32(chunk, crc)
    return crc == survey.crcs[index]


def survey_of(descriptor: int, form: Format, known: Survey | None) -> Survey:
    """Read an mbox that nobody writes to now; `known`, which is used up, where it does not fit. Raises `OSError`."""
    stamp = Stamp.of(os.fstat(descriptor))
    if known is not None and known.stamp == stamp:
        return known
    octets = Octets(descriptor, stamp.size)
    survey = Survey(stamp)
    start = 0
    if known is not None and _continues(octets, stamp, known):
        # The last one may have been without its end.
        start = known.starts[-1]
        known.forget_last()
        known.stamp = stamp
        survey = known
    for each in ranges(octets, form, start):
        survey.measure(octets, form, each)
    return survey


def _continues(octets: Octets, stamp: Stamp, known: Survey) -> bool:
    """Whether the mbox is what is known, and perhaps more behind it."""
    if stamp.file != known.stamp.file or stamp.size < known.stamp.size or not len(known):
        return False
    return all(is_as_surveyed(octets, known, index) for index in {0, len(known) - 1})
