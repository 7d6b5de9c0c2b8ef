"""The client that comparisons rely on finds every kind of wrong answer, and none in a right one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from popserv.wire.dotstuff import stuff

LOAD = Path(__file__).parents[2] / "bench" / "load"
MESSAGE = b"Subject: a\r\n\r\n.hidden\r\n\r\n..\r\n.\r\nlast line\r\n"


@pytest.fixture(scope="module")
def popload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("popload") / "popload"
    command = ["cc", "-O1", "-std=c11", "-Wall", "-Werror", "-o", program, LOAD / "popload.c", LOAD / "check.c"]
    try:
        done = subprocess.run([*command, "-lssl", "-lcrypto", "-lz"], capture_output=True, text=True, check=False)
        missing = "" if done.returncode == 0 else done.stderr
    except FileNotFoundError:
        missing = "no C compiler"
    if missing:
        assert os.environ.get("POPSERV_REQUIRE_PEERS") != "1", missing
        pytest.skip("it takes a C compiler, libssl-dev and zlib1g-dev")
    return program


def converse(client: socket.socket, retr: bytes, cut: int) -> None:
    """One session with one message, whose answer is `retr`; everything is sent in pieces of `cut` octets."""

    def say(octets: bytes) -> None:
        for at in range(0, len(octets), cut):
            client.sendall(octets[at : at + cut])

    answers = {b"STAT": b"+OK 1 50\r\n", b"UIDL": b"+OK\r\n1 x\r\n.\r\n", b"RETR": retr}
    say(b"+OK ready\r\n")
    with client, client.makefile("rb") as lines:
        for line in lines:
            say(answers.get(line[:4].strip(), b"+OK\r\n"))
            if line.startswith(b"QUIT") or (line.startswith(b"RETR") and not retr.endswith(b"\r\n.\r\n")):
                break


@contextmanager
def serving(retr: bytes, sessions: int, cut: int = 1 << 20) -> Iterator[int]:
    """The port of a server for so many sessions."""

    def serve() -> None:
        for _ in range(sessions):
            converse(listening.accept()[0], retr, cut)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(20)


def loaded(popload: Path, port: int, sessions: int = 1, mode: str = "session") -> tuple[int, dict[str, Any]]:
    command = [popload, "--port", port, "--sessions", sessions, "--retr", 1, "--seconds", 20, "--mode", mode]
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


def answer(message: bytes = MESSAGE, octets: int | None = None) -> bytes:
    return b"+OK %d octets\r\n%b.\r\n" % (len(message) if octets is None else octets, stuff(message))


@pytest.mark.parametrize("mode", ["session", "pipelined"])
@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1 << 20])
def test_a_right_answer_is_right_however_it_is_cut(popload: Path, cut: int, mode: str) -> None:
    with serving(answer(), 3, cut) as port:
        status, told = loaded(popload, port, 3, mode)
    assert (status, told["sessions"], told["messages"], told["faults"]) == (0, 3, 1, {})


@pytest.mark.parametrize(
    ("retr", "fault"),
    [
        (answer(octets=len(MESSAGE) + 1), "octets"),
        (answer().replace(b"last line\r\n", b"last lines\r\n"), "octets"),
        (answer(MESSAGE.replace(b"last line\r\n", b"last line\n\r\n")), "line_ends"),
        (answer().replace(b"\r\n..hidden", b"\r\n.hidden"), "stuffing"),
        (answer().removesuffix(b".\r\n"), "closed"),
        (b"-ERR no\r\n", "refused"),
    ],
)
def test_a_wrong_answer_is_found(popload: Path, retr: bytes, fault: str) -> None:
    with serving(retr, 1) as port:
        status, told = loaded(popload, port)
    assert status == 1
    assert fault in told["faults"]


def test_the_digest_tells_messages_apart(popload: Path) -> None:
    digests = set()
    for message in (MESSAGE, MESSAGE.replace(b"last", b"Last")):
        with serving(answer(message), 1) as port:
            digests.add(loaded(popload, port)[1]["digest"])
    assert len(digests) == 2


def test_nobody_there_is_a_fault(popload: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert loaded(popload, port)[0] == 1
