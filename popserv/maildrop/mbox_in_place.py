"""Cutting octets out of an mbox where it is, for folders in which no other file can be put in its place.

Before anything is written, all octets that will move are on the disk in ``popserv.undo``. Then what stays is written
over what was there, a token that nobody else can know right behind it, and the file is cut off in front of the token.
An undo file that is found has been left by a process that was killed or by a power failure. If the file was cut off,
all is done; if the token, or a part of what was to be written, stands where it was to be, the old octets are put back,
and what another program has appended meanwhile stays as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from secrets import token_bytes
from typing import Any

import attrs
from twisted.logger import Logger

from popserv.maildrop.files import write_all, write_at
from popserv.maildrop.mbox_locks import Locked
from popserv.maildrop.mbox_octets import CHUNK, Octets

UNDO_NAME = "popserv.undo"

_NEW_NAME = "popserv.undo.new"
KEPT_NAME = "popserv.undo.kept"
_TOKEN_OCTETS = 16  # fewer than any message has with its From_ line
_LENGTH_OCTETS = 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

log = Logger()

Range = tuple[int, int]


class NotDurable(OSError):
    """It has been done, and a power failure may undo it."""


@attrs.frozen
class Plan:
    """What is to be done to a file."""

    device: int
    inode: int
    size: int
    cuts: tuple[Range, ...]
    """In order; positions in the file."""
    token: bytes

    @property
    def start(self) -> int:
        """Where it begins to change."""
        return self.cuts[0][0]

    @property
    def new_size(self) -> int:
        return self.size - sum(end - start for start, end in self.cuts)

    def written(self, old: Octets, base: int) -> Iterator[bytes]:
        """What is written from `start` on, in pieces: what stays, and the token.

        Position 0 of `old` has the octet that was at `base` of the file.
        """
        position = self.start
        for start, end in (*self.cuts, (self.size, self.size)):
            yield from old.chunks(position - base, start - base)
            position = end
        yield self.token


def cut_in_place(control: int, locked: Locked, cuts: Iterable[Range]) -> os.stat_result:
    """Cut these ranges, in order, each a message or more, out of the locked mbox: what is known of it then.

    When it returns, it is so across a power failure. Raises `NotDurable`, or any other `OSError`, and then nothing has
    happened, or `undo` will see to that.
    """
    status = os.fstat(locked.descriptor)
    plan = Plan(status.st_dev, status.st_ino, status.st_size, tuple(cuts), token_bytes(_TOKEN_OCTETS))
    old = Octets(locked.descriptor, status.st_size)
    _write_undo(control, plan, old, locked)
    try:
        position = plan.start
        # Whatever is still to be read lies behind what has been written.
        for octets in plan.written(old, 0):
            write_at(locked.descriptor, octets, position)
            position += len(octets)
            locked.refresh()
        os.fsync(locked.descriptor)
        os.ftruncate(locked.descriptor, plan.new_size)
    except OSError:
        with suppress(OSError):
            undo(control, locked)
        raise
    try:
        os.fsync(locked.descriptor)
    except OSError as error:
        raise NotDurable(error.errno, error.strerror) from error
    with suppress(OSError):
        _forget(control)
    return os.fstat(locked.descriptor)


def undo(control: int, locked: Locked) -> None:
    """Bring the locked mbox in order if it was left half cut. Raises `OSError`."""
    try:
        descriptor = os.open(UNDO_NAME, _READ, dir_fd=control)
    except FileNotFoundError:
        return
    try:
        undone = _is_undone(descriptor, locked)
    finally:
        os.close(descriptor)
    if undone:
        _forget(control)
    else:
        log.error("an mbox that was left half cut has been changed: its old octets are in {name}", name=KEPT_NAME)
        os.rename(UNDO_NAME, KEPT_NAME, src_dir_fd=control, dst_dir_fd=control)


def _forget(control: int) -> None:
    os.unlink(UNDO_NAME, dir_fd=control)
    os.fsync(control)


def _write_undo(control: int, plan: Plan, old: Octets, locked: Locked) -> None:
    facts = json.dumps({**attrs.asdict(plan), "token": plan.token.hex()}).encode("ascii")
    descriptor = os.open(_NEW_NAME, _WRITE, 0o600, dir_fd=control)
    try:
        write_all(descriptor, b"%0*d\n" % (_LENGTH_OCTETS, len(facts)) + facts)
        for octets in old.chunks(plan.start, plan.size):
            write_all(descriptor, octets)
            locked.refresh()
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(_NEW_NAME, UNDO_NAME, src_dir_fd=control, dst_dir_fd=control)
    os.fsync(control)


def _read_undo(descriptor: int) -> tuple[Plan, Octets, int]:
    """The plan, the undo file, and the position in the mbox of what is first in it. Raises `ValueError`."""
    octets = Octets(descriptor, os.fstat(descriptor).st_size)
    facts = _LENGTH_OCTETS + 1 + int(octets.get(0, _LENGTH_OCTETS))
    known: dict[str, Any] = json.loads(octets.get(_LENGTH_OCTETS + 1, facts))
    cuts = tuple((int(start), int(end)) for start, end in known["cuts"])
    plan = Plan(known["device"], known["inode"], known["size"], cuts, bytes.fromhex(known["token"]))
    return plan, octets, plan.start - facts


def _is_undone(descriptor: int, locked: Locked) -> bool:
    """Whether the mbox is in order now; False if it is not what was left half cut."""
    try:
        plan, old, base = _read_undo(descriptor)
    except (ValueError, LookupError, TypeError):
        return False
    status = os.fstat(locked.descriptor)
    if (status.st_dev, status.st_ino) != (plan.device, plan.inode):
        return False
    now = Octets(locked.descriptor, status.st_size)
    if status.st_size < plan.size or not _is_mixture(plan, old, base, now):
        return _is_cut(plan, old, base, now)
    position = plan.start
    for octets in old.chunks(plan.start - base, min(plan.new_size + _TOKEN_OCTETS, plan.size) - base):
        write_at(locked.descriptor, octets, position)
        position += len(octets)
    os.fsync(locked.descriptor)
    return True


def _is_mixture(plan: Plan, old: Octets, base: int, now: Octets) -> bool:
    """Whether each octet is what it was or what it was to be, and those behind them are what they were."""
    position = plan.start
    for octets in plan.written(old, base):
        end = position + len(octets)
        were, are = old.get(position - base, end - base), now.get(position, end)
        if are not in (were, octets) and any(
            one not in (before, after) for one, before, after in zip(are, were, octets, strict=True)
        ):
            return False
        position = end
    for end in range(position + CHUNK, plan.size + CHUNK, CHUNK):
        end = min(end, plan.size)
        if now.get(position, end) != old.get(position - base, end - base):
            return False
        position = end
    return True


def _is_cut(plan: Plan, old: Octets, base: int, now: Octets) -> bool:
    """Whether all that stays is where it was to be, and the file was cut off behind it."""
    if now.size < plan.new_size:
        return False
    position = plan.start
    for octets in plan.written(old, base):
        same = now.get(position, position + len(octets)) == octets
        position += len(octets)
        if position > plan.new_size:
            return not same
        if not same:
            return False
    return False
