"""Faults at every system call: a function runs in a process of its own, in which the n-th call goes wrong.

The calls are real ones until then. A process that is killed is killed by the kernel, in front of the call, or behind
the first half of it if it writes.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator

import attrs

CALLS = (
    "chown",
    "close",
    "fchmod",
    "fchown",
    "fsync",
    "ftruncate",
    "link",
    "mkdir",
    "open",
    "pread",
    "pwrite",
    "rename",
    "rmdir",
    "unlink",
    "utime",
    "write",
)

EVERYTHING = os.environ.get("POPSERV_EVERY_FAULT") == "1"
"""Try every error at every call, instead of one at each that changes something."""

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)


@attrs.frozen
class Fault:
    """What goes wrong at call `number`, from 0 on. `error` 0 is SIGKILL."""

    number: int
    error: int = 0
    half: bool = False
    """The call writes a half of its octets first."""
    lasting: bool = False
    """All later calls that write fail, too, as they do on a full disk."""

    def __str__(self) -> str:
        return f"call {self.number}, {errno.errorcode.get(self.error, 'killed')}{', half written' if self.half else ''}"


@attrs.frozen
class Outcome:
    """What became of the process."""

    answer: str
    """What the function returned; "" if it was killed."""
    calls: tuple[str, ...]
    """The system calls in order."""


def run(function: Callable[[], str], fault: Fault | None = None) -> Outcome:
    """Run it in a process that ends then."""
    answer_read, answer_write = os.pipe()
    calls_read, calls_write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # The pipes are written to by the functions as they were.
            write = os.write
            _inject(fault, lambda name: write(calls_write, name.encode("ascii") + b"\n"))
            write(answer_write, function().encode("ascii"))
            status = 0
        finally:
            os._exit(status)
    os.close(answer_write)
    os.close(calls_write)
    with open(answer_read, "rb") as answer, open(calls_read, "rb") as calls:
        outcome = Outcome(answer.read().decode("ascii"), tuple(calls.read().decode("ascii").split()))
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, f"{fault}: the process broke down"
    return outcome


def _inject(fault: Fault | None, note: Callable[[str], object]) -> None:
    number = -1

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **more: object) -> object:
            nonlocal number
            number += 1
            note(name)
            if fault is not None and _hits(fault, name, number):
                if fault.half and number == fault.number and name in ("write", "pwrite"):
                    descriptor, octets, *rest = arguments
                    assert isinstance(octets, bytes | memoryview)
                    real(descriptor, octets[: len(octets) // 2], *rest)
                if not fault.error:
                    os.kill(os.getpid(), signal.SIGKILL)
                if name == "close":
                    real(*arguments)
                raise OSError(fault.error, os.strerror(fault.error))
            return real(*arguments, **more)

        setattr(os, name, call)

    for name in CALLS:
        wrap(name)


def _hits(fault: Fault, name: str, number: int) -> bool:
    if fault.lasting:
        return number >= fault.number and name in ("write", "pwrite", "mkdir")
    return number == fault.number


def faults(calls: tuple[str, ...]) -> Iterator[Fault]:
    """What to try where these calls are made."""
    for number, name in enumerate(calls):
        if name in ("close", "pread") and not EVERYTHING:
            continue  # to be killed there is to be killed at the next call that changes something
        yield Fault(number)
        if name in ("write", "pwrite"):
            yield Fault(number, half=True)
            yield Fault(number, errno.ENOSPC, half=True, lasting=True)
            if EVERYTHING:
                yield Fault(number, errno.ENOSPC, half=True)
                yield Fault(number, errno.ENOSPC, lasting=True)
        if name != "close":
            for error in ERRORS if EVERYTHING else ERRORS[number % len(ERRORS) :][:1]:
                yield Fault(number, error)
