"""``popserv maildrop``: look at maildrops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from popserv.cli.common import EX_CONFIG, Failed, config_option, read_config, run_in_reactor

if TYPE_CHECKING:
    from popserv.service.schema import Config


@click.group()
def maildrop() -> None:
    """Look at maildrops."""


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


def _look(config: Config, user: str) -> dict[str, Any]:
    from popserv.errors import DeliveryError, PopError, UnknownRecipient
    from popserv.service.config import ConfigErrors
    from popserv.service.inspection import look

    try:
        return run_in_reactor(config, lambda context: look(config, context, user.encode("utf-8", "surrogateescape")))
    except ConfigErrors as errors:
        raise Failed(errors.lines, EX_CONFIG) from None
    except UnknownRecipient:
        raise Failed([f"{user!a}: there is no such account"]) from None
    except (DeliveryError, PopError) as error:
        reason = f"{error.text}: {error.__cause__}" if error.__cause__ else error.text
        raise Failed([f"{user!a}: {reason}"]) from None
