"""The names that a configuration may use for plug-ins, and what is said of those that are not here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from popserv import plugins
from popserv.auth.names import InvalidName, prepare
from popserv.sasl import names_of

LATER = "this version of popserv does not have it"

_LATER: Mapping[str, frozenset[str]] = {
    "protocols": frozenset({"pop2", "pop1", "kpop"}),
    "accounts": frozenset(),
    "extensions": frozenset(),
    "stores": frozenset({"postgres"}),
    "sasl": frozenset(),
}
"""Names that the documentation promises; each works as soon as its module is there."""

WITHOUT_SASL = ("user", "apop")
"""Ways to log in that are commands of their own."""


def look_up(group: str, name: str) -> Any:
    """The plug-in. Raises `ValueError` that says which name was meant, or what is missing."""
    try:
        return plugins.find(group, name)
    except plugins.UnknownPlugin as unknown:
        if name in _LATER[group]:
            raise ValueError(f"{name}: {LATER}") from None
        raise ValueError(f"{name}: {unknown}") from None
    except ImportError as error:
        raise ValueError(f"{name}: cannot be loaded: {error}") from error


def check_protocol(name: str) -> None:
    """Raises `ValueError` unless `name` is a protocol. Does not import it."""
    if name not in plugins.names("protocols"):
        look_up("protocols", name)


def is_strcred(name: str) -> bool:
    """Whether a checker of this name comes from a strcred plug-in of Twisted's or somebody else's."""
    from twisted.cred.strcred import InvalidAuthType, findCheckerFactory

    try:
        findCheckerFactory(name)  # type: ignore[no-untyped-call]
    except InvalidAuthType:
        return False
    return True


def check_accounts(checker: str) -> None:
    """Raises `ValueError` unless ``NAME:ARGUMENT`` names an account database or a strcred plug-in."""
    name, _, _argument = checker.partition(":")
    try:
        look_up("accounts", name)
    except ValueError:
        if name in _LATER["accounts"] or not is_strcred(name):
            raise


def mechanisms(configured: tuple[str, ...]) -> tuple[str, ...]:
    """`configured` without repetitions, in lower case, with "default" written out; USER and PASS belong to that."""
    written_out: list[str] = []
    for name in configured:
        written_out += ["user", *names_of([name])] if name.lower() == "default" else [name.lower()]
    return tuple(dict.fromkeys(written_out))


def check_mechanism(name: str) -> None:
    """Raises `ValueError` unless `name` is a way to log in."""
    if name.lower() not in (*WITHOUT_SASL, "default"):
        look_up("sasl", name.lower())


def check_account(name: str) -> None:
    """Raises `ValueError` unless some account can have this name."""
    try:
        prepare(name.encode("utf-8"))
    except InvalidName as error:
        raise ValueError(f"no account can have this name: {error}") from None


def check_domain(domain: str) -> None:
    """Raises `ValueError` unless names can have this domain; "" is none."""
    if "@" in domain:
        raise ValueError("is a domain, without @")
    if domain:
        check_account(f"a@{domain}")


def check_accounts_covered(covered: str) -> None:
    """Raises `ValueError` unless it is a name, ``@domain``, or ``*`` for all accounts."""
    if covered != "*":
        check_account(covered.removeprefix("@"))


def check_extension(name: str) -> None:
    """Raises `ValueError` unless `name` is an extension of the POP3 session."""
    look_up("extensions", name)


def check_location(location: str) -> None:
    """Raises `ValueError` unless ``STORE:PLACE`` names a store."""
    from popserv.maildrop.location import split

    look_up("stores", split(location)[0])


def check_since(since: str) -> None:
    """Raises `ValueError` for what is no time."""
    from popserv.maildrop.views import Since

    Since.parse(since)
