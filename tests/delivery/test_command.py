"""`popserv deliver`: how it ends is what a mail transfer agent goes by."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from zope.interface import implementer

from popserv.cli.deliver import deliver
from popserv.interfaces import IAccount, IDelivery, IIncoming
from popserv.service import compose

STORED, USAGE, NO_USER, TRY_AGAIN, CONFIGURATION = 0, 64, 67, 75, 78


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "users").write_text("fred:{PLAIN}secret\n")
    (tmp_path / "popserv.toml").write_text(
        'server.hostname = "mail.example.org"\n'
        'auth.checkers = ["passwd-file:users"]\n'
        'maildrop.location = "maildir:mail/{user}"\n'
    )
    return tmp_path


def run(folder: Path, *arguments: str, message: bytes = b"Subject: x\n\nbody\n") -> Result:
    return CliRunner().invoke(deliver, ["--config", str(folder / "popserv.toml"), *arguments], input=message)


def stored(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in (folder / "mail").glob("*/new/*")]


@pytest.mark.parametrize("user", ["fred", "FRED", "fred+list", "fred@mail.example.org"])
def test_a_message_is_in_the_maildir(folder: Path, user: str) -> None:
    assert run(folder, user).exit_code == STORED
    assert stored(folder) == [b"Subject: x\n\nbody\n"]


def test_the_sender_and_the_mbox_line(folder: Path) -> None:
    run(folder, "--from", "joe@x.example", "fred", message=b"From joe Thu Jan  1\nSubject: x\n\n\x00\xff\n")
    assert stored(folder) == [b"Return-Path: <joe@x.example>\r\nSubject: x\n\n\x00\xff\n"]


def test_nobody_has_that_name(folder: Path) -> None:
    ended = run(folder, "joe")
    assert (ended.exit_code, ended.stderr) == (NO_USER, "popserv: no such mailbox here\n")
    assert stored(folder) == []


@pytest.mark.parametrize("arguments", [[], ["fred", "ann"], ["--bogus", "fred"], ["fred", "--from"]])
def test_wrong_usage(folder: Path, arguments: list[str]) -> None:
    assert run(folder, *arguments).exit_code == USAGE


def test_an_unusable_configuration(folder: Path) -> None:
    (folder / "popserv.toml").write_text("auth.chekers = []\n")
    ended = run(folder, "fred")
    assert ended.exit_code == CONFIGURATION
    assert "auth.chekers" in ended.stderr


def test_accounts_that_cannot_be_read_are_no_unknown_user(folder: Path) -> None:
    (folder / "users").unlink()
    (folder / "users").mkdir()
    assert run(folder, "fred").exit_code == TRY_AGAIN


def test_a_store_that_fails_says_why(folder: Path) -> None:
    (folder / "mail").write_text("in the way")
    ended = run(folder, "fred")
    assert ended.exit_code == TRY_AGAIN
    assert "Not a directory" in ended.stderr


def test_what_nobody_has_thought_of_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose.access, "store", lambda *_arguments: 1 // 0)
    ended = run(folder, "fred")
    assert ended.exit_code == TRY_AGAIN
    assert "ZeroDivisionError" in ended.stderr


@implementer(IDelivery)
class NeedsReactor:
    def begin(self, account: IAccount, folder: bytes = b"INBOX") -> Deferred[IIncoming]:
        return Deferred()


def test_a_store_that_needs_a_reactor_is_no_loss(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose.access, "store", lambda *_arguments: NeedsReactor())
    ended = run(folder, "fred")
    assert ended.exit_code == TRY_AGAIN
    assert "RuntimeError" in ended.stderr
