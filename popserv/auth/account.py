"""The record that an account database hands to a maildrop store."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

import attrs
from zope.interface import implementer

from popserv.interfaces import IAccount

Network = IPv4Network | IPv6Network


@implementer(IAccount)
@attrs.frozen
class Account:
    """One account; see `popserv.interfaces.IAccount`."""

    name: str
    location: str = ""
    home: str = ""
    mechanisms: frozenset[str] = frozenset()
    """The ways to log in that are good enough, in lower case; none given: all that are offered."""
    enabled: bool = True
    """It may be logged in to; mail comes in in any case."""
    networks: tuple[Network, ...] | None = None
    """Where it may be used from; None = anywhere."""

    def admits(self, address: str) -> bool:
        """Whether it may be logged in to from here, however; `address` is numeric, "" = not known."""
        if not self.enabled or self.networks is None:
            return self.enabled
        try:
            numeric = ip_address(address)
        except ValueError:
            return False
        if isinstance(numeric, IPv6Address) and numeric.ipv4_mapped is not None:
            numeric = numeric.ipv4_mapped
        return any(numeric in network for network in self.networks)
