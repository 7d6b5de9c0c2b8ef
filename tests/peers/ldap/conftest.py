"""One server for the folder; each test begins without people."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trustme

from tests.peers.ldap.server import Slapd, running


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who vouches for the servers."""
    return trustme.CA()


@pytest.fixture(scope="session")
def slapd(authority: trustme.CA) -> Iterator[Slapd]:
    """A running server."""
    with running(authority) as server:
        yield server
