"""Programs of others at the same Maildir: procmail and Dovecot deliver; Dovecot sets flags and removes."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from popserv.auth.account import Account
from popserv.errors import MessageVanished
from popserv.pools import InlinePool
from popserv.stores.maildir import MaildirStore, Options

from ..programs import folder_of, program

FRED = Account("fred")

DOVECOT = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
protocols =
ssl = no
mail_location = maildir:{directory}/fred
first_valid_uid = 1
"""


def now(deferred: Any) -> Any:
    """What a Deferred that has fired gives, or raises."""
    results: list[object] = []
    deferred.addBoth(results.append)
    [result] = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


class Mail:
    """Fred's Maildir, and the programs that work on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.maildir = directory / "fred"
        for part in ("tmp", "new", "cur"):
            (self.maildir / part).mkdir(parents=True)
        (directory / "procmailrc").write_text(f"DEFAULT={self.maildir}/\nLOGFILE={directory}/procmail.log\nUMASK=077\n")
        (directory / "dovecot.conf").write_text(DOVECOT.format(directory=directory))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            # What root runs, Dovecot wants to be told of by a server.
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (directory, *directory.rglob("*")):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)

    def procmail(self, message: bytes) -> None:
        self._run([program("procmail"), "-m", str(self.directory / "procmailrc")], message)

    def dovecot_lda(self, message: bytes) -> None:
        lda = program("dovecot-lda", "/usr/lib/dovecot", "/usr/libexec/dovecot")
        self._run([lda, "-c", str(self.directory / "dovecot.conf"), "-f", "joe@example.org"], message)

    def doveadm(self, *arguments: str) -> None:
        self._run([program("doveadm"), "-c", str(self.directory / "dovecot.conf"), *arguments], b"")

    def _run(self, command: list[str], given: bytes) -> None:
        environment = {**os.environ, "USER": "fred", "HOME": str(self.directory)}
        done = subprocess.run(
            command, input=given, capture_output=True, timeout=60, cwd=self.directory, env=environment, **self._as
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    def open(self) -> Any:
        clock = Clock()
        clock.advance(time.time())
        store = MaildirStore(
            f"{self.directory}/{{user}}", InlinePool(), clock, options=Options(), networked=lambda _: False
        )
        return now(store.open(FRED))

    def session(self) -> dict[bytes, bytes]:
        """What a new session has, by unique-id; sizes are checked."""
        maildrop = self.open()
        try:
            seen = {maildrop.uidl(index): read(maildrop, index) for index in range(maildrop.count)}
            assert [len(octets) for octets in seen.values()] == list(maildrop.octets)
            return seen
        finally:
            now(maildrop.close())


def read(maildrop: Any, index: int) -> bytes:
    reader, octets = maildrop.message(index).open(), b""
    try:
        while chunk := now(reader.read(1 << 16)):
            octets += chunk
    finally:
        reader.close()
    return octets


@pytest.fixture
def mail() -> Iterator[Mail]:
    with folder_of(None) as directory:
        yield Mail(directory)


def message(number: int) -> bytes:
    return b"From: joe@example.org\nSubject: %d\n\nbody %d\n.\nFrom here\n" % (number, number)


def test_what_they_deliver_is_served_exactly_and_keeps_its_id(mail: Mail) -> None:
    for number in range(6):
        (mail.procmail if number % 2 else mail.dovecot_lda)(message(number))
    seen = mail.session()
    assert len(seen) == 6
    bodies = sorted(octets.partition(b"\r\n\r\n")[2] for octets in seen.values())
    assert bodies == [b"body %d\r\n.\r\nFrom here\r\n" % number for number in range(6)]
    # Another program gives flags, by other names, in new as in cur.
    mail.doveadm("flags", "add", "\\Seen \\Flagged", "mailbox", "INBOX", "all")
    assert all(path.name.endswith(":2,FS") for part in ("new", "cur") for path in (mail.maildir / part).iterdir())
    assert mail.session() == seen
    mail.procmail(message(7))
    after = mail.session()
    assert after.items() > seen.items()
    assert len(after) == 7


def test_flags_and_removals_in_mid_session(mail: Mail) -> None:
    for number in range(4):
        mail.procmail(message(number))
    maildrop = mail.open()
    ids = [maildrop.uidl(index) for index in range(4)]
    octets = [read(maildrop, index) for index in range(4)]
    mail.doveadm("flags", "add", "\\Answered", "mailbox", "INBOX", "all")
    mail.dovecot_lda(message(9))
    assert [read(maildrop, index) for index in range(4)] == octets
    # INBOX numbers them from 1 as they were delivered.
    mail.doveadm("expunge", "mailbox", "INBOX", "1")
    gone = [index for index in range(4) if is_gone(maildrop, index)]
    assert len(gone) == 1
    # What is gone counts as removed, and so does what is removed now; new mail and the rest stay.
    other = next(index for index in range(4) if index not in gone)
    assert now(maildrop.commit({*gone, other})) == 0
    now(maildrop.close())
    after = mail.session()
    assert len(after) == 3
    assert {ids[index]: octets[index] for index in range(4) if index not in (*gone, other)}.items() < after.items()
    assert maildrop.count == 4


def is_gone(maildrop: Any, index: int) -> bool:
    try:
        read(maildrop, index)
    except MessageVanished:
        return True
    return False
