"""From `[auth]` and `[maildrop]` to what a listener needs: checkers, directory, portal, stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from os import urandom
from pathlib import Path
from time import time
from typing import Any, Literal

import attrs
from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from popserv.auth.account import Account
from popserv.auth.chain import CheckerChain, DirectoryChain
from popserv.auth.naming import Naming
from popserv.auth.success_cache import SuccessCache
from popserv.auth.trail import Trail
from popserv.delivery.quota import BoundedDelivery
from popserv.errors import NoSuchAccount
from popserv.interfaces import (
    IAccount,
    IAccountDirectory,
    IAccountListing,
    IBuildContext,
    IDelivery,
    IMaildropStore,
    INamesOnly,
    IPublicMaildrop,
)
from popserv.maildrop.router import StoreRouter
from popserv.pools import Pool
from popserv.service import names, rules
from popserv.service.config import ConfigErrors
from popserv.service.schema import Config
from popserv.service.upkeep import Upkeep

MACHINE_ID = Path("/etc/machine-id")


@implementer(IBuildContext)
@attrs.frozen
class BuildContext:
    """What plug-ins get to build with; see `popserv.interfaces.IBuildContext`."""

    reactor: Any
    disk: Pool
    hashing: Pool
    successes: SuccessCache
    hostname: str
    case: Literal["fold", "keep"]
    secret: bytes = attrs.field(repr=False)
    lock: str
    pool: Callable[[str, int, int], Pool]
    path: Callable[[str], Path]

    @classmethod
    def offline(cls, config: Config, pool: Pool) -> BuildContext:
        """For commands without a reactor; `pool` does all that blocks."""
        return cls.of(config, WallClock(), pool, pool, lambda _name, _threads, _queue: pool)

    @classmethod
    def of(
        cls, config: Config, reactor: Any, disk: Pool, hashing: Pool, pool: Callable[[str, int, int], Pool]
    ) -> BuildContext:
        return cls(
            reactor,
            disk,
            hashing,
            SuccessCache(reactor, config.auth.remember_seconds),
            config.server.hostname,
            config.auth.case,
            host_secret(),
            config.maildrop.lock,
            pool,
            config.path,
        )


def host_secret() -> bytes:
    """Made of what tells this host from others and is nobody's business; chance where there is nothing of the kind."""
    try:
        host = MACHINE_ID.read_bytes().strip()
    except OSError:
        host = b""
    return blake2b(b"popserv", key=host or urandom(32), digest_size=32).digest()


class WallClock:
    """The time, where no reactor runs."""

    def seconds(self) -> float:
        """Since the epoch."""
        return time()


@implementer(IAccountDirectory)
class FilePasswordDirectory:
    """The accounts of a password file of Twisted's, which have no more than a name."""

    def __init__(self, checker: FilePasswordDB, disk: Pool) -> None:
        self._checker = checker
        self._disk = disk

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        return self._disk.run(self._look_up, avatar_id)

    def _look_up(self, avatar_id: bytes) -> IAccount | None:
        try:
            self._checker.getUser(avatar_id)
        except KeyError:
            return None
        return Account(avatar_id.decode("utf-8"))


@implementer(IAccountDirectory)
class VouchedFor:
    """For a checker that cannot be asked for accounts: whoever it lets in has one. Not for delivery."""

    def account(self, avatar_id: bytes) -> Deferred[IAccount | None]:
        return succeed(Account(avatar_id.decode("utf-8")))


@attrs.frozen
class OpenStore:
    """What a delivery without a server needs."""

    directory: IAccountDirectory
    delivery: IDelivery


