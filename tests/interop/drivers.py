"""One driver a client, all with one signature: log in, take every message, leave all on the server.

The messages come back in order, as the client keeps them. Configurations are chosen so that a client changes as little
as it can. Where a driver undoes something, it says so beside it.
"""

from __future__ import annotations

import os
import poplib
import pwd
import re
import shutil
import ssl
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .forms import SCRIPTS
from .running import TIMEOUT, Security, ServerAddress, collect, folder, private, run, run_on_terminal

STORE = SCRIPTS / "store_message.sh"


def curl(server: ServerAddress, security: Security, user: str, password: str, workdir: Path) -> list[bytes]:
    """One process and one connection for all, by a range in the URL."""
    out = folder(workdir, "out")
    url = f"{'pop3s' if security == 'tls' else 'pop3'}://{server.host}:{server.port(security)}/"
    settings = [f'user = "{user}:{password}"', f'cacert = "{server.cafile}"', "silent", "show-error", "fail"]
    settings += ["ssl-reqd"] if security == "stls" else []
    rc = private(workdir / "curlrc", settings)
    command = ["curl", "-q", "-K", str(rc)]
    # An empty list is printed as one empty line, and a URL range must not be empty.
    count = sum(1 for line in run([*command, url], workdir).splitlines() if line)
    if count:
        run([*command, "-o", f"{out}/#1", f"{url}[1-{count}]"], workdir)
    return collect(out)


def poplib_client(server: ServerAddress, security: Security, user: str, password: str, workdir: Path) -> list[bytes]:
    """Python's own."""
    del workdir
    context = ssl.create_default_context(cafile=str(server.cafile))
    longest, poplib._MAXLINE = poplib._MAXLINE, 1 << 24  # type: ignore[attr-defined]
    try:
        pop = _poplib_login(server, security, user, password, context)
        lines = [pop.retr(number)[1] for number in range(1, pop.stat()[0] + 1)]
        pop.quit()
    finally:
        poplib._MAXLINE = longest  # type: ignore[attr-defined]
    return [b"".join(line + b"\r\n" for line in message) for message in lines]


def _poplib_login(
    server: ServerAddress, security: Security, user: str, password: str, context: ssl.SSLContext
) -> poplib.POP3:
    port = server.port(security)
    pop: poplib.POP3
    if security == "tls":
        pop = poplib.POP3_SSL(server.host, port, timeout=TIMEOUT, context=context)
    else:
        pop = poplib.POP3(server.host, port, timeout=TIMEOUT)
    if security == "stls":
        pop.stls(context)
    pop.user(user)
    pop.pass_(password)
    return pop


def fetchmail(server: ServerAddress, security: Security, user: str, password: str, workdir: Path) -> list[bytes]:
    """`no stripcr` keeps CRLF; without `no rewrite` and `invisible` it edits addresses and adds a Received field."""
    out = folder(workdir, "out")
    tls = {
        "plain": 'sslproto ""',
        "stls": f'sslproto "auto" sslcertck sslcertfile "{server.cafile}"',
        "tls": f'ssl sslproto "auto" sslcertck sslcertfile "{server.cafile}"',
    }[security]
    settings = [
        "set no bouncemail",
        "set no spambounce",
        "set no syslog",
        "set invisible",
        f"poll {server.host} protocol pop3 service {server.port(security)}",
        "  no dns bad-header accept",
        f'  user "{user}" password "{password}"',
        f"  {tls}",
        "  options keep fetchall no rewrite no mimedecode pass8bits no dropstatus no dropdelivered no stripcr",
        f'  mda "{STORE} {out}"',
    ]
    rc = private(workdir / "fetchmailrc", settings)
    command = ["fetchmail", "-f", str(rc), "--nodetach", "--nosyslog"]
    # Exit code 1 says that there was no mail.
    report = run(command, workdir, success=(0, 1), FETCHMAILHOME=str(workdir), LC_ALL="C")
    # It compares what it reads with what LIST announced; this is an assertion for free.
    assert b"not the expected length" not in report, report
    return [_as_fetched(message) for message in collect(out)]


_MADE_UP = re.compile(rb"From: FETCHMAIL-DAEMON\S*\r\nTo: \S+\r\nSubject: Headerless mail from [^\r\n]*\r\n(?=\r\n)")
_SEAM = re.compile(rb"([^\n]{8190,8191})\0[^\0]\r\n")


def _as_fetched(message: bytes) -> bytes:
    """Without the header that fetchmail makes up, and without what `no stripcr` makes it insert into long lines.

    Between two buffers of one line it writes a NUL, an octet of chance, and CRLF.
    """
    if _MADE_UP.match(message):
        message = _MADE_UP.sub(b"", message, count=1)
    return _SEAM.sub(rb"\1", message)


