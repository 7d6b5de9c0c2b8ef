"""``popserv pw``: a password as a hash."""

from __future__ import annotations

from pathlib import Path

import click

from popserv.cli.common import Failed, at_terminal, config_option, password_options, read_password


@click.command()
@click.option("--scheme", default="ARGON2ID", show_default=True, help="How to hash it, such as SHA512-CRYPT.")
@password_options
@config_option
def pw(scheme: str, password_file: Path | None, password_stdin: bool, config_file: Path | None) -> None:  # noqa: ARG001
    """Hash a password: prints one line, {SCHEME} and the hash, for a passwd-file.

    Asks for the password, or reads the first line of standard input when that is no terminal.
    """
    from popserv.auth.names import InvalidName
    from popserv.auth.passwords import UnusableHash, hash_password

    piped = password_file is None and not at_terminal()
    password = read_password(password_file, password_stdin or piped)
    try:
        click.echo(hash_password(password, scheme))
    except (InvalidName, UnusableHash, ValueError) as error:
        raise Failed([str(error)]) from None
