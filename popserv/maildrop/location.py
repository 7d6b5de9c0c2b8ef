"""Where an account's maildrop lies: a location is "scheme:place", and a place may hold placeholders.

``{user}`` is the prepared account name, ``{local}`` and ``{domain}`` its parts around the last ``@``, ``{home}`` the
home directory that the account database gives.
"""

from __future__ import annotations

import re

from popserv.errors import StoreBroken
from popserv.interfaces import IAccount

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(rb"[^A-Za-z0-9._+=@-]")
_SCHEME = re.compile(r"[a-z][a-z0-9-]*")
_NAMES = ("user", "local", "domain", "home")


def split(location: str) -> tuple[str, str]:
    """Scheme and place of a location. Raises `ValueError` if it has no scheme or no place."""
    scheme, colon, place = location.partition(":")
    if not (colon and place and _SCHEME.fullmatch(scheme)):
        raise ValueError('a location is written "scheme:place"')
    return scheme, place


def place_of(account: IAccount, default: str) -> str:
    """The place of this account, its placeholders filled in; `default` is used if it names none itself.

    Raises `StoreBroken`.
    """
    try:
        place = split(account.location)[1] if account.location else default
    except ValueError as error:
        raise StoreBroken(str(error)) from None
    return expand(place, account)


def expand(place: str, account: IAccount) -> str:
    """`place` with its placeholders filled in.

    A name becomes exactly one path component, whatever is in it. ``{home}`` is a path from the account database and
    is taken as it is. Raises `StoreBroken` for an unknown placeholder and for an account without a home.
    """

    def value(match: re.Match[str]) -> str:
        return _value(match[1], account)

    return _PLACEHOLDER.sub(value, place)


def _value(name: str, account: IAccount) -> str:
    if name == "home":
        if not account.home.startswith("/"):
            raise StoreBroken("this account has no home directory")
        return account.home
    local, at, domain = account.name.rpartition("@")
    parts = {"user": account.name, "local": local if at else domain, "domain": domain if at else ""}
    if name not in parts:
        raise StoreBroken("the location of this maildrop has an unknown placeholder")
    return component(parts[name])


def component(value: str) -> str:
    """`value` as one path component: %-encoded where needed, so that no two values give the same component.

    An empty value is a lone ``%``, which no other value gives.
    """
    if value in (".", ".."):
        return "%2E" * len(value)
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], value.encode("utf-8")).decode("ascii") or "%"


def location_of(account: IAccount, default: str) -> str:
    """STORE:PLACE of an account, everything filled in; `default` is that of accounts without one of their own.

    Raises as `place_of`.
    """
    scheme, _, place = default.partition(":")
    return f"{account.location.partition(':')[0] or scheme}:{place_of(account, place)}"


def template_errors(place: str) -> list[str]:
    """What is wrong with a place that is a path: a list of texts for the administrator, empty if nothing is."""
    errors = []
    if not place:
        errors.append("the path is missing")
    if place.startswith("~"):
        errors.append('"~" is not expanded: write {home}')
    if "\0" in place:
        errors.append("a path holds no NUL")
    names = _PLACEHOLDER.findall(place)
    known = ", ".join(f"{{{name}}}" for name in _NAMES)
    errors += [f"unknown placeholder {{{name}}}; known: {known}" for name in names if name not in _NAMES]
    if set("{}") & set(_PLACEHOLDER.sub("", place)):
        errors.append("a brace has no partner")
    if "{home}" in place[1:]:
        errors.append("{home} is an absolute path: it can only stand first")
    return errors
