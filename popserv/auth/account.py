"""The record that an account database hands to a maildrop store."""

from __future__ import annotations

import attrs
from zope.interface import implementer

from popserv.auth.networks import Network, admits
from popserv.interfaces import IAccount


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
    owner: tuple[int, int] | None = None
    """The numbers of the user and the group that its maildrop is to belong to, where root makes it; None = not said."""

    def admits(self, address: str) -> bool:
        """Whether it may be logged in to from here, however; `address` is numeric, "" = not known."""
        return self.enabled and (self.networks is None or admits(self.networks, address))
