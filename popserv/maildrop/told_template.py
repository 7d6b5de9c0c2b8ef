"""Templates of unique-ids as Dovecot's ``pop3_uidl_format`` has them: ``%08Xu%08Xv``, ``%v.%u``, ``%f``, ``%Mf``."""

from __future__ import annotations

import re
from hashlib import md5

import attrs

_VARIABLE = re.compile(rb"%(?P<zero>0)?(?P<width>[0-9]{1,3})?(?P<how>[XMLU]*)(?P<name>[uvfg%])")
_WHAT = {b"u": "uid", b"v": "uidvalidity", b"f": "name", b"g": "guid"}


class BadTemplate(ValueError):
    """Something in it is not known here."""


@attrs.frozen
class Facts:
    """What a template is filled with."""

    uid: int
    uidvalidity: int
    name: bytes = b""
    guid: bytes = b""


@attrs.frozen
class Template:
    """``%u`` is the UID of IMAP, ``%v`` UIDVALIDITY, ``%f`` the file's name up to its flags, ``%g`` the GUID.

    In between may stand a width, with 0 in front to fill up with zeros; and ``X`` for hexadecimal digits, ``M`` for the
    MD5 of it, ``L`` and ``U`` for lower and upper case.
    """

    text: bytes

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises `BadTemplate`."""
        octets = text.encode("utf-8")
        rest = _VARIABLE.sub(b"", octets)
        if b"%" in rest:
            raise BadTemplate('after "%" may stand a width, X, M, L or U, and then u, v, f, g or another "%"')
        if not any(match["name"] != b"%" for match in _VARIABLE.finditer(octets)):
            raise BadTemplate("it is the same for all messages")
        return cls(octets)

    def fill(self, facts: Facts) -> bytes:
        """The unique-id."""
        return _VARIABLE.sub(lambda match: _filled(match, facts), self.text)


def _filled(match: re.Match[bytes], facts: Facts) -> bytes:
    if match["name"] == b"%":
        return b"%"
    value = getattr(facts, _WHAT[match["name"]])
    octets: bytes = b"%d" % value if isinstance(value, int) else value
    for how in match["how"].decode("ascii"):
        if how == "X" and octets.isdigit():
            octets = b"%x" % int(octets)
        elif how == "M":
            octets = md5(octets, usedforsecurity=False).hexdigest().encode("ascii")
        elif how in "LU":
            octets = octets.lower() if how == "L" else octets.upper()
    width = int(match["width"] or 0)
    if match["zero"]:
        return octets.rjust(width, b"0")
    return octets[:width] if width else octets
