"""What the verbs for accounts share: the database, names, and how they fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from popserv.cli.common import EX_CONFIG, Failed

if TYPE_CHECKING:
    from popserv.auth.account_database import Database
    from popserv.service.schema import Config


def database(config: Config) -> Database:
    """The first sqlite database of `config`."""
    from popserv.auth.account_database import Database

    for checker in config.auth.checkers:
        kind, _, argument = checker.partition(":")
        if kind == "sqlite":
            return Database(config.path(argument))
    raise Failed(["auth.checkers: names no sqlite database, and these commands are for that only"], EX_CONFIG)


def prepared(config: Config, name: str) -> str:
    """The account name that `name` stands for. Raises `InvalidName`."""
    from popserv.auth.naming import Naming

    naming = Naming(config.auth.case, config.auth.default_domain)
    return naming.complete(name.encode("utf-8", "surrogateescape")).decode("utf-8")


def existing(config: Config, name: str) -> str:
    """The account that there is: with the default domain, or, made before there was one, without. Raises as `prepared`.

    The first of these where there is neither.
    """
    from popserv.auth.account_database import NoSuchAccount
    from popserv.auth.names import prepare

    completed = prepared(config, name)
    plain = prepare(name.encode("utf-8", "surrogateescape"), config.auth.case)
    for each in dict.fromkeys((completed, plain)):
        try:
            database(config).get(each)
        except NoSuchAccount:
            continue
        return each
    return completed


@contextmanager
def complaints(name: str = "") -> Iterator[None]:
    """Ends the command where the database, or the account `name`, does not permit what is done."""
    from popserv.auth.account_database import AccountsError, DatabaseUnusable
    from popserv.auth.names import InvalidName

    try:
        yield
    except DatabaseUnusable as error:
        raise Failed([str(error)]) from None
    except (AccountsError, InvalidName) as error:
        raise Failed([f"{name!a}: {error}" if name else str(error)]) from None
