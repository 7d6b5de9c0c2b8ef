"""One server for the folder; each test begins without people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import trustme

if TYPE_CHECKING:
    from tests.peers.ldap.server import Slapd


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who vouches for the servers."""
    return trustme.CA()


@pytest.fixture(scope="session")
def slapd(authority: trustme.CA) -> Iterator[Slapd]:
    """A running server."""
    # Not before tests ask for it: without python-ldap they are skipped, and this file is read nevertheless.
    from tests.peers.ldap.server import running

    with running(authority) as server:
        yield server
