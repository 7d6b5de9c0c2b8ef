"""Debian's slapd in the foreground, with a configuration and a directory of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.peers.programs import Server, folder_of, free_port, library, program, unprivileged

ldap = library("ldap")
library("ldap.dn")
library("ldap.modlist")

BASE = "dc=example,dc=org"
PEOPLE = f"ou=people,{BASE}"
ADMIN = f"cn=admin,{BASE}"
ADMIN_PASSWORD = "overseer's"
SERVICE = f"cn=popserv,{BASE}"
SERVICE_PASSWORD = "asks for 'mail' ü"

CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.1.2.1.1 NAME 'mailEnabled' EQUALITY booleanMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.7 )
attributetype ( 1.1.2.1.2 NAME 'mailLocation' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.1.2.2.1 NAME 'mailUser' AUXILIARY MAY ( mailEnabled $ mailLocation $ homeDirectory ) )
allow bind_anon_cred bind_anon_dn
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/cert.pem
TLSCertificateKeyFile {folder}/key.pem
{more}
database mdb
suffix {base}
directory {folder}/data
dbnosync
maxsize 10485760
rootdn {admin}
rootpw "{password}"
access to attrs=userPassword by anonymous auth by * none
access to dn.base="{base}" by * read
access to * by dn.exact="{service}" read by * none
"""


class Slapd(Server):
    """A server, over ``ldap:``, ``ldaps:`` and ``ldapi:``."""

    def __init__(self, folder: Path, authority: trustme.CA, user: str | None, more: str = "") -> None:
        self.folder = folder
        self.port, self.tls_port = free_port(), free_port()
        (folder / "data").mkdir()
        certificate = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        (folder / "slapd.conf").write_text(
            CONFIGURATION.format(
                folder=folder, base=BASE, admin=ADMIN, password=ADMIN_PASSWORD, service=SERVICE, more=more
            )
        )
        if user is not None:
            subprocess.run(["chown", "-R", user, str(folder)], check=True)
        urls = f"{self.ldap} {self.ldaps} {self.ldapi}"
        command = [program("slapd"), "-d", "0", "-f", str(folder / "slapd.conf"), "-h", urls]
        super().__init__(command, self._answers, folder / "log", user)

    @property
    def ldap(self) -> str:
        """In the clear, or StartTLS."""
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def ldaps(self) -> str:
        """TLS."""
        return f"ldaps://127.0.0.1:{self.tls_port}"

    @property
    def ldapi(self) -> str:
        """A unix socket."""
        return f"ldapi://{str(self.folder / 'socket').replace('/', '%2F')}"

    def as_admin(self) -> ldap.ldapobject.SimpleLDAPObject:
        """A connection that may do everything."""
        connection = ldap.initialize(self.ldap)
        connection.set_option(ldap.OPT_NETWORK_TIMEOUT, 5)
        connection.simple_bind_s(ADMIN, ADMIN_PASSWORD)
        return connection

    def fill(self) -> None:
        """The top, the place for people, and the service's own entry."""
        self.add(BASE, {"objectClass": ["dcObject", "organization"], "o": "Example", "dc": "example"})
        self.add(PEOPLE, {"objectClass": "organizationalUnit", "ou": "people"})
        roles = ["simpleSecurityObject", "organizationalRole"]
        self.add(SERVICE, {"objectClass": roles, "cn": "popserv", "userPassword": SERVICE_PASSWORD})

    def add(self, dn: str, attributes: Mapping[str, str | list[str]]) -> None:
        """A new entry."""
        values = {
            key: [each.encode() for each in ([value] if isinstance(value, str) else value)]
            for key, value in attributes.items()
        }
        connection = self.as_admin()
        connection.add_s(dn, ldap.modlist.addModlist(values))
        connection.unbind_s()

    def add_person(self, name: str, password: str, **more: str | list[str]) -> str:
        """An account: its distinguished name."""
        dn = f"uid={ldap.dn.escape_dn_chars(name)},{PEOPLE}"
        person = {
            "objectClass": ["inetOrgPerson", "mailUser"],
            "uid": name,
            "cn": "x",
            "sn": "x",
            "userPassword": password,
        }
        self.add(dn, {**person, **more})
        return dn

    def clear(self) -> None:
        """Remove all people."""
        connection = self.as_admin()
        for dn, _values in connection.search_s(PEOPLE, ldap.SCOPE_ONELEVEL, attrlist=["1.1"]):
            connection.delete_s(dn)
        connection.unbind_s()

    def _answers(self) -> bool:
        try:
            self.as_admin().unbind_s()
        except ldap.LDAPError:
            return False
        return True


@contextmanager
def running(authority: trustme.CA, more: str = "") -> Iterator[Slapd]:
    """A new server without people; it is gone at the end."""
    program("slapd")
    user = unprivileged("openldap")
    with folder_of(user) as folder:
        server = Slapd(folder, authority, user, more)
        try:
            server.start()
            server.fill()
            yield server
        finally:
            server.stop()
