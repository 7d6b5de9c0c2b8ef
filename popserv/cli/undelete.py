"""``popserv undelete``: bring removed messages back."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from pathlib import Path

import click

from popserv.cli.common import Failed, config_option, read_config, run_in_reactor
from popserv.cli.maildrop import in_words

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Since(click.ParamType[float]):
    """A span such as 2h, or a time in ISO 8601, local where it names no zone; gives seconds since 1970."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if span := re.fullmatch(r"([0-9]{1,6})([smhdw])", value, re.ASCII):
            return time.time() - int(span[1]) * _UNITS[span[2]]
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            self.fail('must be a span such as "2h" or "3d", or a time such as "2026-01-31T12:00"', param, ctx)


@click.command()
@click.argument("user")
@click.option("--since", type=Since(), required=True, help="How far back: 30m, 2h, 3d, 1w, or a time.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@config_option
def undelete(user: str, since: float, dry_run: bool, as_json: bool, config_file: Path | None) -> None:
    """Bring back what USER's sessions have removed lately, if it went to the trash or was hidden.

    Messages come back under the unique-ids that they had. Ends with 1 if a session has the maildrop, or if a message
    cannot come back because another one has its name.
    """
    from popserv.service.inspection import undelete as bring_back

    config = read_config(config_file, serving=False)
    octets = user.encode("utf-8", "surrogateescape")
    name, done = in_words(
        lambda: run_in_reactor(config, lambda context: bring_back(config, context, octets, since, dry_run)), user
    )
    if as_json:
        click.echo(json.dumps({"account": name, "back": done.back, "left": done.left}))
    else:
        click.echo(f"{name}: {done.back} messages {'would come' if dry_run else 'are'} back")
    if done.left:
        raise Failed([f"{name!a}: {done.left} messages stay in the trash: others have their names"])
