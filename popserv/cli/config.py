"""``popserv config``: about the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from popserv.cli.common import config_option


@click.group()
def config() -> None:
    """About the configuration file."""


@config.command()
@click.option(
    "--format", "form", type=click.Choice(["toml", "markdown"]), default="toml", help="A sample file, or a table."
)
@config_option
def describe(form: Literal["toml", "markdown"], config_file: Path | None) -> None:  # noqa: ARG001 - every verb takes it
    """Print a sample file in which every key is explained."""
    from popserv.service.describe import describe as sample
    from popserv.service.describe import reference

    click.echo(sample() if form == "toml" else reference(), nl=False)
