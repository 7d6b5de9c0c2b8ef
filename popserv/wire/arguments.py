"""Parse arguments with one strict grammar, and say exactly what is wrong.

``int()`` is no grammar: it takes signs, underscores, blanks and the digits of other alphabets.
"""

from __future__ import annotations

import re
from base64 import b64decode

from popserv.errors import BadSyntax, MalformedResponse, Refused

_NUMBER = re.compile(rb"[0-9]{1,10}")
_MECHANISM = re.compile(rb"[A-Za-z0-9_-]{1,20}")
# RFC 5034 section 4 forbids what the standard library lets pass: "=" in the middle, surplus padding.
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def message_number(argument: bytes, count: int) -> int:
    """The 0-based index for a message-number 1 to `count` (RFC 1939 section 5).

    Raises `BadSyntax` for what is no number, `Refused` for a number that no message of the maildrop has.
    """
    if not (argument.isdigit() and len(argument) <= 10):  # bytes.isdigit() is 0-9 only
        raise BadSyntax("message-number must be 1 to 10 digits" if argument else "message-number is missing")
    number = int(argument)
    if not 1 <= number <= count:
        raise Refused(f"no such message, there are {count}" if number else "message-numbers begin with 1")
    return number - 1


def number_and_lines(argument: bytes, count: int) -> tuple[int, int]:
    """Index and line count of TOP (RFC 1939 section 7)."""
    number, space, lines = argument.partition(b" ")
    if not space:
        raise BadSyntax("TOP needs a message-number and a number of lines")
    if not _NUMBER.fullmatch(lines):
        raise BadSyntax("number of lines must be 1 to 10 digits")
    return message_number(number, count), int(lines)


def no_argument(argument: bytes | None) -> None:
    """Raises `BadSyntax` if there is one."""
    if argument is not None:
        raise BadSyntax("this command takes no argument")


def name(argument: bytes | None) -> bytes:
    """A user name: valid UTF-8 without control octets. Raises `BadSyntax`."""
    if not argument:
        raise BadSyntax("a name is missing")
    if argument.startswith(b" "):
        raise BadSyntax("one space stands before a name")
    return secret(argument)


def secret(argument: bytes | None) -> bytes:
    """A password: everything behind the one space, spaces included (RFC 1939 section 7, PASS). Raises `BadSyntax`."""
    if not argument:
        raise BadSyntax("a password is missing")
    try:
        text = argument.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("argument must be UTF-8") from None
    if any(character < " " or character == "\x7f" for character in text):
        raise BadSyntax("argument must not hold control characters")
    return argument


def apop(argument: bytes | None) -> tuple[bytes, bytes]:
    """Name and digest of APOP (RFC 1939 section 7); the digest is 32 lower-case hexadecimal digits."""
    user, space, digest = (argument or b"").rpartition(b" ")
    if not (space and user):
        raise BadSyntax("APOP needs a name and a digest")
    if not re.fullmatch(rb"[0-9a-f]{32}", digest):
        raise BadSyntax("digest must be 32 lower-case hexadecimal digits")
    return name(user), digest


def mechanism(argument: bytes, most: int) -> tuple[bytes, bytes | None]:
    """Mechanism name in upper case and initial response, decoded, of AUTH (RFC 5034 section 4); ``=`` is empty.

    The response has at most `most` octets.
    """
    mech, space, initial = argument.partition(b" ")
    if not _MECHANISM.fullmatch(mech):
        raise BadSyntax("mechanism name must be 1 to 20 letters, digits, hyphens or underscores")
    if not space:
        return mech.upper(), None
    if not initial:
        raise BadSyntax('an empty initial response is written "="')
    return mech.upper(), b"" if initial == b"=" else response(initial, most)


def response(line: bytes, most: int) -> bytes:
    """A SASL response of at most `most` octets. Raises `MalformedResponse`."""
    octets = base64(line)
    if len(octets) > most:
        raise MalformedResponse("response is too long")
    return octets


def base64(line: bytes) -> bytes:
    """Decode strictly: the alphabet, and ``=`` at the end only (RFC 5034 section 4). Raises `MalformedResponse`."""
    if not _BASE64.fullmatch(line):
        raise MalformedResponse("response is not valid base64")
    return b64decode(line)
