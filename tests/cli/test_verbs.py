"""The verbs, but for quickstart: what they print, where, and how they end."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from popserv.auth.account_database import Database
from popserv.auth.passwords import verify
from popserv.cli.main import VERBS, main
from popserv.service.describe import describe, reference

from .running import POPSERV, popserv


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration without listeners of its own, as `user` needs it."""
    (tmp_path / "password").write_bytes(b"a quiet word\nsecond line\n")
    file = tmp_path / "popserv.toml"
    file.write_text('auth.checkers = ["passwd-file:users", "sqlite:accounts.db"]\n')
    return file


def invoke(*arguments: str | Path, given: str | bytes = "") -> Result:
    return CliRunner().invoke(main, [str(word) for word in arguments], input=given)


def add(config: Path, name: str) -> Result:
    return invoke("user", "add", name, "--config", config, "--password-file", config.parent / "password")


def stored(config: Path, name: str) -> str:
    return Database(config.parent / "accounts.db").verifiers(name)["ARGON2ID"]


def test_accounts_from_beginning_to_end(config: Path) -> None:
    assert add(config, "Fred").exit_code == 0
    assert verify(stored(config, "fred"), b"a quiet word")
    assert add(config, "abe").exit_code == 0
    assert invoke("user", "list", "--config", config).output == "abe\nfred\n"
    changed = invoke("user", "passwd", "FRED", "--config", config, "--password-stdin", given=b" spaces count \nx\n")
    assert changed.exit_code == 0
    assert verify(stored(config, "fred"), b" spaces count ")
    assert invoke("user", "remove", "fred", "--config", config).exit_code == 0
    assert invoke("user", "list", "--config", config).output == "abe\n"


@pytest.mark.parametrize("verb", ["passwd", "remove"])
def test_an_unknown_account(config: Path, verb: str) -> None:
    add(config, "fred")
    more = ["--password-file", config.parent / "password"] if verb == "passwd" else []
    result = invoke("user", verb, "nobody", "--config", config, *more)
    assert (result.exit_code, result.output) == (1, "popserv: 'nobody': there is no account of this name\n")


def test_an_account_that_is_there(config: Path) -> None:
    add(config, "fred")
    result = add(config, "FRED")
    assert (result.exit_code, result.output) == (1, "popserv: 'FRED': there is an account of this name already\n")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a\x1bb", "\x7f"])
def test_names_that_nobody_can_have(config: Path, name: str) -> None:
    result = add(config, name)
    assert result.exit_code == 1
    assert result.output.startswith("popserv: ")
    assert result.output.rstrip("\n").isprintable()


def test_a_database_that_is_missing_is_named(config: Path) -> None:
    result = invoke("user", "list", "--config", config)
    assert result.exit_code == 1
    assert result.output.startswith(f"popserv: {config.parent}/accounts.db: ")


def test_without_a_database_there_are_no_accounts_to_change(config: Path) -> None:
    config.write_text('auth.checkers = ["passwd-file:users"]\n')
    result = invoke("user", "list", "--config", config)
    assert result.exit_code == 78
    assert result.output.startswith("popserv: auth.checkers: ")


def test_an_empty_password_is_none(config: Path) -> None:
    result = invoke("user", "add", "fred", "--config", config, "--password-stdin", given=b"\n")
    assert result.exit_code == 1
    assert "empty" in result.output


def test_no_terminal_to_ask_at(config: Path) -> None:
    done = popserv("user", "add", "fred", "--config", config)
    assert done.returncode == 2
    assert "--password-stdin" in done.stderr


