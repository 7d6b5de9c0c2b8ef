"""A real popserv in a process of its own, over a configuration that a test writes, and logins to it by poplib."""

from __future__ import annotations

import poplib
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
import trustme

LISTEN = """
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
tls = "implicit"

[tls]
certificate = "cert.pem"
key = "key.pem"

[maildrop]
location = "maildir:mail/{user}"
"""

REFUSED = "-ERR [AUTH] authentication failed"
TROUBLE = "-ERR [SYS/TEMP] temporary system problem, try again later"


@attrs.frozen
class Served:
    """Where it listens."""

    port: int
    directory: Path
    context: ssl.SSLContext
    log: list[str]
    clear: int = 0
    """The port of a listener for clear text and STLS, if the configuration has one."""

    def logged(self, text: str, times: int = 1) -> str:
        """What has been logged once `text` stands in it so many times."""
        end = time.monotonic() + 20
        while (said := "".join(self.log)).count(text) < times:
            assert time.monotonic() < end, f"{text!r} did not come: {said}"
            time.sleep(0.02)
        return said

    def connect(self) -> poplib.POP3_SSL:
        """A connection over TLS."""
        return poplib.POP3_SSL("127.0.0.1", self.port, context=self.context, timeout=20)

    def login(self, name: str, password: str) -> str:
        """What a login by PASS is answered with."""
        client = self.connect()
        client.encoding = "utf-8"
        try:
            client.user(name)
            return client.pass_(password).decode("ascii")
        except poplib.error_proto as error:
            return str(error.args[0].decode("ascii"))
        finally:
            client.close()


@contextmanager
def serving(directory: Path, configuration: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Run it with this text, `LISTEN` before it; it has to end by itself, with exit code 0.

    The text may have its own table `[maildrop]`.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost", common_name="localhost")
    certificate.private_key_pem.write_to_path(directory / "key.pem")
    (directory / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    file = directory / "popserv.toml"
    listen = LISTEN.partition("[maildrop]")[0] if "[maildrop]" in configuration else LISTEN
    file.write_text(listen + configuration)
    command = [sys.executable, "-m", "popserv", "run", "--config", str(file)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    said: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.decode("utf-8", "replace"))
            if b"popserv ready " in line:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(30), said
        match = re.search(r"pop3s=127\.0\.0\.1:(\d+)", "".join(said))
        assert match, said
        clear = re.search(r"pop3=127\.0\.0\.1:(\d+)", "".join(said))
        yield Served(int(match[1]), directory, context, said, int(clear[1]) if clear else 0)
        process.terminate()
        assert process.wait(40) == 0, said
    finally:
        process.kill()
        process.wait()
        reader.join(5)


def run(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Another popserv command on the configuration of `serving`: its status, and what it said."""
    command = [sys.executable, "-m", "popserv", *arguments, "--config", str(directory / "popserv.toml")]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        env=environment,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")
