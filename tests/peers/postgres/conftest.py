"""One server for the folder; each test has a database of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.postgres.server import Postgres, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running server."""
    with running() as server:
        yield server
