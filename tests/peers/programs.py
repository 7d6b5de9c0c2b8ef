"""Servers of others as a test has them: found, started on loopback, frozen, stopped."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest

START_SECONDS = 30


def program(name: str, *folders: str) -> str:
    """Its path. Without it the test is skipped, or fails where every peer has to be there."""
    for folder in folders:
        for path in sorted(Path("/").glob(folder.lstrip("/")), reverse=True):
            if (path / name).exists():
                return str(path / name)
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        missing(name)
    return found


def library(name: str) -> Any:
    """The module of this name, which an extra brings; without it as `program`, for a whole test module."""
    try:
        return import_module(name)
    except ImportError:
        missing(name)


def missing(name: str) -> NoReturn:
    """Skip the test, or the module that is being collected; or let it fail where every peer has to be there."""
    if os.environ.get("POPSERV_REQUIRE_PEERS") == "1":
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed", allow_module_level=True)


@contextmanager
def folder_of(user: str | None) -> Iterator[Path]:
    """A new folder with a short path, which belongs to this user; None = us."""
    with tempfile.TemporaryDirectory(prefix="popserv-") as name:
        if user is not None:
            entry = pwd.getpwnam(user)
            os.chown(name, entry.pw_uid, entry.pw_gid)
        yield Path(name)


def unprivileged(user: str) -> str | None:
    """`user` when we are root, for servers that refuse to be; else None, for ourselves."""
    return user if os.getuid() == 0 else None


def free_port() -> int:
    """A TCP port of loopback that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Server:
    """A server process that can be stopped, started again, and frozen."""

    def __init__(self, command: Sequence[str], ready: Callable[[], bool], log: Path, user: str | None = None) -> None:
        self._command = command
        self._ready = ready
        self._log = log
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        if self._process is not None:
            return
        groups: dict[str, object] = {}
        if self._user is not None:
            groups = {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **groups
            )  # type: ignore[call-overload]
        end = time.monotonic() + START_SECONDS
        while not self._ready():
            assert self._process.poll() is None, self._log.read_text("utf-8", "replace")[-2000:]
            assert time.monotonic() < end, f"{self._command[0]} does not answer"
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            self._signal(process.pid, signal.SIGCONT)
            process.send_signal(number)
            try:
                process.wait(10)
            finally:
                process.kill()
                process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there and takes connections, as far as the kernel does that, and says nothing."""
        assert self._process is not None
        self._signal(self._process.pid, signal.SIGSTOP)
        # A thread that is on another processor stops a moment later, and until then still answers.
        while not self._stopped(self._process.pid):
            time.sleep(0.01)
        try:
            yield
        finally:
            self._signal(self._process.pid, signal.SIGCONT)

    @staticmethod
    def _stopped(pid: int) -> bool:
        """Whether every thread is."""
        states = [
            (task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()
        ]
        return all(state in "Tt" for state in states)

    def _signal(self, pid: int, number: signal.Signals) -> None:
        """To the process and its children."""
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for each in (pid, *map(int, children)):
                os.kill(each, number)
        except (FileNotFoundError, ProcessLookupError):
            pass
