"""Views of a real server, as poplib and curl see them."""

from __future__ import annotations

import os
import poplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..programs import program
from ..service import Served, run, serving

CONFIGURATION = """
[auth]
checkers = ["passwd-file:users"]
failure_delay = 0
[maildrop]
location = "maildir:mail/{user}"
newest = 3
since = "30d"
largest_octets = 200
view_rules = [
    {accounts = ["ann"], junk = "Junk", folders = ["*"]},
    {accounts = ["joe"], junk = "Junk", junk_mark = "header"},
]
[quota]
messages = 100
"""


def put(maildir: Path, name: str, octets: bytes, days: float = 0) -> None:
    for part in ("cur", "new", "tmp"):
        (maildir / part).mkdir(parents=True, exist_ok=True)
    path = maildir / "cur" / name
    path.write_bytes(octets)
    os.utime(path, (time.time() - days * 86400,) * 2)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("views")
    (directory / "users").write_text("fred:{PLAIN}x\nann:{PLAIN}x\njoe:{PLAIN}x\n")
    with serving(directory, CONFIGURATION) as service:
        yield service


def session(served: Served, name: str) -> poplib.POP3_SSL:
    client = served.connect()
    client.user(name)
    try:
        client.pass_("x")
    except poplib.error_proto:
        client.close()
        raise
    return client


def curl(served: Served, name: str, path: str, *more: str) -> bytes:
    """What curl writes for a URL."""
    url = f"pop3s://127.0.0.1:{served.port}/{path}"
    command = [program("curl"), "-sS", "--insecure", "--max-time", "20", "--user", f"{name}:x", *more, url]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=30).stdout


def check_sizes(client: poplib.POP3_SSL) -> list[bytes]:
    """Every message; LIST, STAT and RETR have to be of one mind."""
    messages = []
    for line in client.list()[1]:
        number, octets = map(int, line.split())
        messages.append(b"".join(each + b"\r\n" for each in client.retr(number)[1]))
        assert len(messages[-1]) == octets, line
    assert client.stat() == (len(messages), sum(map(len, messages)))
    return messages


def test_P3_026_newest_recent_and_small_ones(served: Served) -> None:
    maildir = served.directory / "mail" / "fred"
    put(maildir, "1700000000.old", b"Subject: old\n\n", days=31)
    put(maildir, "1700000001.a", b"Subject: a\n\n", days=29)
    put(maildir, "1700000002.large", b"x" * 199)
    for name in "bcd":
        put(maildir, f"1700000003.{name}", b"Subject: %b\n\n" % name.encode())
    client = session(served, "fred")
    assert [message[9:10] for message in check_sizes(client)] == [b"b", b"c", b"d"]
    assert client.uidl()[1] == [b"1 1700000003.b", b"2 1700000003.c", b"3 1700000003.d"]
    client.dele(2)
    client.quit()
    assert curl(served, "fred", "", "-X", "UIDL").split() == [
        *(b"1", b"1700000001.a", b"2", b"1700000003.b", b"3", b"1700000003.d")
    ]
    assert curl(served, "fred", "1") == b"Subject: a\r\n\r\n"
    assert sorted(path.name.partition(":")[0] for path in (maildir / "cur").iterdir()) == [
        *("1700000000.old", "1700000001.a", "1700000002.large", "1700000003.b", "1700000003.d")
    ]
    assert "messages: 5\n" in run(served.directory, "maildrop", "stat", "fred")[1]


