"""Accounts as entries of a directory: which attribute means what.

Pure. As in a passwd-file, what could restrict an account and is not understood is never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import attrs

from popserv.auth.account import Account
from popserv.auth.names import InvalidName, prepare
from popserv.auth.passwd_lines import NotUnderstood


class Found(Protocol):
    """What a search gives."""

    @property
    def dn(self) -> str: ...

    @property
    def values(self) -> Mapping[str, Sequence[bytes]]: ...


@attrs.frozen
class Entry:
    """One account, and the distinguished name to bind as."""

    dn: str
    account: Account
    enabled: bool


@attrs.frozen
class Attributes:
    """The names of attributes; "" for what is not kept. `case` is how names in entries are prepared."""

    name: str
    home: str
    location: str
    enabled: str
    case: Literal["fold", "keep"]

    def entry(self, name: str, found: Found | None) -> Entry | None:
        """The account of this prepared name; None if what was found is not its own. Raises `NotUnderstood`.

        Directories compare more loosely than we do: case, spaces, and what stands for what. One person with two names
        would have two maildrops.
        """
        if found is None or name not in self._names(found):
            return None
        account = Account(name, self._text(found, self.location), self._text(found, self.home))
        # RFC 4517 section 3.3.3: a Boolean is TRUE or FALSE.
        enabled = not self.enabled or self._text(found, self.enabled) == "TRUE"
        return Entry(found.dn, account, enabled)

    def _names(self, found: Found) -> set[str]:
        names = set()
        for value in found.values.get(self.name.lower(), ()):
            try:
                names.add(prepare(value, self.case, stored=True))
            except InvalidName:
                continue
        return names

    def _text(self, found: Found, attribute: str) -> str:
        values = found.values.get(attribute.lower(), ()) if attribute else ()
        if len(values) > 1:
            raise NotUnderstood(f"{attribute} has several values")
        try:
            return values[0].decode("utf-8") if values else ""
        except UnicodeDecodeError:
            raise NotUnderstood(f"{attribute} is no text") from None