def mpop(server: ServerAddress, security: Security, user: str, password: str, workdir: Path) -> list[bytes]:
    """`delivery exchange` writes CRLF files and no mbox line."""
    out = folder(workdir, "out")
    settings = [
        "account interop",
        f"host {server.host}",
        f"port {server.port(security)}",
        f"user {user}",
        f'password "{password}"',
        "auth user",
        "keep on",
        "only_new off",
        f"uidls_file {workdir / 'uidls'}",
        "received_header off",
        f"tls {'off' if security == 'plain' else 'on'}",
        f"tls_starttls {'on' if security == 'stls' else 'off'}",
        f"tls_trust_file {server.cafile}",
        f"delivery exchange {out}",
    ]
    rc = private(workdir / "mpoprc", settings)
    run(["mpop", "-C", str(rc), "-Q", "interop"], workdir)
    # The file names count: mpop-TIME-M…P…Q<n>-HOST.eml
    return collect(out, lambda path: int(path.name.rpartition("Q")[2].partition("-")[0]))


def getmail(server: ServerAddress, security: Security, user: str, password: str, workdir: Path) -> list[bytes]:
    """Refuses to deliver as root, so root runs it as nobody, in a folder that nobody can reach."""
    del workdir
    nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="getmail-") as name:
        home = Path(name)
        out = folder(home, "out")
        ca, store = home / "ca.pem", home / STORE.name
        shutil.copyfile(server.cafile, ca)
        shutil.copy(STORE, store)
        private(home / "rc", _getmail_settings(server, security, user, password, ca, store, out))
        if nobody:
            for path in (home, out, ca, store, home / "rc"):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        as_user: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []} if nobody else {}
        command = ["getmail", "--getmaildir", str(home), "--rcfile", "rc"]
        run(command, home, **as_user)
        return collect(out)


def _getmail_settings(
    server: ServerAddress, security: Security, user: str, password: str, ca: Path, store: Path, out: Path
) -> list[str]:
    return [
        "[retriever]",
        f"type = {'SimplePOP3SSLRetriever' if security == 'tls' else 'SimplePOP3Retriever'}",
        f"server = {server.host}",
        f"port = {server.port(security)}",
        f"username = {user}",
        f"password = {password}",
        *([f"ca_certs = {ca}"] if security == "tls" else []),
        "[destination]",
        "type = MDA_external",
        f"path = {store}",
        f'arguments = ("{out}",)',
        "[options]",
        "read_all = true",
        "delete = false",
        "delivered_to = false",
        "received = false",
        "verbose = 0",
    ]


def mutt(server: ServerAddress, security: Security, user: str, password: str, workdir: Path) -> list[bytes]:
    """A screen program: keys are pushed from its configuration, and it gets a terminal that nobody looks at.

    An empty maildrop makes it drop the pushed keys and wait, so it is also told to exit by hand.
    """
    out, spool = folder(workdir, "out"), folder(workdir, "tmp")
    folder(workdir, "Mail")  # mutt asks whether to make it, and takes the pushed keys for the answer
    keys = f"<tag-pattern>~A<enter><tag-prefix-cond><pipe-message>{STORE} {out}<enter><end-cond><exit>"
    settings = [
        f'set pop_user="{user}"',
        f'set pop_pass="{password}"',
        "set pop_delete=no",
        "set pop_checkinterval=0",
        f"set ssl_starttls={'yes' if security == 'stls' else 'no'}",
        f"set ssl_force_tls={'no' if security == 'plain' else 'yes'}",
        f'set certificate_file="{server.cafile}"',
        f'set tmpdir="{spool}"',
        "set sort=mailbox-order",
        "set pipe_split=yes",
        "set pipe_decode=no",
        'set pipe_sep=""',
        "set wait_key=no",
        "set sleep_time=0",
        "set quit=yes",
        "set delete=no",
        f'push "{keys}"',
    ]
    rc = private(workdir / "muttrc", settings)
    scheme = "pops" if security == "tls" else "pop"
    place = f"{scheme}://{server.host}:{server.port(security)}"
    run_on_terminal(["mutt", "-n", "-F", str(rc), "-f", place], workdir, idle_key=b"x")
    return collect(out)


def net_pop3(server: ServerAddress, security: Security, user: str, password: str, workdir: Path) -> list[bytes]:
    """Perl's libnet."""
    return _script(["perl", "net_pop3.pl"], server, security, user, password, workdir)


def net_pop(server: ServerAddress, security: Security, user: str, password: str, workdir: Path) -> list[bytes]:
    """Ruby's net/pop."""
    return _script(["ruby", "net_pop.rb"], server, security, user, password, workdir)


def twisted_client(server: ServerAddress, security: Security, user: str, password: str, workdir: Path) -> list[bytes]:
    """Twisted's own client."""
    return _script([sys.executable, "twisted_client.py"], server, security, user, password, workdir)


def _script(
    command: Sequence[str], server: ServerAddress, security: Security, user: str, password: str, workdir: Path
) -> list[bytes]:
    out = folder(workdir, "out")
    interpreter, script = command
    arguments = [server.host, str(server.port(security)), security, str(server.cafile), user, str(out)]
    run([interpreter, str(SCRIPTS / script), *arguments], workdir, input=password.encode() + b"\n")
    return collect(out)
