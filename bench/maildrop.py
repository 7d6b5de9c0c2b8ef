"""What a large Maildir costs at a poll: PASS STAT LIST UIDL QUIT, warm and cold, popserv and Dovecot in turn.

Needs root, for Dovecot. Prints one JSON line: processor seconds of the whole server for a session, the medians.

    python bench/maildrop.py [--messages 100000] [--octets 10000] [--rounds 5] [--cold-rounds 3] [--million]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import dovecot
from peer import cost
from serving import CONFIGURATION, started

POLL = ((b"STAT", False), (b"LIST", True), (b"UIDL", True))
LINE = b"The quick brown fox jumps over the lazy dog, and does so again.\n"
NOBODY = 65534


def fill(maildir: Path, count: int, octets: int) -> None:
    """Messages of about so many octets with LF line ends, and names that tell no sizes."""
    body = LINE * (octets // len(LINE))
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True)
    folder = os.open(maildir / "cur", os.O_RDONLY)
    for number in range(count):
        name = f"{1700000000 + number // 10}.M{number % 1000000:06}P4711Q{number}.mail.example.org:2,S"
        file = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=folder)
        os.write(file, b"From: a@example.org\nSubject: message %d\n\n" % number + body)
        os.fchown(file, NOBODY, NOBODY)
        os.close(file)
    os.close(folder)
    for path in (maildir, *maildir.iterdir()):
        os.chown(path, NOBODY, NOBODY)


def deliver(maildir: Path, number: int) -> None:
    path = maildir / "new" / f"1900000000.M{number}P1.new"
    path.write_bytes(b"Subject: new\n\n" + LINE)
    os.chown(path, NOBODY, NOBODY)


@contextmanager
def popserv(directory: Path) -> Iterator[tuple[int, int]]:
    """Its port and process id."""
    (directory / "users").write_text("fred:{PLAIN}secret\n")
    (directory / "popserv.toml").write_text(CONFIGURATION.format(checkers='["passwd-file:users"]'))
    with started(directory / "popserv.toml") as (ports, pid):
        yield ports["pop3"], pid


def forget(maildir: Path) -> None:
    for name in ("popserv.index", "popserv.lock"):
        with suppress(FileNotFoundError):
            (maildir / name).unlink()


def read_all(maildir: Path) -> None:
    """Let the kernel have all files at hand, whoever comes first."""
    for path in os.scandir(maildir / "cur"):
        with open(path, "rb") as file:
            file.read()


def settle() -> None:
    """A directory that was changed a moment ago is read again by everybody."""
    subprocess.run(["sleep", "3"], check=True)


def compared(directory: Path, maildir: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Processor seconds by server, warm and cold; and after one delivery, for popserv."""
    result: dict[str, Any] = {}
    times: dict[str, list[float]] = {}

    def session(name: str, server: tuple[int, int]) -> None:
        port, pid = server
        times.setdefault(name, []).append(cost(pid, port, "fred", POLL))

    with ExitStack() as servers:
        ours = servers.enter_context(popserv(directory))
        theirs = servers.enter_context(dovecot.running(directory, maildir, False)) if dovecot.is_there() else None
        cost(ours[1], ours[0], "fred", ())
        if theirs:
            cost(theirs[1], theirs[0], "fred", ())
        read_all(maildir)
        for number in range(arguments.cold_rounds):
            forget(maildir)
            dovecot.forget(maildir)
            turns = [("cold", ours), ("dovecot_cold", theirs)]
            for name, server in turns if number % 2 else reversed(turns):
                if server:
                    session(name, server)
        settle()
        for name, server in (("", ours), ("", theirs)):
            if server:
                session(name, server)
        for _ in range(arguments.rounds):
            session("warm", ours)
            if theirs:
                session("dovecot_warm", theirs)
        for number in range(3):
            deliver(maildir, number)
            settle()
            session("one_new", ours)
    result = {f"{name}_s": round(median(each), 4) for name, each in times.items() if name}
    for name in ("warm", "cold"):
        if f"dovecot_{name}" in times:
            result[f"{name}_dovecot_to_popserv"] = round(median(times[f"dovecot_{name}"]) / median(times[name]), 1)
    return result


def opening(directory: Path, rounds: int) -> float:
    """Processor seconds of a session that does nothing but open and close."""
    with popserv(directory) as (port, pid):
        while True:
            # Reading a million files for the first time may take longer than a login is given.
            with suppress(RuntimeError):
                cost(pid, port, "fred", ())
                break
            settle()
        cost(pid, port, "fred", ())
        return median([cost(pid, port, "fred", ()) for _ in range(rounds)])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--octets", type=int, default=10_000, help="of a message")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold-rounds", type=int, default=3)
    parser.add_argument("--million", action="store_true", help="a Maildir of a million messages, too: 4 GB of disk")
    parser.add_argument("--directory", help="where there is room for the Maildirs")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "bench": "maildrop",
        "python": sys.version.split()[0],
        "messages": arguments.messages,
        "octets": arguments.octets,
    }
    directory = Path(tempfile.mkdtemp(dir=arguments.directory)).resolve()
    try:
        directory.chmod(0o755)
        maildir = directory / "mail" / "fred"
        if arguments.messages:
            fill(maildir, arguments.messages, arguments.octets)
            result |= compared(directory, maildir, arguments)
        if arguments.million:
            shutil.rmtree(directory / "mail", ignore_errors=True)
            fill(maildir, 1_000_000, 100)
            result["million_open_warm_s"] = round(opening(directory, arguments.rounds), 4)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