def at_terminal(command: list[str], answers: list[bytes]) -> bytes:
    """What a terminal shows while each prompt gets the next of `answers`."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    try:
        for answer in answers:
            while not shown.endswith(b": "):
                shown += os.read(ours, 1024)
            os.write(ours, answer + b"\n")
            shown += b"\n"
        assert process.wait(20) == 0
    finally:
        process.kill()
        os.close(ours)
    return shown


@pytest.mark.parametrize("answers", [[b"secret", b"secret"], [b"secret", b"other", b"same", b"same"]])
def test_a_terminal_is_asked_twice(config: Path, answers: list[bytes]) -> None:
    shown = at_terminal([*POPSERV, "user", "add", "fred", "--config", str(config)], answers)
    assert not [answer for answer in answers if answer in shown.replace(b"do not match", b"")]
    assert verify(stored(config, "fred"), answers[-1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_a_database_that_root_makes_is_for_who_has_the_folder(config: Path) -> None:
    os.chown(config.parent, 12345, 23456)
    add(config, "fred")
    found = (config.parent / "accounts.db").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 23456, 0o600)


@pytest.mark.parametrize("verb", [["pw"], ["user", "add", "fred"], ["auth", "test", "fred"]])
def test_a_password_cannot_be_asked_for_where_standard_input_is_closed(config: Path, verb: list[str]) -> None:
    for more in ([], ["--password-stdin"]):
        shell = ["sh", "-c", '"$@" <&-', "sh", *POPSERV, *verb, "--config", str(config), *more]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=30)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr


def test_pw_prints_one_line() -> None:
    result = invoke("pw", given="a quiet word\n")
    assert result.exit_code == 0
    assert result.output.startswith("{ARGON2ID}")
    assert result.output.count("\n") == 1
    assert verify(result.output.rstrip("\n"), b"a quiet word")
    assert verify(invoke("pw", "--scheme", "SSHA512", given="x\n").output.rstrip("\n"), b"x")


def test_pw_with_an_unknown_scheme() -> None:
    result = invoke("pw", "--scheme", "ROT13", given="x\n")
    assert result.exit_code == 1
    assert result.output.startswith("popserv: ")


def test_describe() -> None:
    assert invoke("config", "describe").output == describe()
    assert invoke("config", "describe", "--format", "markdown").output == reference()


@pytest.mark.parametrize("verb", [["run"], ["check"], ["user", "list"], ["deliver", "fred"]])
def test_without_a_configuration_the_three_places_are_named(tmp_path: Path, verb: list[str]) -> None:
    if Path("/etc/popserv/popserv.toml").exists():
        pytest.skip("this host has a configuration")
    done = popserv(*verb, cwd=tmp_path)
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert all(place in line for place in ("$POPSERV_CONFIG", "./popserv.toml", "/etc/popserv/popserv.toml"))


def test_run_with_errors_ends_with_78_and_a_line_for_each(tmp_path: Path) -> None:
    (tmp_path / "popserv.toml").write_text("limits.idle_seconds = 1\nserver.workers = 2\n")
    done = popserv("run", cwd=tmp_path)
    assert done.returncode == 78
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "server.workers",
        "limits.idle_seconds",
        "tls.certificate",
    ]
    checked = popserv("check", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (1, done.stderr)


def test_every_verb_explains_itself() -> None:
    for name in VERBS:
        result = invoke(name, "--help")
        assert result.exit_code == 0, name
        assert result.output.startswith("Usage: ")
    assert all(name in invoke("--help").output for name in VERBS)


def test_an_unknown_verb() -> None:
    assert invoke("frob").exit_code == 2


@pytest.mark.parametrize("verb", ["pw", "user", "deliver"])
def test_a_verb_imports_nothing_it_does_not_need(verb: str) -> None:
    code = (
        "import sys; from popserv.cli.main import main; main([sys.argv[1], '--help'], standalone_mode=False);"
        "print([name for name in ('twisted', 'OpenSSL', 'cryptography', 'argon2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, verb], capture_output=True, text=True, timeout=20)
    assert done.stdout.splitlines()[-1] == "[]"


def test_application_passwords_from_beginning_to_end(config: Path) -> None:
    add(config, "fred")
    where = ("--config", config)
    made = invoke("user", "app-password", "add", "FRED", "--label", "phone", "--expires", "2099-01-31", *where)
    assert made.exit_code == 0
    assert re.fullmatch("(?:[a-z2-9]{4}-){4}[a-z2-9]{4}\n", made.output)
    again = invoke("user", "app-password", "add", "fred", "--label", "phone", *where)
    assert (again.exit_code, again.output) == (
        1,
        "popserv: 'fred': there is an application password of this label already\n",
    )
    more = (
        "--network",
        "192.0.2.0/24",
        "--network",
        "2001:db8::1",
        "--expires",
        "90d",
        "--protocol",
        "imap",
        "--protocol",
        "pop3",
    )
    assert invoke("user", "app-password", "add", "fred", "--label", "scanner", *more, *where).exit_code == 0
    lines = sorted(invoke("user", "app-password", "list", "fred", *where).output.splitlines())
    assert lines[0] == "phone\texpires 2099-01-31 00:00:00\tanywhere\tpop3\tused never"
    assert "\t192.0.2.0/24,2001:db8::1/128\timap,pop3\t" in lines[1]
    assert made.output.strip() not in "".join(lines)
    assert invoke("user", "app-password", "remove", "fred", "phone", *where).exit_code == 0
    assert invoke("user", "app-password", "remove", "fred", "phone", *where).exit_code == 1


@pytest.mark.parametrize(
    "option",
    [("--expires", "soon"), ("--expires", "2027-13-01"), ("--network", "192.0.2.1/24"), ("--protocol", "POP 3")],
)
def test_application_passwords_with_nonsense(config: Path, option: tuple[str, str]) -> None:
    add(config, "fred")
    done = invoke("user", "app-password", "add", "fred", "--label", "x", *option, "--config", config)
    assert done.exit_code == 2
    assert "must be" in done.output


@pytest.mark.parametrize(
    "option", [("--expires", "2020-01-01"), ("--expires", "0d"), ("--label", "a\nb"), ("--label", " ")]
)
def test_application_passwords_that_are_of_no_use(config: Path, option: tuple[str, str]) -> None:
    add(config, "fred")
    done = invoke("user", "app-password", "add", "fred", "--label", "x", *option, "--config", config)
    assert done.exit_code == 2
    assert "must be" in done.output


def test_accounts_made_before_there_was_a_default_domain_can_be_managed(config: Path) -> None:
    add(config, "fred")
    config.write_text(config.read_text() + 'auth.default_domain = "example.org"\n')
    where = ("--config", config)
    add(config, "joe")
    assert invoke("user", "list", *where).output.split() == ["fred", "joe@example.org"]
    assert "name: fred\n" in invoke("user", "show", "FRED", *where).output
    assert invoke("user", "remove", "fred", *where).exit_code == 0
    assert invoke("user", "remove", "joe", *where).exit_code == 0
    assert invoke("user", "list", *where).output == ""


def test_an_account_is_changed_and_shown(config: Path) -> None:
    add(config, "fred")
    where = ("--config", config)
    changes = ("--disable", "--no-main-password", "--mechanisms", "plain, APOP", "--home", "/home/fred")
    assert invoke("user", "set", "Fred", *changes, *where).exit_code == 0
    shown = invoke("user", "show", "fred", *where).output
    for line in ("enabled: no", "main password: no", "mechanisms: apop, plain", "home: /home/fred", "name: fred"):
        assert line in shown
    assert invoke("user", "set", "fred", "--enable", "--main-password", "--mechanisms", "", *where).exit_code == 0
    shown = invoke("user", "show", "fred", *where).output
    for line in ("enabled: yes", "main password: yes", "mechanisms: all", "home: /home/fred"):
        assert line in shown
    assert invoke("user", "set", "joe", "--enable", *where).exit_code == 1
    wrong = invoke("user", "set", "fred", "--mechanisms", "plian", *where)
    assert wrong.exit_code == 2
    assert "did you mean 'plain'" in wrong.output
    assert invoke("user", "set", "fred", "--location", "nowhere:/x", *where).exit_code == 2


def test_a_login_is_rehearsed(config: Path) -> None:
    add(config, "fred")
    (config.parent / "users").write_text("joe:{PLAIN}pencil\n")
    config.write_text(config.read_text() + '[policy]\nrules = [{accounts = ["joe"], mechanisms = ["apop"]}]\n')

    def rehearse(*arguments: str, given: bytes = b"a quiet word\n") -> tuple[int, str]:
        done = popserv("auth", "test", *arguments, "--config", config, "--password-stdin", given=given)
        return done.returncode, done.stdout + done.stderr

    found = "passwd-file: unknown\nsqlite: accepted\nwould log in as 'fred'\nmaildrop: maildir:/srv/mail/fred\n"
    assert rehearse("fred") == (0, found)
    assert rehearse("fred", given=b"wrong\n")[1].endswith(
        "sqlite: refused\npopserv: refused: wrong secret, or barred\n"
    )
    assert rehearse("ann")[1].endswith("popserv: refused: no database that takes this mechanism knows this account\n")
    code, said = rehearse("joe", given=b"pencil\n")
    assert (code, said.splitlines()[-1]) == (
        1,
        "popserv: refused: this mechanism is not good enough for this account",
    )
    assert rehearse("joe", "--mechanism", "apop", given=b"pencil\n")[0] == 0
    assert "unknown name" in rehearse("fred", "--mechanism", "plian")[1]
    assert rehearse("fred", "--mechanism", "scram-sha-256-plus") == (0, found)
    silent = "passwd-file: unknown\nsqlite: knows this account, and cannot check this mechanism\npopserv: refused: "
    assert rehearse("fred", "--mechanism", "apop")[1].startswith(silent)


def test_databases_of_a_kind_are_told_apart(config: Path) -> None:
    config.write_text(config.read_text().replace('"sqlite:accounts.db"', '"passwd-file:more"'))
    for file, name in (("users", "joe"), ("more", "ann")):
        (config.parent / file).write_text(f"{name}:{{PLAIN}}pencil\n")
    done = popserv("auth", "test", "ann", "--config", config, "--password-stdin", given=b"pencil\n")
    assert done.stdout.startswith("passwd-file: unknown\npasswd-file.2: accepted\n")
