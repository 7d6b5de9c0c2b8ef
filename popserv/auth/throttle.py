"""Slows guessers down: failed logins are answered late, by address and by account name.

Nobody is locked out: right credentials are never refused and never delayed, so guessing at an account does not keep
its owner away.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network, ip_address

import attrs
from twisted.internet.interfaces import IReactorTime

from popserv.auth.names import NAME_OCTETS
from popserv.steady import steady

FORGET_SECONDS = 600.0


class Throttle:
    """Doubles the delay with each failure, from `base_seconds` to `most_seconds`; a base of 0 switches it off.

    An address and a name are remembered for `FORGET_SECONDS` after their last failure, at most `entries` of each.
    IPv6 counts by /64, which is what one customer has.
    """

    def __init__(
        self, clock: IReactorTime, base_seconds: float, most_seconds: float = 15.0, entries: int = 10_000
    ) -> None:
        self._now = steady(clock)
        self._base = min(base_seconds, most_seconds)
        self._most = most_seconds
        # Apart, so that a flood of invented names cannot push out the address that it comes from.
        self._addresses = _Failures(entries)
        self._names = _Failures(entries)

    def record_failure(self, address: str, name: str) -> float:
        """Count one refused login: the seconds to wait, from receipt of the credentials, before it is answered.

        `address` is numeric, "" for a unix socket; `name` is what the client gave, prepared if it could be, "" if it
        gave none.
        """
        if not self._base:
            return 0.0
        now = self._now()
        network = _network(address)
        delay = self._names.record(name[:NAME_OCTETS], now, self._base, self._most) if name else self._base
        if network:
            delay = max(delay, self._addresses.record(network, now, self._base, self._most))
        return delay

    def record_success(self, address: str, name: str) -> None:  # noqa: ARG002
        """Forget the failures of this name.

        Those of the address stay: an account of one's own must not clear the way for guessing at others.
        """
        self._names.forget(name[:NAME_OCTETS])

    def delay_for(self, address: str, name: str) -> float:
        """The seconds that the latest failure of this address or name was worth; 0 when there is none."""
        now = self._now()
        return max(self._addresses.delay(_network(address), now), self._names.delay(name[:NAME_OCTETS], now))


@attrs.frozen
class _Failure:
    delay: float
    at: float


class _Failures:
    """The latest failure by key, the least recent one thrown away when there are too many."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._latest: OrderedDict[str, _Failure] = OrderedDict()

    def record(self, key: str, now: float, base: float, most: float) -> float:
        earlier = self.delay(key, now)
        delay = min(most, 2 * earlier) if earlier else base
        self._latest[key] = _Failure(delay, now)
        self._latest.move_to_end(key)
        if len(self._latest) > self._entries:
            self._latest.popitem(last=False)
        return delay

    def delay(self, key: str, now: float) -> float:
        failure = self._latest.get(key)
        return failure.delay if failure is not None and now - failure.at < FORGET_SECONDS else 0.0

    def forget(self, key: str) -> None:
        self._latest.pop(key, None)


def _network(address: str) -> str:
    try:
        numeric = ip_address(address)
    except ValueError:
        return address
    if not isinstance(numeric, IPv6Address):
        return address
    if numeric.ipv4_mapped is not None:
        return str(numeric.ipv4_mapped)
    return str(IPv6Network((int(numeric), 64), strict=False))
