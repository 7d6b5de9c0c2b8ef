"""One query to a PostgreSQL server, with psycopg (extra ``popserv[postgres]``). Everything here blocks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from math import ceil, inf
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import make_conninfo

from popserv.auth.account_rows import column_errors
from popserv.auth.names import NAME_OCTETS
from popserv.auth.remote import Connections, Misconfigured, Unavailable, first_line

Row = Mapping[str, Any]

LEAST_SECONDS = 2
"""libpq gives a connection no less."""

_NO_SUCH_TEXT = (errors.UntranslatableCharacter, errors.CharacterNotInRepertoire)


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that does not wait beyond its `deadline` (by `monotonic`) for a server that has fallen silent."""

    deadline: float = inf

    def wait(self, gen: Any, *arguments: Any, **more: Any) -> Any:
        return super().wait(self._until_deadline(gen), *arguments, **more)

    def _until_deadline(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        # psycopg resumes a generator several times a second, whether or not there is something to read.
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if monotonic() >= self.deadline:
                    raise psycopg.OperationalError("the server does not answer in time")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value


def conninfo(base: str, given: Mapping[str, str], password_file: Path | None) -> Callable[[], str]:
    """What makes the connection string: `base`, with what is `given` in place of what stands there, and the password.

    Raises `ValueError` for one that libpq does not understand.
    """
    try:
        complete = make_conninfo(base, **{key: value for key, value in given.items() if value})
    except psycopg.Error as error:
        raise ValueError(_reason(error)) from None
    return lambda: complete if password_file is None else make_conninfo(complete, password=first_line(password_file))


def connect(conninfo: Callable[[], str], connect_seconds: float, answer_seconds: float, deadline: float) -> Connection:
    """A new connection. Raises `Unavailable` and `Misconfigured`.

    `conninfo` is asked for each one, since a password may have changed. The server ends a query after `answer_seconds`.
    """
    try:
        connection = Connection.connect(
            conninfo(),
            autocommit=True,
            # Prepared statements outlive a transaction, which poolers such as PgBouncer do not.
            prepare_threshold=None,
            connect_timeout=max(LEAST_SECONDS, ceil(min(connect_seconds, deadline - monotonic()))),
            application_name="popserv",
            client_encoding="utf8",
        )
    except psycopg.OperationalError as error:
        raise Unavailable(_reason(error)) from None
    except psycopg.Error as error:
        raise Misconfigured(_reason(error)) from None
    connection.deadline = deadline
    try:
        limit = str(ceil(answer_seconds * 1000))
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (limit,))
    except psycopg.Error as error:
        connection.close()
        raise Unavailable(_reason(error)) from None
    return connection


class Query:
    """A query for one account, whose parameters are ``%(user)s``, ``%(local)s`` and ``%(domain)s``."""

    def __init__(self, query: str, connect: Callable[[float], Connection]) -> None:
        """`connect` is `connect` with all but its last argument."""
        self._query = query
        self._connections = Connections(connect, Connection.close)

    def rows(self, deadline: float, name: str) -> Sequence[Row]:
        """What the query gives for this prepared name. `deadline` is by `monotonic`.

        Raises `Unavailable` and `Misconfigured`.
        """
        if "\0" in name or len(name.encode("utf-8")) > NAME_OCTETS:
            return []
        return self._connections.use(deadline, lambda connection: self._ask(connection, deadline, name))

    def _ask(self, connection: Connection, deadline: float, name: str) -> Sequence[Row]:
        connection.deadline = deadline
        local, at, domain = name.rpartition("@")
        parameters = {"user": name, "local": local if at else domain, "domain": domain if at else ""}
        try:
            # The query is the administrator's; what a client sent is only ever a parameter.
            cursor = connection.execute(self._query.encode("utf-8"), parameters)
            rows = cursor.fetchall() if cursor.description is not None else []
        except _NO_SUCH_TEXT:
            # The database's encoding does not have a character of this name, so nobody there has the name.
            return []
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
            raise Unavailable(_reason(error)) from None
        except psycopg.Error as error:
            raise Misconfigured(_reason(error)) from None
        columns = [column.name for column in cursor.description or ()]
        wrong = column_errors(columns)
        if wrong:
            raise Misconfigured("; ".join(wrong))
        return [dict(zip(columns, row, strict=True)) for row in rows]


def _reason(error: psycopg.Error) -> str:
    """On one line. Of a complaint about data, which quotes them, only the kind."""
    if isinstance(error, psycopg.DataError):
        return f"the query fails with {type(error).__name__} ({error.sqlstate})"
    return " ".join(str(error).split()) or type(error).__name__
