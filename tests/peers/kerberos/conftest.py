"""One realm for the folder, and one popserv in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.kerberos import realm as kerberos
from tests.peers.kerberos.realm import Realm, configuration, prepared
from tests.peers.service import Served, serving


@pytest.fixture(scope="session")
def realm() -> Iterator[Realm]:
    """A running KDC, which this process and its children ask for tickets."""
    with kerberos.running() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KRB5_CONFIG", running.environment["KRB5_CONFIG"])
        yield running


@pytest.fixture(scope="session")
def served(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A popserv with a message for fred, over TLS and in the clear."""
    directory = prepared(tmp_path_factory.mktemp("kerberos"))
    with serving(directory, configuration(realm.keytab)) as running:
        yield running


@pytest.fixture(scope="session")
def fred(realm: Realm) -> dict[str, str]:
    """The environment of a client with tickets of fred."""
    return realm.tickets("fred")
