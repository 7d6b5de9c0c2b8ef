"""Debian's PostgreSQL on a unix socket and a port of loopback, with tables that it forgets with the test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.peers.programs import Server, folder_of, free_port, program, unprivileged

BINARIES = ("/usr/lib/postgresql/*/bin",)
ADMIN_PASSWORD = "overseer's"
ROLE_PASSWORD = "asks \\ for 'mail'"
"""That of the role `popserv`, which may only read."""

TABLE = """
CREATE TABLE accounts (
    name text PRIMARY KEY, password text[], home text, location text, enabled boolean NOT NULL DEFAULT true
);
GRANT SELECT ON ALL TABLES IN SCHEMA public TO popserv;
"""


class Postgres(Server):
    """A cluster."""

    def __init__(self, folder: Path, port: int, user: str | None) -> None:
        self.port = port
        self.socket_folder = folder
        data = str(folder / "data")
        initdb = [program("initdb", *BINARIES), "-D", data, "-U", "admin", "-A", "scram-sha-256", "--no-sync"]
        password_file = folder / "password"
        password_file.write_text(ADMIN_PASSWORD)
        password_file.chmod(0o644)
        initdb += ["--pwfile", str(password_file), "-E", "UTF8", "--locale", "C.UTF-8"]
        subprocess.run(
            initdb, check=True, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", timeout=60, user=user
        )
        settings = {
            "fsync": "off",
            "shared_buffers": "16MB",
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(folder),
        }
        command = [program("postgres", *BINARIES), "-D", data]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        super().__init__(command, self._answers, folder / "log", user)

    def conninfo(self, database: str = "postgres", host: str = "127.0.0.1") -> str:
        """For the role `popserv`, without its password."""
        return f"host={host} port={self.port} dbname={database} user=popserv"

    def as_admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection that may do everything."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            dbname=database,
            user="admin",
            password=ADMIN_PASSWORD,
            autocommit=True,
            connect_timeout=10,
        )

    @contextmanager
    def database(
        self, name: str = "mail", tables: str = TABLE, encoding: str = "UTF8"
    ) -> Iterator[psycopg.Connection[Any]]:
        """A new database with these tables, and a connection to it."""
        making = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'")
        with self.as_admin() as admin:
            admin.execute(making.format(sql.Identifier(name), sql.Literal(encoding)))
        try:
            with self.as_admin(name) as connection:
                connection.execute(tables.encode())
                yield connection
        finally:
            self.start()
            with self.as_admin() as admin:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _answers(self) -> bool:
        try:
            self.as_admin().close()
        except psycopg.OperationalError:
            return False
        return True


def add(connection: psycopg.Connection[Any], accounts: Mapping[str, Sequence[str]], **settings: Any) -> None:
    """Fill the table: stored passwords by name, the same settings for all."""
    columns = ["name", "password", *settings]
    insert = sql.SQL("INSERT INTO accounts ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join([sql.Placeholder()] * len(columns))
    )
    for name, stored in accounts.items():
        connection.execute(insert, [name, list(stored), *settings.values()])


@contextmanager
def running() -> Iterator[Postgres]:
    """A new cluster; it is gone at the end."""
    program("initdb", *BINARIES)
    user = unprivileged("postgres")
    with folder_of(user) as folder:
        server = Postgres(folder, free_port(), user)
        try:
            server.start()
            with server.as_admin() as admin:
                admin.execute(sql.SQL("CREATE ROLE popserv LOGIN PASSWORD {}").format(sql.Literal(ROLE_PASSWORD)))
            yield server
        finally:
            server.stop()
