"""Logins by GSSAPI with programs that others wrote, and tickets of a real KDC."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.interop.drivers import STORE
from tests.interop.running import collect, folder, private, run
from tests.peers.kerberos.client import Security
from tests.peers.kerberos.realm import REALM, Realm
from tests.peers.programs import program
from tests.peers.service import Served

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"

LogIn = Callable[[Served, Security, Mapping[str, str], Path], bytes]
"""(server, protection, tickets, empty folder) → the first message; a refusal is an `AssertionError`."""


def port(served: Served, security: Security) -> int:
    return served.port if security == "tls" else served.clear


def cafile(served: Served, workdir: Path) -> Path:
    path = workdir / "ca.pem"
    path.write_text("".join(map(ssl.DER_cert_to_PEM_cert, served.context.get_ca_certs(binary_form=True))))
    return path


def curl(served: Served, security: Security, tickets: Mapping[str, str], workdir: Path) -> bytes:
    settings = [f'user = "fred@{REALM}:"', 'login-options = "AUTH=GSSAPI"', "silent", "show-error", "fail", "ipv4"]
    settings += [f'cacert = "{cafile(served, workdir)}"', *(["ssl-reqd"] if security == "stls" else [])]
    rc = private(workdir / "curlrc", settings)
    url = f"{'pop3s' if security == 'tls' else 'pop3'}://localhost:{port(served, security)}/1"
    return run([program("curl"), "-q", "-K", str(rc), url], workdir, **tickets)


def mpop(served: Served, security: Security, tickets: Mapping[str, str], workdir: Path) -> bytes:
    out = folder(workdir, "out")
    settings = [
        "account interop",
        "host localhost",
        f"port {port(served, security)}",
        "user fred",
        "auth gssapi",
        "keep on",
        f"uidls_file {workdir / 'uidls'}",
        "received_header off",
        f"tls {'off' if security == 'clear' else 'on'}",
        f"tls_starttls {'on' if security == 'stls' else 'off'}",
        f"tls_trust_file {cafile(served, workdir)}",
        f"delivery exchange {out}",
    ]
    run([program("mpop"), "-C", str(private(workdir / "mpoprc", settings)), "-Q", "interop"], workdir, **tickets)
    return collect(out, lambda _path: 0)[0]


def fetchmail(served: Served, security: Security, tickets: Mapping[str, str], workdir: Path) -> bytes:
    out = folder(workdir, "out")
    tls = {"clear": 'sslproto ""', "stls": 'sslproto "auto"', "tls": 'ssl sslproto "auto"'}[security]
    trust = "" if security == "clear" else f'sslcertck sslcertfile "{cafile(served, workdir)}"'
    settings = [
        "set no bouncemail",
        "set no syslog",
        "set invisible",
        f"poll localhost protocol pop3 service {port(served, security)} auth gssapi",
        f'  no dns user "fred" {tls} {trust}',
        "  options keep fetchall no rewrite no mimedecode pass8bits no stripcr",
        f'  mda "{STORE} {out}"',
    ]
    # Where root's fetchmail keeps the number of its process, there can be but one at a time.
    command = [program("fetchmail"), "-f", str(private(workdir / "rc", settings)), "--pidfile", str(workdir / "pid")]
    command += ["--nodetach", "--nosyslog"]
    run(command, workdir, **{**tickets, "FETCHMAILHOME": str(workdir), "LC_ALL": "C"})
    return collect(out)[0]


@pytest.mark.parametrize("security", ["clear", "stls", "tls"])
@pytest.mark.parametrize("client", [curl, mpop, fetchmail])
class TestClients:
    def test_GS_002_with_tickets(
        self, served: Served, fred: dict[str, str], tmp_path: Path, client: LogIn, security: Security
    ) -> None:
        assert client(served, security, fred, tmp_path) == MESSAGE

    def test_GS_007_with_tickets_of_a_principal_without_an_account(
        self, served: Served, realm: Realm, tmp_path: Path, client: LogIn, security: Security
    ) -> None:
        with pytest.raises(AssertionError, match=r"ended with .*(?i:login denied|authentication failed|auth.* fail)"):
            client(served, security, realm.tickets("fred/admin"), tmp_path)
