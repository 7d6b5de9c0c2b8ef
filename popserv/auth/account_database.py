"""Accounts in one SQLite file, the embedded account database.

Every call opens the file anew. That costs a fraction of a millisecond beside a password hash, sees at once what another
process has changed, and leaves no connection to share between threads. The journal is SQLite's default one and not
WAL, because opening a WAL file writes to the disk: nobody could log in any more when it is full.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

import attrs

from popserv.auth.names import InvalidName, prepare
from popserv.auth.passwords import hash_password

VERIFIER_SCHEMES = ("ARGON2ID", "SCRAM-SHA-256")
"""What is kept of a password: a hash for those who send it, keys for those who prove that they know it."""

LOCK_SECONDS = 5.0
"""How long a call waits for another process's write."""

MIGRATIONS: Sequence[Sequence[str]] = (
    (
        """CREATE TABLE accounts (
            name TEXT PRIMARY KEY NOT NULL,
            location TEXT NOT NULL DEFAULT '',
            home TEXT NOT NULL DEFAULT '',
            enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
            created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
        )""",
        """CREATE TABLE verifiers (
            account TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
            scheme TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (account, scheme)
        )""",
    ),
    (
        "ALTER TABLE accounts ADD COLUMN main_password INTEGER NOT NULL DEFAULT 1 CHECK (main_password IN (0, 1))",
        "ALTER TABLE accounts ADD COLUMN mechanisms TEXT NOT NULL DEFAULT ''",
        """CREATE TABLE app_passwords (
            account TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
            label TEXT NOT NULL,
            stored TEXT NOT NULL,
            created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
            expires TEXT NOT NULL DEFAULT '',
            networks TEXT NOT NULL DEFAULT '',
            protocols TEXT NOT NULL DEFAULT 'pop3',
            last_used TEXT NOT NULL DEFAULT '',
            last_address TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (account, label)
        )""",
    ),
)
"""What leads from one version of the schema (PRAGMA user_version) to the next; the first from an empty file."""

_TEMPORARY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


class AccountsError(Exception):
    """An administrator's call cannot be done; the message says why."""


class AccountExists(AccountsError):
    """There is an account of this name already."""


class NoSuchAccount(AccountsError):
    """There is no account of this name."""


class DatabaseUnusable(AccountsError):
    """The file is missing, damaged, or of a newer popserv: an administrator has to act."""


class DatabaseBusy(AccountsError):
    """The file is locked, or the disk full or failing: trying later helps."""


@attrs.frozen
class AccountRecord:
    """One row. `created` is UTC, ``YYYY-MM-DD HH:MM:SS``."""

    name: str
    location: str
    home: str
    enabled: bool
    created: str
    main_password: bool
    """Whether the account's own password may be used; application passwords may, in any case."""
    mechanisms: frozenset[str]
    """The ways to log in that are good enough, in lower case; none: all."""


