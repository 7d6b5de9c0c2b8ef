"""One server for the whole folder, with every message delivered to it once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .. import corpus
from . import maildrops
from .maildrops import Served
from .server import Popserv, running


@pytest.fixture(scope="session")
def popserv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Popserv]:
    """A running server."""
    with running(tmp_path_factory.mktemp("interop"), "correct horse 7") as server:
        yield server


@pytest.fixture(scope="session")
def served(popserv: Popserv, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    """By account, what was delivered and what the server then showed over a plain socket."""
    return {
        account.name: maildrops.fill(popserv, account, tmp_path_factory.mktemp(account.name))
        for account in maildrops.ACCOUNTS
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud what was not there to be tested."""
    for reason in corpus.absent():
        terminalreporter.write_line(f"interop: {reason}")


def required() -> bool:
    """Whether a client that is not installed is a failure (the test command says so) instead of a skip."""
    return os.environ.get("POPSERV_REQUIRE_PEERS") == "1"