@attrs.frozen
class Accounts:
    """The checkers, and who knows what an account is."""

    checkers: Sequence[Any]
    directories: Sequence[IAccountDirectory]
    naming: Naming = attrs.field(factory=Naming)
    labels: Sequence[str] = ()
    """What the checkers are called in the log; none given: by their types."""

    def directory(self) -> IAccountDirectory:
        """For delivery: only accounts that are known to exist, by all that they may be called."""
        return DirectoryChain(self.directories, self.naming.forms)

    def directory_after_login(self) -> IAccountDirectory:
        """For sessions: also accounts of checkers that can only let people in."""
        keepers = [checker for checker in self.checkers if not INamesOnly.providedBy(checker)]
        known = DirectoryChain(self.directories, self.naming.vouched)
        if self.directories and len(self.directories) == len(keepers):
            return known
        return DirectoryChain([known, VouchedFor()])

    def listings(self) -> list[IAccountListing]:
        """Those databases that can say whom they know."""
        return [each for each in self.directories if IAccountListing.providedBy(each)]

    def take(self, credential: Any) -> bool:
        """Whether some checker takes credentials of this interface, now or once its database has somebody for them."""
        return any(credential.isOrExtends(taken) for each in self.checkers for taken in each.credentialInterfaces)

    def public(self) -> str:
        """The account whose maildrop anonymous users may read; "" for none."""
        return next((checker.account for checker in self.checkers if IPublicMaildrop.providedBy(checker)), "")


def accounts(config: Config, context: IBuildContext, given: Sequence[Any] | None = None) -> Accounts:
    """The checkers that `[auth]` names, or those `given`, with their directories. Raises `ConfigErrors`."""
    checkers = list(map(in_octets, given)) if given is not None else _checkers(config, context)
    if sum(map(IPublicMaildrop.providedBy, checkers)) > 1:
        raise ConfigErrors([("auth.checkers", "public: there can be one public maildrop, not several")])
    found = (directory_of(checker, context) for checker in checkers)
    known = [directory for directory in found if directory is not None]
    labels = _labels(config.auth.checkers) if given is None else []
    return Accounts(checkers, known, rules.naming(config), labels)


def _labels(checkers: Sequence[str]) -> list[str]:
    """What each is called: its kind, and from the second of a kind on a number; an argument may hold a secret."""
    kinds = [text.partition(":")[0] for text in checkers]
    before = [kinds[:index].count(kind) for index, kind in enumerate(kinds)]
    return [f"{kind}.{count + 1}" if count else kind for kind, count in zip(kinds, before, strict=True)]


def _checkers(config: Config, context: IBuildContext) -> list[Any]:
    built, errors = [], []
    for index, text in enumerate(config.auth.checkers):
        try:
            built.append(build_checker(text, config, context))
        except Exception as error:
            errors.append((f"auth.checkers[{index}]", f"{text.partition(':')[0]}: {error}"))
    if errors:
        raise ConfigErrors(errors)
    return built


def build_checker(text: str, config: Config, context: IBuildContext) -> Any:
    """The checker ``NAME:ARGUMENT``. Raises whatever the plug-in raises."""
    name, _, argument = text.partition(":")
    plugin = _database(name)
    if plugin is None:
        return _strcred_checker(name, argument, context)
    return plugin.build(argument, _options(plugin, name, config), context)


def check_checker(text: str, config: Config, context: IBuildContext) -> list[str]:
    """What is wrong with the database of the checker ``NAME:ARGUMENT``, as far as it can be asked."""
    name, _, argument = text.partition(":")
    plugin = _database(name)
    wrong: list[str] = [] if plugin is None else plugin.check(argument, _options(plugin, name, config), context)
    return wrong


def _database(name: str) -> Any:
    """The plug-in of this name, None if it is one of strcred's. Raises `ValueError`."""
    try:
        return names.look_up("accounts", name)
    except ValueError:
        if not names.is_strcred(name):
            raise
        return None


def _options(plugin: Any, name: str, config: Config) -> Any:
    return config.auth.options.get(name) or plugin.options()


def _strcred_checker(name: str, argument: str, context: IBuildContext) -> Any:
    from twisted.cred.strcred import makeChecker

    if name == "file":
        argument = str(context.path(argument))
    return in_octets(makeChecker(f"{name}:{argument}"))  # type: ignore[no-untyped-call]


