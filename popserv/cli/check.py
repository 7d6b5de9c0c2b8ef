"""``popserv check``: what is wrong, before anybody notices."""

from __future__ import annotations

from pathlib import Path

import click

from popserv.cli.common import Failed, config_option


@click.command()
@config_option
def check(config_file: Path | None) -> None:
    """Check configuration, certificates, permissions and addresses, as the user that this runs as.

    Prints each problem with its key. Ends with 1 if anything but warnings was found.
    """
    from popserv.service.check import problems
    from popserv.service.config import ConfigErrors, load

    try:
        found = problems(load(config_file))
    except ConfigErrors as errors:
        raise Failed(errors.lines) from None
    for problem in found:
        click.echo(f"popserv: {problem}", err=True)
    if any(not problem.warning for problem in found):
        raise SystemExit(1)
    click.echo("popserv: the configuration can be used")
