"""From what somebody typed, or mail is addressed to, to the names that an account may have.

The same for logins, LMTP and `popserv deliver`, so that whoever gets mail at a name can log in with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import attrs

from popserv.auth.names import InvalidName, prepare


class BrokenAliases(ValueError):
    """A file of aliases with lines that cannot be; each of `problems` has its number."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@attrs.frozen(slots=False)
class Naming:
    """How names stand for accounts: a default domain, ``+detail``, domains whose local parts are accounts, aliases."""

    case: Literal["fold", "keep"] = "fold"
    default_domain: str = ""
    """What names without a domain get; "" for nothing."""
    domains: frozenset[str] = frozenset()
    """In lower case, those whose local parts are accounts as well."""
    aliases: Mapping[str, str] = attrs.field(factory=dict)
    """Prepared names and the prepared accounts they stand for."""

    @cached_property
    def _aliased(self) -> frozenset[str]:
        """The accounts that have aliases."""
        return frozenset(self.aliases.values())

    def complete(self, name: bytes) -> bytes:
        """The prepared name, with a domain if names have one: what an account is called. Raises `InvalidName`."""
        prepared = prepare(name, self.case)
        if self.default_domain and "@" not in prepared:
            prepared = prepare(f"{prepared}@{self.default_domain}".encode(), self.case)
        return prepared.encode("utf-8")

    def forms(self, name: bytes, *, details: bool = True) -> list[bytes]:
        """The accounts that `name` may stand for, in the order in which they are to be looked for.

        The whole name, with the default domain if it has none, then without ``+detail``; then the same for its local
        part, where the domain is ours. Where one of them is an alias, that account takes its place. Raises
        `InvalidName` if none of them can be a name.
        """
        if self.default_domain and b"@" not in name:
            name = name + b"@" + self.default_domain.encode("utf-8")
        found: dict[bytes, None] = {}
        for candidate in self._candidates(name, details):
            try:
                prepared = prepare(candidate, self.case)
            except InvalidName:
                continue
            found[self.aliases.get(prepared, prepared).encode("utf-8")] = None
        if not found:
            raise InvalidName("it cannot be the name of an account")
        return list(found)

    def detail(self, name: bytes, account: str) -> bytes:
        """What of `name`, which stands for this account, is the ``+detail``, as it was written; b"" for none."""
        local, at, domain = name.rpartition(b"@")
        if not at:
            local, domain = name, b""
        for shorter in _without_details(local):
            try:
                found = self.forms(shorter + at + domain, details=False)
            except InvalidName:
                continue
            if account.encode("utf-8") in found:
                return local[len(shorter) + 1 :]
        return b""

    def canonical(self, name: bytes) -> bytes:
        """The last of `forms`: the same for all that one could write, and `name` itself for what is no name.

        Failures are counted by it, so that details, domains and aliases do not give more tries.
        """
        try:
            forms = self.forms(name)
            account = next((form for form in forms if form.decode("utf-8") in self._aliased), b"")
            return self.forms(account)[-1] if account else forms[-1]
        except InvalidName:
            return name

    def vouched(self, name: bytes) -> list[bytes]:
        """The same for a name that somebody else's database vouches for, where it may be whatever a person likes.

        So a ``+detail`` is a part of it, and makes nobody another.
        """
        try:
            return self.forms(name, details=False)
        except InvalidName:
            return [name]

    def _candidates(self, name: bytes, details: bool) -> Iterator[bytes]:
        local, at, domain = name.rpartition(b"@")
        if not at:
            local, domain = name, b""
        domain = domain.removesuffix(b".")
        locals_ = list(_without_details(local)) if details else [local]
        for each in locals_:
            yield each + at + domain
        if at and domain.decode("utf-8", "replace").lower() in self.domains:
            yield from locals_


def _without_details(local: bytes) -> Iterator[bytes]:
    """`local`, then without its last ``+detail``, then without the one before, and so on."""
    yield local
    while b"+" in local:
        local = local.rpartition(b"+")[0]
        if local:
            yield local


def read_aliases(path: Path, naming: Naming) -> dict[str, str]:
    """A file with an alias and its account on each line, ``alias: account``; ``#`` begins a comment line.

    Names get the default domain of `naming`. Raises `OSError` and `BrokenAliases`.
    """
    aliases: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        try:
            alias, account = (naming.complete(part.strip()).decode("utf-8") for part in text.split(b":"))
        except InvalidName as error:
            problems.append(f"line {number}: {error}")
        except ValueError:
            problems.append(f'line {number}: must be "alias: account"')
        else:
            if aliases.setdefault(alias, account) != account:
                problems.append(f"line {number}: this alias has another account already")
    chained = sorted(set(aliases.values()) & {alias for alias, account in aliases.items() if alias != account})
    problems += [f"{account!a} is an alias itself: aliases stand for accounts" for account in chained]
    if problems:
        raise BrokenAliases(problems)
    return aliases


__all__ = ["BrokenAliases", "Naming", "read_aliases"]
