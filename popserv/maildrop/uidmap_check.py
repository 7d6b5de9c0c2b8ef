"""Whether the durable map of unique-ids is whole, and saving what is good of one that is not."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator

from popserv.maildrop.files import replace, write_new
from popserv.maildrop.findings import Finding, shown
from popserv.maildrop.octet_source import pread_all
from popserv.maildrop.uidmap import MAP_NAME, understood

DAMAGED_NAME = "popserv.uidmap.damaged"
"""What a damaged map is called when a good one has taken its place; with a number behind it from the second on."""

_NEW_NAME = "popserv.uidmap.new"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def check_map(folder: int, settled: bool) -> Iterator[Finding]:
    """What is wrong with the map in the directory `folder`. Blocks; raises `OSError` for a failing disk only.

    `settled` says that no session can be writing to it.
    """
    try:
        content = _content(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        yield Finding("uidmap", f"{MAP_NAME} cannot be read: {error.strerror or error}")
        return
    whole = content.rfind(b"\n") + 1
    lines = content[:whole].splitlines()
    bad = [number for number, line in enumerate(lines, 1) if not _is_good(line)]
    if bad:
        text = f"{MAP_NAME} has lines that are not understood: {len(bad)} of {len(lines)}, the first is line {bad[0]}"
        yield Finding("uidmap", text, f"keep the good lines, and the whole as {DAMAGED_NAME}", lambda: salvage(folder))
    if settled and whole < len(content):
        text = f"{MAP_NAME} ends with a line that was never finished, and whose id nobody was told"
        yield Finding("leftover", text, f"cut it off {MAP_NAME}", lambda: _cut(folder, whole))
    yield from _shared(lines)


def salvage(folder: int) -> None:
    """Let the lines that are understood be the map, and keep the old one beside it. Raises `OSError`.

    To be called where no session can have it open.
    """
    content = _content(folder)
    good = [line + b"\n" for line in content[: content.rfind(b"\n") + 1].splitlines() if _is_good(line)]
    write_new(folder, _free_name(folder), content)
    os.fsync(folder)
    replace(folder, MAP_NAME, b"".join(good))


def _free_name(folder: int) -> str:
    taken = set(os.listdir(folder))
    names = (f"{DAMAGED_NAME}.{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (DAMAGED_NAME, *names) if name not in taken)


def _cut(folder: int, length: int) -> None:
    descriptor = os.open(MAP_NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.ftruncate(descriptor, length)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content(folder: int) -> bytes:
    descriptor = os.open(MAP_NAME, _READ, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        # Of a file with another name nobody knows whose it is.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError("it is no regular file with one name")
        return pread_all(descriptor, found.st_size, 0)
    finally:
        os.close(descriptor)


def _is_good(line: bytes) -> bool:
    try:
        understood(line)
    except ValueError:
        return False
    return True


def _shared(lines: list[bytes]) -> Iterator[Finding]:
    """Ids that the map gives to several names at once."""
    names: dict[bytes, set[bytes]] = defaultdict(set)
    for line in filter(_is_good, lines):
        noted = understood(line)
        if isinstance(noted, bytes):
            names.pop(noted, None)
        else:
            names[noted.unique_id].add(noted.name)
    for unique_id, sharing in names.items():
        if len(sharing) > 1:
            yield Finding("uidmap", f"{MAP_NAME} gives the unique-id {shown(unique_id)} to {len(sharing)} names")
