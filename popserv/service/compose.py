"""Where the service is put together: the only place that builds portal, realm, stores, pools and factories."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.cred.portal import Portal
from twisted.logger import Logger

from popserv.auth.login import LoginService
from popserv.auth.policy import Gate, Ledger
from popserv.auth.realm import MaildropRealm
from popserv.auth.throttle import Throttle
from popserv.by_account import ByAccount
from popserv.interfaces import IClientCertificate, IMechanism
from popserv.limits import Limits
from popserv.maildrop.admission import Admission
from popserv.maildrop.retention import Retention, expire_of_anybody
from popserv.maildrop.router import StoreRouter
from popserv.net.addresses import cleartext_policy
from popserv.net.listener import Listener
from popserv.net.registry import Registry
from popserv.net.tls import implicit
from popserv.pools import BoundedPool
from popserv.service import access, names, rules, views
from popserv.service.certificate import CertificateTrouble
from popserv.service.config import ConfigErrors
from popserv.service.descriptors import fit, raise_descriptors
from popserv.service.endpoints import parse
from popserv.service.events import SessionLog
from popserv.service.lifecycle import Composition, MailService
from popserv.service.listening import Offer
from popserv.service.schema import Config, Listen
from popserv.service.schema_mail import Maildrop
from popserv.service.takeover import Takeovers
from popserv.service.tls import CertificateLookup, ClientFiles

DISK_THREADS, DISK_QUEUE = 16, 1024
HASHING_QUEUE = 256


def build(
    config: Config,
    reactor: Any,
    *,
    load: Callable[[], Config] | None = None,
    checkers: Sequence[Any] | None = None,
    announce: Callable[[str], None] | None = None,
) -> MailService:
    """The whole service, an `IService`; it listens when it starts. Raises `ConfigErrors`.

    `load` reads the configuration again for a reload. `checkers` replace those of the configuration. `announce` is
    given the ready line, which is logged in any case.
    """
    raise_descriptors()
    composer = Composer(reactor, checkers)
    return MailService(composer, composer.compose(config), reactor, config.base, load, announce)


class Pools:
    """All threads of a process but the reactor's own."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pools: dict[tuple[str, int, int], BoundedPool] = {}
        self.disk = self.pool("disk", DISK_THREADS, DISK_QUEUE)
        """For work that waits for the disk."""
        self.hashing = self.pool("hashing", len(os.sched_getaffinity(0)), HASHING_QUEUE)
        """For password hashes, which need a core each."""

    def pool(self, name: str, threads: int, queue: int) -> BoundedPool:
        """The pool of this name and size; see `popserv.interfaces.IBuildContext`."""
        key = (name, threads, queue)
        if key not in self._pools:
            self._pools[key] = BoundedPool(self._reactor, name, threads, queue)
        return self._pools[key]

    def context(self, config: Config) -> access.BuildContext:
        """What plug-ins get to build with."""
        return access.BuildContext.of(config, self._reactor, self.disk, self.hashing, self.pool)

    def stop(self) -> None:
        """End the threads; blocks until what is under way is done, or has had its time."""
        for pool in self._pools.values():
            pool.stop()


