"""The one place that prepares account names and passwords: SASLprep (RFC 4013), case, white-list.

The prepared name is what is looked up, locked, throttled and logged; nothing else is.
"""

from __future__ import annotations

import stringprep
from typing import Literal
from unicodedata import ucd_3_2_0

NAME_OCTETS = 255

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class InvalidName(ValueError):
    """The name or password cannot be prepared; nobody can have it."""


def saslprep(text: str, stored: bool = False) -> str:
    """Prepare `text` by RFC 4013 as a query string, or as a stored string. Raises `InvalidName`."""
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if text and not prepared:
        raise InvalidName("nothing is left of it after preparation")
    for character in prepared:
        if any(prohibited(character) for prohibited in _PROHIBITED) or (stored and stringprep.in_table_a1(character)):
            raise InvalidName(f"U+{ord(character):04X} is not allowed")
    check_direction(prepared)
    return prepared


def check_direction(text: str) -> None:
    """Raises `InvalidName` for what RFC 3454 section 6 does not permit."""
    if any(map(stringprep.in_table_d1, text)) and (
        any(map(stringprep.in_table_d2, text))
        or not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1]))
    ):
        raise InvalidName("right-to-left and left-to-right characters are mixed")


def prepare(name: bytes, case: Literal["fold", "keep"] = "fold", *, stored: bool = False) -> str:
    """The account name for what a client typed (UTF-8), or with `stored` for one to keep. Raises `InvalidName`."""
    try:
        prepared = saslprep(name.decode("utf-8"), stored)
    except UnicodeDecodeError:
        raise InvalidName("it is not UTF-8") from None
    if case == "fold":
        # Lower case may compose otherwise than upper case, so once more; preparing a prepared name changes nothing.
        prepared = saslprep(prepared.lower(), stored)
    if not prepared:
        raise InvalidName("it is empty")
    if len(prepared.encode("utf-8")) > NAME_OCTETS:
        raise InvalidName(f"it is longer than {NAME_OCTETS} octets")
    if prepared.startswith(".") or "/" in prepared:
        raise InvalidName('it must not begin with "." or hold "/"')
    return prepared


def prepare_authorization(identity: bytes, case: Literal["fold", "keep"]) -> bytes:
    """The authorization identity for what a client sent, b"" for none. Raises `InvalidName`."""
    return prepare(identity, case).encode("utf-8") if identity else b""


def prepare_password(password: bytes, stored: bool = False) -> bytes:
    """The password to check, or with `stored` the one to hash and keep (RFC 4616 section 2). Raises `InvalidName`."""
    try:
        prepared = saslprep(password.decode("utf-8"), stored)
    except UnicodeDecodeError:
        raise InvalidName("it is not UTF-8") from None
    if not prepared:
        raise InvalidName("it is empty")
    return prepared.encode("utf-8")
