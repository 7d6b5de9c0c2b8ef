"""``popserv``: one command, whose verbs are imported when they are used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from popserv import __version__

VERBS: Mapping[str, tuple[str, str]] = {
    "quickstart": ("popserv.cli.quickstart", "quickstart"),
    "run": ("popserv.cli.run", "run"),
    "check": ("popserv.cli.check", "check"),
    "user": ("popserv.cli.user", "user"),
    "auth": ("popserv.cli.auth", "auth"),
    "pw": ("popserv.cli.pw", "pw"),
    "deliver": ("popserv.cli.deliver", "deliver"),
    "maildrop": ("popserv.cli.maildrop", "maildrop"),
    "import": ("popserv.cli.import_mail", "import_mail"),
    "undelete": ("popserv.cli.undelete", "undelete"),
    "uidl": ("popserv.cli.uidl", "uidl"),
    "config": ("popserv.cli.config", "config"),
}
"""Each verb's module and the name of its command there."""


class Verbs(click.Group):
    """Imports a verb when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module, name = VERBS[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        return command


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="popserv")
def main() -> None:
    """A POP3 server that never loses or misreports a message."""
