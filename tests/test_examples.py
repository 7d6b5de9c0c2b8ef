"""The examples are run, and the documentation shows what they are."""

from __future__ import annotations

import os
import poplib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
EMBED = ROOT / "examples" / "embed.py"


@contextmanager
def running(command: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def fetch(port: int) -> bytes:
    client = poplib.POP3("127.0.0.1", port, timeout=20)
    client.user("fred")
    client.pass_("secret")
    assert client.stat() == (1, 40)
    lines = client.retr(1)[1]
    client.quit()
    return b"\r\n".join(lines)


def test_the_embedding_example_serves_its_own_mail() -> None:
    with running([sys.executable, str(EMBED), "0"]) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert fetch(port) == b"Subject: hello\r\n\r\nfrom the application"


def test_the_tac_example_serves_under_twistd(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "twisted", "--help"]  # the module that twistd is
    command = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "--logfile=-"]
    command += [f"--rundir={tmp_path}", "-y", str(ROOT / "examples" / "popserv.tac")]
    with running(command, POP3_PORT="0") as process:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"POP3Factory starting on (\d+)|starting on (\d+)", line)
            if found:
                break
        time.sleep(0.1)
        assert fetch(int(found[1] or found[2])) == b"Subject: hello\r\n\r\nfrom the application"


def test_the_documentation_shows_the_example() -> None:
    shown = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "embedding.md").read_text(), re.DOTALL)
    assert shown is not None
    body = "".join(f"    {line}\n" for line in shown[1].splitlines())
    assert body in EMBED.read_text()
