"""Where the messages of an mbox begin and end.

A message begins with a From_ line at the start of the file or behind a blank line, and nowhere else. The one blank line
in front of the next From_ line, or at the end of the file, is no part of it. Content-Length is believed in mboxcl2
only, and there only if a From_ line or the end of the file stands where it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from popserv.maildrop.mbox_lines import FROM_LINE_OCTETS, Format, from_line_end
from popserv.maildrop.mbox_octets import Octets

HEADER_OCTETS = 64 * 1024
"""What is read of a header, at most."""

_LENGTH = re.compile(rb"(?mi)^Content-Length:[ \t]*([0-9]{1,18})[ \t]*\r?$")
_BETWEEN = re.compile(rb"(?:\r?\n){0,2}")


@attrs.frozen
class Range:
    """Positions of a message in the file."""

    start: int
    """Of its From_ line."""
    head: int
    """Of its first octet."""
    end: int
    """Behind its last octet."""
    next: int
    """Of the next From_ line, or the end of the file."""


def header_end(octets: bytes) -> int:
    """Where the header ends and a blank line follows; -1 if there is none."""
    if octets.startswith((b"\n", b"\r\n")):
        return 0
    ends = [end + 1 for end in (octets.find(b"\n\n"), octets.find(b"\n\r\n")) if end >= 0]
    return min(ends, default=-1)


def ranges(octets: Octets, form: Format, start: int = 0) -> Iterator[Range]:
    """The messages in order. `start` is 0 or where one begins; what no From_ line stands before is no message."""
    position, head = start, _line_end(octets, start)
    if head < 0:
        position, head = _next_from_line(octets, start)
    while head >= 0:
        told = _told_end(octets, head) if form == "mboxcl2" else None
        if told is None:
            behind, next_head = _next_from_line(octets, head)
            yield Range(position, head, _without_blank_line(octets, head, behind), behind)
        else:
            end, behind = told
            next_head = _line_end(octets, behind)
            yield Range(position, head, end, behind)
        position, head = behind, next_head


def _line_end(octets: Octets, position: int) -> int:
    end = from_line_end(octets.get(position, position + FROM_LINE_OCTETS), 0)
    return -1 if end < 0 else position + end


def _next_from_line(octets: Octets, start: int) -> tuple[int, int]:
    """The next From_ line behind a blank line that is not before `start`: its position and its end.

    If there is none, the end of the file and -1.
    """
    while (blank := octets.find(b"\nFrom ", start)) >= 0:
        before = octets.get(max(blank - 2, 0), blank)
        if before[-1:] in (b"", b"\n") or before in (b"\r", b"\n\r"):
            end = _line_end(octets, blank + 1)
            if end >= 0:
                return blank + 1, end
        start = blank + 1
    return octets.size, -1


def _without_blank_line(octets: Octets, head: int, end: int) -> int:
    tail = octets.get(max(head, end - 3), end)
    if tail.endswith(b"\n\r\n") or (tail == b"\r\n" and end - head == 2):
        return end - 2
    if tail.endswith(b"\n\n") or (tail == b"\n" and end - head == 1):
        return end - 1
    return end


def _told_end(octets: Octets, head: int) -> tuple[int, int] | None:
    """Where the message ends by its Content-Length and where the next From_ line is; None if that is not so."""
    start = octets.get(head, head + HEADER_OCTETS)
    length = header_end(start)
    if length < 0:
        return None
    told = set(_LENGTH.findall(start[:length]))
    if len(told) != 1:
        return None
    body = head + length + (2 if start.startswith(b"\r\n", length) else 1)
    end = body + int(told.pop())
    if end > octets.size:
        return None
    between = _BETWEEN.match(octets.get(end, end + 4))
    behind = end + (between.end() if between else 0)
    # Without the line end that ends it, a line that looks like a From_ line is in the middle of another.
    at_line_start = octets.get(behind - 1, behind) == b"\n"
    if behind == octets.size or (at_line_start and _line_end(octets, behind) >= 0):
        return end, behind
    return None
