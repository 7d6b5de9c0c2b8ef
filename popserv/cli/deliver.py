"""``popserv deliver``: the mail delivery agent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import click

from popserv.cli.common import EX_CONFIG, Failed, config_option

if TYPE_CHECKING:
    from twisted.python.failure import Failure

EX_USAGE = 64
EX_NOUSER = 67
EX_TEMPFAIL = 75


class Delivery(click.Command):
    """Ends with the status of sysexits.h that a mail transfer agent expects for wrong usage."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **more)
        except click.UsageError as error:
            error.exit_code = EX_USAGE  # type: ignore[misc]
            raise


@click.command(cls=Delivery)
@config_option
@click.option(
    "--from", "sender", metavar="ADDRESS", help="The sender, for Return-Path; an empty one is the null sender."
)
@click.argument("user")
def deliver(config_file: Path | None, sender: str | None, user: str) -> None:
    """Store the message on standard input for USER.

    Exit status: 0 stored and synced, 67 no such user, 75 try again, 78 configuration, 64 usage.
    """
    from twisted.internet.defer import ensureDeferred

    from popserv.delivery.local import deliver as deliver_message
    from popserv.delivery.recipients import Recipients
    from popserv.pools import InlinePool
    from popserv.service.compose import open_store
    from popserv.service.config import ConfigErrors, load

    try:
        config = load(config_file, serving=False)
        store = open_store(config, InlinePool())
    except ConfigErrors as errors:
        raise Failed(errors.lines, EX_CONFIG) from None
    recipients = Recipients(store.directory, store.prepare, (config.server.hostname, *config.lmtp.domains))
    source = None if sender is None else sender.encode("utf-8", "surrogateescape")
    name = user.encode("utf-8", "surrogateescape")
    # With an `InlinePool` everything is done when this returns: no reactor has to run.
    outcome: list[Failure | None] = []
    work = ensureDeferred(deliver_message(sys.stdin.buffer, name, source, recipients, store.delivery))
    work.addBoth(outcome.append)
    if outcome[0] is not None:
        _fail(outcome[0].value)


def _fail(error: BaseException | None) -> Never:
    from popserv.errors import DeliveryError, UnknownRecipient

    if isinstance(error, UnknownRecipient):
        raise Failed([error.text], EX_NOUSER)
    if isinstance(error, DeliveryError):
        raise Failed([error.text], EX_TEMPFAIL)
    assert error is not None  # noqa: S101 - a failure holds one
    raise error
