"""``popserv user``: the accounts of the sqlite database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from popserv.cli.common import EX_CONFIG, Failed, config_option, password_options, read_config, read_password

if TYPE_CHECKING:
    from popserv.auth.account_database import Database
    from popserv.service.schema import Config


@click.group()
def user() -> None:
    """Accounts in the first sqlite database that the configuration names."""


@user.command()
@click.argument("name")
@password_options
@config_option
def add(name: str, password_file: Path | None, password_stdin: bool, config_file: Path | None) -> None:
    """Add an account."""
    config = read_config(config_file, serving=False)
    with _complaints(name):
        database(config).add(_prepared(config, name), read_password(password_file, password_stdin))


@user.command()
@click.argument("name")
@password_options
@config_option
def passwd(name: str, password_file: Path | None, password_stdin: bool, config_file: Path | None) -> None:
    """Change the password of an account."""
    config = read_config(config_file, serving=False)
    with _complaints(name):
        database(config).passwd(_prepared(config, name), read_password(password_file, password_stdin))


@user.command()
@click.argument("name")
@config_option
def remove(name: str, config_file: Path | None) -> None:
    """Remove an account. Its mail stays where it is."""
    config = read_config(config_file, serving=False)
    with _complaints(name):
        database(config).remove(_prepared(config, name))


@user.command("list")
@config_option
def list_accounts(config_file: Path | None) -> None:
    """Print the account names, one per line."""
    with _complaints():
        for account in database(read_config(config_file, serving=False)).list():
            click.echo(account.name)


def database(config: Config) -> Database:
    """The first sqlite database of `config`."""
    from popserv.auth.account_database import Database

    for checker in config.auth.checkers:
        kind, _, argument = checker.partition(":")
        if kind == "sqlite":
            return Database(config.path(argument))
    raise Failed(["auth.checkers: names no sqlite database, and these commands are for that only"], EX_CONFIG)


def _prepared(config: Config, name: str) -> str:
    from popserv.auth.names import prepare

    return prepare(name.encode("utf-8", "surrogateescape"), config.auth.case)


@contextmanager
def _complaints(name: str = "") -> Iterator[None]:
    from popserv.auth.account_database import AccountsError, DatabaseUnusable
    from popserv.auth.names import InvalidName

    try:
        yield
    except DatabaseUnusable as error:
        raise Failed([str(error)]) from None
    except (AccountsError, InvalidName) as error:
        raise Failed([f"{name!a}: {error}" if name else str(error)]) from None
