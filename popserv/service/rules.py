"""From the tables of the configuration to what holds for which account: names, policy, quota, retention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import attrs

from popserv.auth.names import prepare
from popserv.auth.naming import BrokenAliases, Naming, read_aliases
from popserv.auth.policy import OUR_DOMAINS, Policy, Rule
from popserv.by_account import ByAccount, Covering
from popserv.delivery.quota import Quota
from popserv.maildrop.retention import Retention
from popserv.service import names
from popserv.service.config import ConfigErrors
from popserv.service.schema import Config

T = TypeVar("T")
K = TypeVar("K")


class Covers(Protocol):
    """The keys of a rule."""

    @property
    def accounts(self) -> Sequence[str]: ...


R = TypeVar("R", bound=Covers)


def naming(config: Config) -> Naming:
    """How names stand for accounts. Raises `ConfigErrors`."""
    domains = frozenset(map(str.lower, (config.server.hostname, *config.lmtp.domains)))
    found = Naming(config.auth.case, config.auth.default_domain, domains)
    if not config.auth.aliases:
        return found
    path = config.path(config.auth.aliases)
    try:
        return attrs.evolve(found, aliases=read_aliases(path, found))
    except OSError as error:
        raise ConfigErrors([("auth.aliases", f"{path}: {error.strerror}")]) from None
    except BrokenAliases as error:
        raise ConfigErrors([("auth.aliases", f"{path}: {problem}") for problem in error.problems]) from None


def policy(config: Config) -> Policy:
    """What `[policy]` says."""
    table = config.policy
    rules = [Rule(names_covered(rule.accounts, config), rule.pop3, _lower(rule.mechanisms)) for rule in table.rules]
    takeover = config.maildrop.lock == "takeover"
    return Policy(rules, table.login_delay, table.login_burst, table.sessions_per_account, takeover)


def quotas(config: Config) -> ByAccount[Quota]:
    """What `[quota]` says."""
    table = config.quota
    return by_account(config, table, table.rules, lambda keys: Quota(keys.octets, keys.messages))


def retentions(config: Config) -> ByAccount[Retention]:
    """What `[maildrop]` says of how long mail is kept."""
    table = config.maildrop
    return by_account(
        config, table, table.retention_rules, lambda keys: Retention(keys.delete, keys.trash_days, keys.expire_days)
    )


def by_account(config: Config, table: K, rules: Sequence[R], value: Callable[[K | R], T]) -> ByAccount[T]:
    """What a table says, and what its rules say for the accounts that each names; `value` reads the keys of either."""
    return ByAccount(
        value(table), [Covering(Rule(names_covered(rule.accounts, config)).covers, value(rule)) for rule in rules]
    )


def names_covered(accounts: Sequence[str], config: Config) -> tuple[str, ...]:
    """With every account that one of these may stand for: what bars a name must not let it in by another one."""
    covered: list[str] = []
    for name in accounts:
        if name == "*":
            covered.append(name)
        elif name.startswith("@"):
            covered.append("@" + prepare(name[1:].encode("utf-8"), config.auth.case))
            if name[1:].lower() in naming(config).domains:
                covered.append(OUR_DOMAINS)
        else:
            covered += [form.decode("utf-8") for form in naming(config).forms(name.encode("utf-8"), details=False)]
    return tuple(covered)


def _lower(mechanisms: Sequence[str]) -> frozenset[str]:
    return frozenset(names.mechanisms(tuple(mechanisms)))
