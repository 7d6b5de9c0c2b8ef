"""A realm of its own with a KDC on loopback, and tickets from it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

from tests.peers.programs import Server, folder_of, free_port, program

REALM = "EXAMPLE.ORG"
PASSWORD = "correct horse"

_KRB5 = """
[libdefaults]
default_realm = {realm}
dns_lookup_realm = false
dns_lookup_kdc = false
rdns = false
dns_canonicalize_hostname = false
udp_preference_limit = 1
[realms]
{realm} = {{
  kdc = 127.0.0.1:{port}
}}
[domain_realm]
localhost = {realm}
"""

_KDC = """
[kdcdefaults]
kdc_listen = ""
kdc_tcp_listen = 127.0.0.1:{port}
[realms]
{realm} = {{
  database_name = {folder}/principal
  key_stash_file = {folder}/stash
  max_life = 1h
}}
"""


@attrs.frozen
class Realm:
    """Where its files are."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def keytab(self) -> Path:
        return self.folder / "pop.keytab"

    def admin(self, query: str) -> None:
        """Have kadmin.local do it."""
        self.run("kadmin.local", "-q", query)

    def run(self, name: str, *arguments: str, said: str = "") -> None:
        """Run a program of Kerberos, with `said` on its standard input."""
        command = [program(name), *arguments]
        done = subprocess.run(command, input=said.encode(), env=self.environment, capture_output=True, timeout=20)
        assert done.returncode == 0, done.stderr

    def tickets(self, principal: str, *arguments: str) -> dict[str, str]:
        """The environment of a client that has tickets of this principal."""
        cache = f"FILE:{self.folder}/cache-{principal.replace('/', '-')}-{len(arguments)}"
        self.run("kinit", *arguments, "-c", cache, principal, said=f"{PASSWORD}\n")
        return {**self.environment, "KRB5CCNAME": cache}


@contextmanager
def running() -> Iterator[Realm]:
    """A KDC with fred, fred/admin and nora, and a keytab of pop/localhost; imap/localhost has none."""
    for name in ("krb5kdc", "kdb5_util", "kadmin.local", "kinit"):
        program(name)
    with folder_of(None) as folder:
        port = free_port()
        (folder / "krb5.conf").write_text(_KRB5.format(realm=REALM, port=port))
        (folder / "kdc.conf").write_text(_KDC.format(realm=REALM, port=port, folder=folder))
        environment = {
            **os.environ,
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
        }
        realm = Realm(folder, environment)
        realm.run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master secret")
        for principal in ("fred", "fred/admin", "nora"):
            realm.admin(f'addprinc -pw "{PASSWORD}" {principal}')
        for service in ("pop/localhost", "imap/localhost"):
            realm.admin(f"addprinc -randkey {service}")
        for service in ("pop/localhost", "imap/localhost"):
            realm.admin(f"ktadd -k {realm.keytab} {service}")
        command = ["env", *(f"{key}={environment[key]}" for key in ("KRB5_CONFIG", "KRB5_KDC_PROFILE"))]
        kdc = Server([*command, program("krb5kdc"), "-n"], lambda: _answers(port), folder / "log")
        kdc.start()
        try:
            yield realm
        finally:
            kdc.stop()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
