"""Programs of others at the same mbox: procmail delivers, mutt reads and writes anew, liblockfile locks."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from popserv.auth.account import Account
from popserv.errors import StoreUnavailable
from popserv.maildrop.mbox_locks import MboxLocks
from popserv.pools import InlinePool
from popserv.stores.mbox import MboxStore, Options

from ..programs import program

FRED = Account("fred")
DELIVERIES = 20


def now(deferred):
    """What a Deferred that has fired gives, or raises."""
    results: list[object] = []
    deferred.addBoth(results.append)
    [result] = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


@pytest.fixture
def mbox(tmp_path: Path) -> Path:
    return tmp_path / "fred"


def store(mbox: Path, **options: object) -> MboxStore:
    clock = Clock()
    clock.advance(time.time())
    return MboxStore(
        f"{mbox.parent}/{{user}}", InlinePool(), clock, options=Options(**options), networked=lambda _: False
    )


def fetch(mbox: Path, remove: bool = False, **options: object) -> list[tuple[bytes, bytes]]:
    """A session that reads everything, and removes it."""
    maildrop = now(store(mbox, **options).open(FRED))
    seen = []
    for index in range(maildrop.count):
        reader = maildrop.message(index).open()
        octets = b""
        while chunk := now(reader.read(1 << 16)):
            octets += chunk
        reader.close()
        assert len(octets) == maildrop.octets[index]
        seen.append((maildrop.uidl(index), octets))
    if remove:
        assert now(maildrop.commit(set(range(maildrop.count)))) == 0
    now(maildrop.close())
    return seen


def deliver(mbox: Path, octets: bytes) -> None:
    incoming = now(store(mbox).begin(FRED))
    now(incoming.write(octets))
    now(incoming.commit())


def run(*command: object, stdin: bytes = b"", **environment: str) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        input=stdin,
        capture_output=True,
        timeout=30,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rewrite", ["rename", "in-place"])
def test_nothing_of_procmail_is_lost_or_torn_while_sessions_remove_everything(
    mbox: Path, tmp_path: Path, rewrite: str
) -> None:
    procmail = program("procmail")
    rules = tmp_path / "procmailrc"
    rules.write_text(f"LOCKSLEEP=1\nDEFAULT={mbox}\n:0:\n{mbox}\n")
    mbox.touch()
    bodies = [
        b"Subject: %d\n\nFrom the MTA\n>From me\n%b\n" % (number, b"x" * (number * 50 + 1))
        for number in range(DELIVERIES)
    ]

    def deliveries() -> None:
        for body in bodies:
            run(procmail, "-m", rules, stdin=b"From joe@example.org Mon Jan  1 00:00:00 2024\n" + body)

    thread = threading.Thread(target=deliveries)
    thread.start()
    seen: list[tuple[bytes, bytes]] = []
    while thread.is_alive():
        seen += fetch(mbox, remove=True, rewrite=rewrite, format="mboxo")
        time.sleep(0.01)
    thread.join()
    seen += fetch(mbox, remove=True, rewrite=rewrite, format="mboxo")
    # procmail is one that puts a ">" in front of lines that look like the beginning of a message.
    expected = [body.replace(b"\nFrom ", b"\n>From ").replace(b"\n", b"\r\n") for body in bodies]
    assert Counter(octets for _, octets in seen) == Counter(expected)
    assert len({unique_id for unique_id, _ in seen}) == DELIVERIES
    assert fetch(mbox) == []


def test_mutt_reads_and_writes_what_popserv_delivers_and_ids_stay(mbox: Path, tmp_path: Path) -> None:
    mutt = program("mutt")
    for number in range(4):
        deliver(mbox, b"Message-ID: <%d@example.org>\r\nSubject: %d\r\n\r\nFrom here\r\n" % (number, number))
    before = fetch(mbox)
    settings = tmp_path / "muttrc"
    settings.write_text(
        f'set mbox_type=mbox folder="{tmp_path}" header_cache="" delete=yes move=no quit=yes confirmappend=no\n'
        "push '<delete-pattern>~s2<enter><tag-pattern>~s1<enter><tag-prefix><set-flag>!<end-cond><quit>'\n"
    )
    terminal = program("script")
    command = f"{mutt} -n -F {settings} -f {mbox}"
    run(terminal, "-qec", command, "/dev/null", TERM="vt100", HOME=str(tmp_path))
    after = fetch(mbox)
    assert [unique_id for unique_id, _ in after] == [before[index][0] for index in (0, 1, 3)]
    flagged = after[1][1]
    assert b"\r\nX-Status: F\r\n" in flagged
    assert flagged.endswith(b"\r\n\r\nFrom here\r\n")


def test_a_dotlock_of_liblockfile_keeps_us_out_and_ours_keeps_it_out(mbox: Path) -> None:
    dotlockfile = program("dotlockfile")
    deliver(mbox, b"Subject: a\r\n")
    before = mbox.read_bytes()
    run(dotlockfile, "-r", "0", f"{mbox}.lock")
    with pytest.raises(StoreUnavailable):
        fetch(mbox, lock_seconds=0.2)
    run(dotlockfile, "-u", f"{mbox}.lock")
    assert len(fetch(mbox)) == 1
    with MboxLocks(("fcntl", "dotlock"), 1.0, time.time, time.sleep).held(os.fsencode(mbox)):
        done = subprocess.run([dotlockfile, "-r", "0", "-p", f"{mbox}.lock"], capture_output=True, timeout=30)
        assert done.returncode != 0
    assert mbox.read_bytes() == before