def test_P3_041_inbox_with_junk_and_junk_alone(served: Served) -> None:
    maildir = served.directory / "mail" / "ann"
    junk = maildir / ".Junk"
    put(maildir, "1700000000.a", b"Subject: hello\n\nbody\n")
    put(junk, "1700000000.a", b"From: spam\nSubject: win\n\n" + b"body\n" * 1000)
    put(junk, "1700000001.b", b"From: spam\n\n.\nbody\n")
    client = session(served, "ann")
    inbox, first, second = check_sizes(client)
    assert inbox == b"Subject: hello\r\n\r\nbody\r\n"
    assert first == b"From: spam\r\nX-Junk:1\r\nSubject: [Junk] win\r\n\r\n" + b"body\r\n" * 1000
    assert second == b"From: spam\r\nSubject: [Junk]\r\n\r\n.\r\nbody\r\n"
    assert client.top(2, 1)[1] == [b"From: spam", b"X-Junk:1", b"Subject: [Junk] win", b"", b"body"]
    ids = [line.split()[1] for line in client.uidl()[1]]
    assert len(set(ids)) == 3
    with pytest.raises(poplib.error_proto, match="IN-USE"):
        session(served, "ann+Junk")
    client.quit()

    assert curl(served, "ann+Junk", "2") == b"From: spam\r\n\r\n.\r\nbody\r\n"
    missing = session(served, "ann+Missing")
    assert missing.stat() == (0, 0)
    missing.quit()
    for name, refusal in (("ann+a..b", "SYS/PERM. there is no such folder"), ("ann+../x", "AUTH")):
        with pytest.raises(poplib.error_proto, match=refusal):
            session(served, name)

    client = session(served, "ann")
    assert [line.split()[1] for line in client.uidl()[1]] == ids
    client.dele(1)
    client.dele(2)
    client.quit()
    assert list((maildir / "cur").iterdir()) == []
    assert [path.name.partition(":")[0] for path in (junk / "cur").iterdir()] == ["1700000001.b"]
    client = session(served, "ann")
    assert [line.split()[1] for line in client.uidl()[1]] == ids[2:]

    # What the one folder has lost is not told to be there because of the other, and the other way round.
    client.dele(1)
    os.rename(junk, served.directory / "elsewhere")
    with pytest.raises(poplib.error_proto, match="1 of 1 deleted messages not removed"):
        client.quit()
    os.rename(served.directory / "elsewhere", junk)
    assert curl(served, "ann", "1") == second


def test_P3_025_long_lists_of_two_folders(served: Served) -> None:
    maildir = served.directory / "mail" / "joe"
    for number in range(1100):
        put(maildir if number < 550 else maildir / ".Junk", f"17{number:08}.m", b"Subject: %d\n\n" % number)
    client = session(served, "joe")
    lists = client.list()[1], client.uidl()[1]
    client.dele(1100)
    for whole, without in zip(lists, (client.list()[1], client.uidl()[1]), strict=True):
        assert [int(line.split()[0]) for line in whole] == list(range(1, 1101))
        assert whole[:-1] == without
    client.rset()
    assert client.stat() == (1100, sum(int(line.split()[1]) for line in lists[0]))
    message = client.retr(1100)[1]
    assert message == [b"X-Junk: yes", b"Subject: 1099", b""]
    assert int(lists[0][-1].split()[1]) == sum(len(line) + 2 for line in message)
    client.quit()


TAKEOVER = """
[auth]
checkers = ["passwd-file:users"]
failure_delay = 0
[server]
runtime = "run"
[maildrop]
location = "maildir:mail/{user}"
lock = "takeover"
junk = "Junk"
folders = ["Junk"]
"""


def check_ended(client: poplib.POP3_SSL) -> None:
    with pytest.raises((poplib.error_proto, OSError)):
        client.quit()
    client.close()


def test_a_session_with_two_folders_is_taken_over_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("fred:{PLAIN}x\n")
    maildir = tmp_path / "mail" / "fred"
    put(maildir, "1700000000.a", b"Subject: a\n\n")
    put(maildir / ".Junk", "1700000001.b", b"Subject: b\n\n")
    with serving(tmp_path, TAKEOVER) as served:
        both = session(served, "fred")
        both.dele(1)
        again = session(served, "fred")
        assert again.stat()[0] == 2
        check_ended(both)
        junk = session(served, "fred+Junk")
        assert junk.stat()[0] == 1
        check_ended(again)
        # INBOX is free, Junk is not: this one has both in the end, and the other nothing.
        last = session(served, "fred")
        assert last.stat()[0] == 2
        check_ended(junk)
        last.dele(2)
        last.quit()
    assert [path.name for path in (maildir / "cur").iterdir()] == ["1700000000.a"]
    assert list((maildir / ".Junk" / "cur").iterdir()) == []
