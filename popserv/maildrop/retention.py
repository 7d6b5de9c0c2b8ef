"""How long mail is kept: what becomes of what sessions remove, and whether it goes by itself."""

from __future__ import annotations

from typing import Literal

import attrs

from popserv.by_account import ByAccount
from popserv.interfaces import IAccount

Delete = Literal["remove", "trash", "hide"]
"""What QUIT does to marked messages: they are gone for good, wait in a trash, or are there for other readers only."""

DAY_SECONDS = 86400


@attrs.frozen
class Retention:
    """What holds for an account. Days are of 24 hours."""

    delete: Delete = "remove"
    trash_days: int = 30
    """How long removed messages can be brought back, with "trash"."""
    expire_days: int = 0
    """How long after its delivery a message is removed by itself; 0 = never."""

    @property
    def expire(self) -> str:
        """The value of EXPIRE in CAPA (RFC 2449 section 6.7)."""
        return str(self.expire_days) if self.expire_days else "NEVER"


KEPT = ByAccount(Retention())
"""What a session leaves is kept for ever, and what it removes is gone."""


def expire_of_anybody(retentions: ByAccount[Retention]) -> str:
    """EXPIRE in CAPA for somebody who has not logged in: the least, and USER if it is not the same for all."""
    days = {each.expire_days for each in retentions.all()}
    least = min(days - {0}, default=0)
    return Retention(expire_days=least).expire + (" USER" if len(days) > 1 else "")


def retention_of(account: IAccount) -> Retention:
    """What the account, which may be a `popserv.maildrop.visit.Visit`, says."""
    found = getattr(account, "retention", None)
    return found if isinstance(found, Retention) else Retention()
