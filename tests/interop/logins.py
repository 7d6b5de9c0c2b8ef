"""Real clients that log in by a SASL mechanism and take one message.

One driver a client, all with one signature; a login that is refused is an `AssertionError`. Mechanisms are called by
their registered names.
"""

from __future__ import annotations

import poplib
import shutil
import ssl
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from OpenSSL import SSL
from scramp import ScramClient as ScrampClient

from popserv.service.rehearsal import ScramClient

from .drivers import STORE
from .forms import SCRIPTS
from .running import TIMEOUT, Security, ServerAddress, collect, folder, private, run, run_on_terminal

LogIn = Callable[[ServerAddress, Security, str, str, str, Path], bytes]
"""(server, security, mechanism, user, password, empty working folder) → the first message."""

SCRAM = ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")
PLUS = tuple(f"{name}-PLUS" for name in SCRAM)
PLAINTEXT = ("PLAIN", "LOGIN")


def curl(server: ServerAddress, security: Security, mechanism: str, user: str, password: str, workdir: Path) -> bytes:
    settings = [f'user = "{user}:{password}"', f'cacert = "{server.cafile}"', "silent", "show-error", "fail"]
    settings += [f'login-options = "AUTH={mechanism}"', *(["ssl-reqd"] if security == "stls" else [])]
    rc = private(workdir / "curlrc", settings)
    url = f"{'pop3s' if security == 'tls' else 'pop3'}://{server.host}:{server.port(security)}/1"
    return run(["curl", "-q", "-K", str(rc), url], workdir)


def mpop(server: ServerAddress, security: Security, mechanism: str, user: str, password: str, workdir: Path) -> bytes:
    out = folder(workdir, "out")
    settings = [
        "account interop",
        f"host {server.host}",
        f"port {server.port(security)}",
        f"user {user}",
        f'password "{password}"',
        f"auth {mechanism.lower()}",
        "keep on",
        f"uidls_file {workdir / 'uidls'}",
        "received_header off",
        f"tls {'off' if security == 'plain' else 'on'}",
        f"tls_starttls {'on' if security == 'stls' else 'off'}",
        f"tls_trust_file {server.cafile}",
        f"delivery exchange {out}",
    ]
    run(["mpop", "-C", str(private(workdir / "mpoprc", settings)), "-Q", "interop"], workdir)
    return collect(out, lambda _path: 0)[0]


def apop(server: ServerAddress, security: Security, mechanism: str, user: str, password: str, workdir: Path) -> bytes:
    """Python's own client; it has no SASL."""
    context = ssl.create_default_context(cafile=str(server.cafile))
    if security == "tls":
        client: poplib.POP3 = poplib.POP3_SSL(server.host, server.port(security), timeout=TIMEOUT, context=context)
    else:
        client = poplib.POP3(server.host, server.port(security), timeout=TIMEOUT)
    try:
        client.apop(user, password)
        return b"".join(line + b"\r\n" for line in client.retr(1)[1])
    except poplib.error_proto as refusal:
        raise AssertionError(str(refusal)) from None
    finally:
        client.close()


def fetchmail(
    server: ServerAddress, security: Security, mechanism: str, user: str, password: str, workdir: Path
) -> bytes:
    out = folder(workdir, "out")
    tls = {"plain": 'sslproto ""', "stls": 'sslproto "auto"', "tls": 'ssl sslproto "auto"'}[security]
    trust = "" if security == "plain" else f'sslcertck sslcertfile "{server.cafile}"'
    settings = [
        "set no bouncemail",
        "set no syslog",
        "set invisible",
        f"poll {server.host} protocol pop3 service {server.port(security)} auth {mechanism.lower()}",
        f'  no dns user "{user}" password "{password}" {tls} {trust}',
        "  options keep fetchall no rewrite no mimedecode pass8bits no stripcr",
        f'  mda "{STORE} {out}"',
    ]
    command = ["fetchmail", "-f", str(private(workdir / "fetchmailrc", settings)), "--nodetach", "--nosyslog"]
    run(command, workdir, FETCHMAILHOME=str(workdir), LC_ALL="C")
    return collect(out)[0]


