"""An account together with who comes to its maildrop."""

from __future__ import annotations

from typing import Any

import attrs
from zope.interface import implementer

from popserv.interfaces import IAccount
from popserv.maildrop.retention import Retention


@implementer(IAccount)
@attrs.frozen
class Visit:
    """What a store is asked to open a maildrop for: the account, and what its lock is to say of the session.

    Whatever else the account has, this has, too.
    """

    account: IAccount
    address: str = ""
    """Numeric, of the client; "" = not known."""
    session: str = ""
    """The id that stands in every log line of this connection."""
    socket: str = ""
    """The path of the unix socket at which this process can be asked to end the session; "" = it cannot."""
    retention: Retention = attrs.field(factory=Retention)
    """What becomes of mail that is removed, and how long it is kept."""

    @property
    def name(self) -> str:
        return self.account.name

    @property
    def location(self) -> str:
        return self.account.location

    @property
    def home(self) -> str:
        return self.account.home

    @property
    def mechanisms(self) -> frozenset[str]:
        return self.account.mechanisms

    def __getattr__(self, name: str) -> Any:
        return getattr(self.account, name)
