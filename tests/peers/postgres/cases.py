"""What the tests of the PostgreSQL database have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest

from popserv.accounts.postgres import Options, PostgresAccounts, plugin
from popserv.auth.passwords import hash_password
from tests.accounts.context import Context
from tests.peers.postgres.server import ROLE_PASSWORD, TABLE, Postgres, add

hashed = cache(hash_password)


class PostgresCase:
    """To be mixed into a `TestCase`: each test has an empty database of its own."""

    server: ClassVar[Postgres]
    tables = TABLE
    encoding = "UTF8"

    @pytest.fixture(autouse=True)
    def _database(self, postgres: Postgres, tmp_path: Path) -> Iterator[None]:
        type(self).server = postgres
        self.folder = tmp_path
        (tmp_path / "password").write_text(ROLE_PASSWORD + "\nnot this line\n")
        with ExitStack() as stack:
            self.connection = stack.enter_context(postgres.database(tables=self.tables, encoding=self.encoding))
            yield

    def add(self, accounts: Mapping[str, Sequence[str]], **settings: Any) -> None:
        """Stored passwords by name."""
        add(self.connection, accounts, **settings)

    def options(self, **options: Any) -> Options:
        """With the role's password."""
        return Options(**{"password_file": "password", **options})

    def made(self, context: Any = None, **options: Any) -> PostgresAccounts:
        """The checker, as the plug-in makes it."""
        context = context or Context(self.folder)
        return plugin.build(self.server.conninfo("mail"), self.options(**options), context)

    def wrong(self, argument: str | None = None, **options: Any) -> list[str]:
        """What the plug-in's check says."""
        argument = self.server.conninfo("mail") if argument is None else argument
        return plugin.check(argument, self.options(**options), Context(self.folder))
