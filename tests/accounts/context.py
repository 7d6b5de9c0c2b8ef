"""What the databases here are built with and made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import TestCase

import attrs
from twisted.internet.task import Clock
from zope.interface import implementer

from popserv.auth.account_database import Database
from popserv.interfaces import IBuildContext
from popserv.pools import InlinePool


class CountingPool(InlinePool):
    """Counts its calls."""

    def __init__(self):
        self.calls = 0

    def run(self, function, *arguments):
        self.calls += 1
        return super().run(function, *arguments)


@implementer(IBuildContext)
@attrs.frozen
class Context:
    """Everything at once, in the calling thread, relative to one directory."""

    directory: Path
    disk: Any = attrs.Factory(InlinePool)
    hashing: Any = attrs.Factory(InlinePool)
    successes: Any = None
    reactor: Any = attrs.Factory(Clock)
    hostname: str = "mail.example.org"
    case: Any = "fold"
    secret: bytes = b"s" * 32
    lock: str = "exclusive"

    def pool(self, name, threads, queue):
        return self.disk

    def path(self, relative):
        return self.directory / relative


def new_path(case: TestCase) -> Path:
    """The path of a file that is not there, in a directory of its own that goes away with the test."""
    directory = TemporaryDirectory()
    case.addCleanup(directory.cleanup)
    return Path(directory.name) / "accounts"


def sqlite_file(accounts: Mapping[str, bytes]) -> bytes:
    """The octets of an account database that holds these accounts; made once, since hashing takes its time."""
    return _sqlite_file(tuple(accounts.items()))


@cache
def _sqlite_file(accounts):
    with TemporaryDirectory() as directory:
        database = Database(Path(directory) / "accounts.db")
        database.create()
        for name, password in accounts:
            database.add(name, password)
        return database.path.read_bytes()
