"""File descriptors: as many as we may have, and no more connections than they allow."""

from __future__ import annotations

import resource

import attrs
from twisted.logger import Logger

from popserv.limits import Limits

log = Logger()

RESERVED = 64
"""For files, sockets that listen, pipes."""

PER_CONNECTION = 4
"""The socket, the lock of a maildrop (two), and a message."""


DELIVERIES_SHARE = 5
"""One in so many is for messages on their way in."""


def raise_descriptors() -> None:
    """Raise the soft limit of open files to the hard one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def fit(limits: Limits) -> Limits:
    """`limits` with no more connections than the open files allow; says so if that is fewer than configured."""
    most, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return limits
    deliveries = min(limits.deliveries, max((most - RESERVED) // DELIVERIES_SHARE, 1))
    limits = attrs.evolve(limits, deliveries=deliveries)
    possible = max((most - RESERVED - deliveries) // PER_CONNECTION, 1)
    if limits.connections <= possible:
        return limits
    log.warn(
        "limits.connections lowered from {configured} to {possible}: at most {files} files may be open",
        configured=limits.connections,
        possible=possible,
        files=most,
    )
    return attrs.evolve(limits, connections=possible)