class Composer:
    """Turns a configuration into factories, and keeps what has to outlive a reload: pools, registry, failures, mail."""

    log = Logger()

    def __init__(self, reactor: Any, checkers: Sequence[Any] | None) -> None:
        self._reactor = reactor
        self._checkers = checkers
        self._pools = Pools(reactor)
        self._store: tuple[Any, StoreRouter] | None = None
        self._throttle: tuple[float, Throttle] | None = None
        self._ledger = Ledger(reactor)
        self._observer = SessionLog()
        self.registry = Registry(Limits(), reactor)
        self._takeovers = Takeovers(reactor, self.registry)

    def stop(self) -> None:
        """End the pools; blocks until what is under way is done."""
        self._pools.stop()
        self._takeovers.stop()

    def compose(self, config: Config) -> Composition:
        """All listeners of `config`. Raises `ConfigErrors`; changes nothing for those that serve now."""
        context = self._pools.context(config)
        limits = fit(config.connection_limits())
        accounts = access.accounts(config, context, self._checkers)
        store = self._store_for(config, context)
        local = self._local(config)
        login = self._login(config, context, accounts, store)
        common = Listener(
            reactor=self._reactor,
            hostname=config.server.hostname,
            limits=limits,
            observer=self._observer,
            registry=self.registry,
            tls=self._certificates(config, accounts),
            login=login,
            login_delay=config.policy.login_delay,
            expire=expire_of_anybody(rules.retentions(config)),
            extensions=config.pop3.extensions,
            directory=accounts.directory(),
            delivery=access.delivery(config, store),
            message_octets=config.lmtp.message_octets,
            **_ways_in(config),
        )
        offers = [self._offer(listen, common, config) for listen in config.listeners]
        upkeep = access.upkeep(config, accounts, store)
        kept = upkeep if config.maildrop.retains else None
        return Composition([*offers, *local], limits, kept, config.maildrop.nightly)

    def _store_for(self, config: Config, context: access.BuildContext) -> StoreRouter:
        # A store may keep something in memory; one that stays as configured stays, however it is seen.
        maildrop = config.maildrop
        settings = (maildrop.location, maildrop.lock, maildrop.options, config.server.hostname, config.base)
        if self._store is None or self._store[0] != settings:
            self._store = (settings, access.store(config, context))
        return self._store[1]

    def _local(self, config: Config) -> list[Offer]:
        """Where other processes ask for sessions to be ended, if these may be taken over."""
        if config.maildrop.lock != "takeover":
            return []
        try:
            return [self._takeovers.listener(config.server.runtime, config.base, os.environ)]
        except OSError as error:
            raise ConfigErrors([("server.runtime", f"{config.server.runtime}: {error.strerror}")]) from None

    def _admission(self, maildrop: Maildrop, store: StoreRouter, retentions: ByAccount[Retention]) -> Admission:
        admission = partial(Admission, store, self._reactor, tells=maildrop.in_use, retentions=retentions)
        takeovers = self._takeovers
        if maildrop.lock != "takeover":
            return admission()
        return admission(ask=takeovers.ask, socket=takeovers.socket)

    def _login(
        self, config: Config, context: access.BuildContext, accounts: access.Accounts, store: StoreRouter
    ) -> LoginService:
        gate = Gate(rules.policy(config), self._ledger)
        seen = views.of(config, context, self._admission(config.maildrop, store, rules.retentions(config)), store)
        folder = views.Folders(seen, accounts.naming)
        portal = Portal(MaildropRealm(accounts.directory_after_login(), seen, gate, accounts.public(), folder))
        portal.registerChecker(access.chain(config, accounts))
        delay = config.auth.failure_delay
        if self._throttle is None or self._throttle[0] != delay:
            self._throttle = (delay, Throttle(self._reactor, delay))
        return LoginService(
            portal,
            clock=self._reactor,
            case=config.auth.case,
            throttle=self._throttle[1],
            observer=self._observer,
            canonical=accounts.naming.canonical,
        )

    def _certificates(self, config: Config, accounts: access.Accounts) -> CertificateLookup | None:
        files = [(config.path(pair.certificate), config.path(pair.key)) for pair in config.tls.pairs]
        try:
            return CertificateLookup(files, self._reactor, _clients(config, accounts)) if files else None
        except CertificateTrouble as trouble:
            raise ConfigErrors([("tls.certificate", str(trouble))]) from None

    def _offer(self, listen: Listen, common: Listener, config: Config) -> Offer:
        protocol = names.look_up("protocols", listen.protocol)
        mode = listen.tls or protocol.default_tls
        cleartext = config.auth.cleartext if listen.cleartext is None else listen.cleartext
        listener = attrs.evolve(common, tls_mode=mode, cleartext=cleartext_policy(cleartext))
        if listen.protocol == "lmtp" and not parse(listen.endpoint).local:
            self.log.warn("lmtp at {endpoint}: anybody who reaches it can deliver", endpoint=listen.endpoint)
        factory = protocol.factory(listener)
        if mode == "implicit":
            assert listener.tls is not None  # noqa: S101 - the configuration has been checked
            return Offer(f"{listen.protocol}s", listen.endpoint, implicit(factory, listener.tls, self._reactor))
        return Offer(listen.protocol, listen.endpoint, factory)


def _clients(config: Config, accounts: access.Accounts) -> ClientFiles | None:
    tls = config.tls
    # RFC 8314 section 4.2: no certificate is asked for that nobody could log in with.
    useful = "external" in names.mechanisms(config.auth.mechanisms) and accounts.take(IClientCertificate)
    if not (tls.client_ca and useful):
        return None
    files = ClientFiles(config.path(tls.client_ca), config.path(tls.client_crl) if tls.client_crl else None)
    try:
        files.read()
    except CertificateTrouble as trouble:
        raise ConfigErrors([("tls.client_ca", str(trouble))]) from None
    return files


def _ways_in(config: Config) -> dict[str, Any]:
    """What may be offered; what is, depends on the connection, and on what can be verified then."""
    named = names.mechanisms(config.auth.mechanisms)
    known: list[IMechanism] = [names.look_up("sasl", name) for name in named if name not in names.WITHOUT_SASL]
    return {
        "mechanisms": tuple(known),
        "user": "user" in named,
        "apop": "apop" in named,
    }
