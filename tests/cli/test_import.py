"""`popserv import`: from where, for whom, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import poplib
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from popserv.cli.main import main

from .running import POPSERV, SECONDS, server

FAILED, USAGE = 1, 2
NAME = "1600000001.M1P1.old"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "users").write_text("fred:{PLAIN}secret\nann@example.org:{PLAIN}secret\n")
    (tmp_path / "popserv.toml").write_text(
        'auth.checkers = ["passwd-file:users"]\nauth.cleartext = "loopback"\n'
        'maildrop.location = "maildir:mail/{user}"\nserver.workers = 1\n'
        '[[listen]]\nprotocol = "pop3"\nendpoint = "tcp:0:interface=127.0.0.1"\ntls = "off"\n'
    )
    return tmp_path


def old_maildir(path: Path, files: dict[str, bytes]) -> Path:
    for part in ("tmp", "new", "cur"):
        (path / part).mkdir(parents=True)
    for name, octets in files.items():
        (path / name).write_bytes(octets)
    return path


@pytest.fixture
def old(folder: Path) -> Path:
    return old_maildir(folder / "old" / "fred", {f"cur/{NAME}:2,S": b"Subject: x\n\nbody\n"})


def take(folder: Path, *words: str | Path) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, words), "--config", str(folder / "popserv.toml")])


def ids(folder: Path, user: str) -> list[str]:
    [facts] = json.loads(run(folder, "maildrop", "check", user, "--json").stdout)
    assert facts["findings"] == []
    with server([*POPSERV, "run", "--config", folder / "popserv.toml"], folder) as started:
        client = poplib.POP3("127.0.0.1", started.port("pop3"), timeout=SECONDS)
        client.user(user)
        client.pass_("secret")
        lines = client.uidl()[1]
        client.quit()
    return [line.split()[1].decode("ascii") for line in lines]


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(folder / "popserv.toml")])


def test_from_a_maildir_that_is_guessed(folder: Path, old: Path) -> None:
    assert take(folder, old, "fred", "--dry-run").output == (
        "'fred': would be imported: 1 of 1, octets: 17, imported before: 0\n"
    )
    assert not (folder / "mail").exists()
    ended = take(folder, old, "fred")
    assert (ended.exit_code, ended.output) == (0, "'fred': imported: 1 of 1, octets: 17, imported before: 0\n")
    assert (folder / "mail" / "fred" / "cur" / f"{NAME}:2,S").read_bytes() == b"Subject: x\n\nbody\n"
    assert take(folder, f"maildir:{old}", "fred").output.endswith("imported: 0 of 1, octets: 0, imported before: 1\n")
    assert ids(folder, "fred") == [NAME]


@pytest.mark.parametrize(
    ("options", "unique_id"), [([], "0000000b5f000001"), (["--uidl-format", "%v.%u"], "1593835521.11")]
)
def test_from_dovecot_with_what_it_told(folder: Path, old: Path, options: list[str], unique_id: str) -> None:
    (old / "dovecot-uidlist").write_text(f"3 V1593835521 N12 G0123456789abcdef\n11 S17 W20 :{NAME}\n")
    assert take(folder, old, "fred", *options).exit_code == 0
    assert ids(folder, "fred") == [unique_id]


def test_from_courier_with_what_it_told(folder: Path, old: Path) -> None:
    (old / "courierpop3dsizelist").write_text(f"/2 8 1593835521\n{NAME}:2,S 20 7:1593835521\n")
    assert take(folder, f"courier:{old}", "fred").exit_code == 0
    assert ids(folder, "fred") == ["UID7-1593835521"]


@pytest.mark.parametrize(("kind", "content"), [("dovecot", None), ("dovecot", "9 what"), ("courier", "?")])
def test_without_the_list_nothing_comes(folder: Path, old: Path, kind: str, content: str | None) -> None:
    if content is not None:
        (old / {"dovecot": "dovecot-uidlist", "courier": "courierpop3dsizelist"}[kind]).write_text(content)
    ended = take(folder, f"{kind}:{old}", "fred")
    assert ended.exit_code == FAILED
    assert {"dovecot": "dovecot-uidlist", "courier": "courierpop3dsizelist"}[kind] in ended.stderr
    assert list((folder / "mail").glob("fred/[nc]*/*")) == []


def test_from_an_mbox_in_json(folder: Path) -> None:
    (folder / "old.mbox").write_bytes(b"From joe Mon Jan  1 00:00:00 2024\nSubject: x\n\n>From me\n\n")
    ended = take(folder, folder / "old.mbox", "fred", "--format", "mboxo", "--json")
    assert json.loads(ended.stdout) == [
        {
            "account": "fred",
            "messages": 1,
            "imported": 1,
            "octets": 21,
            "already": 0,
            "changed_ids": [],
            "failed": [],
            "skipped": [],
        }
    ]
    [file] = (folder / "mail" / "fred" / "new").iterdir()
    assert file.read_bytes() == b"Subject: x\n\n>From me\n"


def test_for_all_by_a_template(folder: Path, old: Path) -> None:
    del old
    old_maildir(folder / "old" / "ann", {"new/1600000002.M1P1.old": b"Subject: y\n\n"})
    ended = take(folder, f"maildir:{folder}/old/{{local}}", "--all")
    assert (ended.exit_code, len(ended.output.splitlines())) == (0, 2)
    assert (folder / "mail" / "ann@example.org" / "new" / "1600000002.M1P1.old").exists()


def test_what_is_wrong_with_one_does_not_keep_the_others(folder: Path, old: Path) -> None:
    del old
    ended = take(folder, f"maildir:{folder}/old/{{local}}", "--all")
    assert ended.exit_code == FAILED
    assert "'fred': imported: 1 of 1" in ended.output
    assert "'ann@example.org': the source cannot be read: No such file or directory" in ended.output


def test_folders_come_with_their_own_lists(folder: Path, old: Path) -> None:
    (old / "dovecot-uidlist").write_text(f"3 V1593835521 N12\n11 :{NAME}\n")
    sent = old_maildir(old / ".Sent.2020", {"cur/1600000002.M1P1.old:2,S": b"Subject: sent\n\n"})
    (sent / "dovecot-uidlist").write_text("3 V1593835522 N3\n2 :1600000002.M1P1.old\n")
    (old / ".no-maildir").mkdir()
    (old / ".link").symlink_to(sent)
    [facts] = json.loads(take(folder, old, "fred", "--folders", "--dry-run", "--json").stdout)
    assert (facts["imported"], (folder / "mail").exists()) == (2, False)
    ended = take(folder, old, "fred", "--folders")
    assert ended.output == "'fred': imported: 2 of 2, octets: 32, imported before: 0\n"
    there = folder / "mail" / "fred" / ".Sent.2020"
    assert (there / "cur" / "1600000002.M1P1.old:2,S").read_bytes() == b"Subject: sent\n\n"
    assert b"+ 000000025f000002 " in (there / "popserv.uidmap").read_bytes()
    assert (there / "maildirfolder").exists()
    assert sorted(path.name for path in there.parent.glob(".*")) == [".Sent.2020"]
    assert take(folder, old, "fred", "--folders").output.endswith("imported before: 2\n")
    (sent / "dovecot-uidlist").unlink()
    ended = take(folder, f"dovecot:{old}", "fred", "--folders")
    assert ended.exit_code == FAILED
    assert "folder '.Sent.2020': not imported: there is no dovecot-uidlist" in ended.output


def test_a_message_that_does_not_come_makes_the_status(folder: Path, old: Path) -> None:
    old_maildir(folder / "mail" / "fred", {f"cur/{NAME}:2,": b"something else"})
    ended = take(folder, old, "fred")
    assert ended.exit_code == FAILED
    assert "not imported: another message here has its name" in ended.output


@pytest.mark.parametrize("words", [["{nobody}/x", "fred"], ["x", "fred", "--uidl-format", "%q"], ["x"], [""]])
def test_wrong_usage(folder: Path, words: list[str]) -> None:
    assert take(folder, *words).exit_code == USAGE


def test_an_mbox_store_cannot_keep_what_it_would_have_to(folder: Path, old: Path) -> None:
    config = folder / "popserv.toml"
    config.write_text(config.read_text().replace("maildir:mail/{user}", "mbox:mail/{user}"))
    ended = take(folder, old, "fred")
    assert ended.exit_code == FAILED
    assert "cannot keep what clients know imported mail by" in ended.stderr


def killed_after(folder: Path, source: Path, count: int) -> bool:
    """Whether the process was killed, once so many files were in the Maildir; False: it was done before."""
    command = [*POPSERV, "import", str(source), "fred", "--config", str(folder / "popserv.toml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + SECONDS
        while process.poll() is None and len(list((folder / "mail").glob("fred/[tnc]*/*"))) < count:
            assert time.monotonic() < end
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def test_a_process_that_is_killed_is_gone_on_from(folder: Path) -> None:
    files = {f"new/16000{number:05}.M1P1.old": b"Subject: %d\n\n" % number + b"x" * number for number in range(400)}
    old = old_maildir(folder / "old" / "fred", files)
    for number, name in enumerate(files):
        os.utime(old / name, (1_500_000_000 + number, 1_500_000_000 + number))
    killed = [killed_after(folder, old, count) for count in (1, 100, 200, 300)]
    assert any(killed)
    assert take(folder, old, "fred").exit_code == 0
    new = folder / "mail" / "fred" / "new"
    assert {f"new/{path.name}": path.read_bytes() for path in new.iterdir()} == files
    assert sorted(path.stat().st_mtime for path in new.iterdir()) == [1_500_000_000 + each for each in range(400)]
    assert list((folder / "mail" / "fred" / "tmp").iterdir()) == []
    [facts] = json.loads(take(folder, old, "fred", "--json").stdout)
    assert (facts["imported"], facts["already"]) == (0, 400)
