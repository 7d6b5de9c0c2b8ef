"""``popserv uidl``: unique-ids written down, taken over from another server, and compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from popserv.cli.common import Failed, config_option, read_config, run_in_reactor
from popserv.cli.maildrop import in_words

if TYPE_CHECKING:
    from popserv.maildrop.told import Adoption, Told

_SHOWN = 20


@click.group()
def uidl() -> None:
    """Write unique-ids down, compare them, take them over from another server."""


@uidl.command()
@click.argument("user", required=False)
@click.option("--all", "everybody", is_flag=True, help="All accounts that the databases list.")
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json: an object for each message.")
@config_option
def export(user: str | None, everybody: bool, form: str, as_json: bool, config_file: Path | None) -> None:
    """Print what the messages of USER are called, and by what they are recognised.

    Columns: account, unique_id, octets (as LIST counts them), header (SHA-256 of the header without flags), name (of
    the file, %-encoded). Every header is read; nothing is written, and a session is not kept out.
    """
    from popserv.service import unique_ids

    if everybody == bool(user):
        raise click.UsageError("name an account, or give --all")
    config, failed = read_config(config_file, serving=False), list[str]()
    if user:
        octets = _octets(user)
        tables = [
            in_words(lambda: run_in_reactor(config, lambda context: unique_ids.found(config, context, octets)), user)
        ]
    else:
        tables, failed = in_words(
            lambda: run_in_reactor(config, lambda context: unique_ids.of_everybody(config, context)), "accounts"
        )
    rows = [unique_ids.row(name, told) for name, table in tables for told in table]
    click.echo(unique_ids.as_text(rows, "json" if as_json else form), nl=False)
    if failed:
        raise Failed(failed)


@uidl.command("import")
@click.argument("user")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source",
    type=click.Choice(["table", "dovecot", "courier", "uw", "cyrus", "x-uidl"]),
    default="table",
    show_default=True,
    help="What PATH is.",
)
@click.option("--uidl-format", help="As in pop3_uidl_format: %08Xu%08Xv, %v.%u, %f, %Mf. Default: that of the server.")
@click.option("--uidvalidity", type=click.IntRange(0, 2**32 - 1), help="For cyrus: that of the mailbox.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@config_option
def take_over(
    user: str,
    path: Path | None,
    source: str,
    uidl_format: str | None,
    uidvalidity: int | None,
    dry_run: bool,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Let the messages of USER be called what another server has called them.

    \b
    PATH is
      table    what `uidl export` prints, CSV or JSON, also written by hand
      dovecot  a Maildir with dovecot-uidlist, or that file
      courier  a Maildir with courierpop3dsizelist, or that file
      uw       an mbox with X-UID headers
      cyrus    the folder of a mailbox in the spool
      x-uidl   nothing: the messages say it themselves

    Messages are found by the names of their files, else by size and header. May be done again at any time. Ends with 1
    if a message of the other server is not here, or cannot have its id; all others have theirs then.
    """
    from popserv.service import unique_ids

    config = read_config(config_file, serving=False)
    if (path is None) != (source == "x-uidl"):
        raise click.UsageError("x-uidl needs no path" if path else f"{source} needs a path")
    if (uidvalidity is None) == (source == "cyrus"):
        raise click.UsageError("cyrus, and only cyrus, needs --uidvalidity")
    told = None if path is None else _read(path, source, user, uidl_format, uidvalidity or 0)
    octets = _octets(user)
    name, adoption = in_words(
        lambda: run_in_reactor(config, lambda context: unique_ids.take_over(config, context, octets, told, dry_run)),
        user,
    )
    _report(name, adoption, as_json)


def _read(path: Path, source: str, user: str, uidl_format: str | None, uidvalidity: int) -> list[Told]:
    from popserv.maildrop.told_lists import BrokenList
    from popserv.maildrop.told_template import BadTemplate, Template
    from popserv.service.unique_ids import BrokenTable, Source, read_table

    try:
        template = Template.parse(uidl_format) if uidl_format is not None else None
    except BadTemplate as error:
        raise click.UsageError(f"--uidl-format: {error}") from None
    try:
        if source == "table":
            return read_table(path.read_text("utf-8"), user)
        return Source(source, path, template, uidvalidity).read()
    except OSError as error:
        raise Failed([f"{error.filename or path}: {error.strerror}"]) from None
    except (BrokenList, BrokenTable, UnicodeDecodeError) as error:
        raise Failed([f"{path}: {error}"]) from None


def _report(name: str, adoption: Adoption, as_json: bool) -> None:
    lost = [("no such message here", each) for each in adoption.unmatched]
    lost += [("another message has this id", each) for each in adoption.conflicts]
    if as_json:
        facts: dict[str, Any] = {"account": name, "adopted": adoption.adopted, "unchanged": adoption.unchanged}
        for key, tolds in (("unmatched", adoption.unmatched), ("conflicts", adoption.conflicts)):
            facts[key] = [each.unique_id.decode("ascii", "backslashreplace") for each in tolds]
        click.echo(json.dumps(facts))
    else:
        click.echo(f"{name}: {adoption.adopted} have their ids now, {adoption.unchanged} had them")
    _fail(name, [f"{each.unique_id!a}: {why}" for why, each in lost])


@uidl.command()
@click.argument("user")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@config_option
def verify(user: str, file: Any, as_json: bool, config_file: Path | None) -> None:
    """Compare the messages of USER with a table that `uidl export` has printed before ("-" for standard input).

    Ends with 1 if clients would fetch something again, or take a message for another: an id that is gone while its
    message is there, or that another message has. Messages that are gone are counted and are no failure.
    """
    from popserv.service import unique_ids

    config, octets = read_config(config_file, serving=False), _octets(user)
    name, there = in_words(
        lambda: run_in_reactor(config, lambda context: unique_ids.found(config, context, octets)), user
    )
    try:
        found = unique_ids.compare(unique_ids.read_table(file.read(), name), there)
    except (unique_ids.BrokenTable, UnicodeDecodeError) as error:
        raise Failed([f"{file.name}: {error}"]) from None
    counts = {key: len(getattr(found, key)) for key in ("missing", "renamed", "other")}
    if as_json:
        click.echo(json.dumps({"account": name, "messages": len(there), **counts, "new": found.new}))
    else:
        click.echo(
            f"{name}: {len(there)} messages; {counts['missing']} are gone, {found.new} are new, "
            f"{counts['renamed']} have another id, {counts['other']} ids are those of other messages"
        )
    lines = [f"{each.unique_id!a}: this message is called {now!a} now" for each, now in found.renamed]
    _fail(name, [*lines, *(f"{each.unique_id!a}: another message is called so now" for each in found.other)])


def _fail(name: str, lines: list[str]) -> None:
    if lines:
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise Failed([f"{name!a}: {line}" for line in [*lines[:_SHOWN], *more]])


def _octets(user: str) -> bytes:
    return user.encode(sys.getfilesystemencoding(), "surrogateescape")
