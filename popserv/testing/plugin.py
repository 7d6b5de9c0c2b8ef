"""The pytest plug-in: the fixture ``pop3_server``. Found by its entry point; imports nothing before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from popserv.testing.server import Pop3Server


@pytest.fixture
def pop3_server(tmp_path: Path) -> Iterator[Pop3Server]:
    """A running server with one account and one message; see `popserv.testing.server.Pop3Server`."""
    from popserv.testing.server import running_server

    with running_server(tmp_path) as server:
        yield server
