"""``popserv user``: the accounts of the sqlite database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from popserv.cli.accounts import complaints, database, existing, prepared
from popserv.cli.app_password import app_password
from popserv.cli.common import config_option, password_options, read_config, read_password


@click.group()
def user() -> None:
    """Accounts in the first sqlite database that the configuration names."""


user.add_command(app_password)


@user.command()
@click.argument("name")
@password_options
@config_option
def add(name: str, password_file: Path | None, password_stdin: bool, config_file: Path | None) -> None:
    """Add an account."""
    config = read_config(config_file, serving=False)
    with complaints(name):
        database(config).add(prepared(config, name), read_password(password_file, password_stdin))


@user.command()
@click.argument("name")
@password_options
@config_option
def passwd(name: str, password_file: Path | None, password_stdin: bool, config_file: Path | None) -> None:
    """Change the password of an account."""
    config = read_config(config_file, serving=False)
    with complaints(name):
        database(config).passwd(existing(config, name), read_password(password_file, password_stdin))


@user.command("set")
@click.argument("name")
@click.option("--enable/--disable", default=None, help="Whether it can log in; mail comes in either way.")
@click.option(
    "--main-password/--no-main-password", default=None, help="Whether its own password opens it, beside app-passwords."
)
@click.option("--mechanisms", help="The ways to log in that are good enough, separated by commas; empty for all.")
@click.option("--location", help="Where its mail is, STORE:PLACE; empty for where everybody's is.")
@click.option("--home", help="Its home directory, for {home} in a location.")
@config_option
def set_(
    name: str,
    enable: bool | None,
    main_password: bool | None,
    mechanisms: str | None,
    location: str | None,
    home: str | None,
    config_file: Path | None,
) -> None:
    """Change what is given of the account NAME."""
    config = read_config(config_file, serving=False)
    listed = None if mechanisms is None else _mechanisms(mechanisms)
    if location:
        _check_location(location)
    with complaints(name):
        database(config).change(
            existing(config, name),
            enabled=enable,
            main_password=main_password,
            mechanisms=listed,
            location=location,
            home=home,
        )


def _mechanisms(text: str) -> frozenset[str]:
    from popserv.service import names

    given = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in given:
        _check(names.check_mechanism, name, "--mechanisms")
    return frozenset(names.mechanisms(tuple(given)))


def _check_location(location: str) -> None:
    from popserv.service import names

    _check(names.check_location, location, "--location")


def _check(check: Callable[[str], None], value: str, option: str) -> None:
    try:
        check(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


@user.command()
@click.argument("name")
@config_option
def show(name: str, config_file: Path | None) -> None:
    """Print what is known of the account NAME."""
    config = read_config(config_file, serving=False)
    with complaints(name):
        found = database(config).get(existing(config, name))
    click.echo(f"name: {found.name}")
    click.echo(f"enabled: {'yes' if found.enabled else 'no'}")
    click.echo(f"main password: {'yes' if found.main_password else 'no'}")
    click.echo(f"mechanisms: {', '.join(sorted(found.mechanisms)) or 'all'}")
    click.echo(f"location: {found.location or 'that of [maildrop]'}")
    click.echo(f"home: {found.home or 'none'}")
    click.echo(f"created: {found.created}")


@user.command()
@click.argument("name")
@config_option
def remove(name: str, config_file: Path | None) -> None:
    """Remove an account. Its mail stays where it is."""
    config = read_config(config_file, serving=False)
    with complaints(name):
        database(config).remove(existing(config, name))


@user.command("list")
@config_option
def list_accounts(config_file: Path | None) -> None:
    """Print the account names, one per line."""
    with complaints():
        for account in database(read_config(config_file, serving=False)).list():
            click.echo(account.name)
