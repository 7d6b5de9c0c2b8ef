"""`popserv deliver` as a mail transfer agent sees it: a process, whose status is all that counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.python.failure import Failure

from popserv.cli.deliver import Interrupted
from popserv.errors import DeliveryError
from popserv.maildrop.maildir_incoming import delivery_failed

COMMAND = (sys.executable, "-m", "popserv", "deliver")
SECONDS = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "users").write_text("fred:{PLAIN}secret\n")
    (tmp_path / "popserv.toml").write_text(
        'auth.checkers = ["passwd-file:users"]\nmaildrop.location = "maildir:mail/{user}"\n'
    )
    return tmp_path


@pytest.fixture
def full() -> Iterator[int]:
    """A descriptor that takes nothing."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


def status(folder: Path, *arguments: str, said: int = subprocess.DEVNULL, config: str = "popserv.toml") -> int:
    command = [*COMMAND, "--config", str(folder / config), *arguments]
    return subprocess.run(command, input=b"Subject: x\n\n", stdout=said, stderr=said, timeout=SECONDS).returncode


def test_the_status_is_the_same_when_nothing_can_be_said(folder: Path, full: int) -> None:
    assert status(folder, "fred", said=full) == 0
    assert status(folder, "joe", said=full) == 67
    assert status(folder, "--bogus", said=full) == 64
    assert status(folder, "fred", said=full, config="missing.toml") == 78
    (folder / "mail" / "fred" / "tmp").rmdir()
    (folder / "mail" / "fred" / "tmp").write_text("in the way")
    assert status(folder, "fred", said=full) == 75


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_a_configuration_that_cannot_be_read_is_no_wrong_usage(folder: Path) -> None:
    (folder / "popserv.toml").chmod(0)
    assert status(folder, "fred") == 78


@pytest.mark.parametrize("redirection", ["<&-", "0>/dev/null"])
def test_no_standard_input_is_told_without_a_traceback(folder: Path, redirection: str) -> None:
    shell = ["sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, "--config", str(folder / "popserv.toml"), "fred"]
    done = subprocess.run(shell, capture_output=True, timeout=SECONDS)
    assert done.returncode == 75
    assert done.stderr.startswith(b"popserv: standard input cannot be read: ")
    assert done.stderr.count(b"\n") == 1


def test_a_signal_in_the_middle_of_storing_is_no_failure_of_the_store() -> None:
    with pytest.raises(Interrupted):
        delivery_failed(Failure(Interrupted()))  # type: ignore[no-untyped-call]
    with pytest.raises(DeliveryError):
        delivery_failed(Failure(OSError()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing_behind(folder: Path, number: signal.Signals) -> None:
    command = [*COMMAND, "--config", str(folder / "popserv.toml"), "fred"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as agent:
        assert agent.stdin is not None
        agent.stdin.write(b"Subject: x\n\n" + b"x" * (1 << 17))
        agent.stdin.flush()
        tmp = folder / "mail" / "fred" / "tmp"
        end = time.monotonic() + SECONDS
        while not (tmp.is_dir() and any(tmp.iterdir())):
            assert time.monotonic() < end
            time.sleep(0.02)
        agent.send_signal(number)
        assert agent.wait(SECONDS) == 75
    assert [*tmp.iterdir(), *(folder / "mail" / "fred" / "new").iterdir()] == []
