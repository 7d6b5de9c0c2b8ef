"""popserv in the place of a real Dovecot: clients that keep mail there fetch no message twice, and miss none."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from popserv.testing.nasty import NASTY
from tests.corpus import shared

from ..programs import folder_of, free_port, missing
from ..service import run, serving
from . import dovecot
from .keepers import CLIENTS, listed

EVERYTHING = os.environ.get("POPSERV_EVERY_FORM") == "1"
FORMS = ["%08Xu%08Xv", "%v.%u"] + (["%u", "%f", "%g", "%08Xv%08Xu", "%Mf"] if EVERYTHING else [])

CONFIGURATION = """
[[listen]]
endpoint = "tcp:{port}:interface=127.0.0.1"
tls = "off"

[auth]
checkers = ["passwd-file:users"]
cleartext = "loopback"

[maildrop]
location = "maildir:mail/{{user}}"
"""


@pytest.fixture(scope="module", autouse=True)
def may_run() -> None:
    if os.geteuid() != 0:
        missing("a Dovecot that may change its user (we are not root)")


@pytest.fixture
def directory() -> Iterator[Path]:
    with folder_of(None) as place:
        place.chmod(0o755)
        yield place


def digestible(octets: bytes) -> bool:
    """Whether these clients take it from any server: what they cannot read they fetch again each time."""
    return (
        re.match(rb"[!-~]+:", octets) is not None
        and not re.search(rb"[\0\r]", octets)
        and max(map(len, octets.split(b"\n"))) < 1000
    )


def fill(maildir: Path) -> None:
    """Real and nasty messages, some new and some seen, with names as several programs give them."""
    for part in ("tmp", "new", "cur"):
        (maildir / part).mkdir(parents=True)
    messages = [sample.octets.replace(b"\r\n", b"\n") for sample in shared()[::6]]
    messages += [octets.replace(b"\r\n", b"\n") for octets in NASTY.values()][:20]
    # Of a message without a last line end, Dovecot does not count the one that it sends.
    messages = [octets.removesuffix(b"\n") + b"\n" for octets in messages if digestible(octets)]
    messages += [b"Subject: %d\n\n.\nFrom here\n" % number for number in range(12)]
    for number, octets in enumerate(messages):
        name = f"{1_700_000_000 + number}.M{number}P1.mail.example.org"
        if number % 3 == 0:
            name += f",S={len(octets)}"
        path = maildir / ("new" if number % 5 == 0 else "cur") / (name if number % 5 == 0 else f"{name}:2,S")
        path.write_bytes(octets)
    dovecot.give(maildir.parent)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_fetched_twice_and_nothing_is_missed(form: str, directory: Path) -> None:
    maildir, port = directory / "mail" / "fred", free_port()
    fill(maildir)
    for client in CLIENTS:
        (directory / client).mkdir()
    clients = list(CLIENTS) if EVERYTHING or form == FORMS[0] else ["getmail"]
    with dovecot.serving(directory, maildir, port, form):
        before = listed(port)
        fetched = {client: CLIENTS[client](directory / client, port) for client in clients}
        assert {len(messages) for messages in fetched.values()} == {len(before)}
        assert [CLIENTS[client](directory / client, port) for client in clients] == [[] for _ in clients]
    (directory / "users").write_text("fred:{PLAIN}secret\n")
    configuration = CONFIGURATION.format(port=port)
    (directory / "popserv.toml").write_text(configuration)
    arguments = ("uidl", "import", "fred", str(maildir), "--from", "dovecot", "--uidl-format", form)
    status, said = run(directory, *arguments, "--json")
    assert status == 0, said
    done = json.loads(said)
    assert done["adopted"] + done["unchanged"] == len(before)
    assert done["unmatched"] == done["conflicts"] == []
    status, said = run(directory, *arguments, "--json")
    assert (status, json.loads(said)["unchanged"]) == (0, len(before))
    with serving(directory, configuration):
        assert listed(port) == before
        assert [CLIENTS[client](directory / client, port) for client in clients] == [[] for _ in clients]
        new = maildir / "new" / "1800000000.M1P1.mail.example.org"
        new.write_bytes(b"Subject: new\n\nThis one is new.\n")
        dovecot.give(maildir)
        for client in clients:
            [message] = CLIENTS[client](directory / client, port)
            assert b"This one is new." in message
            assert CLIENTS[client](directory / client, port) == []
        assert len(listed(port)) == len(before) + 1
