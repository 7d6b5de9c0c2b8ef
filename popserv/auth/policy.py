"""Who may log in how, and how often, once the credentials are good.

A refusal by rule is the same to the client as wrong credentials; that a login comes too soon, or that there are too
many sessions, is told, because only the owner of the account hears it (RFC 2449 section 8.1.1).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from math import ceil
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime

from popserv.errors import LoginBarred, LoginTooSoon, TooManySessions
from popserv.interfaces import IAccount
from popserv.steady import steady

OUR_DOMAINS = "@"
"""In a rule: all accounts whose names have no domain."""


@attrs.frozen
class Rule:
    """What holds for some accounts."""

    accounts: tuple[str, ...]
    """Prepared names, ``@domain`` for all of a domain, `OUR_DOMAINS` for names without one, ``*`` for all."""
    pop3: bool = True
    """Whether they may log in at all."""
    mechanisms: frozenset[str] = frozenset()
    """The ways that are good enough, in lower case ("user", "apop" or a SASL mechanism); none given: all."""

    def covers(self, name: str) -> bool:
        """Whether the account of this prepared name is one of them."""
        _local, at, domain = name.rpartition("@")
        return not {name, "*", f"@{domain}" if at else OUR_DOMAINS}.isdisjoint(self.accounts)


def _anywhere(_address: str) -> bool:
    return True


@attrs.frozen
class Policy:
    """What an administrator has decided. Delays in seconds, 0 for none; counts, 0 for any number."""

    rules: Sequence[Rule] = ()
    """The first one that covers an account holds for it."""
    login_delay: float = 0.0
    """One login of an account in so many seconds, beyond `login_burst` (RFC 2449 section 6.5)."""
    login_burst: int = 1
    """Logins that may follow each other at once."""
    sessions_per_account: int = 0
    takeover: bool = False
    """A new session ends the one before, which is not counted against it."""

    def admit(self, account: IAccount, address: str, mechanism: str) -> None:
        """Raises `LoginBarred` if this account may not log in, or not from there, or not this way."""
        # Some checker has asked before, of another account perhaps, or of one that it knows no more than the name of.
        if not getattr(account, "admits", _anywhere)(address):
            raise LoginBarred("this account is disabled, or not to be used from here")
        self.check(account, mechanism)

    def check(self, account: IAccount, mechanism: str) -> None:
        """Raises `LoginBarred` if this account may not log in, or not this way."""
        rule = next((rule for rule in self.rules if rule.covers(account.name)), None)
        if rule is not None and not rule.pop3:
            raise LoginBarred("pop3 is off for this account")
        for permitted in (rule.mechanisms if rule is not None else (), getattr(account, "mechanisms", ())):
            if permitted and mechanism.lower() not in permitted:
                raise LoginBarred("this mechanism is not good enough for this account")


class Ledger:
    """What accounts have done lately. Outlives a reload; bounded."""

    def __init__(self, clock: IReactorTime, entries: int = 100_000) -> None:
        self._now = steady(clock)
        self._entries = entries
        self._sessions: Counter[str] = Counter()
        # By name: logins that may still follow at once, and when that was so.
        self._room: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def enter(self, name: str, policy: Policy) -> None:
        """A session of this account begins. Raises `TooManySessions` or `LoginTooSoon`, and then it does not."""
        most = policy.sessions_per_account
        if most and self._sessions[name] - policy.takeover >= most:
            raise TooManySessions(f"too many sessions of this account, the limit is {most}")
        if policy.login_delay:
            room, now = self._room_of(name, policy), self._now()
            if room < 1:
                wait = ceil((1 - room) * policy.login_delay)
                raise LoginTooSoon(f"minimum time between logins not over, try again in {wait} seconds")
            self._note(name, room - 1, now)
        self._sessions[name] += 1

    def leave(self, name: str) -> None:
        """A session that `enter` let begin has ended."""
        self._sessions[name] -= 1
        if not self._sessions[name]:
            del self._sessions[name]

    def undo(self, name: str, policy: Policy) -> None:
        """The session that `enter` let begin has come to nothing."""
        self.leave(name)
        if policy.login_delay:
            self._note(name, self._room_of(name, policy) + 1, self._now())

    def _room_of(self, name: str, policy: Policy) -> float:
        room, at = self._room.get(name, (float(policy.login_burst), 0.0))
        return min(policy.login_burst, room + (self._now() - at) / policy.login_delay)

    def _note(self, name: str, room: float, now: float) -> None:
        self._room[name] = (room, now)
        self._room.move_to_end(name)
        if len(self._room) > self._entries:
            self._room.popitem(last=False)


class Gate:
    """A policy with the ledger it goes by; the realm asks it."""

    def __init__(self, policy: Policy, ledger: Ledger) -> None:
        self._policy = policy
        self._ledger = ledger

    def enter(self, account: IAccount, mind: Any) -> None:
        """A session may begin, if its maildrop can be opened; `mind` is a `popserv.auth.login.Peer`, or anything.

        Raises `LoginBarred`, `TooManySessions` or `LoginTooSoon`.
        """
        self.check(account, mind)
        self._ledger.enter(account.name, self._policy)

    def check(self, account: IAccount, mind: Any) -> None:
        """A session that neither counts nor has to wait may begin. Raises `LoginBarred`."""
        self._policy.admit(account, getattr(mind, "address", ""), getattr(mind, "mechanism", ""))

    def undo(self, account: IAccount) -> None:
        """The maildrop could not be opened."""
        self._ledger.undo(account.name, self._policy)

    def leave(self, account: IAccount) -> None:
        """The session has ended."""
        self._ledger.leave(account.name)
