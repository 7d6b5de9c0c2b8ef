"""``popserv check``: what is wrong, before anybody notices."""

from __future__ import annotations

from pathlib import Path

import click

from popserv.cli.common import EX_CONFIG, Failed, config_option


@click.command()
@config_option
def check(config_file: Path | None) -> None:
    """Check configuration, certificates, permissions and addresses, as the user that this runs as.

    Prints each problem with its key. Ends with 1 if anything but warnings was found, with 78 without a configuration.
    """
    from popserv.service.check import problems
    from popserv.service.config import ConfigErrors, find, load

    try:
        file = config_file or find()
    except ConfigErrors as errors:
        raise Failed(errors.lines, EX_CONFIG) from None
    try:
        found = problems(load(file))
    except ConfigErrors as errors:
        raise Failed(errors.lines) from None
    for problem in found:
        click.echo(f"popserv: {problem}", err=True)
    if any(not problem.warning for problem in found):
        raise SystemExit(1)
    click.echo("popserv: the configuration can be used")
