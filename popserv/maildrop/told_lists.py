"""The lists that other servers keep beside the messages of a Maildir: Dovecot's ``dovecot-uidlist`` and Courier's
``courierpop3dsizelist``."""

from __future__ import annotations

import re

from popserv.maildrop.told import Told
from popserv.maildrop.told_template import Facts, Template

DOVECOT_LIST = "dovecot-uidlist"
COURIER_LIST = "courierpop3dsizelist"

_HEAD = re.compile(rb"3 (?:[^ \n]+ )*?V([0-9]{1,10})(?: [^\n]*)?")
_OLD_HEAD = re.compile(rb"1 ([0-9]{1,10}) ([0-9]{1,10})")
_LINE = re.compile(rb"(?P<uid>[0-9]{1,10}) (?P<fields>(?:[A-Z][^ ]* )*):(?P<name>.+)")
_OLD_LINE = re.compile(rb"(?P<uid>[0-9]{1,10}) (?P<fields>)(?P<name>.+)")
_COURIER_HEAD = re.compile(rb"/([0-9]+) ([0-9]+)(?: ([0-9]+))?")
_COURIER_LINE = re.compile(rb"(.+) ([0-9]{1,18}) ([0-9]{1,18}):([0-9]{1,18})(?::[0-9]+)?")
_COURIER_ESCAPED = re.compile(rb"[^!#-&(-*,-~]")


class BrokenList(ValueError):
    """It is not such a list, or one of a version that is not known here."""


def read_uidlist(content: bytes, template: Template) -> list[Told]:
    """Dovecot's, versions 1 and 3, by the server's ``pop3_uidl_format``. Raises `BrokenList`.

    An id that a message was given by itself (the field P) goes before the template. Messages stand in the order in
    which POP3 had them: those with a field O first, by that, then the others by UID.
    """
    head, *lines = content.split(b"\n")
    new = _HEAD.fullmatch(head)
    known, form = (new, _LINE) if new else (_OLD_HEAD.fullmatch(head), _OLD_LINE)
    if known is None:
        raise BrokenList("its first line is not that of a dovecot-uidlist, version 1 or 3")
    found: list[tuple[tuple[int, int], Told]] = []
    for number, line in enumerate(filter(None, lines), 2):
        match = form.fullmatch(line)
        if match is None:
            raise BrokenList(f"line {number} is not understood")
        found.append(_of_dovecot(match, int(known[1]), template))
    return [told for _place, told in sorted(found, key=lambda each: each[0])]


def _of_dovecot(match: re.Match[bytes], uidvalidity: int, template: Template) -> tuple[tuple[int, int], Told]:
    """A message, and its place in the order."""
    uid, fields = int(match["uid"]), {field[:1]: field[1:] for field in (match["fields"] or b"").split()}
    name = match["name"].partition(b":")[0]
    octets, order = fields.get(b"W", b""), fields.get(b"O", b"")
    unique_id = fields.get(b"P") or template.fill(Facts(uid, uidvalidity, name, fields.get(b"G", name)))
    place = (0, int(order)) if order.isdigit() else (1, uid)
    return place, Told(unique_id, name, int(octets) if octets.isdigit() else None)


def read_sizelist(content: bytes) -> list[Told]:
    """Courier's, versions 1 to 3. Raises `BrokenList`.

    Messages from before it numbered them are called by their file names, with what may not stand there as ``+`` and
    two hexadecimal digits.
    """
    head, *lines = content.split(b"\n")
    if not _COURIER_HEAD.fullmatch(head):
        raise BrokenList("its first line is not that of a courierpop3dsizelist")
    found: list[Told] = []
    for number, line in enumerate(filter(None, lines), 2):
        match = _COURIER_LINE.fullmatch(line)
        if match is None:
            raise BrokenList(f"line {number} is not understood")
        name = match[1].rpartition(b"/")[2].partition(b":")[0]
        uid, validity = int(match[3]), int(match[4])
        if uid:
            unique_id = b"UID%d-%d" % (uid, validity) if validity else b"UID%d" % uid
        else:
            unique_id = _COURIER_ESCAPED.sub(lambda each: b"+%02X" % each[0][0], name)
        found.append(Told(unique_id, name, int(match[2])))
    return found