def mutt(server: ServerAddress, security: Security, mechanism: str, user: str, password: str, workdir: Path) -> bytes:
    """Its SASL is GNU's."""
    out, spool = folder(workdir, "out"), folder(workdir, "tmp")
    folder(workdir, "Mail")
    settings = [
        f'set pop_user="{user}"',
        f'set pop_pass="{password}"',
        f'set pop_authenticators="{mechanism.lower()}"',
        "set pop_delete=no",
        f"set ssl_starttls={'yes' if security == 'stls' else 'no'}",
        f"set ssl_force_tls={'no' if security == 'plain' else 'yes'}",
        f'set certificate_file="{server.cafile}"',
        f'set tmpdir="{spool}"',
        'set pipe_sep=""',
        "set pipe_decode=no wait_key=no sleep_time=0 quit=yes delete=no",
        f'push "<tag-pattern>~A<enter><tag-prefix-cond><pipe-message>{STORE} {out}<enter><end-cond><exit>"',
    ]
    rc = private(workdir / "muttrc", settings)
    place = f"{'pops' if security == 'tls' else 'pop'}://{server.host}:{server.port(security)}"
    run_on_terminal(["mutt", "-n", "-F", str(rc), "-f", place], workdir, idle_key=b"x")
    fetched = collect(out)
    assert fetched, "mutt fetched nothing"
    # It stores LF line ends.
    return fetched[0].replace(b"\n", b"\r\n")


def _perl(script: str) -> LogIn:
    def log_in(
        server: ServerAddress, security: Security, mechanism: str, user: str, password: str, workdir: Path
    ) -> bytes:
        arguments = [server.host, str(server.port(security)), security, str(server.cafile), mechanism, user]
        return run(["perl", str(SCRIPTS / script), *arguments], workdir, input=password.encode() + b"\n")

    return log_in


# --- SCRAM over a connection of Python's


def scramp(server: ServerAddress, security: Security, mechanism: str, user: str, password: str, workdir: Path) -> bytes:
    """With channel binding it is that of RFC 5929, which needs nothing but the certificate."""
    del workdir
    return _scramp(server, security, mechanism, user, password, mechanism.endswith("-PLUS"))


def cheated(server: ServerAddress, mechanism: str, user: str, password: str) -> bytes:
    """One that could bind, and says that the server cannot; over TLS that is not so."""
    return _scramp(server, "tls", mechanism, user, password, True)


def _scramp(server: ServerAddress, security: Security, mechanism: str, user: str, password: str, binds: bool) -> bytes:
    pop = _poplib(server, security)
    binding = ("tls-server-end-point", pop.sock) if binds else None
    client = ScrampClient([mechanism], user, password, channel_binding=binding)
    return _exchange(pop, mechanism, client.get_client_first().encode(), _Scramp(client))


class _Scramp:
    """Answers challenges, and makes sure that the server proves itself."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._proved = False

    def __call__(self, challenge: bytes) -> bytes:
        if self._proved:
            self._client.set_server_final(challenge.decode())
            return b""
        self._proved = True
        self._client.set_server_first(challenge.decode())
        final: str = self._client.get_client_final()
        return final.encode()


def _poplib(server: ServerAddress, security: Security) -> poplib.POP3:
    context = ssl.create_default_context(cafile=str(server.cafile))
    if security == "tls":
        return poplib.POP3_SSL(server.host, server.tls_port, timeout=TIMEOUT, context=context)
    pop = poplib.POP3(server.host, server.plain_port, timeout=TIMEOUT)
    if security == "stls":
        pop.stls(context)
    return pop


def _exchange(pop: poplib.POP3, mechanism: str, first: bytes, respond: Callable[[bytes], bytes]) -> bytes:
    shortcmd: Callable[[str], bytes] = pop._shortcmd  # type: ignore[attr-defined]
    try:
        reply = shortcmd(f"AUTH {mechanism} {b64encode(first).decode()}")
        while reply.startswith(b"+ "):
            reply = shortcmd(b64encode(respond(b64decode(reply[2:]))).decode())
        return b"".join(line + b"\r\n" for line in pop.retr(1)[1])
    except poplib.error_proto as error:
        raise AssertionError(error) from None
    finally:
        pop.close()


@attrs.define
class _Lines:
    """What `poplib` needs of a socket, of a TLS connection of pyOpenSSL's: it can export keying material."""

    connection: Any
    buffer: bytes = b""

    def sendall(self, octets: bytes) -> None:
        self.connection.sendall(octets)

    def readline(self, limit: int) -> bytes:
        while b"\n" not in self.buffer and len(self.buffer) < limit:
            self.buffer += self.connection.recv(4096)
        line, ending, self.buffer = self.buffer.partition(b"\n")
        return line + ending

    def shutdown(self, how: int) -> None:
        """`close` is enough."""

    def close(self) -> None:
        self.connection.close()


