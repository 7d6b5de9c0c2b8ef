"""`popserv quickstart`: what it makes, what it keeps, and that what it prints can be pasted."""

from __future__ import annotations

import shlex
import signal
import socket
import ssl
import subprocess
from email import message_from_bytes
from pathlib import Path
from stat import S_IMODE

import pytest
from click.testing import CliRunner, Result

from popserv.auth.account_database import Database
from popserv.cli.main import main
from popserv.service.certificate import read
from popserv.service.config import load
from popserv.service.quickstart import ports_of

from .running import POPSERV, server

FREE = ("--pop3", "0", "--pop3s", "0", "--lmtp", "0")


def quickstart(directory: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["quickstart", "--dir", str(directory), "--no-run", *more])


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    directory = tmp_path_factory.mktemp("quickstart") / "popserv-data"
    return directory, quickstart(directory, *FREE)


def test_it_makes_everything(made: tuple[Path, Result]) -> None:
    directory, result = made
    assert result.exit_code == 0, result.output
    config = load(directory / "popserv.toml")
    assert config.server.hostname == "localhost"
    assert config.auth.cleartext == "loopback"
    ports = ports_of(config)
    assert set(ports) == {"pop3", "pop3s", "lmtp"}
    assert all(ports.values())
    assert [listen.endpoint.partition("interface=")[2] for listen in config.listen] == ["127.0.0.1"] * 3
    assert [account.name for account in Database(directory / "accounts.db").list()] == ["demo"]


def test_secrets_are_for_nobody_else(made: tuple[Path, Result]) -> None:
    directory, _result = made
    modes = {name: S_IMODE((directory / name).stat().st_mode) for name in ("", "key.pem", "password", "accounts.db")}
    assert modes == {"": 0o700, "key.pem": 0o600, "password": 0o600, "accounts.db": 0o600}


def test_the_certificate_is_for_this_host(made: tuple[Path, Result]) -> None:
    directory, _result = made
    pair = read(directory / "cert.pem", directory / "key.pem")
    assert pair.covers("localhost")
    assert pair.key.curve.name == "secp256r1"


def test_a_welcome_message_is_there(made: tuple[Path, Result]) -> None:
    directory, _result = made
    (file,) = (directory / "mail" / "demo" / "new").iterdir()
    octets = file.read_bytes()
    message = message_from_bytes(octets)
    assert message["Subject"] == "Welcome"
    assert message["To"] == "demo@localhost"
    assert message["Content-Transfer-Encoding"] == "7bit"
    assert all(len(line) <= 78 for line in octets.split(b"\r\n"))


def test_a_random_password_is_written_and_printed(made: tuple[Path, Result]) -> None:
    directory, result = made
    password = (directory / "password").read_text().removesuffix("\n")
    assert len(password) >= 16
    assert f"demo:{password}'" in result.output


def test_run_again_it_keeps_everything(made: tuple[Path, Result]) -> None:
    directory, first = made
    before = contents(directory)
    again = quickstart(directory, *FREE, "--user", "DEMO")
    assert again.exit_code == 0, again.output
    assert again.output == first.output
    assert contents(directory) == before


