"""The directory in which popserv keeps what belongs to an mbox: lock, map of ids, index, journal.

It lies beside the mbox, or where the administrator says, and is made when it is needed first.
"""

from __future__ import annotations

import os
from contextlib import suppress

import attrs

from popserv.maildrop.directories import make_directory, sync_upwards

DRAFT_PREFIX = "popserv.incoming."

ABANDONED_SECONDS = 36 * 3600.0
"""A draft that nobody has written to for so long is left from a delivery that was broken off."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.frozen
class Place:
    """Where the mail of one account is."""

    mbox: bytes
    control: bytes
    """The directory of what popserv itself keeps of this mbox."""
    in_place: bool = False
    """Whether messages are cut out of the file where it is, or another file takes its place."""


def open_control(place: Place) -> int:
    """A descriptor of the control directory, which is made if need be. Raises `OSError`."""
    try:
        return os.open(place.control, _DIRECTORY)
    except FileNotFoundError:
        make_directory(place.control)
        descriptor = os.open(place.control, _DIRECTORY)
        try:
            sync_upwards(place.control)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def sweep(control: int, now: float) -> None:
    """Remove drafts that nobody will finish, `now` in seconds since 1970. Never raises."""
    with suppress(OSError):
        for name in os.listdir(control):
            if name.startswith(DRAFT_PREFIX):
                with suppress(OSError):
                    if now - os.stat(name, dir_fd=control, follow_symlinks=False).st_ctime > ABANDONED_SECONDS:
                        os.unlink(name, dir_fd=control)
