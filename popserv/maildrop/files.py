"""Files beside the messages: read and written whole, put in the place of others, and owned by who has to use them.

Everything here blocks and raises `OSError`.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

_NEW = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


def read_all(descriptor: int) -> bytes:
    """All of a regular file; anything else is an `OSError`."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError("it is no regular file")
    content = bytearray()
    while chunk := os.pread(descriptor, _CHUNK, len(content)):
        content += chunk
    return bytes(content)


def write_all(descriptor: int, octets: bytes) -> None:
    """Write all of it, however much the kernel takes at a time."""
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_at(descriptor: int, octets: bytes, position: int) -> None:
    """Write all of it at `position`."""
    rest = memoryview(octets)
    while rest:
        count = os.pwrite(descriptor, rest, position)
        rest = rest[count:]
        position += count


def open_owned(name: str, flags: int, folder: int) -> int:
    """A descriptor of the file `name` in the open directory `folder`, which is made, 0600, if it is not there.

    One that root makes belongs to the owner of the directory, whose programs have to be able to use it, too. One that
    is there is left as it is: it may be another name of a file that is none of his. Raises `OSError`.
    """
    while True:
        try:
            return os.open(name, flags, dir_fd=folder)
        except FileNotFoundError:
            with suppress(FileExistsError):
                return create_owned(name, flags, folder)


def create_owned(name: str, flags: int, folder: int) -> int:
    """As `open_owned`, but raises `FileExistsError` if the file is there."""
    descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
    try:
        if os.geteuid() == 0:
            owner = os.fstat(folder)
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
    return descriptor


def write_new(folder: int, name: str, octets: bytes) -> None:
    """Make the file `name` in the open directory `folder`, and sync it. Raises `FileExistsError` if it is there."""
    descriptor = create_owned(name, _NEW, folder)
    try:
        write_all(descriptor, octets)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(folder: int, name: str, octets: bytes) -> None:
    """Let `name` in the open directory `folder` be a file with this content, across a power failure: all or nothing.

    To be called by one at a time. What an interrupted call has left is removed, not written to: it may be another name
    of somebody else's file.
    """
    new = f"{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    write_new(folder, new, octets)
    os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
