"""Real popserv processes for tests: started on free ports, watched line by line, stopped at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

POPSERV = (sys.executable, "-m", "popserv")
TWISTD = (
    sys.executable,
    "-c",
    "from twisted.scripts.twistd import run; run()",
    "--nodaemon",
    "--pidfile=",
    "popserv",
)

SECONDS = 30
"""More than anything here may take."""


class Server:
    """A process whose standard output and error go to files."""

    def __init__(self, command: Sequence[str | Path], directory: Path) -> None:
        self.out, self.err = directory / "out.log", directory / "err.log"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=err, cwd=directory)

    def await_text(self, text: str, times: int = 1) -> str:
        """What has been printed and logged once `text` stands in it so many times."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            said = self.out.read_text() + self.err.read_text()
            if said.count(text) >= times:
                return said
            if self.process.poll() is not None:
                raise AssertionError(f"popserv ended with {self.process.returncode}: {said}")
            time.sleep(0.02)
        raise AssertionError(f"{text!r} did not come: {said}")

    def addresses(self, times: int = 1) -> dict[str, str]:
        """What the ready line says."""
        said = self.await_text("popserv ready ", times)
        line = next(line for line in said.splitlines() if "popserv ready " in line)
        return dict(word.split("=", 1) for word in line.split("popserv ready ")[1].split())

    def port(self, name: str) -> int:
        """The port of the only address that the ready line gives this name."""
        return int(self.addresses()[name].rpartition(":")[2])

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def ends(self) -> int:
        """The exit code."""
        return self.process.wait(SECONDS)


@contextmanager
def server(command: Sequence[str | Path], directory: Path) -> Iterator[Server]:
    started = Server(command, directory)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def popserv(*arguments: str | Path, given: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    command = [*POPSERV, *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "POPSERV_CONFIG"}
    done = subprocess.run(command, input=given, capture_output=True, timeout=SECONDS, cwd=cwd, env=environment)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())
