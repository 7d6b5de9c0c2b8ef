"""Application passwords: several for an account, made here, each for one program, and each bounded in what it opens.

They are long and random, so a single salted hash is enough to keep them by; what a person chooses is not.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_network

import attrs

from popserv.auth.account_database import AccountsError, Database, expect_account
from popserv.auth.networks import Network, admits
from popserv.auth.passwords import hash_password, verify

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 characters that are not taken for each other."""

GROUPS, GROUP_CHARACTERS = 5, 4
"""Together 100 bits."""

SCHEME = "SSHA512"

TOUCH_SECONDS = 3600.0
"""`last_used` is written at most so often: a poller must not cost a write each time."""

_TIME = "%Y-%m-%d %H:%M:%S"
_SEPARATORS = re.compile(rb"[ -]")


class LabelTaken(AccountsError):
    """The account has an application password of this label already."""


class NoSuchLabel(AccountsError):
    """The account has no application password of this label."""


@attrs.frozen
class AppPassword:
    """One of them, without the password. Times are UTC, ``YYYY-MM-DD HH:MM:SS``, "" for never."""

    label: str
    created: str
    expires: str = ""
    networks: tuple[Network, ...] = ()
    """Where it may be used from; none given: anywhere."""
    protocols: tuple[str, ...] = ("pop3",)
    last_used: str = ""
    last_address: str = ""
    stored: str = attrs.field(default="", repr=False)

    def opens(self, password: bytes, address: str, protocol: str, now: float) -> bool:
        """Whether it is this password, and may be used from this address, for this protocol, at `now` (since 1970)."""
        return (
            verify(self.stored, normal(password))
            and protocol in self.protocols
            and not (self.expires and self.expires <= _text(now))
            and (not self.networks or admits(self.networks, address))
        )

    def is_due(self, address: str, now: float) -> bool:
        """Whether a use at `now` is worth being written down."""
        return self.last_address != address or self.last_used <= _text(now - TOUCH_SECONDS)


def normal(password: bytes) -> bytes:
    """As it is hashed, however a person has copied it: without spaces and hyphens, in lower case."""
    return _SEPARATORS.sub(b"", password).lower()


def generate() -> str:
    """A new password, in groups for people to read."""
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(GROUP_CHARACTERS)) for _ in range(GROUPS))
    return "-".join(groups)


@attrs.frozen
class AppPasswords:
    """Those of one database. Blocks; raises as `Database` does."""

    database: Database

    def add(
        self,
        name: str,
        label: str,
        *,
        expires: float | None = None,
        networks: Sequence[Network] = (),
        protocols: Sequence[str] = ("pop3",),
    ) -> str:
        """Make one for the account `name`; `expires` is in seconds since 1970. The password, which is kept nowhere.

        Raises `NoSuchAccount` and `LabelTaken`.
        """
        password = generate()
        stored = hash_password(normal(password.encode("ascii")), SCHEME)
        row = (
            name,
            label,
            stored,
            "" if expires is None else _text(expires),
            " ".join(map(str, networks)),
            " ".join(protocols),
        )
        with self.database.transaction("write") as connection:
            expect_account(connection, name)
            try:
                connection.execute(
                    "INSERT INTO app_passwords (account, label, stored, expires, networks, protocols)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    row,
                )
            except sqlite3.IntegrityError:
                raise LabelTaken("there is an application password of this label already") from None
        return password

    def remove(self, name: str, label: str) -> None:
        """Make it open nothing any more. Raises `NoSuchAccount` and `NoSuchLabel`."""
        with self.database.transaction("write") as connection:
            expect_account(connection, name)
            done = connection.execute("DELETE FROM app_passwords WHERE account = ? AND label = ?", (name, label))
            if not done.rowcount:
                raise NoSuchLabel("there is no application password of this label")

    def list(self, name: str) -> list[AppPassword]:
        """Those of the account `name`, the oldest first. Raises `NoSuchAccount`."""
        with self.database.transaction("read") as connection:
            expect_account(connection, name)
            return read(connection, name)

    def touch(self, name: str, label: str, address: str, now: float) -> None:
        """Note that it was used, from `address`, at `now` (seconds since 1970)."""
        with self.database.transaction("write") as connection:
            connection.execute(
                "UPDATE app_passwords SET last_used = ?, last_address = ? WHERE account = ? AND label = ?",
                (_text(now), address, name, label),
            )


def read(connection: sqlite3.Connection, name: str) -> list[AppPassword]:
    """Those of the account `name`, the oldest first, in a transaction that is open."""
    rows = connection.execute(
        "SELECT label, created, expires, networks, protocols, last_used, last_address, stored FROM app_passwords"
        " WHERE account = ? ORDER BY created, label",
        (name,),
    )
    return [_record(*row) for row in rows]


def _record(label: str, created: str, expires: str, networks: str, protocols: str, *rest: str) -> AppPassword:
    admitted = tuple(ip_network(text) for text in networks.split())
    return AppPassword(label, created, expires, admitted, tuple(protocols.split()), *rest)


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME)
