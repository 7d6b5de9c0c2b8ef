"""``popserv quickstart``: from nothing to a server with a message in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from popserv.cli.common import Failed, first_line, read_config

if TYPE_CHECKING:
    from popserv.service.quickstart import Place

_PORT = click.IntRange(0, 65535)

PYTHON = """\
import poplib, ssl; \
pop = poplib.POP3_SSL("localhost", {port}, context=ssl.create_default_context(cafile={cafile})); \
pop.user({name}); pop.pass_({password}); \
print(b"\\n".join(pop.retr(1)[1]).decode("utf-8", "replace")); pop.quit()"""


@click.command()
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), default=Path("popserv-data"), show_default=True,
    help="Where everything is kept.",
)  # fmt: skip
@click.option("--pop3", type=_PORT, metavar="PORT", help="POP3 with STLS. Default: 8110. 0 is any free port.")
@click.option("--pop3s", type=_PORT, metavar="PORT", help="POP3 over TLS. Default: 8995.")
@click.option("--lmtp", type=_PORT, metavar="PORT", help="Delivery. Default: 8024.")
@click.option("--user", metavar="NAME", help="The account. Default: demo.")
@click.option(
    "--password-file", type=click.Path(path_type=Path), metavar="FILE", help="Its first line is the password."
)
@click.option("--no-run", is_flag=True, help="Make everything, and do not serve.")
def quickstart(
    directory: Path,
    pop3: int | None,
    pop3s: int | None,
    lmtp: int | None,
    user: str | None,
    password_file: Path | None,
    no_run: bool,
) -> None:
    """Make a configuration, a certificate, an account and a message in a directory, and serve on loopback.

    Run again, it keeps everything and serves.
    """
    from popserv.auth.account_database import AccountsError
    from popserv.auth.names import InvalidName
    from popserv.service.quickstart import Place, QuickstartTrouble

    place = Place(directory.absolute())
    ports = {kind: port for kind, port in (("pop3", pop3), ("pop3s", pop3s), ("lmtp", lmtp)) if port is not None}
    password = None if password_file is None else first_line(password_file)
    try:
        step = _keep if os.path.lexists(place.configuration) else _make
        name = step(place, ports, user, password)
    except QuickstartTrouble as trouble:
        raise Failed(trouble.lines) from None
    except InvalidName as error:
        raise Failed([f"this name or password cannot be used: {error}"]) from None
    except AccountsError as error:
        raise Failed([str(error)]) from None
    except OSError as error:
        raise Failed([f"{error.filename or place.directory}: {error.strerror}"]) from None
    config = read_config(place.configuration)
    _explain(place, name, password)
    if not no_run:
        from popserv.cli.run import serve

        click.echo("Serving until ^C.")
        serve(place.configuration, config)


def _make(place: Place, ports: Mapping[str, int], user: str | None, password: bytes | None) -> str:
    from popserv.service.quickstart import PORTS, account_name, make

    name = account_name("demo" if user is None else user)
    make(place, name, password, {**PORTS, **ports})
    return name


def _keep(place: Place, ports: Mapping[str, int], user: str | None, password: bytes | None) -> str:
    """The name of the account that is there; anything asked for that is not so is an error."""
    from popserv.auth.account_database import NoSuchAccount
    from popserv.service.quickstart import QuickstartTrouble, account_name, first_account, has_password, ports_of

    kept = f"is kept as it is; remove {place.directory} to begin anew"
    there = ports_of(read_config(place.configuration))
    wrong = [
        f"--{kind}: {place.configuration} has port {there.get(kind)} and {kept}"
        for kind, port in ports.items()
        if port not in (0, there.get(kind))
    ]
    name = first_account(place) if user is None else account_name(user)
    try:
        place.accounts.get(name)
        if password is not None and not has_password(place, name, password):
            wrong.append(f"--password-file: {place.accounts.path} has another password and {kept}")
    except NoSuchAccount:
        wrong.append(f"--user: {place.accounts.path} has no such account and {kept}")
    if wrong:
        raise QuickstartTrouble(*wrong)
    return name


def _explain(place: Place, name: str, password: bytes | None) -> None:
    from popserv.service.quickstart import ports_of

    port = ports_of(read_config(place.configuration))["pop3s"]
    known = password if password is not None else _chosen(place, name)
    secret = None if known is None else known.decode("utf-8", "surrogateescape")
    cafile = str(place.certificate)
    login = name if secret is None else f"{name}:{secret}"
    python = PYTHON.format(
        port=port,
        cafile=_literal(cafile),
        name=_literal(name),
        password='__import__("getpass").getpass()' if secret is None else _literal(secret),
    )
    click.echo(f"Everything is in {place.directory}")
    click.echo(f"Account: {name}" + ("" if secret is None or password is not None else f", password: {secret}"))
    click.echo("\nRead the first message, in another terminal:\n")
    click.echo(f"curl --cacert {_quote(cafile)} -u {_quote(login, always=True)} pop3s://localhost:{port}/1")
    click.echo(f"python3 -c {_quote(python, always=True)}")
    click.echo(f"\nMail program: POP3, server localhost, port {port}, SSL/TLS, normal password, user {name}")


def _chosen(place: Place, name: str) -> bytes | None:
    """The password that we made, if it is still that of this account."""
    from popserv.service.quickstart import has_password

    if not place.password.exists():
        return None
    chosen = first_line(place.password)
    return chosen if has_password(place, name, chosen) else None


def _quote(text: str, always: bool = False) -> str:
    """`text` as one word of a POSIX shell."""
    from shlex import quote

    quoted = quote(text)
    return f"'{text}'" if always and quoted == text else quoted


def _literal(text: str) -> str:
    """`text` as a Python literal in ASCII."""
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