def test_a_password_that_is_not_the_one_any_more_is_not_printed(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    chosen = quickstart(directory, *FREE).output.split("password: ")[1].split()[0]
    Database(directory / "accounts.db").passwd("demo", b"another")
    again = quickstart(directory, *FREE)
    assert again.exit_code == 0
    assert chosen not in again.output
    assert "-u 'demo' pop3s:" in again.output


def test_options_that_differ_from_the_file_are_errors(made: tuple[Path, Result], tmp_path: Path) -> None:
    directory, _result = made
    before = contents(directory)
    (tmp_path / "other").write_text("another password\n")
    result = quickstart(directory, "--pop3", "1110", "--pop3s", "1995", "--password-file", str(tmp_path / "other"))
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["--pop3", "--pop3s", "--password-file"]
    assert quickstart(directory, "--user", "other").exit_code == 1
    assert contents(directory) == before


def test_a_given_password_is_not_written_down(tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(b" a b \nsecond line\n")
    directory = tmp_path / "data"
    result = quickstart(directory, *FREE, "--user", "Fred", "--password-file", str(tmp_path / "given"))
    assert result.exit_code == 0, result.output
    assert "'fred: a b '" in result.output
    assert not (directory / "password").exists()
    again = quickstart(directory)
    assert again.exit_code == 0
    assert "-u 'fred' " in again.output  # curl asks for the password then
    assert quickstart(directory, "--password-file", str(tmp_path / "given")).output == result.output


@pytest.mark.parametrize("option", ["--pop3", "--pop3s", "--lmtp"])
def test_a_port_in_use_is_named(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = dict(zip(FREE[::2], FREE[1::2], strict=True)) | {option: str(port)}
        result = quickstart(tmp_path / "data", *(word for pair in ports.items() for word in pair))
    assert result.exit_code == 1
    assert f"127.0.0.1:{port}" in result.output
    assert not (tmp_path / "data").exists()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for options in (
        ("--user", "a:b"),
        ("--user", ""),
        ("--user", "a/b"),
        ("--password-file", str(tmp_path / "empty")),
        ("--password-file", str(tmp_path / "missing")),
    ):
        result = quickstart(tmp_path / "data", *FREE, *options)
        assert result.exit_code == 1
        assert result.output.startswith("popserv: ")
        assert result.output.count("\n") == 1
        assert not (tmp_path / "data" / "popserv.toml").exists()


def test_a_place_that_cannot_be_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/data")):
        result = quickstart(place, *FREE)
        assert result.exit_code == 1
        assert result.output.startswith(f"popserv: {place}: ") or result.output.startswith(f"popserv: {place.parent}")
        assert result.output.count("\n") == 1


def test_it_finishes_what_an_interrupted_one_began(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    assert quickstart(directory, *FREE).exit_code == 0
    (directory / "popserv.toml").rename(directory / "popserv.new")
    (directory / "key.pem").chmod(0o644)
    result = quickstart(directory, *FREE)
    assert result.exit_code == 0, result.output
    assert load(directory / "popserv.toml")
    assert (directory / "key.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["key.pem", "cert.pem", "password", "accounts.db"])
def test_nobody_else_s_file_is_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    result = quickstart(tmp_path, *FREE)
    assert (result.exit_code, result.output) == (
        1,
        f"popserv: {tmp_path / name}: is there already, and is not from here\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_one_port_is_not_taken_twice(tmp_path: Path) -> None:
    result = quickstart(tmp_path / "data", "--pop3", "0", "--pop3s", "23450", "--lmtp", "23450")
    assert result.exit_code == 1
    assert result.output == "popserv: --lmtp: 23450 is that of --pop3s, too\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("password", ["plain", ' it\'s "$HOME" `x` \\ !y %41 ü€ '])
def test_the_printed_lines_work_when_pasted(tmp_path: Path, password: str) -> None:
    (tmp_path / "given").write_text(password + "\n")
    directory = tmp_path / "da ta"
    command = [*POPSERV, "quickstart", "--dir", directory, *FREE, "--password-file", tmp_path / "given"]
    with server(command, tmp_path) as running:
        addresses = running.addresses()
        assert addresses == {
            name: f"127.0.0.1:{port}" for name, port in ports_of(load(directory / "popserv.toml")).items()
        }
        lines = running.out.read_text().splitlines()
        assert lines[-1].startswith("popserv ready ")
        pasted = [line for line in lines if line.startswith(("curl ", "python3 "))]
        assert shlex.split(pasted[0])[4] == f"demo:{password}"
        for line in pasted:
            done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=20)
            assert b"Subject: Welcome" in done.stdout, done.stderr
        running.signal(signal.SIGTERM)
        assert running.ends() == 0


def test_strict_clients_trust_the_certificate(made: tuple[Path, Result], tmp_path: Path) -> None:
    directory, _result = made
    context = ssl.create_default_context(cafile=str(directory / "cert.pem"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with server([*POPSERV, "run", "--config", directory / "popserv.toml"], tmp_path) as running:
        address = ("127.0.0.1", running.port("pop3s"))
        for name in ("localhost", "127.0.0.1", "::1"):
            with socket.create_connection(address) as raw, context.wrap_socket(raw, server_hostname=name) as wrapped:
                assert wrapped.recv(64).startswith(b"+OK localhost")
