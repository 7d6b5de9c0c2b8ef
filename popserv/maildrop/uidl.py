"""Unique-ids (RFC 1939 section 7): 1 to 70 octets 0x21 to 0x7E.

Everything that begins with the mark is made here, and a name that begins with it is hashed like one that breaks the
rule: so what popserv makes up can never be the name of another message.
"""

from __future__ import annotations

import re
from base64 import b32encode
from hashlib import sha256
from secrets import token_bytes

MARK = b"~"

_RULE = re.compile(rb"[!-~]{1,70}")
_USABLE = re.compile(rb"[!-}][!-~]{0,69}")


def is_unique_id(octets: bytes) -> bool:
    """Whether `octets` keep the rule of RFC 1939 section 7."""
    return _RULE.fullmatch(octets) is not None


def from_name(name: bytes) -> bytes:
    """The unique-id for a durable name of a message: the name itself where it may stand, else its SHA-256."""
    if _USABLE.fullmatch(name):
        return name
    return MARK + b"h" + _base32(sha256(name).digest())


def made_up() -> bytes:
    """A unique-id that nothing else has ever had: 128 random bits."""
    return MARK + b"d" + _base32(token_bytes(16))


def _base32(octets: bytes) -> bytes:
    return b32encode(octets).rstrip(b"=")
