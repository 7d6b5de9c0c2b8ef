"""`popserv maildrop check`, `repair` and `reindex`: what they print, and how they end."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from popserv.cli.main import main

FOUND = 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "users").write_text("fred:{PLAIN}secret\nann:{PLAIN}secret\n")
    (tmp_path / "popserv.toml").write_text(
        'auth.checkers = ["passwd-file:users"]\nmaildrop.location = "maildir:mail/{user}"\n'
    )
    for user in ("fred", "ann"):
        run(tmp_path, "deliver", user, given=b"Subject: x\n\nbody\n")
    return tmp_path


def run(folder: Path, *words: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(folder / "popserv.toml")], input=given)


def verb(folder: Path, *words: str) -> Result:
    return run(folder, "maildrop", *words)


def leave_something(folder: Path) -> None:
    (folder / "mail" / "fred" / "popserv.index.new").write_bytes(b"half")


def test_all_is_well(folder: Path) -> None:
    ended = verb(folder, "check", "FRED")
    assert (ended.exit_code, ended.output) == (0, "'fred': messages: 1, octets: 20\n")


def test_a_finding_is_a_line_and_a_status(folder: Path) -> None:
    leave_something(folder)
    ended = verb(folder, "check", "--all")
    assert ended.exit_code == FOUND
    assert ended.output.splitlines() == [
        "'fred': leftover: popserv.index.new was never finished (repair would: remove popserv.index.new)",
        "'fred': messages: 1, octets: 20",
        "'ann': messages: 1, octets: 20",
    ]


def test_repair_does_what_the_dry_run_says(folder: Path) -> None:
    leave_something(folder)
    assert verb(folder, "repair", "fred", "--dry-run").exit_code == FOUND
    ended = verb(folder, "repair", "fred")
    assert ended.exit_code == 0
    assert ended.output.splitlines()[0].endswith("(mended: remove popserv.index.new)")
    assert verb(folder, "check", "--all").exit_code == 0


def test_json(folder: Path) -> None:
    leave_something(folder)
    [fred] = json.loads(verb(folder, "check", "fred", "--json").stdout)
    assert (fred["account"], fred["messages"], fred["octets"], fred["unknown"]) == ("fred", 1, 20, [])
    assert fred["findings"] == [
        {
            "kind": "leftover",
            "text": "popserv.index.new was never finished",
            "remedy": "remove popserv.index.new",
            "state": "found",
        }
    ]


def test_reindex_says_how_much_there_is(folder: Path) -> None:
    assert json.loads(verb(folder, "reindex", "--all", "--json").stdout) == [
        {"account": "fred", "messages": 1, "octets": 20},
        {"account": "ann", "messages": 1, "octets": 20},
    ]
    assert (folder / "mail" / "ann" / "popserv.index").exists()


def test_without_the_lock_it_says_what_it_does_not_know(folder: Path) -> None:
    leave_something(folder)
    ended = verb(folder, "check", "fred", "--no-lock")
    assert ended.exit_code == 0
    assert "'fred': not known: " in ended.output


@pytest.mark.parametrize("words", [["check"], ["check", "fred", "--all"], ["repair"], ["reindex"]])
def test_one_or_all(folder: Path, words: list[str]) -> None:
    ended = verb(folder, *words)
    assert "give either USER or --all" in ended.stderr


def test_one_that_cannot_be_opened_does_not_keep_the_others(folder: Path) -> None:
    (folder / "mail" / "fred").rename(folder / "mail" / "elsewhere")
    (folder / "mail" / "fred").write_bytes(b"")
    ended = verb(folder, "check", "--all")
    assert ended.exit_code == FOUND
    assert "'ann': messages: 1" in ended.output
    assert ended.output.startswith("'fred': maildrop cannot be opened")


def test_nobody_has_that_name(folder: Path) -> None:
    ended = verb(folder, "check", "joe")
    assert (ended.exit_code, ended.stderr) == (FOUND, "popserv: 'joe': there is no such account\n")


def check_at_terminal(folder: Path, before: str = "pass") -> tuple[str, bytes]:
    """What `check` prints, and what it shows at a terminal that standard error is, with `before` run first."""
    program = f"import sys; {before}; sys.argv[0] = 'popserv'; from popserv.cli.main import main; main()"
    words = ["maildrop", "check", "fred", "--config", str(folder / "popserv.toml")]
    terminal, theirs = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm"}
        done = subprocess.run(
            [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=theirs, env=environment, timeout=30
        )
        os.write(theirs, b"\n")
        return done.stdout.decode(), os.read(terminal, 1 << 16)
    finally:
        os.close(theirs)
        os.close(terminal)


def test_a_bar_at_a_terminal(folder: Path) -> None:
    printed, shown = check_at_terminal(folder)
    assert printed == "'fred': messages: 1, octets: 20\n"
    assert b"fred" in shown
    assert b"1/1" in shown


def test_no_bar_without_rich(folder: Path) -> None:
    printed, shown = check_at_terminal(folder, "sys.modules['rich'] = sys.modules['rich.console'] = None")
    assert (printed, shown) == ("'fred': messages: 1, octets: 20\n", b"\r\n")
