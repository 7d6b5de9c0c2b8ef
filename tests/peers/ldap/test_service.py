"""A whole popserv over LDAP: logins over TLS, delivery, and what its commands say."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.peers import service
from tests.peers.ldap.cases import LdapCase
from tests.peers.ldap.server import BASE, SERVICE, SERVICE_PASSWORD

PASSWORD = "a quiet wörd"


class ServiceTests(LdapCase, SynchronousTestCase):
    def configuration(self) -> str:
        return f"""
[auth]
checkers = ["ldap:"]
failure_delay = 0

[auth.ldap]
uris = ["{self.server.ldap}"]
ca_file = "{self.server.folder}/ca.pem"
bind_dn = "{SERVICE}"
bind_password_file = "password"
base = "{BASE}"
connect_seconds = 1
answer_seconds = 2
"""

    def test_it_serves_and_survives_the_directory(self):
        self.server.add_person("fred", PASSWORD)
        self.server.add_person("o(brien)*", PASSWORD)
        with service.serving(self.folder, self.configuration()) as popserv:
            _status, said = service.run(self.folder, "check")
            assert "ldap" not in said, said
            self.deliver("o(brien)*", b"Subject: hello\n\nhello\n")
            client = popserv.connect()
            client.encoding = "utf-8"
            assert client.capa()["SASL"] == ["PLAIN"]
            client.user("o(brien)*")
            client.pass_(PASSWORD)
            assert client.retr(1)[1][-2:] == [b"", b"hello"]
            client.quit()
            assert popserv.login("fred", "wrong") == service.REFUSED
            assert popserv.login("nobody", "wrong") == service.REFUSED
            with self.server.frozen():
                assert popserv.login("fred", PASSWORD) == service.TROUBLE
            self.server.stop()
            assert popserv.login("fred", PASSWORD) == service.TROUBLE
            self.server.start()
            assert popserv.login("fred", PASSWORD).startswith("+OK")
            assert not any(secret in "".join(popserv.log) for secret in (PASSWORD, SERVICE_PASSWORD))

    def deliver(self, name: str, message: bytes) -> None:
        command = [sys.executable, "-m", "popserv", "deliver", "--config", str(self.folder / "popserv.toml"), name]
        done = subprocess.run(command, input=message, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == 0, done.stdout