def exporter(
    server: ServerAddress, security: Security, mechanism: str, user: str, password: str, workdir: Path
) -> bytes:
    """A client of ours for tls-exporter, whose octets come from its own side of the connection."""
    del workdir
    return _exported(server, security, mechanism, user, password, lambda exported: exported)


def wrong_exporter(
    server: ServerAddress, security: Security, mechanism: str, user: str, password: str, workdir: Path
) -> bytes:
    """Somebody in between: bound to another connection than the server's."""
    del workdir
    return _exported(server, security, mechanism, user, password, lambda exported: exported[::-1])


def _exported(
    server: ServerAddress,
    security: Security,
    mechanism: str,
    user: str,
    password: str,
    change: Callable[[bytes], bytes],
) -> bytes:
    pop = poplib.POP3(server.host, server.plain_port, timeout=TIMEOUT)
    assert security == "stls"
    pop._shortcmd("STLS")  # type: ignore[attr-defined]
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(server.cafile))
    context.set_verify(SSL.VERIFY_PEER, lambda _connection, _certificate, _number, _depth, good: bool(good))
    pop.sock.settimeout(None)
    connection = SSL.Connection(context, pop.sock)
    connection.set_connect_state()
    connection.do_handshake()
    pop.sock = pop.file = _Lines(connection)  # type: ignore[assignment]
    data = change(connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""))
    hash_name = mechanism.removeprefix("SCRAM-").removesuffix("-PLUS").replace("-", "").lower()
    header = b"p=tls-exporter,,"
    client = ScramClient(hash_name, user.encode(), password.encode(), header=header, binding=data)
    return _exchange(pop, mechanism, client.first(), client.respond)


@attrs.frozen
class Client:
    """One program or library."""

    log_in: LogIn
    mechanisms: tuple[str, ...]
    programs: tuple[str, ...] = ()
    """What must be on the PATH."""
    modules: tuple[str, ...] = ()
    """What Perl must find."""

    def missing(self) -> list[str]:
        """What is not installed."""
        programs = [name for name in self.programs if shutil.which(name) is None]
        return programs or [
            name
            for name in self.modules
            if subprocess.run(["perl", f"-M{name}", "-e1"], stderr=subprocess.DEVNULL).returncode
        ]

    def securities(self, mechanism: str) -> tuple[Security, ...]:
        """How the connection may be protected with this mechanism."""
        if self.log_in in (exporter, wrong_exporter):
            return ("stls",)
        if mechanism == "APOP":
            # The timestamp of the greeting is void behind STLS.
            return ("plain", "tls")
        return ("stls", "tls") if mechanism in (*PLAINTEXT, *PLUS) else ("plain", "stls", "tls")


CLIENTS: Mapping[str, Client] = {
    "curl": Client(curl, (*PLAINTEXT, "CRAM-MD5"), ("curl",)),
    "mpop": Client(mpop, (*PLAINTEXT, "APOP", "CRAM-MD5", *SCRAM[:2]), ("mpop",)),
    "poplib": Client(apop, ("APOP",)),
    "fetchmail": Client(fetchmail, ("CRAM-MD5",), ("fetchmail",)),
    "mutt": Client(mutt, ("CRAM-MD5", *SCRAM[:2]), ("mutt",)),
    "Net::POP3": Client(
        _perl("net_pop3_sasl.pl"),
        (*PLAINTEXT, "CRAM-MD5"),
        ("perl",),
        ("Authen::SASL", "Digest::HMAC_MD5", "IO::Socket::SSL"),
    ),
    "Authen::SCRAM": Client(_perl("authen_scram.pl"), SCRAM, ("perl",), ("Authen::SCRAM::Client", "IO::Socket::SSL")),
    "scramp": Client(scramp, (*SCRAM, *PLUS)),
    "exporter": Client(exporter, PLUS),
}
