"""Unique-ids of servers that keep them in the messages, or in the names of Cyrus's files: X-UIDL, UW IMAP, Cyrus."""

from __future__ import annotations

import os
import re
from pathlib import Path

from popserv.maildrop.mbox_lines import Format
from popserv.maildrop.mbox_octets import Octets
from popserv.maildrop.mbox_split import HEADER_OCTETS, header_end, ranges
from popserv.maildrop.told import Told, header_hash
from popserv.maildrop.told_lists import BrokenList
from popserv.maildrop.told_template import Facts, Template
from popserv.wire.octets import Scanner

_X_UIDL = re.compile(rb"(?mi)^X-UIDL:[ \t]*([!-~]{1,70})[ \t]*\r?$")
_X_UID = re.compile(rb"(?mi)^X-UID:[ \t]*([0-9]{1,10})[ \t]*\r?$")
_X_IMAP = re.compile(rb"(?mi)^X-IMAP(?:base)?:[ \t]*([0-9]{1,10})[ \t]+[0-9]{1,10}\b")
_CYRUS_NAME = re.compile(r"([1-9][0-9]{0,9})\.")
_CHUNK = 1 << 17


def x_uidl(start: bytes) -> bytes:
    """What the field X-UIDL of a message that begins with `start` says; b"" for nothing.

    Servers that follow it put it in front of a header, so the first one counts.
    """
    octets = start.replace(b"\r\n", b"\n")[:HEADER_OCTETS]
    end = header_end(octets)
    found = _X_UIDL.search(octets if end < 0 else octets[:end])
    return found[1] if found else b""


def read_uw(mbox: Path, form: Format, template: Template) -> list[Told]:
    """The messages of an mbox that UW IMAP, or Dovecot, has numbered: X-UID, and UIDVALIDITY in X-IMAP or X-IMAPbase.

    Those without a number have told none. Raises `BrokenList` if there is no UIDVALIDITY, and `OSError`.
    """
    descriptor = os.open(mbox, os.O_RDONLY | os.O_CLOEXEC)
    try:
        octets = Octets(descriptor, os.fstat(descriptor).st_size)
        headers = [octets.get(each.head, min(each.end, each.head + HEADER_OCTETS)) for each in ranges(octets, form)]
    finally:
        os.close(descriptor)
    headers = [header[: end if (end := header_end(header)) >= 0 else None] for header in headers]
    validity = next((int(found[1]) for header in headers if (found := _X_IMAP.search(header))), None)
    if validity is None:
        raise BrokenList("no message has X-IMAP or X-IMAPbase, which hold UIDVALIDITY")
    return [
        Told(template.fill(Facts(int(found[1]), validity)), header=header_hash(header))
        for header in headers
        if (found := _X_UID.search(header))
    ]


def read_cyrus(folder: Path, uidvalidity: int, template: Template) -> list[Told]:
    """The messages of a mailbox in Cyrus's spool: files called by their UIDs, "1.", "2.". Raises `OSError`."""
    numbers = sorted(int(found[1]) for name in os.listdir(folder) if (found := _CYRUS_NAME.fullmatch(name)))
    return [_of_cyrus(folder / f"{uid}.", Facts(uid, uidvalidity), template) for uid in numbers]


def _of_cyrus(path: Path, facts: Facts, template: Template) -> Told:
    scanner, start = Scanner(), b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            start = start or chunk
            scanner.feed(chunk)
    return Told(template.fill(facts), octets=scanner.finish(), header=header_hash(start))
