"""``twistd popserv``: the service with a configuration file, or, for people who know Twisted, with options alone."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.python import usage


class Options(usage.Options, AuthOptionMixin):
    """The options of the command line."""

    synopsis = "[--config FILE | --pop3 ENDPOINT --auth CHECKER --maildrop STORE:PLACE …]"
    longdesc = "Serves POP3. Without --config and without endpoints, the configuration is looked for as popserv does."
    supportedInterfaces = (IUsernamePassword,)
    optParameters = [
        ["config", "c", None, "Configuration file; the options below cannot be given with it."],
        ["maildrop", None, None, "Where mail is kept, such as maildir:/srv/mail/{user}."],
        ["certificate", None, None, "PEM file: the certificate and the intermediate ones."],
        ["key", None, None, "PEM file: the private key."],
        ["cleartext", None, None, "Where a password may cross an unencrypted connection: never, loopback, always."],
        ["hostname", None, None, "The name in the greeting."],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.listen: list[dict[str, str]] = []

    def opt_pop3(self, endpoint: str) -> None:
        """Serve POP3 here, with STLS if there is a certificate; may be given several times."""
        self.listen.append({"protocol": "pop3", "endpoint": endpoint})

    def opt_pop3s(self, endpoint: str) -> None:
        """Serve POP3 over implicit TLS here; needs --certificate and --key."""
        self.listen.append({"protocol": "pop3", "endpoint": endpoint, "tls": "implicit"})

    def opt_lmtp(self, endpoint: str) -> None:
        """Take mail in over LMTP here; anybody who reaches it can deliver."""
        self.listen.append({"protocol": "lmtp", "endpoint": endpoint})

    def postOptions(self) -> None:
        alone = [name for name in ("maildrop", "certificate", "key", "cleartext", "hostname") if self[name]]
        alone += ["auth"] if self.get("credCheckers") else []
        if self["config"] and (alone or self.listen):
            raise usage.UsageError("--config stands alone: everything else stands in that file")
        if alone and not self.listen:
            raise usage.UsageError("--pop3, --pop3s or --lmtp is missing")
        if self.listen and not self.get("credCheckers"):
            raise usage.UsageError("--auth is missing; twistd popserv --help-auth lists the choices")
        if self.listen and not self["maildrop"]:
            raise usage.UsageError("--maildrop is missing, such as maildir:/srv/mail/{user}")

    def table(self) -> dict[str, Any]:
        """The options as the tables of a configuration file."""
        listen = list(self.listen)
        if not self["certificate"]:
            listen = [{"tls": "off", **each} for each in listen]
        sections = {
            "server": {"hostname": self["hostname"]},
            "tls": {"certificate": self["certificate"], "key": self["key"]},
            "auth": {"cleartext": self["cleartext"]},
            "maildrop": {"location": self["maildrop"]},
        }
        given = {name: {key: value for key, value in keys.items() if value} for name, keys in sections.items()}
        return {"listen": listen, **given}


class PlainSpoken(MultiService):
    """Says in one line why it cannot start, where twistd would print a traceback."""

    def privilegedStartService(self) -> None:
        from popserv.service.listening import CannotListen

        try:
            super().privilegedStartService()  # type: ignore[no-untyped-call]
        except CannotListen as trouble:
            raise SystemExit(f"popserv: cannot listen at {trouble}") from None


def makeService(options: Options) -> IService:
    """The service that twistd runs."""
    # Until there is something to reload: a signal that comes while the service starts must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from twisted.internet import reactor

    from popserv.service.compose import build
    from popserv.service.config import ConfigErrors, find, from_table, load
    from popserv.service.signals import Signals

    try:
        if options.listen:
            checkers = options["credCheckers"]
            service = build(from_table(options.table(), Path.cwd()), reactor, checkers=checkers)
        else:
            file = Path(options["config"]).absolute() if options["config"] else find().absolute()
            service = build(load(file), reactor, load=partial(load, file))
    except ConfigErrors as errors:
        raise SystemExit("\n".join(f"popserv: {line}" for line in errors.lines)) from None
    top = PlainSpoken()  # type: ignore[no-untyped-call]
    for part in (service, Signals(service, reactor)):
        part.setServiceParent(top)  # type: ignore[no-untyped-call]
    return top


def checker(name: str, argument: str) -> Any:
    """One of popserv's account databases for somebody else's ``--auth``; `argument` is relative to where we are."""
    from twisted.internet import reactor

    from popserv.service.access import build_checker
    from popserv.service.compose import Pools
    from popserv.service.schema import Config

    pools = Pools(reactor)
    reactor.addSystemEventTrigger("after", "shutdown", pools.stop)
    config = Config()
    return build_checker(f"{name}:{argument}", config, pools.context(config))
