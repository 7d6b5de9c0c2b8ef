"""``popserv deliver``: the mail delivery agent."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EBADF
from pathlib import Path
from traceback import format_exc
from typing import Any, NoReturn

import click

from popserv.cli.common import EX_CONFIG, Failed, config_option, run_here

EX_USAGE = 64
EX_NOUSER = 67
EX_TEMPFAIL = 75
EX_NOPERM = 77

PERMANENT = 500
"""SMTP replies from here on say that trying again is of no use."""


class Interrupted(BaseException):
    """A signal has come."""


class Delivery(click.Command):
    """Ends with a status of sysexits.h that a mail transfer agent expects, whatever happens.

    It sends mail back for a status that it does not know; so not even the want of a place for the reason may change it.
    """

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **more)
        except click.UsageError as error:
            end(EX_USAGE, [error.format_message()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with signals_interrupt():
                return super().invoke(ctx)
        except Failed as failure:
            end(failure.exit_code, failure.lines)
        except (Interrupted, KeyboardInterrupt):
            end(EX_TEMPFAIL, ["interrupted, try again later"])


def end(status: int, lines: Sequence[str]) -> NoReturn:
    """Say these lines, if they can be said, and end."""
    try:
        for line in lines:
            click.echo(f"popserv: {line}", err=True)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # What is left in its buffer must not be tried again by the interpreter, which would change the status.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it is closed when the process ends
    raise SystemExit(status)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let signals that end us end the delivery first, so that nothing is left behind."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command(cls=Delivery)
@config_option
@click.option(
    "--from", "sender", metavar="ADDRESS", help="The sender, for Return-Path; an empty one is the null sender."
)
@click.argument("user")
def deliver(config_file: Path | None, sender: str | None, user: str) -> None:
    """Store the message on standard input for USER.

    Exit status: 0 stored and synced, 67 no such user, 77 mailbox full, 75 try again, 78 configuration, 64 usage.
    """
    from popserv.errors import DeliveryError, UnknownRecipient
    from popserv.service.config import ConfigErrors

    try:
        _deliver(config_file, sender, user)
    except ConfigErrors as errors:
        raise Failed(errors.lines, EX_CONFIG) from None
    except UnknownRecipient as error:
        raise Failed([error.text], EX_NOUSER) from None
    except DeliveryError as error:
        reason = f"{error.text}: {error.__cause__}" if error.__cause__ else error.text
        raise Failed([reason], EX_TEMPFAIL if error.reply < PERMANENT else EX_NOPERM) from None
    except OSError as error:
        # What a store or a database fails with has been told by now.
        raise Failed([f"standard input cannot be read: {error.strerror}"], EX_TEMPFAIL) from None
    except Exception:
        raise Failed([format_exc(), "unexpected failure, try again later"], EX_TEMPFAIL) from None


def _deliver(config_file: Path | None, sender: str | None, user: str) -> None:
    from popserv.delivery.local import deliver as deliver_message
    from popserv.delivery.recipients import Recipients
    from popserv.pools import InlinePool
    from popserv.service.access import open_store
    from popserv.service.config import load

    config = load(config_file, serving=False)
    store = open_store(config, InlinePool())
    recipients = Recipients(store.directory)
    source = None if sender is None else sender.encode("utf-8", "surrogateescape")
    name = user.encode("utf-8", "surrogateescape")
    if sys.stdin is None:
        raise OSError(EBADF, "it is closed")
    run_here(deliver_message(sys.stdin.buffer, name, source, recipients, store.delivery))
