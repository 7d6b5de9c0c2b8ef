"""From parsed TOML to attrs records: strict, and every error at once, each with the path of its key.

The records say everything: the type of a field is what its key takes and a validator of attrs bounds it. Metadata
say the rest: ``{"each": CHECK}`` is called with each item of an array and raises `ValueError`; a field with
``{"tables": GROUP}`` collects the tables of plug-ins of that group (`popserv.plugins`), each structured by the options
record of the plug-in; one with ``{"key": False}`` is no key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs


class Problems:
    """What is wrong, in the order found: pairs of a key's path and a message. Items of arrays count from 0."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, path: str, message: str) -> None:
        self.found.append((path, message))


Lookup = Callable[[str, str], Any]
"""From a plug-in group and a name to the plug-in; raises `ValueError` with what to tell the user."""


class _Failed:
    """The value of what has been added to the problems."""


FAILED = _Failed()


def keys(record: type[Any]) -> list[attrs.Attribute[Any]]:
    """The fields of `record` that are keys."""
    return [
        field for field in attrs.fields(record) if field.metadata.get("key", True) and "tables" not in field.metadata
    ]


def structure(kind: Any, value: Any, path: str, problems: Problems, look_up: Lookup) -> Any:
    """`value` as a `kind`.

    Problems are added to `problems`. A record is made of what is right in it, with the defaults for the rest; `FAILED`
    stands for what cannot be made at all.
    """
    if attrs.has(kind):
        return _record(kind, value, path, problems, look_up)
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        arm = _arm(get_args(kind), value)
        has_array = any(get_origin(each) is tuple for each in get_args(kind))
        if has_array and get_origin(arm) is Literal and value not in get_args(arm):
            problems.add(path, f"must be {_quoted(get_args(arm))} or an array")
            return FAILED
        return structure(arm, value, path, problems, look_up)
    if origin in (tuple, list, Sequence):
        return _items(get_args(kind)[0], value, path, problems, look_up)
    try:
        return _choice(get_args(kind), value) if origin is Literal else _scalar(kind, value)
    except ValueError as error:
        problems.add(path, str(error))
        return FAILED


def _record(record: type[Any], value: Any, path: str, problems: Problems, look_up: Lookup) -> Any:
    if not isinstance(value, dict):
        problems.add(path, "must be a table")
        return FAILED
    hints = get_type_hints(record)
    fields = {field.name: field for field in keys(record)}
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in value:
            values[name] = _field(field, hints[name], value[name], _join(path, name), problems, look_up)
        elif field.default is attrs.NOTHING:
            problems.add(_join(path, name), "is missing")
            values[name] = FAILED
    values |= _plugin_tables(record, value, path, problems, look_up)
    if any(values[name] is FAILED and fields[name].default is attrs.NOTHING for name in fields.keys() & values.keys()):
        return FAILED
    return record(**{name: each for name, each in values.items() if each is not FAILED})


def _field(field: attrs.Attribute[Any], kind: Any, value: Any, path: str, problems: Problems, look_up: Lookup) -> Any:
    before = len(problems.found)
    structured = structure(kind, value, path, problems, look_up)
    if structured is FAILED:
        return FAILED
    if field.validator is not None:
        _check(path, lambda: field.validator(None, field, structured), problems)  # type: ignore[misc]
    for index, item in enumerate(structured if "each" in field.metadata else ()):
        _check(f"{path}[{index}]", lambda item=item: field.metadata["each"](item), problems)  # type: ignore[misc]
    # Not what it would be in a record that raises for it, and no more than a default in one that does not.
    return structured if len(problems.found) == before or attrs.has(type(structured)) else FAILED


def _check(path: str, check: Callable[[], Any], problems: Problems) -> None:
    try:
        check()
    except (ValueError, TypeError) as error:
        problems.add(path, str(error.args[0]))


def _plugin_tables(
    record: type[Any], value: dict[str, Any], path: str, problems: Problems, look_up: Lookup
) -> dict[str, Any]:
    """What no key of `record` took: tables of plug-ins, if it collects them; anything else is an error."""
    known = [field.name for field in keys(record)]
    collects = next((field for field in attrs.fields(record) if "tables" in field.metadata), None)
    tables: dict[str, Any] = {}
    for name in sorted(value.keys() - known):
        if collects is None or not isinstance(value[name], dict):
            problems.add(_join(path, name), f"unknown key{did_you_mean(name, known)}")
            continue
        try:
            options = look_up(collects.metadata["tables"], name).options
        except ValueError as error:
            problems.add(_join(path, name), str(error))
            continue
        tables[name] = structure(options, value[name], _join(path, name), problems, look_up)
    return {} if collects is None else {collects.name: tables}


def _items(kind: Any, value: Any, path: str, problems: Problems, look_up: Lookup) -> Any:
    if not isinstance(value, list):
        problems.add(path, "must be an array")
        return FAILED
    items = [structure(kind, item, f"{path}[{index}]", problems, look_up) for index, item in enumerate(value)]
    return FAILED if FAILED in items else tuple(items)


def _arm(arms: Sequence[Any], value: Any) -> Any:
    """The alternative of a union that `value` has the shape of; the first if there is none."""
    if isinstance(value, list):
        return next((arm for arm in arms if get_origin(arm) in (tuple, list, Sequence)), arms[0])
    if isinstance(value, dict):
        return next((arm for arm in arms if attrs.has(arm)), arms[0])
    return next(arm for arm in arms if arm is not NoneType)


def _choice(choices: Sequence[Any], value: Any) -> Any:
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(f"must be one of {_quoted(choices)}{did_you_mean(value, choices)}")


def _quoted(choices: Sequence[str]) -> str:
    return ", ".join(f'"{choice}"' for choice in choices)


def _scalar(kind: Any, value: Any) -> Any:
    # A bool is an int to Python, and neither is an int here.
    if kind is float and type(value) in (int, float):
        if not isfinite(value):
            raise ValueError("must be a finite number")
        return float(value)
    if type(value) is kind:
        return value
    nouns = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
    raise ValueError(f"must be {nouns[kind]}")


def did_you_mean(name: Any, known: Sequence[str]) -> str:
    """What to put behind a complaint about `name`: the nearest of `known`, if one is near."""
    near = get_close_matches(name, known, 1) if isinstance(name, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
