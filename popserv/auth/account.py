"""The record that an account database hands to a maildrop store."""

from __future__ import annotations

import attrs
from zope.interface import implementer

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
