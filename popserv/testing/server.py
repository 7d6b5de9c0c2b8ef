"""A real popserv in a process of its own, on loopback and free ports, for tests of clients."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import attrs


@attrs.frozen
class Pop3Server:
    """Where a running server is and who may log in."""

    host: str
    pop3: int
    """Port with STLS; passwords are taken in the clear, since it is loopback."""
    pop3s: int
    """Port with implicit TLS."""
    lmtp: int
    """Port for delivery."""
    user: str
    password: str = attrs.field(repr=False)
    cafile: Path
    """Certificate to trust, for the name ``localhost``."""
    directory: Path
    """Holds ``popserv.toml``, the accounts and the mail."""
    process: subprocess.Popen[str] = attrs.field(repr=False)


def _ports(ready: str) -> dict[str, int]:
    words = ready.split("popserv ready ", 1)[1].split()
    return {name: int(address.rpartition(":")[2]) for name, _, address in (word.partition("=") for word in words)}


def _await_ready(process: subprocess.Popen[str]) -> dict[str, int]:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        if "popserv ready " in line:
            return _ports(line)
        said.append(line)
    raise RuntimeError("popserv did not start: " + "".join(said))


@contextmanager
def running_server(directory: Path, user: str = "demo", password: str = "a quiet word") -> Iterator[Pop3Server]:  # noqa: S107
    """Start a server that keeps everything in `directory`, and stop it at the end.

    Raises `RuntimeError`, with what it printed, if it does not start.
    """
    secret = directory / "chosen-password"
    secret.write_text(password + "\n")
    arguments = ["--dir", directory, "--pop3", "0", "--pop3s", "0", "--lmtp", "0"]
    command = [sys.executable, "-m", "popserv", "quickstart", *arguments, "--user", user, "--password-file", secret]
    with subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            ports = _await_ready(process)
            # Nobody reads what it says from here on, and it must not wait for a reader.
            Thread(target=deque, args=(process.stdout, 0), daemon=True).start()
            yield Pop3Server(
                host="127.0.0.1",
                user=user,
                password=password,
                cafile=directory / "cert.pem",
                directory=directory,
                process=process,
                **ports,
            )
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
