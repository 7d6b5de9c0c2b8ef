"""The grammar of paths and parameters (RFC 5321 section 4.1.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

LOCAL_OCTETS = 64
DOMAIN_OCTETS = 255

_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]+"
_LOCAL = rb"(?:" + _ATOM + rb"(?:\." + _ATOM + rb")*|\"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*\")"
_LABEL = rb"[A-Za-z0-9_\x80-\xff](?:[A-Za-z0-9_\x80-\xff-]*[A-Za-z0-9_\x80-\xff])?"
_DOMAIN = rb"(?:" + _LABEL + rb"(?:\." + _LABEL + rb")*\.?|\[[!-Z^-~]+\])"
_ROUTE = rb"(?:@" + _DOMAIN + rb"(?:,@" + _DOMAIN + rb")*:)?"
_PATH = rb"<" + _ROUTE + rb"((?P<local>" + _LOCAL + rb")(?:@(?P<domain>" + _DOMAIN + rb"))?)>"
_PARAMETERS = rb"(?P<parameters>(?: [A-Za-z0-9][A-Za-z0-9-]*(?:=[!-<>-~]+)?)*) *"
_FROM = re.compile(rb"FROM: ?(?:<>|" + _PATH + rb")" + _PARAMETERS, re.IGNORECASE)
_TO = re.compile(rb"TO: ?" + _PATH + _PARAMETERS, re.IGNORECASE)
_CLIENT = re.compile(_DOMAIN)


@attrs.frozen
class Path:
    """The argument of MAIL or RCPT: the path without brackets and route, and the parameters by upper-case name."""

    address: bytes
    parameters: Mapping[bytes, bytes]


def domain(argument: bytes) -> str | None:
    """The argument of LHLO, if it is one and ASCII."""
    argument = argument.removesuffix(b" ")
    if len(argument) > DOMAIN_OCTETS or not argument.isascii() or not _CLIENT.fullmatch(argument):
        return None
    return argument.decode("ascii")


def reverse_path(argument: bytes) -> Path | str:
    """The argument of MAIL, b"" for the null path, or what is wrong with it."""
    match = _FROM.fullmatch(argument)
    if match is None:
        return "sender must be FROM:<address>, followed by parameters"
    return _too_long(match) or Path(match[1] or b"", _parameters(match["parameters"]))


def forward_path(argument: bytes) -> Path | str:
    """The argument of RCPT, its local part unquoted, or what is wrong with it."""
    match = _TO.fullmatch(argument)
    if match is None:
        return "recipient must be TO:<address>"
    return _too_long(match) or Path(unquote(match[1]), _parameters(match["parameters"]))


def unquote(address: bytes) -> bytes:
    """`address` with a quoted local part as the octets it stands for."""
    if not address.startswith(b'"'):
        return address
    local, _, rest = address.rpartition(b'"')
    return re.sub(rb"\\(.)", rb"\1", local[1:], flags=re.DOTALL) + rest


def _too_long(match: re.Match[bytes]) -> str:
    if len(match["local"] or b"") > LOCAL_OCTETS:
        return f"local part must have at most {LOCAL_OCTETS} octets"
    if len(match["domain"] or b"") > DOMAIN_OCTETS:
        return f"domain must have at most {DOMAIN_OCTETS} octets"
    return ""


def _parameters(text: bytes) -> dict[bytes, bytes]:
    pairs = (word.partition(b"=") for word in text.split())
    return {key.upper(): value for key, _, value in pairs}
