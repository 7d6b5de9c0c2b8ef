"""From_ lines, and what is done to lines that only look like them.

A From_ line begins a message of an mbox: "From ", the envelope sender, and a date as ``asctime`` writes it (RFC 4155
appendix A), with or without seconds and with or without a time zone, since programs differ. What has no date that can
be read is a line of somebody's message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from time import gmtime
from typing import Literal

Format = Literal["mboxrd", "mboxo", "mboxcl2"]
"""What is done to a line of a message that begins with "From " after any number of ">": mboxrd puts another ">" in
front, which is taken away again; mboxo puts one in front of "From " alone, which stays; mboxcl2 leaves everything as
it is and tells by Content-Length where a message ends."""

FROM_LINE_OCTETS = 1000
"""A line that is longer, with its line end, is no From_ line."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_ZONE = r"(?: +(?:[A-Z][A-Za-z]{0,4}(?: DST)?|[+-][0-9]{4}))?"
_FROM_LINE = re.compile(
    (
        rf"From (?:[^\n]{{1,900}} | ?)(?:{'|'.join(_DAYS)}) +(?:{'|'.join(_MONTHS)}) +(?:0?[1-9]|[12][0-9]|3[01])"
        rf" +(?:[01]?[0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60))?{_ZONE} +[12][0-9]{{3}}{_ZONE}"
        r"(?: remote from [^ \n]+)?[ \t]*\r?\n"
    ).encode("ascii")
)
_SENDER = re.compile(rb"Return-Path:[ \t]*<([!-;=?-~]{1,256})>", re.IGNORECASE)


def from_line_end(octets: bytes, start: int) -> int:
    """Where the From_ line at `start` ends, with its line end; -1 if there is none."""
    match = _FROM_LINE.match(octets, start, start + FROM_LINE_OCTETS)
    return -1 if match is None else match.end()


def make_from_line(header: bytes, now: float) -> bytes:
    """The From_ line for a message that begins with `header`, at `now` seconds since 1970.

    The envelope sender is taken from the Return-Path that final delivery puts first (RFC 5321 section 4.4).
    """
    sender = _SENDER.match(header)
    at = gmtime(now)
    # Not by strftime, which uses the names of the locale.
    day = f"{_DAYS[at.tm_wday]} {_MONTHS[at.tm_mon - 1]} {at.tm_mday:2}"
    date = f"{day} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} {at.tm_year:04}"
    return b"From %b %b\n" % (sender[1] if sender else b"MAILER-DAEMON", date.encode("ascii"))


class LineStarts:
    """Changes how lines begin, chunk by chunk. It holds back a few octets at most, however long a run of ">" is."""

    __slots__ = ("_before", "_held", "_pattern", "_replacement", "_undecided")

    def __init__(
        self, pattern: re.Pattern[bytes], replacement: bytes, undecided: Callable[[bytes, bytes], int]
    ) -> None:
        """`pattern` takes in the line end before. `undecided` says of a chunk's last line, all of which is a run of
        ">" and a part of "From ", how many octets have to wait for what follows; -1 if what follows does not matter.
        """
        self._pattern = pattern
        self._replacement = replacement
        self._undecided = undecided
        self._before = b"\n"  # stands for what is in front of the octets that are held
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """The next octets, changed."""
        octets = self._before + self._held + chunk
        tail = _TAIL.fullmatch(octets, max(octets.rfind(b"\n"), 0))
        waiting = -1 if tail is None else self._undecided(tail[1], tail[2])
        self._held = b""
        if waiting > 0:
            octets, self._held = octets[:-waiting], octets[-waiting:]
        # A run of ">" may be cut anywhere: what is left of it is at the start of a line as much as all of it was.
        self._before = octets[-1:] if waiting < 0 else b"\n"
        return (self._pattern.sub(self._replacement, octets) if b"From " in octets else octets)[1:]

    def finish(self) -> bytes:
        """What still waits."""
        held, self._held = self._held, b""
        return held


_TAIL = re.compile(rb"\n(>*)((?:F|Fr|Fro|From)?)")
_QUOTE_ANY = re.compile(rb"\n(?=>*From )")
_QUOTE_BARE = re.compile(rb"\n(?=From )")
_UNQUOTE = re.compile(rb"\n>(?=>*From )")


def quoting(form: Format) -> LineStarts:
    """For a message on its way into an mbox. Not for mboxcl2, which needs none."""
    if form == "mboxo":
        return LineStarts(_QUOTE_BARE, b"\n>", lambda run, part: -1 if run else len(part))
    return LineStarts(_QUOTE_ANY, b"\n>", lambda _run, part: len(part))


def unquoting(form: Format) -> LineStarts | None:
    """For a message on its way out; None where it is left as it is stored."""
    return LineStarts(_UNQUOTE, b"\n", _quoted) if form == "mboxrd" else None


def _quoted(run: bytes, part: bytes) -> int:
    if run:
        return len(part) + 1
    return -1 if part else 0
