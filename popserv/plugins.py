"""Find plug-ins by name: a module of ours, or an entry point of anybody's.

A plug-in module holds one object named ``plugin``. Nothing is imported until configuration names it.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any


class UnknownPlugin(LookupError):
    """No plug-in of that name; the message says which ones there are."""


def module_name(group: str, name: str) -> str:
    """The module that holds our plug-in `name` of `group`: ``("sasl", "CRAM-MD5")`` is ``popserv.sasl.cram_md5``."""
    return f"popserv.{group}.{name.lower().replace('-', '_')}"


def find(group: str, name: str) -> Any:
    """The plug-in `name` of `group` ("sasl", "stores", "accounts", "protocols", "extensions").

    Raises `UnknownPlugin`; an `ImportError` of the plug-in's own requirements passes through, so that the caller
    can name what to install.
    """
    module = module_name(group, name)
    if name.isascii() and name.replace("-", "").isalnum() and importlib.util.find_spec(module) is not None:
        return import_module(module).plugin
    for entry in entry_points(group=f"popserv.{group}"):
        if entry.name == name:
            return entry.load()
    known = names(group)
    near = get_close_matches(name.lower(), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
    raise UnknownPlugin(f"unknown name{hint}")


def names(group: str) -> list[str]:
    """The names `find` knows in `group`, sorted, ours in lower case with ``-`` for ``_``."""
    package = import_module(f"popserv.{group}")
    ours = {info.name.replace("_", "-") for info in pkgutil.iter_modules(package.__path__)}
    return sorted(ours | {entry.name for entry in entry_points(group=f"popserv.{group}")})
