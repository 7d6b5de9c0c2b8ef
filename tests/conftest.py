"""For all tests."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How fast the machine is, and what else it does, is nothing that a test can hold.
settings.register_profile("popserv", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("popserv")


@pytest.fixture(scope="session", autouse=True)
def away_from_the_checkout() -> Iterator[None]:
    """Work in a folder of our own: trial's `mktemp` makes its folders where the tests run.

    Its path is short, since the path of a unix socket in it must be.
    """
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        yield
        os.chdir(before)


@pytest.fixture(scope="session", autouse=True)
def reactor_shut_down_at_the_end() -> Iterator[None]:
    """Do what trial's own runner does last: threads that end with the reactor would keep this process alive."""
    yield
    if "twisted.internet.reactor" in sys.modules:
        from twisted.internet import reactor

        reactor.fireSystemEvent("shutdown")
