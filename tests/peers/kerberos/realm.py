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
FOREIGN = "EXAMPLE.NET"
"""A realm that ours trusts, so that its principals get tickets for our services."""
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
{foreign} = {{
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
{foreign} = {{
  database_name = {folder}/foreign
  key_stash_file = {folder}/foreign-stash
  max_life = 1h
}}
"""


_SERVICE = """
[server]
hostname = "localhost"
[[listen]]
endpoint = "tcp:0:interface=127.0.0.1"
[auth]
checkers = ["kerberos:{keytab}"]
mechanisms = ["gssapi"]
failure_delay = 0
[auth.kerberos]
realms = ["{realm}"]
"""


def configuration(keytab: Path) -> str:
    """That of a popserv with this keytab."""
    return _SERVICE.format(keytab=keytab, realm=REALM)


def prepared(directory: Path) -> Path:
    """The same folder, with a message for fred."""
    maildir = directory / "mail" / "fred"
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True)
    (maildir / "new" / "1.message").write_bytes(b"Subject: x\n\nhello\n")
    return directory


@attrs.frozen
class Realm:
    """Where its files are."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def keytab(self) -> Path:
        return self.folder / "pop.keytab"

    def admin(self, query: str, realm: str = REALM) -> None:
        """Have kadmin.local do it."""
        self.run("kadmin.local", "-r", realm, "-q", query)

    def run(self, name: str, *arguments: str, said: str = "") -> None:
        """Run a program of Kerberos, with `said` on its standard input."""
        command = [program(name), *arguments]
        done = subprocess.run(command, input=said.encode(), env=self.environment, capture_output=True, timeout=20)
        assert done.returncode == 0, done.stderr

    def tickets(self, principal: str, *arguments: str) -> dict[str, str]:
        """What the environment of a client with tickets of this principal has besides."""
        cache = f"FILE:{self.folder}/cache-{'-'.join((principal, *arguments)).replace('/', '-')}"
        self.run("kinit", *arguments, "-c", cache, principal, said=f"{PASSWORD}\n")
        return {"KRB5CCNAME": cache}


@contextmanager
def running() -> Iterator[Realm]:
    """A KDC with fred, fred/admin and nora, and another fred in a realm that is trusted; and a keytab of pop/localhost
    and imap/localhost."""
    for name in ("krb5kdc", "kdb5_util", "kadmin.local", "kinit"):
        program(name)
    with folder_of(None) as folder:
        port = free_port()
        (folder / "krb5.conf").write_text(_KRB5.format(realm=REALM, foreign=FOREIGN, port=port))
        (folder / "kdc.conf").write_text(_KDC.format(realm=REALM, foreign=FOREIGN, port=port, folder=folder))
        environment = {
            **os.environ,
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
        }
        realm = Realm(folder, environment)
        for name in (REALM, FOREIGN):
            realm.run("kdb5_util", "create", "-s", "-r", name, "-P", "master secret")
            realm.admin(f'addprinc -pw "shared by both" krbtgt/{REALM}@{FOREIGN}', name)
        realm.admin(f'addprinc -pw "{PASSWORD}" fred', FOREIGN)
        for principal in ("fred", "fred/admin", "nora"):
            realm.admin(f'addprinc -pw "{PASSWORD}" {principal}')
        for service in ("pop/localhost", "imap/localhost"):
            realm.admin(f"addprinc -randkey {service}")
        for service in ("pop/localhost", "imap/localhost"):
            realm.admin(f"ktadd -k {realm.keytab} {service}")
        command = ["env", *(f"{key}={environment[key]}" for key in ("KRB5_CONFIG", "KRB5_KDC_PROFILE"))]
        kdc = Server(
            [*command, program("krb5kdc"), "-r", REALM, "-r", FOREIGN, "-n"], lambda: _answers(port), folder / "log"
        )
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
