"""Clients that leave mail on the server and remember by its unique-id what they have fetched."""

from __future__ import annotations

import os
import poplib
import pwd
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.interop.drivers import STORE
from tests.interop.running import collect, folder, private, run

from ..programs import program


def fetchmail(home: Path, port: int) -> list[bytes]:
    """What it fetches this time."""
    program("fetchmail")
    out = _emptied(home)
    settings = [
        "set no bouncemail",
        "set no spambounce",
        "set no syslog",
        "set invisible",
        f'set idfile "{home}/ids"',
        f"poll 127.0.0.1 protocol pop3 service {port} uidl",
        "  no dns bad-header accept",
        '  user "fred" password "secret"',
        '  sslproto ""',
        "  options keep no fetchall no rewrite no mimedecode pass8bits no dropstatus no dropdelivered no stripcr",
        f'  mda "{STORE} {out}"',
    ]
    rc = private(home / "fetchmailrc", settings)
    run(
        ["fetchmail", "-f", str(rc), "--nodetach", "--nosyslog"],
        home,
        success=(0, 1),
        FETCHMAILHOME=str(home),
        LC_ALL="C",
    )
    return collect(out)


def getmail(home: Path, port: int) -> list[bytes]:
    """The same; as nobody if we are root, since root gets no mail from it."""
    program("getmail")
    out = _emptied(home)
    store = home / STORE.name
    shutil.copy(STORE, store)
    settings = [
        "[retriever]",
        "type = SimplePOP3Retriever",
        "server = 127.0.0.1",
        f"port = {port}",
        "username = fred",
        "password = secret",
        "[destination]",
        "type = MDA_external",
        f"path = {store}",
        f'arguments = ("{out}",)',
        "[options]",
        "read_all = false",
        "delete = false",
        "delivered_to = false",
        "received = false",
        "verbose = 0",
    ]
    rc = private(home / "rc", settings)
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (home, out, store, rc):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    run(["getmail", "--getmaildir", str(home), "--rcfile", "rc"], home, **as_user)
    return collect(out)


CLIENTS: Mapping[str, Callable[[Path, int], list[bytes]]] = {"fetchmail": fetchmail, "getmail": getmail}


def listed(port: int) -> dict[str, int]:
    """Sizes by unique-id, as LIST and UIDL have them."""
    pop = poplib.POP3("127.0.0.1", port, timeout=30)
    pop.user("fred")
    pop.pass_("secret")
    ids = [line.decode().split() for line in pop.uidl()[1]]
    sizes = dict(line.decode().split() for line in pop.list()[1])
    pop.quit()
    assert len({unique_id for _number, unique_id in ids}) == len(ids)
    return {unique_id: int(sizes[number]) for number, unique_id in ids}


def _emptied(home: Path) -> Path:
    shutil.rmtree(home / "out", ignore_errors=True)
    return folder(home, "out")
