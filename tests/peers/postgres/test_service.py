"""A whole popserv over PostgreSQL: logins over TLS, delivery, and what its commands say."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.peers import service
from tests.peers.postgres.cases import PostgresCase, hashed
from tests.peers.postgres.server import ROLE_PASSWORD

PASSWORD = "a quiet wörd"


class ServiceTests(PostgresCase, SynchronousTestCase):
    def configuration(self) -> str:
        return f"""
[auth]
checkers = ["postgres:{self.server.conninfo("mail")}"]
failure_delay = 0

[auth.postgres]
password_file = "password"
answer_seconds = 2
schemes = ["SCRAM-SHA-256"]
"""

    def test_it_serves_and_survives_the_database(self):
        stored = [hashed(PASSWORD.encode(), scheme) for scheme in ("ARGON2ID", "SCRAM-SHA-256")]
        self.add({"fred": stored, "o'brien": stored})
        with service.serving(self.folder, self.configuration()) as popserv:
            _status, said = service.run(self.folder, "check")
            assert "postgres" not in said, said
            self.deliver("o'brien", b"Subject: hello\n\nhello\n")
            client = popserv.connect()
            client.encoding = "utf-8"
            assert "SCRAM-SHA-256" in client.capa()["SASL"]
            assert "SCRAM-SHA-1" not in client.capa()["SASL"]
            client.user("o'brien")
            client.pass_(PASSWORD)
            assert client.retr(1)[1][-2:] == [b"", b"hello"]
            client.quit()
            assert popserv.login("fred", "wrong") == service.REFUSED
            assert popserv.login("nobody", "wrong") == service.REFUSED
            self.server.stop()
            assert popserv.login("fred", PASSWORD) == service.TROUBLE
            self.server.start()
            assert popserv.login("fred", PASSWORD).startswith("+OK")
            secrets = (PASSWORD, *stored, ROLE_PASSWORD)
            assert not any(secret in "".join(popserv.log) for secret in secrets)

    def deliver(self, name: str, message: bytes) -> None:
        command = [sys.executable, "-m", "popserv", "deliver", "--config", str(self.folder / "popserv.toml"), name]
        done = subprocess.run(command, input=message, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == 0, done.stdout
