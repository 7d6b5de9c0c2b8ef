"""How a client program is run, and how what it fetched is collected."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

Security = Literal["plain", "stls", "tls"]
TIMEOUT = 90
"""Seconds that any client may take for a whole maildrop."""


@attrs.frozen
class ServerAddress:
    """Where a POP3 server listens, and the certificate that vouches for it."""

    host: str
    plain_port: int
    tls_port: int
    cafile: Path

    def port(self, security: Security) -> int:
        """The port for this kind of protection."""
        return self.tls_port if security == "tls" else self.plain_port


Fetch = Callable[[ServerAddress, Security, str, str, Path], list[bytes]]
"""(server, security, user, password, empty working folder) → messages."""


def run(command: Sequence[str], home: Path, *, input: bytes = b"", success: Sequence[int] = (0,), **more: Any) -> bytes:
    """Run a client to its end and return all it said; `more` in upper case are environment variables."""
    environment = {**os.environ, "HOME": str(home), **{k: v for k, v in more.items() if k.isupper()}}
    options = {k: v for k, v in more.items() if not k.isupper()}
    done = subprocess.run(
        command,
        input=input,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        env=environment,
        cwd=home,
        **options,
    )
    assert done.returncode in success, f"{command[0]} ended with {done.returncode}: {done.stdout[-2000:]!r}"
    return done.stdout


def run_on_terminal(command: Sequence[str], home: Path, idle_key: bytes) -> None:
    """Run a screen program to its end, on a terminal that nobody looks at; `idle_key` is pressed now and then."""
    ours, theirs = pty.openpty()
    environment = {"TERM": "vt100", "PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment, cwd=home
    )
    os.close(theirs)
    screen = bytearray()
    reader = threading.Thread(target=_drain, args=(ours, screen), daemon=True)
    reader.start()
    try:
        code = _wait_pressing(process, ours, idle_key)
    finally:
        process.kill()
        process.wait()
        reader.join(5)
    os.close(ours)
    assert code == 0, f"{command[0]} ended with {code}: {bytes(screen[-1000:])!r}"


def _wait_pressing(process: subprocess.Popen[bytes], terminal: int, key: bytes) -> int | None:
    for _second in range(TIMEOUT):
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:
            os.write(terminal, key)
    return None


def _drain(terminal: int, screen: bytearray) -> None:
    try:
        while octets := os.read(terminal, 4096):
            screen += octets
    except OSError:  # Linux says EIO when the other side is closed
        pass


def private(path: Path, lines: Sequence[str]) -> Path:
    """Write a file that only its owner can read: passwords stand in it."""
    path.touch(0o600)
    path.write_text("\n".join(lines) + "\n")
    return path


def folder(parent: Path, name: str) -> Path:
    """Make a folder."""
    path = parent / name
    path.mkdir()
    return path


def collect(place: Path, number: Callable[[Path], int] = lambda path: int(path.name)) -> list[bytes]:
    """The contents of the files of a folder, in the order of their numbers."""
    return [path.read_bytes() for path in sorted(place.iterdir(), key=number)]
