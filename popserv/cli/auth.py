"""``popserv auth``: what logins do inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from popserv.cli.common import (
    EX_CONFIG,
    Failed,
    config_option,
    password_options,
    read_config,
    read_password,
    run_in_reactor,
)

if TYPE_CHECKING:
    from popserv.service.rehearsal import Outcome
    from popserv.service.schema import Config


@click.group()
def auth() -> None:
    """Look into logins."""


@auth.command()
@click.argument("user")
@click.option(
    "--mechanism", default="plain", show_default=True, help="user, apop, or a SASL mechanism; a token is the password."
)
@password_options
@config_option
def test(user: str, mechanism: str, password_file: Path | None, password_stdin: bool, config_file: Path | None) -> None:
    """Log in as USER, as far as to the maildrop: which database says what, and what the policy says.

    Ends with 0 if the login would succeed, with 1 if not.
    """
    config = read_config(config_file, serving=False)
    secret = read_password(password_file, password_stdin, twice=False)
    outcome = _rehearse(config, user.encode("utf-8", "surrogateescape"), secret, mechanism.lower())
    for checker, answer in outcome.trail.answers:
        click.echo(f"{checker}: {answer}")
    if outcome.refusal:
        raise Failed([f"refused: {outcome.refusal}"])
    click.echo(f"would log in as {outcome.account!a}")
    if outcome.location:
        click.echo(f"maildrop: {outcome.location}")


def _rehearse(config: Config, user: bytes, secret: bytes, mechanism: str) -> Outcome:
    """With a reactor, because a database may be on the network."""
    from popserv.service.config import ConfigErrors
    from popserv.service.rehearsal import CannotRehearse, rehearse

    try:
        return run_in_reactor(config, lambda context: rehearse(config, context, user, secret, mechanism))
    except ConfigErrors as errors:
        raise Failed(errors.lines, EX_CONFIG) from None
    except (CannotRehearse, ValueError) as error:
        raise Failed([str(error)]) from None
