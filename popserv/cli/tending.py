"""``popserv maildrop check``, ``repair`` and ``reindex``."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from popserv.cli.common import EX_FAILED, config_option, read_config, reason_of, run_here, troubles
from popserv.cli.progress import bar

if TYPE_CHECKING:
    from popserv.interfaces import IAccount
    from popserv.maildrop.findings import Finding, Report
    from popserv.service.schema import Config
    from popserv.service.tending import Tending

F = TypeVar("F", bound=Callable[..., Any])

Facts = dict[str, Any]
"""What is told of one account: what --json prints."""

Work = Callable[["Tending", "IAccount"], Coroutine[Any, Any, Facts]]


def user_or_all(command: F) -> F:
    """Adds what chooses accounts, and ``--json`` and ``--config``."""
    for option in (
        click.argument("user", required=False),
        click.option("--all", "everybody", is_flag=True, help="All accounts of databases that can list theirs."),
        click.option("--json", "as_json", is_flag=True, help="One JSON array, an object for each account."),
        config_option,
    ):
        command = option(command)
    return command


@click.command()
@user_or_all
@click.option("--no-lock", is_flag=True, help="Look beside a session that is open; what it may be writing is not told.")
def check(user: str | None, everybody: bool, as_json: bool, no_lock: bool, config_file: Path | None) -> None:
    """Read every message of USER, or of all, and compare with what is kept about it. Changes nothing.

    Sizes and unique-ids, the index, the durable map, permissions, what is no message, and what was left over by
    deliveries and sessions that were broken off. No session is let in meanwhile.

    Exit status: 0 all is well, 1 something was found or could not be looked at.
    """
    _tell(_looked(config_file, user, everybody, lock=not no_lock, mend=False), as_json)


@click.command()
@user_or_all
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
def repair(user: str | None, everybody: bool, as_json: bool, dry_run: bool, config_file: Path | None) -> None:
    """Mend what `check` finds, as far as that can be done without losing a message. No mail is ever removed.

    Exit status: 0 nothing is left to mend, 1 something is, or could not be looked at.
    """
    _tell(_looked(config_file, user, everybody, lock=True, mend=not dry_run), as_json)


@click.command()
@user_or_all
def reindex(user: str | None, everybody: bool, as_json: bool, config_file: Path | None) -> None:
    """Forget the index of USER, or of all, and make it anew from the messages."""

    async def work(tending: Tending, account: IAccount) -> Facts:
        messages, octets = await tending.reindex(account)
        return {"account": account.name, "messages": messages, "octets": octets}

    _tell(for_accounts(read_config(config_file, serving=False), user, everybody, work), as_json)


def for_accounts(config: Config, user: str | None, everybody: bool, work: Work) -> list[Facts]:
    """Do `work` for `user`, or for everybody; where it cannot be done for one of several, "error" says why."""
    if (user is None) != everybody:
        raise click.UsageError("give either USER or --all")
    from popserv.pools import InlinePool
    from popserv.service.access import BuildContext
    from popserv.service.tending import Tending

    with troubles(user or ""):
        tending = Tending.of(config, BuildContext.offline(config, InlinePool()))
        return run_here(_one(tending, user, work) if user is not None else _all(tending, work))


async def _one(tending: Tending, user: str, work: Work) -> list[Facts]:
    return [await work(tending, await tending.find(user.encode("utf-8", "surrogateescape")))]


async def _all(tending: Tending, work: Work) -> list[Facts]:
    from popserv.errors import DeliveryError, PopError

    done: list[Facts] = []
    for account in await tending.everybody():
        try:
            done.append(await work(tending, account))
        except (PopError, DeliveryError) as error:
            done.append({"account": account.name, "error": reason_of(error)})
    return done


def _looked(config_file: Path | None, user: str | None, everybody: bool, *, lock: bool, mend: bool) -> list[Facts]:
    async def work(tending: Tending, account: IAccount) -> Facts:
        with bar(account.name) as progress:
            return _facts(account, await tending.check(account, lock=lock, mend=mend, progress=progress))

    return for_accounts(read_config(config_file, serving=False), user, everybody, work)


def _facts(account: IAccount, report: Report) -> Facts:
    return {
        "account": account.name,
        "messages": report.messages,
        "octets": report.octets,
        "findings": list(map(_finding, report.findings)),
        "unknown": list(report.unknown),
    }


def _finding(finding: Finding) -> Facts:
    return {"kind": finding.kind, "text": finding.text, "remedy": finding.remedy, "state": finding.state}


def _tell(done: Sequence[Facts], as_json: bool) -> None:
    """Print it, and end with 1 if there is something left to do."""
    if as_json:
        click.echo(json.dumps(done))
    else:
        for facts in done:
            for line in _lines(facts):
                click.echo(line)
    left = [finding for facts in done for finding in facts.get("findings", ()) if finding["state"] != "mended"]
    if left or any("error" in facts for facts in done):
        raise SystemExit(EX_FAILED)


def _lines(facts: Facts) -> list[str]:
    name = f"{facts['account']!a}"
    if "error" in facts:
        return [f"{name}: {facts['error']}"]
    lines = [f"{name}: {finding['kind']}: {finding['text']}{_remedy(finding)}" for finding in facts.get("findings", ())]
    lines += [f"{name}: not known: {text}" for text in facts.get("unknown", ())]
    return [*lines, f"{name}: messages: {facts['messages']}, octets: {facts['octets']}"]


def _remedy(finding: Facts) -> str:
    if not finding["remedy"]:
        return ""
    what = {"found": "repair would", "mended": "mended", "failed": "repair failed to"}[finding["state"]]
    return f" ({what}: {finding['remedy']})"
