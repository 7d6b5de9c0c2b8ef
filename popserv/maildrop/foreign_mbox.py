"""An mbox of another server, to be imported. Nothing in it is changed, and nobody is kept from writing to it."""

from __future__ import annotations

import errno
import os
import re
from base64 import b32encode
from calendar import timegm
from collections import Counter
from collections.abc import Iterator
from functools import partial

from popserv.maildrop.findings import shown
from popserv.maildrop.foreign import ForeignMessage
from popserv.maildrop.mbox_ids import Ids, recognise
from popserv.maildrop.mbox_lines import Format, unquoting
from popserv.maildrop.mbox_locks import open_mbox
from popserv.maildrop.mbox_octets import Octets
from popserv.maildrop.mbox_survey import Stamp, Survey, survey_of

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HEADER_OCTETS = 16 * 1024
_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_DATE = re.compile(
    rb" (?P<month>[A-Z][a-z]{2}) +(?P<day>[0-9]{1,2}) +(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})"
    rb"(?::(?P<second>[0-9]{2}))?(?: +(?P<before>[A-Za-z+-][A-Za-z0-9 ]*?))??"
    rb" +(?P<year>[12][0-9]{3})(?: +(?P<behind>[+-][0-9]{4}|[A-Z]+))?"
)
_ZONE = re.compile(rb"([+-])([0-9]{2})([0-9]{2})")
_STATUS = re.compile(rb"(?mi)^(X-)?Status:[ \t]*([A-Z]*)[ \t]*\r?$")
_FLAGS = {b"R": b"S", b"A": b"R", b"F": b"F", b"T": b"D", b"D": b"T"}
"""What mail readers write into Status and X-Status, as Maildir flags."""


def seconds_of(from_line: bytes) -> int | None:
    """The date of a From_ line, in seconds since 1970; without a zone it is UTC (RFC 4155 appendix A).

    None where it says none that can be.
    """
    match = _DATE.search(from_line)
    if match is None or match["month"] not in _MONTHS:
        return None
    numbers = [int(match[name] or 0) for name in ("day", "hour", "minute", "second")]
    seconds = timegm((int(match["year"]), _MONTHS.index(match["month"]) + 1, *numbers))
    zone = _ZONE.fullmatch(match["behind"] or match["before"] or b"")
    if zone is not None:
        offset = 3600 * int(zone[2]) + 60 * int(zone[3])
        seconds -= offset if zone[1] == b"+" else -offset
    return max(seconds, 0)


class ForeignMbox:
    """See `popserv.maildrop.foreign.ForeignMail`. Unique-ids are those that popserv would tell, or has told, of it."""

    def __init__(self, path: bytes, form: Format, control: bytes = b"") -> None:
        """`control` is the directory of what popserv keeps of it, if it has served it; b"": beside it.

        Raises `FileNotFoundError`, any other `OSError`, and `StoreBroken`.
        """
        self._path = path
        self._form = form
        self._control = control or path + b".popserv"
        self._descriptor = open_mbox(path)
        self.skipped: list[tuple[str, str]] = []
        self._stamp = Stamp.of(os.fstat(self._descriptor))

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the file."""
        return self._stamp.file

    def close(self) -> None:
        os.close(self._descriptor)

    def messages(self) -> list[ForeignMessage]:
        survey = survey_of(self._descriptor, self._form, None)
        self._stamp = survey.stamp
        if survey.preamble:
            self.skipped.append((shown(self._path), f"{survey.preamble} octets before the first From_ line"))
        ids = self._ids(survey)
        copies: Counter[bytes] = Counter()
        messages = []
        for index in range(survey.first, len(survey)):
            digest = survey.digest(index)
            copies[digest] += 1
            messages.append(self._message(survey, ids, index, copies[digest]))
        return messages

    def _ids(self, survey: Survey) -> Ids:
        try:
            control = os.open(self._control, _DIRECTORY)
        except FileNotFoundError:
            return recognise(-1, survey)
        try:
            return recognise(control, survey)
        finally:
            os.close(control)

    def _message(self, survey: Survey, ids: Ids, index: int, copy: int) -> ForeignMessage:
        each = survey.range(index)
        octets = Octets(self._descriptor, survey.stamp.size)
        seconds = seconds_of(octets.get(each.start, each.head))
        if seconds is None:
            seconds = survey.stamp.mtime_ns // 1_000_000_000
        digest = b32encode(survey.digest(index)).rstrip(b"=")
        flags, seen = _status(octets.get(each.head, min(each.end, each.head + _HEADER_OCTETS)))
        return ForeignMessage(
            key=b"mbox:%b:%d" % (digest, copy),
            name=b"%d.M%06dP0Q%d.%b" % (seconds, index % 1_000_000, copy, digest),
            unique_id=b"" if index in ids.unknown else ids.of(index),
            flags=flags,
            seen=seen,
            mtime_ns=seconds * 1_000_000_000,
            size=each.end - each.head,
            where=f"{shown(self._path)}, message {index - survey.first + 1}",
            chunks=partial(self._chunks, each.head, each.end),
        )

    def _chunks(self, start: int, end: int) -> Iterator[bytes]:
        lines = unquoting(self._form)
        octets = Octets(self._descriptor, end)
        for chunk in octets.chunks(start, end):
            yield chunk if lines is None else lines.feed(chunk)
        if lines is not None:
            yield lines.finish()
        if Stamp.of(os.fstat(self._descriptor)) != self._stamp:
            raise OSError(errno.EBUSY, "the mbox was written to while it was read")


def _status(header: bytes) -> tuple[bytes, bool]:
    """Maildir flags, and whether a mail reader has listed the message."""
    header = re.split(rb"\r?\n\r?\n", header, maxsplit=1)[0] + b"\n"
    letters = b"".join(status for _, status in _STATUS.findall(header))
    flags = {_FLAGS[letter] for letter in (letters[at : at + 1] for at in range(len(letters))) if letter in _FLAGS}
    return b"".join(sorted(flags)), b"O" in letters or bool(flags)
