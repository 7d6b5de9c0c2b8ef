"""Where popserv and Dovecot are compared: the same Maildirs for both, one certificate, and a client in C."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import dovecot
from peer import free_port, processes, processor_seconds
from serving import started

HERE = Path(__file__).parent
NOBODY = 65534
LINE = b"The quick brown fox jumps over the lazy dog, and does so again.\n"
DOTTED = b".hidden files begin so, and so do some lines.\n"

CONFIGURATION = """\
[server]
hostname = "localhost"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
tls = "starttls"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
tls = "implicit"
[tls]
certificate = "{certificate}"
key = "{key}"
[auth]
checkers = ["passwd-file:users"]
cleartext = "loopback"
[maildrop]
location = "maildir:mail/{{user}}"
[limits]
connections_per_address = 20000
"""
"""As it is when nothing is said, but for the number of connections from one place, which a client on one host needs."""


@attrs.frozen
class Server:
    """One that runs."""

    name: str
    port: int
    tls_port: int
    pid: int

    def cpu(self) -> float:
        """Processor seconds of all its processes so far."""
        return processor_seconds(self.pid)

    def memory(self) -> int:
        """Octets of all its processes, shared pages divided among those that have them."""
        total = 0
        for pid in processes(self.pid):
            found = re.search(r"^Pss:\s+(\d+) kB", (Path("/proc") / str(pid) / "smaps_rollup").read_text(), re.M)
            total += int(found[1]) * 1024 if found else 0
        return total


def compiled(directory: Path) -> Path:
    """The client, made by this host's C compiler."""
    program = directory / "popload"
    sources = [HERE / "load" / name for name in ("popload.c", "check.c")]
    libraries = ["-lssl", "-lcrypto", "-lz"]
    subprocess.run(["cc", "-O2", "-std=c11", "-Wall", "-o", program, *sources, *libraries], check=True)
    return program


def message(number: int, octets: int) -> bytes:
    """One of about so many octets, with lines that begin with a dot in it."""
    head = b"From: a@example.org\nTo: b@example.org\nSubject: message %d\n\n" % number
    block = LINE * 19 + DOTTED
    return head + block * max(1, (octets - len(head)) // len(block))


def lay_out(directory: Path, users: int, large: int = 0) -> None:
    """Maildirs user0, user1 … with five messages of 10 kB each and, for `large` octets, large0 with one, in mail/."""
    for user in range(users):
        fill(directory / "mail" / f"user{user}", [message(user * 5 + each, 10_000) for each in range(5)])
    if large:
        fill(directory / "mail" / "large0", [message(0, large)])
    directory.chmod(0o755)


def fill(maildir: Path, messages: list[bytes]) -> None:
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True)
    for number, content in enumerate(messages):
        path = maildir / "cur" / f"{1700000000 + number}.M{number}P4711.mail.example.org:2,S"
        path.write_bytes(content)
        # What was written a moment ago may still be written to.
        os.utime(path, (1700000000 + number,) * 2)
    for path in (maildir, *maildir.rglob("*")):
        os.chown(path, NOBODY, NOBODY)


def certificate(directory: Path) -> tuple[Path, Path]:
    """One on P-256, signed by itself."""
    paths = directory / "certificate.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 7 -subj /CN=localhost"
    subprocess.run([*command.split(), "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


@contextmanager
def popserv(directory: Path) -> Iterator[Server]:
    """popserv as it comes, on the Maildirs of `directory`."""
    folders = sorted(path.name for path in (directory / "mail").iterdir())
    (directory / "users").write_text("".join(f"{each}:{{PLAIN}}secret\n" for each in folders))
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    config = directory / "popserv.toml"
    config.write_text(CONFIGURATION.format(certificate=certificate, key=key))
    with started(config) as (ports, pid):
        yield Server("popserv", ports["pop3"], ports["pop3s"], pid)


@contextmanager
def tuned_dovecot(directory: Path) -> Iterator[Server]:
    """Dovecot as fast as it gets, on the same Maildirs."""
    tls_port = free_port()
    location = f"{directory}/mail/%u"
    tls = directory / "certificate.pem", directory / "key.pem"
    with dovecot.running(directory, location, True, tls=tls, tls_port=tls_port) as (port, pid):
        yield Server("dovecot", port, tls_port, pid)


def load(program: Path, server: Server, mode: str, tls: str = "none", **more: Any) -> dict[str, Any]:
    """Let the client do this: what it says. Raises `RuntimeError` if anything that came was wrong."""
    done = subprocess.run(arguments(program, server, mode, tls, **more), capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout or "{}")
    if done.returncode:
        raise RuntimeError(f"{server.name}: {mode} {tls}: {done.stderr.strip()} {told}")
    return told


def arguments(program: Path, server: Server, mode: str, tls: str = "none", **more: Any) -> list[str]:
    port = server.port if tls == "none" else server.tls_port
    command = [str(program), "--port", str(port), "--mode", mode, "--tls", tls]
    for name, value in more.items():
        command += [f"--{name}", str(value)]
    return command


@contextmanager
def idle(program: Path, server: Server, sessions: int, tls: str = "none", **more: Any) -> Iterator[dict[str, Any]]:
    """So many sessions that are logged in and say nothing, for a while."""
    command = arguments(program, server, "idle", tls, sessions=sessions, retr=0, **more)
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout is not None
        told = json.loads(client.stdout.readline() or "{}")
        if told.get("opened") != sessions:
            raise RuntimeError(f"{server.name}: {told}")
        yield told
    finally:
        client.terminate()
        client.wait(60)
        # The server has to notice, or the maildrops are in use.
        time.sleep(1)


def many_files() -> None:
    """Let this process and those that it starts have as many files open as they may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
