"""``popserv maildrop``: look at maildrops, and mend them, and do by hand what is done at night."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from popserv.cli.common import Failed, config_option, read_config, run_in_reactor, troubles
from popserv.cli.tending import check, reindex, repair

if TYPE_CHECKING:
    from popserv.maildrop.maildir_disposal import Tidied
    from popserv.service.schema import Config

T = TypeVar("T")


@click.group()
def maildrop() -> None:
    """Look at maildrops, mend them, and tidy them."""


@maildrop.command()
@click.argument("user")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@config_option
def stat(user: str, as_json: bool, config_file: Path | None) -> None:
    """Print what USER has: messages, octets as POP3 counts them, and the quota.

    USER may be any name that mail is delivered to. A session that has the maildrop does not matter, and is not kept
    out; nothing is written.
    """
    facts = _look(read_config(config_file, serving=False), user)
    if as_json:
        click.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        click.echo(f"{key.replace('_', ' ')}: {'none' if value is None else value}")


@maildrop.command()
@click.argument("users", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="All accounts that the databases list.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each account.")
@config_option
def expire(users: tuple[str, ...], everybody: bool, dry_run: bool, as_json: bool, config_file: Path | None) -> None:
    """Remove what has expired for USERS, and what was in the trash for too long.

    The service does it each night. A maildrop that a session has is left alone: that ends with status 1.
    """
    if everybody == bool(users):
        raise click.UsageError("name accounts, or give --all")
    failed = []
    for name, done in _tidy(read_config(config_file, serving=False), users, dry_run).items():
        if isinstance(done, str):
            failed.append(f"{name!a}: {done}")
        elif as_json:
            click.echo(json.dumps({"account": name, "expired": done.expired, "emptied": done.emptied}))
        else:
            click.echo(f"{name}: {done.expired} expired, {done.emptied} out of the trash")
    if failed:
        raise Failed(failed)


def _tidy(config: Config, users: tuple[str, ...], dry_run: bool) -> dict[str, Tidied | str]:
    from popserv.service.inspection import tidy

    octets = [user.encode("utf-8", "surrogateescape") for user in users]
    return in_words(lambda: run_in_reactor(config, lambda context: tidy(config, context, octets, dry_run)), "accounts")


def _look(config: Config, user: str) -> dict[str, Any]:
    from popserv.service.inspection import look

    octets = user.encode("utf-8", "surrogateescape")
    return in_words(lambda: run_in_reactor(config, lambda context: look(config, context, octets)), user)


def in_words(work: Callable[[], T], user: str) -> T:
    """What `work` gives; ends the command with the reason if it fails for an account or the configuration."""
    with troubles(user):
        return work()


for verb in (check, repair, reindex):
    maildrop.add_command(verb)