@attrs.frozen
class Database:
    """The file, for one administrator's command or one look-up at a time. Blocks.

    Names are prepared ones (`popserv.auth.names.prepare`), passwords are prepared here. Every method raises
    `DatabaseUnusable` or `DatabaseBusy` when the file cannot be used; the message begins with its path.
    """

    path: Path

    def create(self) -> None:
        """Make the file, for nobody else to read, unless it is there."""
        with self.transaction("create"):
            pass

    def add(self, name: str, password: bytes, *, location: str = "", home: str = "") -> None:
        """Add an account, and the file if need be. Raises `AccountExists`, and `InvalidName` for name or password."""
        if name != prepare(name.encode("utf-8"), "keep", stored=True):
            raise InvalidName("it is not prepared")
        verifiers = _verifiers(password)
        with self.transaction("create") as connection:
            try:
                connection.execute(
                    "INSERT INTO accounts (name, location, home) VALUES (?, ?, ?)", (name, location, home)
                )
            except sqlite3.IntegrityError:
                raise AccountExists("there is an account of this name already") from None
            _write_verifiers(connection, name, verifiers)

    def passwd(self, name: str, password: bytes) -> None:
        """Replace everything that is kept of the password. Raises `NoSuchAccount` and `InvalidName`."""
        verifiers = _verifiers(password)
        with self.transaction("write") as connection:
            expect_account(connection, name)
            connection.execute("DELETE FROM verifiers WHERE account = ?", (name,))
            _write_verifiers(connection, name, verifiers)

    def change(
        self,
        name: str,
        *,
        enabled: bool | None = None,
        main_password: bool | None = None,
        mechanisms: Collection[str] | None = None,
        location: str | None = None,
        home: str | None = None,
    ) -> None:
        """Change what is not None; see `AccountRecord`. Raises `NoSuchAccount`.

        An account that is not `enabled` cannot log in; its mail keeps coming in.
        """
        listed = None if mechanisms is None else " ".join(sorted(mechanisms))
        with self.transaction("write") as connection:
            expect_account(connection, name)
            connection.execute(
                "UPDATE accounts SET enabled = coalesce(?, enabled), main_password = coalesce(?, main_password),"
                " mechanisms = coalesce(?, mechanisms), location = coalesce(?, location), home = coalesce(?, home)"
                " WHERE name = ?",
                (enabled, main_password, listed, location, home, name),
            )

    def replace_verifiers(self, name: str, known: str, password: bytes) -> None:
        """Make the verifiers anew of the same password, unless `known` is not the argon2id value any more."""
        verifiers = _verifiers(password)
        with self.transaction("write") as connection:
            row = connection.execute(
                "SELECT value FROM verifiers WHERE account = ? AND scheme = ?", (name, VERIFIER_SCHEMES[0])
            ).fetchone()
            if row is not None and f"{{{VERIFIER_SCHEMES[0]}}}{row[0]}" == known:
                connection.execute("DELETE FROM verifiers WHERE account = ?", (name,))
                _write_verifiers(connection, name, verifiers)

    def remove(self, name: str) -> None:
        """Forget the account; its maildrop is not touched. Raises `NoSuchAccount`."""
        with self.transaction("write") as connection:
            expect_account(connection, name)
            connection.execute("DELETE FROM accounts WHERE name = ?", (name,))

    def get(self, name: str) -> AccountRecord:
        """The account of this name. Raises `NoSuchAccount`."""
        found = self.find(name)
        if found is None:
            raise NoSuchAccount("there is no account of this name")
        return found

    def find(self, name: str) -> AccountRecord | None:
        """The account of this name, or None."""
        with self.transaction("read") as connection:
            return read_account(connection, name)

    def list(self) -> Sequence[AccountRecord]:
        """All accounts, sorted by name."""
        with self.transaction("read") as connection:
            return [_record(row) for row in connection.execute(f"{_SELECT} ORDER BY name")]

    def verifiers(self, name: str) -> Mapping[str, str]:
        """What is kept of the account's password: ``{SCHEME}value`` by scheme; nothing for an unknown account."""
        with self.transaction("read") as connection:
            return read_verifiers(connection, name)

    def _make(self) -> None:
        """Raises `OSError`."""
        descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            if os.geteuid() == 0:
                # Made by an administrator, it is still for whoever serves it.
                owner = os.stat(self.path.absolute().parent)
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        finally:
            os.close(descriptor)

    @contextmanager
    def transaction(self, purpose: Literal["read", "write", "create"]) -> Iterator[sqlite3.Connection]:
        """A transaction at the newest schema: committed at the end, rolled back on an exception."""
        try:
            if purpose == "create":
                with suppress(FileExistsError):
                    self._make()
            uri = f"{self.path.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(uri, timeout=LOCK_SECONDS, isolation_level=None, uri=True)) as connection:
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA synchronous = FULL")
                _migrate(connection)
                connection.execute("BEGIN" if purpose == "read" else "BEGIN IMMEDIATE")
                with connection:
                    yield connection
        except OSError as error:
            raise DatabaseUnusable(f"{self.path}: {error.strerror}") from error
        except sqlite3.Error as error:
            if not os.path.lexists(self.path):
                raise DatabaseUnusable(f"{self.path}: is not there; popserv user add NAME makes it") from error
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            kind = DatabaseBusy if code in _TEMPORARY else DatabaseUnusable
            raise kind(f"{self.path}: {error}") from error
        except DatabaseUnusable as error:
            raise DatabaseUnusable(f"{self.path}: {error}") from None


_SELECT = "SELECT name, location, home, enabled, created, main_password, mechanisms FROM accounts"


def read_account(connection: sqlite3.Connection, name: str) -> AccountRecord | None:
    """The account of this name, or None, in a transaction that is open."""
    row = connection.execute(f"{_SELECT} WHERE name = ?", (name,)).fetchone()
    return None if row is None else _record(row)


def read_verifiers(connection: sqlite3.Connection, name: str) -> Mapping[str, str]:
    """``{SCHEME}value`` by scheme, in a transaction that is open."""
    rows = connection.execute("SELECT scheme, value FROM verifiers WHERE account = ?", (name,))
    return {scheme: f"{{{scheme}}}{value}" for scheme, value in rows}


def _record(row: tuple[str, str, str, int, str, int, str]) -> AccountRecord:
    name, location, home, enabled, created, main_password, mechanisms = row
    return AccountRecord(
        name, location, home, bool(enabled), created, bool(main_password), frozenset(mechanisms.split())
    )


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        # Read again: another process may have been faster.
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise DatabaseUnusable(f"its schema is version {version}, this popserv knows {len(MIGRATIONS)}: upgrade it")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def expect_account(connection: sqlite3.Connection, name: str) -> None:
    """Raises `NoSuchAccount` if there is none of this name."""
    if connection.execute("SELECT 1 FROM accounts WHERE name = ?", (name,)).fetchone() is None:
        raise NoSuchAccount("there is no account of this name")


def _verifiers(password: bytes) -> list[tuple[str, str]]:
    made = (hash_password(password, scheme) for scheme in VERIFIER_SCHEMES)
    return [(scheme, value.removeprefix(f"{{{scheme}}}")) for scheme, value in zip(VERIFIER_SCHEMES, made, strict=True)]


def _write_verifiers(connection: sqlite3.Connection, name: str, verifiers: Sequence[tuple[str, str]]) -> None:
    connection.executemany(
        "INSERT INTO verifiers (account, scheme, value) VALUES (?, ?, ?)",
        [(name, scheme, value) for scheme, value in verifiers],
    )
