"""Cutting octets out of an mbox: all of them or none, whatever happens meanwhile.

Another file is written, synced, and put in the place of the first one with its owner, permissions and times. Programs
that lock a file and do not look whether it is still the one of that name are kept away by a dotlock alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from popserv.maildrop.files import write_all
from popserv.maildrop.mbox_control import Place
from popserv.maildrop.mbox_in_place import NotDurable, cut_in_place
from popserv.maildrop.mbox_locks import Locked
from popserv.maildrop.mbox_octets import CHUNK, Octets

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def cut(place: Place, control: int, locked: Locked, cuts: Iterable[tuple[int, int]]) -> os.stat_result:
    """Cut these ranges, in order, each a message or more, out of the locked mbox: what is known of the file then.

    When it returns, it is so across a power failure. Raises `NotDurable`, or any other `OSError`, and then nothing has
    happened, or `popserv.maildrop.mbox_journal.locked_mbox` will see to that.
    """
    return cut_in_place(control, locked, cuts) if place.in_place else _rewrite(place.mbox, locked, cuts)


def _rewrite(path: bytes, locked: Locked, cuts: Iterable[tuple[int, int]]) -> os.stat_result:
    name = new_name(path)
    status = os.fstat(locked.descriptor)
    folder = os.open(os.path.dirname(path), _DIRECTORY)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        descriptor = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            _fill(descriptor, locked, _kept(cuts, status.st_size), status)
            os.rename(name, os.path.basename(path), src_dir_fd=folder, dst_dir_fd=folder)
            found = os.fstat(descriptor)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(descriptor)
        try:
            os.fsync(folder)
        except OSError as error:
            raise NotDurable(error.errno, error.strerror) from error
        return found
    finally:
        os.close(folder)


def new_name(path: bytes) -> bytes:
    """What the mbox at `path` is called until it is complete, in the same directory."""
    return b"." + os.path.basename(path) + b".popserv-new"


def sweep_new(path: bytes) -> None:
    """Remove a file that was never put in the place of the locked mbox at `path`. Never raises."""
    with suppress(OSError):
        os.unlink(os.path.join(os.path.dirname(path), new_name(path)))


def is_replaced(path: bytes, locked: Locked) -> bool:
    """Whether another file is in the place of the one that was locked. Raises `OSError`."""
    return not os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(locked.descriptor))


def _kept(cuts: Iterable[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    position = 0
    for start, end in cuts:
        yield position, start
        position = end
    yield position, size


def _fill(descriptor: int, locked: Locked, kept: Iterable[tuple[int, int]], status: os.stat_result) -> None:
    # First the owner: the mail of one must at no time belong to another.
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, status.st_mode & 0o7777)
    octets = Octets(locked.descriptor, status.st_size)
    for start, end in kept:
        for position in range(start, end, CHUNK):
            write_all(descriptor, octets.get(position, min(position + CHUNK, end)))
            locked.refresh()
    os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.fsync(descriptor)
