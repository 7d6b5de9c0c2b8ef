"""Accounts as a query of the administrator's gives them: what the columns mean, and what is not understood.

Pure: column names and values in, an account or a complaint out. As in a passwd-file, what could restrict an account and
is not understood is never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from popserv.auth.account import Account
from popserv.auth.names import InvalidName, prepare
from popserv.auth.networks import Network
from popserv.auth.passwd_lines import Entry, NotUnderstood, parse_networks

KNOWN_COLUMNS = (
    "name",
    "password",
    "home",
    "location",
    "mail",
    "enabled",
    "nologin",
    "mechanisms",
    "allow_nets",
)


@attrs.frozen
class Known:
    """One account."""

    entry: Entry
    """Its `stored` is what a password is checked against: the first verifier that is no SCRAM keys, if there is one."""
    verifiers: tuple[str, ...] = attrs.field(repr=False)
    """All that is kept of its one password, ``{SCHEME}value``."""
    complaint: str = ""
    """Why it cannot be used; "" if it can."""


def column_errors(columns: Sequence[str]) -> list[str]:
    """What is wrong with these columns: a list of texts, empty if nothing is."""
    errors = [f"the query gives no column {name}" for name in KNOWN_COLUMNS[:2] if name not in columns]
    strange = [name for name in dict.fromkeys(columns) if name not in KNOWN_COLUMNS]
    errors += [
        f"the query gives a column {name!a}, which means nothing here and might restrict; known: "
        + ", ".join(KNOWN_COLUMNS)
        for name in strange
    ]
    errors += [
        f"the query gives the column {name!a} twice" for name in dict.fromkeys(columns) if columns.count(name) > 1
    ]
    if "location" in columns and "mail" in columns:
        errors.append("the query gives both location and mail, which are the same")
    return errors


def known(name: str, rows: Sequence[Mapping[str, Any]], case: Literal["fold", "keep"]) -> Known | None:
    """The account of this prepared name; None if no row is its own. `case` is how names in the rows are prepared.

    Comparisons in SQL may be looser than ours, so a row of another name is nobody's.
    """
    rows = [row for row in rows if _is(name, row["name"], case)]
    if not rows:
        return None
    verifiers: tuple[str, ...] = ()
    try:
        verifiers = tuple(verifier for row in rows for verifier in _verifiers(row["password"]))
        settings = [{key: value for key, value in row.items() if key not in ("name", "password")} for row in rows]
        if any(each != settings[0] for each in settings):
            raise NotUnderstood("its rows differ in more than the password")
        return Known(_entry(name, _main(verifiers), settings[0]), verifiers)
    except NotUnderstood as error:
        return Known(Entry(name, _main(verifiers)), verifiers, str(error))


def _is(name: str, value: Any, case: Literal["fold", "keep"]) -> bool:
    try:
        return isinstance(value, str) and prepare(value.encode("utf-8"), case, stored=True) == name
    except (InvalidName, UnicodeEncodeError):
        return False


def _verifiers(value: Any) -> tuple[str, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not all(isinstance(each, str | None) for each in values):
        raise NotUnderstood("its password is neither a text nor an array of texts")
    return tuple(each for each in values if each)


def _main(verifiers: Sequence[str]) -> str:
    hashes = [each for each in verifiers if not each.upper().startswith("{SCRAM-")]
    return next(iter([*hashes, *verifiers]), "")


def _entry(name: str, stored: str, settings: Mapping[str, Any]) -> Entry:
    location = _text(settings, "location") or _text(settings, "mail")
    account = Account(name, location, _text(settings, "home"), frozenset(_words(settings, "mechanisms")))
    # Null says nothing, and what says nothing must not let anybody in.
    barred = not _flag(settings, "enabled", True, null=False) or _flag(settings, "nologin", False, null=True)
    return Entry(name, stored, account, barred, _networks(settings))


def _text(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key)
    if not isinstance(value, str | None):
        raise NotUnderstood(f"its {key} is no text")
    return value or ""


def _words(settings: Mapping[str, Any], key: str) -> Sequence[str]:
    value = settings.get(key)
    words = value if isinstance(value, list | tuple) else _text(settings, key).replace(",", " ").split()
    if not all(isinstance(word, str) for word in words):
        raise NotUnderstood(f"its {key} is neither a text nor an array of texts")
    return [word.lower() for word in words]


def _flag(settings: Mapping[str, Any], key: str, default: bool, *, null: bool) -> bool:
    value = settings.get(key, default)
    if value is None:
        return null
    if isinstance(value, bool | int) and value in (0, 1):
        return bool(value)
    raise NotUnderstood(f"its {key} is neither true nor false")


def _networks(settings: Mapping[str, Any]) -> tuple[Network, ...] | None:
    value = settings.get("allow_nets")
    if value is None:
        return None
    return parse_networks(",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