def in_octets(checker: Any) -> Any:
    """`checker`, with octets for names and passwords: Twisted's ``memory:`` keeps text, which nothing is equal to."""
    if type(checker) is not InMemoryUsernamePasswordDatabaseDontUse:
        return checker
    database = InMemoryUsernamePasswordDatabaseDontUse()
    for name, password in checker.users.items():
        database.addUser(_octets(name), _octets(password))
    return database


def _octets(text: str | bytes) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text


def directory_of(checker: Any, context: IBuildContext) -> IAccountDirectory | None:
    if IAccountDirectory.providedBy(checker):
        directory: IAccountDirectory = checker
        return directory
    return FilePasswordDirectory(checker, context.disk) if isinstance(checker, FilePasswordDB) else None


def chain(config: Config, accounts: Accounts) -> CheckerChain:
    """The one checker of the portal: all databases in order, and who may act as whom."""
    # An alias stands for the account, whoever else could have that name.
    masters = frozenset(accounts.naming.forms(name.encode("utf-8"), details=False)[0] for name in config.policy.masters)
    known, policy = accounts.directory_after_login(), rules.policy(config)

    async def vet(avatar_id: bytes, credentials: Any) -> None:
        account = await known.account(avatar_id)
        if account is None:
            raise NoSuchAccount()
        trail = credentials.trail or Trail()
        policy.admit(account, credentials.address, trail.mechanism)

    return CheckerChain(
        accounts.checkers,
        lambda avatar_id, _other: avatar_id in masters,
        accounts.labels,
        accounts.naming.forms,
        accounts.directory(),
        host_secret(),
        vet,
    )


def check_retention(config: Config, store: StoreRouter) -> None:
    """Raises `ConfigErrors` if mail is to be kept, or to go by itself, in ways that a store does not know."""
    if unable := store.cannot_retain(config.maildrop.ways):
        message = f"{', '.join(unable)}: this store cannot {' and '.join(sorted(config.maildrop.ways))}"
        raise ConfigErrors([("maildrop.delete", message)])


def upkeep(config: Config, accounts: Accounts, store: StoreRouter) -> Upkeep:
    """What there is to do about mail that is kept for a time, at night or by hand. Raises `ConfigErrors`."""
    check_retention(config, store)
    return Upkeep(accounts.listings(), accounts.directory(), store, rules.retentions(config))


def delivery(config: Config, store: StoreRouter) -> IDelivery:
    """The way into `store`, as far as `[quota]` permits. Raises `ConfigErrors`."""
    found = rules.quotas(config)
    if not any(found.all()):
        return store
    if uncounted := store.cannot_be_counted():
        raise ConfigErrors([("quota", f"{', '.join(uncounted)}: this version cannot count what is there")])
    return BoundedDelivery(store, store, found, defer=config.quota.over == "defer")


def open_store(config: Config, pool: Pool) -> OpenStore:
    """The accounts and the store of `config`; `pool` does all that blocks. Raises `ConfigErrors`."""
    context = BuildContext.offline(config, pool)
    found = accounts(config, context)
    return OpenStore(found.directory(), delivery(config, store(config, context)))


def store(config: Config, context: IBuildContext) -> StoreRouter:
    """The store of `[maildrop] location`, with those that have a table beside it. Raises `ConfigErrors`."""
    default, _, place = config.maildrop.location.partition(":")
    stores: dict[str, IMaildropStore] = {}
    for name in {default: None, **config.maildrop.options}:
        key, at = ("maildrop.location", place) if name == default else (f"maildrop.{name}", "")
        plugin = names.look_up("stores", name)
        wrong = plugin.check(at, context) if at else []
        if wrong:
            raise ConfigErrors([(key, message) for message in wrong])
        options = config.maildrop.options.get(name) or plugin.options()
        try:
            stores[name] = plugin.build(at, options, context)
        except Exception as error:
            raise ConfigErrors([(key, str(error))]) from error
    return StoreRouter(stores, default)
