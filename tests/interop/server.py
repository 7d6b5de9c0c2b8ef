"""A real popserv, in a process of its own, as `popserv quickstart` starts it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import attrs

from .running import ServerAddress

START_SECONDS = 60
STOP_SECONDS = 40
"""More than `drain_seconds`."""
SCRIPTS = Path(__file__).parent / "scripts"
POPSERV = (sys.executable, "-m", "popserv")


@attrs.frozen
class Popserv:
    """A running server with an empty directory of accounts but for `demo`."""

    directory: Path
    pop3: ServerAddress
    lmtp: tuple[str, int]
    password_file: Path

    @property
    def password(self) -> str:
        """The password of every account."""
        return self.password_file.read_text().rstrip("\n")

    def add_account(self, name: str) -> None:
        """Make an account, as an administrator would beside the running server."""
        self._run(["user", "add", name, "--password-file", str(self.password_file)])

    def deliver(self, name: str, message: bytes) -> None:
        """Hand in one message through `popserv deliver`."""
        self._run(["deliver", name], message)

    def deliver_each(self, name: str, messages: Sequence[bytes], folder: Path) -> None:
        """Hand in all of them, one `popserv deliver` each, in order; `folder` is empty and holds them then."""
        for number, message in enumerate(messages):
            (folder / f"{number:06}").write_bytes(message)
        command = [sys.executable, str(SCRIPTS / "deliver_each.py"), str(self.directory / "popserv.toml"), name, folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
        assert done.returncode == 0, done.stdout

    def _run(self, arguments: Sequence[str], given: bytes = b"") -> None:
        # `--config` belongs to the verb, so it stands behind it.
        verb = 2 if arguments[0] == "user" else 1
        config = ["--config", str(self.directory / "popserv.toml")]
        command = [*POPSERV, *arguments[:verb], *config, *arguments[verb:]]
        done = subprocess.run(
            command, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
        )
        assert done.returncode == 0, f"popserv {arguments[0]} ended with {done.returncode}: {done.stdout!r}"


@contextmanager
def running(directory: Path, password: str) -> Iterator[Popserv]:
    """Start popserv on free ports of loopback, and stop it at the end; it must stop by itself, with exit code 0."""
    password_file = directory / "password-given"
    password_file.touch(0o600)
    password_file.write_text(password + "\n")
    data = directory / "data"
    command = [*POPSERV, "quickstart", "--dir", str(data), "--user", "demo", "--password-file", str(password_file)]
    command += ["--pop3", "0", "--pop3s", "0", "--lmtp", "0"]
    log_path = directory / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        ports = _wait_until_ready(process.stdout, log_path)
        address = ServerAddress("localhost", ports["pop3"], ports["pop3s"], data / "cert.pem")
        yield Popserv(data, address, ("127.0.0.1", ports["lmtp"]), password_file)
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0, log_path.read_text()[-2000:]
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(output: IO[bytes], log: Path) -> dict[str, int]:
    ready: list[bytes] = []
    seen = threading.Event()

    def read() -> None:
        for line in output:
            if b"popserv ready " in line:
                ready.append(line)
                seen.set()
        seen.set()

    # It reads on to the end, so that the server never waits for a full pipe.
    threading.Thread(target=read, daemon=True).start()
    assert seen.wait(START_SECONDS), "popserv was not ready in time"
    assert ready, f"popserv ended before it was ready: {log.read_text()[-2000:]}"
    return {name.decode(): int(port) for name, port in re.findall(rb"(\w+)=127\.0\.0\.1:(\d+)", ready[0])}
