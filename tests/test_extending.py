"""The package that docs/extending.md shows, as it stands there, installed and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from base64 import b64encode
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.cli.running import Server

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"
CONFIGURATION = """\
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
tls = "off"
[auth]
checkers = ["json:people.json"]
mechanisms = ["default", "x-lines"]
cleartext = "loopback"
failure_delay = 0
[maildrop]
location = "maildir:mail/{user}"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder that has the package as an installer would lay it out, and a site that uses it."""
    blocks = dict(re.findall(r"```(?:python|ini)\n# (\S+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    packages = tmp_path / "packages"
    metadata = packages / "popserv_example-1.0.dist-info"
    metadata.mkdir(parents=True)
    for name in ("popserv_json.py", "popserv_x_lines.py"):
        (packages / name).write_text(blocks[name])
    setup = ConfigParser()
    setup.read_string(blocks["setup.cfg"])
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: popserv-example\nVersion: 1.0\n")
    groups = setup["options.entry_points"]
    (metadata / "entry_points.txt").write_text("".join(f"[{group}]{lines}\n" for group, lines in groups.items()))
    (tmp_path / "people.json").write_text('{"fred": {"password": "{PLAIN}secret"}}')
    (tmp_path / "popserv.toml").write_text(CONFIGURATION)
    return tmp_path


def popserv(site: Path, *arguments: str, given: bytes = b"") -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(site / "packages")}
    command = [sys.executable, "-m", "popserv", *arguments, "--config", str(site / "popserv.toml")]
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, env=environment)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_the_database_and_the_mechanism_are_found_and_work(site: Path) -> None:
    assert popserv(site, "check")[0] == 0
    code, said = popserv(site, "auth", "test", "fred", "--password-stdin", given=b"secret\n")
    assert (code, said.splitlines()[0]) == (0, "json: accepted")
    assert popserv(site, "auth", "test", "fred", "--password-stdin", given=b"wrong\n")[0] == 1
    assert popserv(site, "deliver", "fred", given=b"Subject: x\n\n")[0] == 0
    assert popserv(site, "deliver", "joe")[0] == 67
    (site / "people.json").write_text("no json")
    code, said = popserv(site, "check")
    assert code == 1
    assert "auth.checkers[0]: json:people.json: " in said


def test_the_mechanism_logs_in_over_the_wire(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(site / "packages"))
    server = Server([sys.executable, "-m", "popserv", "run", "--config", site / "popserv.toml"], site)
    try:
        port = int(re.search(r"pop3=127\.0\.0\.1:(\d+)", server.await_text("popserv ready"))[1])  # type: ignore[index]
        import poplib

        client = poplib.POP3("127.0.0.1", port, timeout=20)
        assert "X-LINES" in client.capa()["SASL"]
        with pytest.raises(poplib.error_proto, match="X-LINES needs"):
            client._shortcmd("AUTH X-LINES " + b64encode(b"fred").decode())  # type: ignore[attr-defined]
        with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
            client._shortcmd("AUTH X-LINES " + b64encode(b"fred\nwrong").decode())  # type: ignore[attr-defined]
        assert client._shortcmd("AUTH X-LINES " + b64encode(b"fred\nsecret").decode()).startswith(b"+OK")  # type: ignore[attr-defined]
        client.quit()
    finally:
        server.process.terminate()
        assert server.process.wait(30) == 0
