"""``popserv user app-password``: passwords for single programs."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from popserv.cli.accounts import complaints, database, existing
from popserv.cli.common import config_option, read_config

_DAYS = re.compile(r"([0-9]{1,5})d")
_PROTOCOL = re.compile(r"[a-z][a-z0-9-]{0,30}")
DAY_SECONDS = 86400
LABEL_CHARACTERS = 100


class Expiry(click.ParamType[float]):
    """A date (YYYY-MM-DD, the begin of that day in UTC) or a number of days (90d), as seconds since 1970."""

    name = "DATE|DAYS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        end = self._end(value)
        if end is None:
            self.fail("must be a date such as 2027-01-31, or a number of days such as 90d", param, ctx)
        if end <= time.time():
            self.fail("must be in the future", param, ctx)
        return end

    def _end(self, value: str) -> float | None:
        days = _DAYS.fullmatch(value)
        if days:
            return time.time() + int(days[1]) * DAY_SECONDS
        try:
            return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return None


class Network(click.ParamType[Any]):
    """An address, or a network in CIDR notation."""

    name = "NETWORK"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return ip_network(value)
        except ValueError:
            self.fail("must be an address, or a network such as 192.0.2.0/24", param, ctx)


class Label(click.ParamType[Any]):
    """What stands in one line of a list."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        if not text or not text.isprintable() or len(text) > LABEL_CHARACTERS:
            self.fail(f"must be 1 to {LABEL_CHARACTERS} characters that can be printed", param, ctx)
        return text


class Protocol(click.ParamType[Any]):
    """The name of a protocol."""

    name = "PROTOCOL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _PROTOCOL.fullmatch(value):
            self.fail("must be a name such as pop3, imap or smtp, in lower case", param, ctx)
        return str(value)


@click.group("app-password")
def app_password() -> None:
    """Passwords for single programs, beside an account's own."""


@app_password.command()
@click.argument("name")
@click.option("--label", required=True, type=Label(), help="What it is for; one of each label.")
@click.option("--expires", type=Expiry(), help="When it stops working: 2027-01-31, or 90d from now.")
@click.option("--network", "networks", multiple=True, type=Network(), help="Where it works from; may be repeated.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    default=("pop3",),
    show_default=True,
    type=Protocol(),
    help="What it opens, where other services use the same database; may be repeated. Here only pop3 counts.",
)
@config_option
def add(
    name: str,
    label: str,
    expires: float | None,
    networks: tuple[Any, ...],
    protocols: tuple[str, ...],
    config_file: Path | None,
) -> None:
    """Make one for the account NAME and print it. It is kept nowhere and cannot be shown again."""
    from popserv.auth.app_passwords import AppPasswords

    config = read_config(config_file, serving=False)
    with complaints(name):
        passwords = AppPasswords(database(config))
        kinds = tuple(dict.fromkeys(protocols))
        click.echo(passwords.add(existing(config, name), label, expires=expires, networks=networks, protocols=kinds))


@app_password.command("list")
@click.argument("name")
@config_option
def list_passwords(name: str, config_file: Path | None) -> None:
    """Print label, expiry, networks, protocols and last use of each, separated by tabs; never the password."""
    from popserv.auth.app_passwords import AppPasswords

    config = read_config(config_file, serving=False)
    with complaints(name):
        for each in AppPasswords(database(config)).list(existing(config, name)):
            networks = ",".join(map(str, each.networks))
            used = f"{each.last_used} {each.last_address}".strip()
            expires = each.expires or "never"
            where = f"{networks or 'anywhere'}\t{','.join(each.protocols)}"
            click.echo(f"{each.label}\texpires {expires}\t{where}\tused {used or 'never'}")


@app_password.command()
@click.argument("name")
@click.argument("label")
@config_option
def remove(name: str, label: str, config_file: Path | None) -> None:
    """Make it open nothing any more."""
    from popserv.auth.app_passwords import AppPasswords

    config = read_config(config_file, serving=False)
    with complaints(name):
        AppPasswords(database(config)).remove(existing(config, name), label)
