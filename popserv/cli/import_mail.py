"""``popserv import``: take in the mail of another server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import attrs
import click

from popserv.cli.common import EX_FAILED, config_option, read_config
from popserv.cli.progress import bar
from popserv.cli.tending import Facts, for_accounts
from popserv.maildrop.mbox_lines import Format

if TYPE_CHECKING:
    from popserv.interfaces import IAccount
    from popserv.maildrop.foreign import Summary
    from popserv.maildrop.foreign_sources import Source
    from popserv.service.tending import Tending

_TROUBLES = ("failed", "changed_ids", "error")
"""What the status tells of."""


@click.command("import")
@click.argument("source")
@click.argument("user", required=False)
@click.option("--all", "everybody", is_flag=True, help="All accounts of databases that can list theirs.")
@click.option("--format", "form", type=click.Choice(get_args(Format)), default="mboxrd", help="Of an mbox.")
@click.option("--uidl-format", default="%08Xu%08Xv", show_default=True, help="What Dovecot has as pop3_uidl_format.")
@click.option("--folders", is_flag=True, help="Also the folders that a Maildir has in it, each as the same folder.")
@click.option("--dry-run", is_flag=True, help="Only tell what would come in.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, an object for each account.")
@config_option
def import_mail(
    source: str,
    user: str | None,
    everybody: bool,
    form: Format,
    uidl_format: str,
    folders: bool,
    dry_run: bool,
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Take in for USER, or for all, what another server has at SOURCE, with unique-ids, times and flags.

    SOURCE is maildir:PATH, dovecot:PATH (a Maildir with its dovecot-uidlist), courier:PATH (one with its
    courierpop3dsizelist), mbox:PATH, or a path, where what is there decides. A path may have {user}, {local}, {domain}
    and {home} in it, so that one serves for all accounts. Nothing at SOURCE is changed; its server should be stopped.

    What was broken off can be begun again: each message comes in once, also if it has been removed since.

    Exit status: 0 all is here under its unique-ids, 1 some message is not.
    """
    place = _parsed(source, form, uidl_format)

    async def work(tending: Tending, account: IAccount) -> Facts:
        return await _import(tending, account, place, folders, dry_run)

    done = for_accounts(read_config(config_file, serving=False), user, everybody, work)
    if as_json:
        click.echo(json.dumps(done))
    else:
        for facts in done:
            for line in _lines(facts, dry_run):
                click.echo(line)
    if any(facts.get(trouble) for facts in done for trouble in _TROUBLES):
        raise SystemExit(EX_FAILED)


def _parsed(text: str, form: Format, uidl_format: str) -> Source:
    from popserv.maildrop.foreign_sources import Source
    from popserv.maildrop.told_template import BadTemplate, Template

    try:
        return Source.parse(text, form, Template.parse(uidl_format))
    except BadTemplate as error:
        raise click.BadParameter(str(error), param_hint="--uidl-format") from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="SOURCE") from None


async def _import(tending: Tending, account: IAccount, place: Source, folders: bool, dry_run: bool) -> Facts:
    from popserv.errors import StoreBroken
    from popserv.maildrop.findings import shown

    summary = await _import_folder(tending, account, place, b"INBOX", dry_run)
    for folder in place.folders(account) if folders else ():
        try:
            summary.add(await _import_folder(tending, account, place, folder, dry_run))
        except StoreBroken as error:
            summary.failed.append((f"folder {shown(folder)}", error.text))
    return {"account": account.name, **attrs.asdict(summary)}


async def _import_folder(tending: Tending, account: IAccount, place: Source, folder: bytes, dry_run: bool) -> Summary:
    from popserv.errors import StoreUnavailable

    try:
        source = place.open(account, folder)
    except OSError as error:
        raise StoreUnavailable(f"the source cannot be read: {error.strerror}") from None
    try:
        with bar(account.name) as progress:
            return await tending.take_in(account, source, folder, dry_run=dry_run, progress=progress)
    finally:
        source.close()


def _lines(facts: dict[str, Any], dry_run: bool) -> list[str]:
    name = f"{facts['account']!a}"
    if "error" in facts:
        return [f"{name}: {facts['error']}"]
    lines = [f"{name}: {where}: not imported: {reason}" for where, reason in facts["failed"]]
    lines += [f"{name}: {where}: has another unique-id here" for where in facts["changed_ids"]]
    lines += [f"{name}: {where}: no message: {reason}" for where, reason in facts["skipped"]]
    what = "would be imported" if dry_run else "imported"
    counts = f"{what}: {facts['imported']} of {facts['messages']}, octets: {facts['octets']}"
    return [*lines, f"{name}: {counts}, imported before: {facts['already']}"]
