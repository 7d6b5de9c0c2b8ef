"""Everything a first server needs, in one directory: configuration, certificate, an account with a message."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime
from pathlib import Path
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred

from popserv.auth import passwords
from popserv.auth.account_database import Database
from popserv.auth.names import prepare, prepare_password
from popserv.pools import InlinePool
from popserv.service.access import open_store
from popserv.service.certificate import self_signed
from popserv.service.config import load
from popserv.service.endpoints import parse
from popserv.service.schema import Config

T = TypeVar("T")

HOST = "127.0.0.1"

PORTS: Mapping[str, int] = {"pop3": 8110, "pop3s": 8995, "lmtp": 8024}
"""By the name in the ready line."""

CONFIGURATION = """\
# Made by `popserv quickstart`, for trying out: everything on loopback, with a certificate of its own making.
# `popserv config describe` prints all keys.

[server]
hostname = "localhost"

[[listen]]
protocol = "pop3"
endpoint = "tcp:{pop3}:interface=127.0.0.1"
tls = "starttls"

[[listen]]
protocol = "pop3"
endpoint = "tcp:{pop3s}:interface=127.0.0.1"
tls = "implicit"

[[listen]]
protocol = "lmtp"
endpoint = "tcp:{lmtp}:interface=127.0.0.1"

[tls]
certificate = "cert.pem"
key = "key.pem"

[auth]
checkers = ["sqlite:accounts.db"]
cleartext = "loopback"

[maildrop]
location = "maildir:mail/{{user}}"
"""

WELCOME = """\
Welcome to popserv.

This message lies in a Maildir under mail/, beside popserv.toml. It came
there as any other will: by LMTP, here on port {lmtp}, or from

    popserv deliver NAME < message

`popserv user add` adds accounts. For a server on the network, begin with
what `popserv config describe` prints.
"""


class QuickstartTrouble(Exception):
    """It cannot be made, or not as asked for; each of `lines` says one reason."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


@attrs.frozen
class Place:
    """The directory and what stands in it."""

    directory: Path

    @property
    def configuration(self) -> Path:
        return self.directory / "popserv.toml"

    @property
    def draft(self) -> Path:
        """The configuration while the rest is being made."""
        return self.configuration.with_suffix(".new")

    @property
    def certificate(self) -> Path:
        return self.directory / "cert.pem"

    @property
    def key(self) -> Path:
        return self.directory / "key.pem"

    @property
    def password(self) -> Path:
        """Holds the password if we chose it."""
        return self.directory / "password"

    @property
    def accounts(self) -> Database:
        return Database(self.directory / "accounts.db")


def make(place: Place, name: str, password: bytes | None, ports: Mapping[str, int]) -> Config:
    """Make everything; the configuration comes last, so that a second call finishes what a first one did not.

    `name` is a prepared account name. Without a password one is chosen. Ports are keyed as `PORTS`; 0 is any free one.
    Raises `QuickstartTrouble`.
    """
    _refuse_twins(ports)
    _refuse_others_files(place)
    with ExitStack() as held:
        taken = {kind: _take(held, kind, port) for kind, port in ports.items()}
        place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The sign that what follows is ours, should we not come to the end.
        _write(place.draft, CONFIGURATION.format(**taken).encode("ascii"), 0o644)
        if password is None:
            password = secrets.token_urlsafe(12).encode("ascii")
            _write(place.password, password + b"\n", 0o600)
        certificate, key = self_signed(["localhost", HOST, "::1"])
        _write(place.key, key, 0o600)
        _write(place.certificate, certificate, 0o644)
        _set_password(place.accounts, name, password)
        config = load(place.draft)
        _deliver(config, name, welcome(name, taken["lmtp"]))
        place.draft.rename(place.configuration)
        return config


def _refuse_twins(ports: Mapping[str, int]) -> None:
    """Raises `QuickstartTrouble` if two of them are one port."""
    kinds: dict[int, str] = {}
    for kind, port in ports.items():
        if port and kinds.setdefault(port, kind) != kind:
            raise QuickstartTrouble(f"--{kind}: {port} is that of --{kinds[port]}, too")


def _refuse_others_files(place: Place) -> None:
    """Raises `QuickstartTrouble` if there is anything that would be written over, and is not ours."""
    if os.path.lexists(place.draft):
        return
    files = (place.key, place.certificate, place.password, place.accounts.path)
    wrong = [f"{file}: is there already, and is not from here" for file in files if os.path.lexists(file)]
    if wrong:
        raise QuickstartTrouble(*wrong)


def _take(held: ExitStack, kind: str, port: int) -> int:
    """Hold the port until all are chosen, so that none is chosen twice."""
    taken = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
    except OSError as error:
        hint = f"choose another with --{kind}, or 0 for any free one"
        raise QuickstartTrouble(f"{HOST}:{port} cannot be used for {kind}: {error.strerror}; {hint}") from None
    return int(taken.getsockname()[1])


def _write(path: Path, octets: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(octets)


def _set_password(accounts: Database, name: str, password: bytes) -> None:
    accounts.create()
    if accounts.find(name) is None:
        accounts.add(name, password)
    else:
        accounts.passwd(name, password)


def _deliver(config: Config, name: str, message: bytes) -> None:
    store = open_store(config, InlinePool())
    account = _result(store.directory.account(name.encode("utf-8")))
    assert account is not None  # noqa: S101 - it has just been made
    incoming = _result(store.delivery.begin(account))
    _result(incoming.write(message))
    _result(incoming.commit())


def _result(deferred: Deferred[T]) -> T:
    """What a Deferred has fired with, as all do that need an `InlinePool` only. Raises what it failed with."""
    results: list[Any] = []
    failures: list[Any] = []
    deferred.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    result: T = results[0]
    return result


def welcome(name: str, lmtp: int) -> bytes:
    """The first message."""
    message = EmailMessage(policy=SMTP)
    message["From"] = "popserv <postmaster@localhost>"
    plain = re.fullmatch(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*", name)
    message["To"] = f"{name}@localhost" if plain else "undisclosed-recipients:;"
    message["Subject"] = "Welcome"
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = f"<welcome.{secrets.token_hex(8)}@localhost>"
    message.set_content(WELCOME.format(lmtp=lmtp), cte="7bit")
    return message.as_bytes()


def ports_of(config: Config) -> dict[str, int]:
    """The ports that a configuration of ours has, keyed as `PORTS`."""
    found = {}
    for listen in config.listeners:
        kind = "pop3s" if listen.tls == "implicit" else listen.protocol
        found[kind] = parse(listen.endpoint).port
    return found


def first_account(place: Place) -> str:
    """The account that was made with the directory: the oldest one."""
    accounts = sorted(place.accounts.list(), key=lambda account: account.created)
    if not accounts:
        raise QuickstartTrouble(f"{place.accounts.path}: holds no account")
    return accounts[0].name


def has_password(place: Place, name: str, password: bytes) -> bool:
    """Whether there is such an account with this password."""
    stored = place.accounts.verifiers(name).get("ARGON2ID")
    return stored is not None and passwords.verify(stored, prepare_password(password))


def account_name(typed: str) -> str:
    """The prepared name. Raises `InvalidName`, and `QuickstartTrouble` for one that curl could not be given."""
    name = prepare(typed.encode("utf-8", "surrogateescape"))
    if ":" in name:
        raise QuickstartTrouble("--user: curl takes no name with a colon in it")
    return name
