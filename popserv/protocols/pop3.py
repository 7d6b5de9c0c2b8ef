"""POP3 (RFC 1939) on ports 110 and 995."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from os import getpid, urandom
from typing import Any, Literal

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory
from zope.interface import implementer

from popserv import plugins
from popserv.auth.login import LoginService
from popserv.auth.throttle import Throttle
from popserv.interfaces import IMailProtocol, IMechanism, ISessionObserver
from popserv.limits import Limits
from popserv.maildrop.adapters import maildrop_from_mailbox
from popserv.net.addresses import Cleartext, cleartext_policy
from popserv.net.listener import Listener
from popserv.net.protocol import POP3Server
from popserv.net.registry import Registry
from popserv.net.timeouts import Timeouts
from popserv.sasl import names_of
from popserv.session.session import Dialect


class ListenerFactory(Factory[POP3Server]):
    """Builds a `POP3Server` for each connection of one listener."""

    noisy = False

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._timeouts = Timeouts(listener.reactor)
        self._dialect = Dialect.of(listener.extensions)
        self._numbers = count(1)

    def buildProtocol(self, addr: IAddress | None) -> POP3Server:  # noqa: ARG002 - Twisted's signature
        server = POP3Server(self.listener, self._timeouts, self._dialect, self._timestamp())
        server.factory = self
        return server

    def _timestamp(self) -> bytes:
        """Unlike any other and unpredictable (RFC 1939 section 7, APOP)."""
        if not self.listener.apop:
            return b""
        host = self.listener.hostname.encode("ascii", "replace")
        return b"<%b.%d.%d@%b>" % (urandom(18).hex().encode("ascii"), getpid(), next(self._numbers), host)


@implementer(ISessionObserver)
class Unobserved:
    """For embedders that want no events."""

    def event(self, name: str, **facts: Any) -> None:
        """Nobody listens."""


class POP3Factory(ListenerFactory):
    """POP3 for anybody's `Portal`: its realm may return `popserv.interfaces.IMaildrop` or Twisted's `IMailboxPOP3`.

    Everything else has the server's defaults: passwords are refused in the clear (`cleartext` is "never", "loopback",
    "always" or a list of networks), `tls` (for example `twisted.internet.ssl.CertificateOptions`) enables STLS. APOP is
    offered if a checker takes `IUsernameHashedPassword` and `apop` is true; `mechanisms` are SASL mechanisms or their
    names, of which those are offered that some checker can verify. `reactor` is the clock; the global one if
    not given. Failed logins are answered after `failure_delay` seconds, doubling to 15 by address and by name; 0 is at
    once.
    """

    def __init__(
        self,
        portal: Portal,
        cleartext: Cleartext = "never",
        tls: IOpenSSLServerConnectionCreator | None = None,
        *,
        hostname: str = "localhost",
        limits: Limits | None = None,
        mechanisms: Sequence[IMechanism | str] = ("default",),
        apop: bool = False,
        failure_delay: float = 2.0,
        case: Literal["fold", "keep"] = "keep",
        extensions: tuple[str, ...] = (),
        observer: ISessionObserver | None = None,
        reactor: Any = None,
    ) -> None:
        reactor = reactor or _global_reactor()
        limits = limits or Limits()
        observer = observer or Unobserved()
        login = LoginService(
            portal,
            clock=reactor,
            case=case,
            throttle=Throttle(reactor, failure_delay),
            observer=observer,
            adapt=maildrop_from_mailbox,
        )
        super().__init__(
            Listener(
                reactor=reactor,
                hostname=hostname,
                limits=limits,
                observer=observer,
                registry=Registry(limits, reactor),
                tls_mode="starttls" if tls is not None else "off",
                tls=tls,
                login=login,
                cleartext=cleartext_policy(cleartext),
                mechanisms=_found(mechanisms),
                apop=apop,
                extensions=extensions,
            )
        )


def _found(mechanisms: Sequence[IMechanism | str]) -> tuple[IMechanism, ...]:
    found: list[IMechanism] = []
    for each in mechanisms:
        found += [plugins.find("sasl", name) for name in names_of([each])] if isinstance(each, str) else [each]
    return tuple(found)


def _global_reactor() -> Any:
    # By the time somebody builds a factory, the application has chosen its reactor.
    from twisted.internet import reactor

    return reactor


@implementer(IMailProtocol)
class POP3:
    """See `popserv.interfaces.IMailProtocol`."""

    default_tls = "starttls"
    tls_modes = ("starttls", "implicit", "off")

    def factory(self, listener: Listener) -> ListenerFactory:
        return ListenerFactory(listener)


plugin = POP3()
