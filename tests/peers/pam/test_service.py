"""A whole popserv over PAM, with users that only its process has (nss_wrapper) and the modules of the host."""

from __future__ import annotations

import os
import poplib
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest

from tests.interop.running import private, run
from tests.peers import service
from tests.peers.pam.stack import hashed, needs, write_service
from tests.peers.programs import program
from tests.peers.service import REFUSED, TROUBLE, Served

PASSWORD = "a quiet wörd"
BARRED, LOCKED, NO_PASSWORD = "barred", "locked", "nopassword"

CONFIGURATION = """
[server]
hostname = "localhost"
[auth]
checkers = ["pam:", "passwd-file:users"]
mechanisms = ["default", "login", "cram-md5"]
failure_delay = 0
[auth.pam]
directory = "pam.d"
answer_seconds = 2
[maildrop]
location = "maildir:{home}/Maildir"
"""


@attrs.frozen
class Host:
    """A folder with a host's users in it."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """In which they are the users."""
        wrapped = {f"NSS_WRAPPER_{name.upper()}": str(self.folder / name) for name in ("passwd", "group")}
        return {**os.environ, **wrapped, "LD_PRELOAD": "libnss_wrapper.so"}

    def configure(self, *more: str) -> None:
        """PAM's service: passwords by pam_unix, and somebody who may not log in."""
        write_service(
            self.folder / "pam.d",
            "popserv",
            *more,
            "auth required pam_unix.so",
            f"account required pam_succeed_if.so quiet user != {BARRED}",
            "account required pam_unix.so",
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    needs("libpam.so.0", "security/pam_unix.so", "security/pam_succeed_if.so", "libnss_wrapper.so")
    secret = hashed(PASSWORD.encode())
    passwords = {"fred": secret, BARRED: secret, LOCKED: "!" + secret, NO_PASSWORD: ""}
    lines = [f"root:{secret}:0:0::{tmp_path}/root:/bin/sh"]
    for number, (name, stored) in enumerate(passwords.items()):
        (tmp_path / name).mkdir()
        lines.append(f"{name}:{stored}:{2000 + number}:2000::{tmp_path}/{name}:/bin/sh")
    (tmp_path / "passwd").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "group").write_text("users:x:2000:\n")
    (tmp_path / "users").write_text(f"nora:{{PLAIN}}{PASSWORD}::::{tmp_path}/nora::\n")
    found = Host(tmp_path)
    found.configure()
    return found


def curl(served: Served, host: Host, mechanism: str) -> bytes:
    settings = [f'user = "fred:{PASSWORD}"', f'login-options = "AUTH={mechanism}"', "silent", "show-error", "insecure"]
    rc = private(host.folder / "curlrc", settings)
    return run([program("curl"), "-q", "-K", str(rc), f"pop3s://127.0.0.1:{served.port}/1"], host.folder)


def deliver(host: Host, name: str) -> int:
    command = [sys.executable, "-m", "popserv", "deliver", "--config", str(host.folder / "popserv.toml"), name]
    return subprocess.run(command, input=b"Subject: x\n\nhello\n", env=host.environment, timeout=60).returncode


def test_it_serves_the_users_of_the_host(host: Host) -> None:
    with service.serving(host.folder, CONFIGURATION, host.environment) as popserv:
        _status, said = service.run(host.folder, "check", environment=host.environment)
        assert "auth.checkers" not in said and "maildrop" not in said, said
        assert deliver(host, "fred") == 0
        assert (host.folder / "fred" / "Maildir" / "new").is_dir()
        assert deliver(host, "root") != 0
        client = popserv.connect()
        client.encoding = "utf-8"
        client.user("fred")
        assert client.pass_(PASSWORD).startswith(b"+OK 1 message")
        assert client.retr(1)[1][-1] == b"hello"
        client.quit()
        for mechanism in ("PLAIN", "LOGIN"):
            assert curl(popserv, host, mechanism).endswith(b"\r\n\r\nhello\r\n")
        assert popserv.login("nora", PASSWORD).startswith("+OK")
        for name, password in [
            ("fred", "wrong"),
            ("nobody-here", PASSWORD),
            ("root", PASSWORD),
            (BARRED, PASSWORD),
            (LOCKED, PASSWORD),
            (NO_PASSWORD, "x"),
            ("fred", PASSWORD + "x" * 200),
        ]:
            assert popserv.login(name, password) == REFUSED, name
        assert PASSWORD not in popserv.logged("pam: right password, no login: account=barred reason=")


def test_SEC_004_it_offers_what_sends_the_password_and_under_tls_only(host: Host) -> None:
    alone = CONFIGURATION.replace(', "passwd-file:users"', "")
    clear = '[[listen]]\nendpoint = "tcp:0:interface=127.0.0.1"\n'
    with service.serving(host.folder, clear + alone, host.environment) as popserv:
        capabilities = popserv.connect().capa()
        assert capabilities["SASL"] == ["PLAIN", "LOGIN"] and "USER" in capabilities
        before = poplib.POP3("127.0.0.1", popserv.clear, timeout=20)
        assert not {"SASL", "USER"} & before.capa().keys()
        before.close()


def test_it_survives_what_does_not_work(host: Host) -> None:
    first = CONFIGURATION.replace('"pam:", "passwd-file:users"', '"passwd-file:users", "pam:"')
    with service.serving(host.folder, first, host.environment) as popserv:
        assert popserv.login("fred", PASSWORD).startswith("+OK")
        (host.folder / "pam.d" / "popserv").unlink()
        assert popserv.login("fred", PASSWORD) == TROUBLE
        status, said = service.run(host.folder, "check", environment=host.environment)
        assert status != 0 and "auth.checkers[1]: pam:: popserv: " in said, said
        # What hangs keeps its thread, and nobody else.
        host.configure("auth required pam_exec.so /bin/sleep 4")
        begun = time.monotonic()
        slow = popserv.connect()
        slow.sock.sendall(b"USER fred\r\nPASS x\r\n")
        assert popserv.login("nora", PASSWORD).startswith("+OK")
        assert time.monotonic() - begun < 2
        assert slow.file.readline().startswith(b"+OK")
        assert slow.file.readline().decode().strip() == TROUBLE
        assert time.monotonic() - begun < 4
        slow.close()
        host.configure()
        assert popserv.login("fred", PASSWORD).startswith("+OK")
        log = popserv.logged("answers again")
        assert log.count("cannot be asked") == 2 and log.count("answers again") == 1 and "Traceback" not in log
