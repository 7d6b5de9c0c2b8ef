"""What holds for which account: a value for all, and rules that say otherwise for some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs

from popserv.interfaces import IAccount

T = TypeVar("T")


@attrs.frozen
class Covering(Generic[T]):
    """What holds for some accounts."""

    covers: Callable[[str], bool]
    """Whether the account of a prepared name is one of them."""
    value: T


@attrs.frozen
class ByAccount(Generic[T]):
    """The first rule that covers an account holds, and `otherwise` where none does."""

    otherwise: T
    rules: Sequence[Covering[T]] = ()

    def of(self, account: IAccount) -> T:
        return next((rule.value for rule in self.rules if rule.covers(account.name)), self.otherwise)

    def all(self) -> Sequence[T]:
        """Every one that may hold for somebody."""
        return [self.otherwise, *(rule.value for rule in self.rules)]
