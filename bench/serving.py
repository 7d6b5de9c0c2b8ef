"""A real server for the benchmarks: popserv in a process of its own, with one account per name."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CONFIGURATION = """\
[server]
hostname = "localhost"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
tls = "off"
[auth]
checkers = {checkers}
cleartext = "loopback"
failure_delay = 0
[maildrop]
location = "maildir:mail/{{user}}"
"""


@contextmanager
def serving(checkers: Sequence[str], files: dict[str, str], accounts: Sequence[str] = ()) -> Iterator[int]:
    """The port of a server whose `checkers` find `files`; `accounts` are made with the password "secret"."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for file, content in files.items():
            (directory / file).write_text(content)
        config = directory / "popserv.toml"
        config.write_text(CONFIGURATION.format(checkers=list(checkers)).replace("'", '"'))
        popserv = [sys.executable, "-m", "popserv"]
        for account in accounts:
            command = [*popserv, "user", "add", account, "--password-stdin", "--config", config]
            subprocess.run(command, input=b"secret\n", check=True)
        with started(config) as (ports, _):
            yield ports["pop3"]


@contextmanager
def started(config: Path) -> Iterator[tuple[dict[str, int], int]]:
    """The ports, by the names that the ready line has for them, and the process id of a server with this configuration.

    Its log goes to ``popserv.log`` beside that.
    """
    with open(config.with_suffix(".log"), "ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "popserv", "run", "--config", config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert server.stdout is not None
        found = re.findall(r"(\w+)=127\.0\.0\.1:(\d+)", server.stdout.readline())
        assert found
        yield {name: int(port) for name, port in found}, server.pid
    finally:
        server.terminate()
        server.wait(40)
