"""What values the keys of the configuration may have, beyond their types: validators for attrs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from popserv.net.addresses import cleartext_policy

Validator = Callable[[Any, Any, Any], None]


def valid(check: Callable[[str], Any]) -> Validator:
    """For a key whose value `check` takes, or raises `ValueError`."""
    return lambda _record, _field, value: check(value) and None


def least(lowest: float, reason: str = "") -> Validator:
    def check(_record: Any, _field: Any, value: Any) -> None:
        if value < lowest:
            raise ValueError(f"must be at least {lowest:g}{reason}")

    return check


def only(allowed: Any, message: str) -> Validator:
    """For a key that parses, and of whose values this version can do one."""

    def check(_record: Any, _field: Any, value: Any) -> None:
        if value != allowed:
            raise ValueError(message)

    return check


def time_of_day(_record: Any, _field: Any, value: str) -> None:
    if not re.fullmatch("(?:[01][0-9]|2[0-3]):[0-5][0-9]", value, re.ASCII):
        raise ValueError('must be a time of the day such as "03:30"')


def hostname(_record: Any, _field: Any, value: str) -> None:
    if not value or len(value) > 255 or not all("!" <= character <= "~" for character in value):
        raise ValueError("must be a host name: printable ASCII without spaces, at most 255")


def not_empty(_record: Any, _field: Any, value: Sequence[Any]) -> None:
    if not value:
        raise ValueError("must not be empty")


def named(_record: Any, _field: Any, value: str) -> None:
    if not value:
        raise ValueError("must name a file")


def cleartext(_record: Any, _field: Any, value: Any) -> None:
    if value is not None:
        cleartext_policy(value)
