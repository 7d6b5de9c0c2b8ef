"""One provider for the folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.oauth.provider import OidcProvider, running


@pytest.fixture(scope="session")
def provider() -> Iterator[OidcProvider]:
    """A running one."""
    with running() as started:
        yield started
