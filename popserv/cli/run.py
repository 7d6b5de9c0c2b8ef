"""``popserv run``: the service in the foreground."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from popserv.cli.common import EX_CONFIG, Failed, config_option, read_config

if TYPE_CHECKING:
    from popserv.service.schema import Config


@click.command()
@config_option
def run(config_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT, which let sessions finish. SIGHUP reloads the configuration."""
    # Until there is something to reload: a signal that comes while the service starts must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from popserv.service.config import ConfigErrors, find

    try:
        file = (config_file or find()).absolute()
    except ConfigErrors as errors:
        raise Failed(errors.lines, EX_CONFIG) from None
    serve(file, read_config(file))


def serve(file: Path, config: Config) -> None:
    """Serve `config`, which stands in `file`, until a signal ends it. Raises `Failed` if it cannot start."""
    from popserv.net.poll import install

    install()
    from twisted.internet import reactor

    from popserv.service.compose import build
    from popserv.service.config import ConfigErrors, load
    from popserv.service.listening import CannotListen
    from popserv.service.log import log_to
    from popserv.service.signals import Signals

    log_to(sys.stderr)
    try:
        service = build(config, reactor, load=partial(load, file), announce=partial(print, flush=True))
        Signals(service, reactor).setServiceParent(service)  # type: ignore[no-untyped-call]
        service.privilegedStartService()
        service.startService()
    except ConfigErrors as errors:
        raise Failed(errors.lines, EX_CONFIG) from None
    except CannotListen as trouble:
        raise Failed([f"cannot listen at {trouble}"]) from None
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
