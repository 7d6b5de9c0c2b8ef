"""The service as a process: ready, reload, drain, with `popserv run` and as a twistd plug-in."""

from __future__ import annotations

import poplib
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popserv.service.certificate import self_signed
from popserv.service.quickstart import PORTS, Place, make

from ..cli.running import POPSERV, TWISTD, Server, popserv, server

PASSWORD = b"a quiet word"
ANY_PORT = dict.fromkeys(PORTS, 0)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A directory as quickstart makes it, but with ports chosen by the kernel at each start."""
    made = Place(tmp_path_factory.mktemp("quickstart"))
    make(made, "demo", PASSWORD, ANY_PORT)
    rewrite(made, lambda text: "\n".join(map(_any_port, text.splitlines())))
    return made


@pytest.fixture
def place(original: Place, tmp_path: Path) -> Place:
    """A copy of it."""
    return Place(shutil.copytree(original.directory, tmp_path / "data"))


def _any_port(line: str) -> str:
    return 'endpoint = "tcp:0:interface=127.0.0.1"' if line.startswith("endpoint") else line


def rewrite(place: Place, change: Callable[[str], str]) -> None:
    place.configuration.write_text(change(place.configuration.read_text()))


@pytest.fixture
def running(place: Place, tmp_path: Path) -> Iterator[Server]:
    with server([*POPSERV, "run", "--config", place.configuration], tmp_path) as started:
        yield started


def log_in(port: int) -> poplib.POP3:
    client = poplib.POP3("127.0.0.1", port, timeout=20)
    client.user("demo")
    client.pass_(PASSWORD.decode())
    return client


def greeting(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        return connection.recv(512)


def reload(running: Server, times: int = 1) -> None:
    running.signal(signal.SIGHUP)
    running.await_text("popserv reloaded", times)


def test_one_ready_line_and_exit_code_0(running: Server) -> None:
    assert set(running.addresses()) == {"pop3", "pop3s", "lmtp"}
    assert greeting(running.port("pop3")) == b"+OK localhost POP3 server ready\r\n"
    assert greeting(running.port("lmtp")).startswith(b"220 localhost LMTP")
    assert running.out.read_text().count("\n") == 1
    running.signal(signal.SIGTERM)
    assert running.ends() == 0
    assert "popserv ready pop3=" in running.err.read_text()


def test_SIGINT_ends_it_too(running: Server) -> None:
    running.addresses()
    running.signal(signal.SIGINT)
    assert running.ends() == 0


def test_a_reload_that_comes_too_early_does_not_end_it(place: Place, tmp_path: Path) -> None:
    with server([*POPSERV, "run", "--config", place.configuration], tmp_path) as running:
        while not (Path("/proc") / str(running.process.pid) / "maps").read_text().count("libcrypto"):
            time.sleep(0.01)
        running.signal(signal.SIGHUP)
        assert greeting(running.port("pop3")).startswith(b"+OK")


def test_a_session_finishes_after_SIGTERM(running: Server, place: Place) -> None:
    client = log_in(running.port("pop3"))
    client.dele(1)
    running.signal(signal.SIGTERM)
    running.await_text("popserv stops: 1 connections")
    # Reset, if the kernel had taken it just before.
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        greeting(running.port("pop3"))
    running.signal(signal.SIGHUP)
    running.await_text("popserv reload refused: it is stopping")
    with pytest.raises(ConnectionRefusedError):
        greeting(running.port("pop3"))
    assert client.quit() == b"+OK bye, 1 messages removed"
    assert running.ends() == 0
    assert list((place.directory / "mail" / "demo" / "new").iterdir()) == []


def test_a_second_SIGTERM_does_not_wait(running: Server, place: Place) -> None:
    client = log_in(running.port("pop3"))
    client.dele(1)
    running.signal(signal.SIGTERM)
    running.await_text("popserv stops: 1 connections")
    running.signal(signal.SIGTERM)
    assert running.ends() == 0
    client.close()
    assert len(list((place.directory / "mail" / "demo" / "new").iterdir())) == 1


def test_SIGHUP_serves_new_connections_by_the_new_configuration(running: Server, place: Place) -> None:
    port = running.port("pop3")
    session = log_in(port)
    rewrite(place, lambda text: text.replace('hostname = "localhost"', 'hostname = "renamed.test"'))
    reload(running)
    assert greeting(port) == b"+OK renamed.test POP3 server ready\r\n"
    assert session.noop().startswith(b"+OK")
    rewrite(place, lambda text: text.replace('cleartext = "loopback"', 'cleartext = "never"'))
    reload(running, 2)
    assert session.stat()[0] == 1  # it has logged in by the old rules
    with pytest.raises(poplib.error_proto, match="use STLS first"):
        log_in(port)
    assert session.quit().startswith(b"+OK")


def test_SIGHUP_changes_nothing_if_anything_is_wrong(running: Server, place: Place) -> None:
    port = running.port("pop3")
    rewrite(place, lambda text: text.replace('hostname = "localhost"', 'hostname = "renamed.test"\nworkers = "one"'))
    running.signal(signal.SIGHUP)
    said = running.await_text("popserv reload refused: ")
    assert "popserv reload refused: server.workers: must be a whole number\n" in said
    assert greeting(port) == b"+OK localhost POP3 server ready\r\n"
    rewrite(place, lambda text: text.replace('\nworkers = "one"', ""))
    place.key.write_bytes(b"")
    running.signal(signal.SIGHUP)
    assert "tls.certificate: " in running.await_text("popserv reload refused: ", 2)
    assert greeting(port) == b"+OK localhost POP3 server ready\r\n"


def test_SIGHUP_opens_and_closes_addresses(running: Server, place: Place, tmp_path: Path) -> None:
    kept, closed = running.port("pop3"), running.port("lmtp")
    path = tmp_path / "pop.sock"

    def other_listener(text: str) -> str:
        head, _, tail = text.partition('protocol = "lmtp"')
        return f'{head}protocol = "pop3"\nendpoint = "unix:{path}"\ntls = "off"\n{tail[tail.index("[tls]") :]}'

    session = log_in(kept)
    rewrite(place, other_listener)
    reload(running)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        assert connection.recv(512).startswith(b"+OK localhost")
    assert path.stat().st_mode & 0o777 == 0o660
    with pytest.raises(ConnectionRefusedError):
        greeting(closed)
    assert greeting(kept).startswith(b"+OK")
    assert session.quit().startswith(b"+OK")


def test_SIGHUP_with_an_address_in_use_changes_nothing(running: Server, place: Place) -> None:
    port = running.port("pop3")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        listen = f'hostname = "renamed.test"\n[[listen]]\nendpoint = "{endpoint}"\n'
        rewrite(place, lambda text: text.replace('hostname = "localhost"\n', listen))
        running.signal(signal.SIGHUP)
        assert f"popserv reload refused: {endpoint}: Address already in use" in running.await_text("reload refused: ")
    assert greeting(port) == b"+OK localhost POP3 server ready\r\n"


def test_TLS_020_TLS_035_on_the_wire(running: Server, place: Place) -> None:
    def shake(**settings: object) -> str | None:
        context = ssl.create_default_context(cafile=str(place.certificate))
        for name, value in settings.items():
            getattr(context, name)(value) if callable(getattr(context, name)) else setattr(context, name, value)
        with (
            socket.create_connection(("127.0.0.1", running.port("pop3s")), 20) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as wrapped,
        ):
            assert wrapped.recv(512).startswith(b"+OK")
            return wrapped.selected_alpn_protocol()

    assert shake() is None
    assert shake(set_alpn_protocols=["imap", "pop3"]) == "pop3"
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        shake(set_alpn_protocols=["http/1.1"])
    assert "Traceback" not in running.err.read_text()


def test_TLS_033_renewed_files_serve_995_and_stls_without_a_signal(running: Server, place: Place) -> None:
    port = running.port("pop3s")
    before = ssl.get_server_certificate(("127.0.0.1", port))
    certificate, key = self_signed(["localhost", "127.0.0.1"])
    place.certificate.write_bytes(certificate)
    place.key.write_bytes(key)
    end = time.monotonic() + 10
    while (renewed := ssl.get_server_certificate(("127.0.0.1", port))) == before and time.monotonic() < end:
        time.sleep(0.1)
    assert renewed.strip() == certificate.decode().strip()
    client = poplib.POP3("127.0.0.1", running.port("pop3"), timeout=20)
    client.stls(ssl.create_default_context(cafile=str(place.certificate)))
    client.quit()


def test_an_address_in_use_at_the_start(place: Place, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        rewrite(place, lambda text: text.replace("tcp:0:interface=127.0.0.1", endpoint, 1))
        done = popserv("run", "--config", place.configuration)
    assert done.returncode == 1
    assert f"popserv: cannot listen at {endpoint}: Address already in use\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_twistd_runs_the_same_service(place: Place, tmp_path: Path) -> None:
    with server([*TWISTD, "--config", place.configuration], tmp_path) as running:
        assert set(running.addresses()) == {"pop3", "pop3s", "lmtp"}
        session = log_in(running.port("pop3"))
        rewrite(place, lambda text: text.replace('hostname = "localhost"', 'hostname = "renamed.test"'))
        reload(running)
        assert greeting(running.port("pop3")) == b"+OK renamed.test POP3 server ready\r\n"
        running.signal(signal.SIGTERM)
        running.await_text("popserv stops")
        assert session.quit().startswith(b"+OK")
        assert running.ends() == -signal.SIGTERM
        assert running.out.read_text().count("popserv ready ") == 1


def test_twistd_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("demo:a quiet word\n")
    options = ["--pop3", "tcp:0:interface=127.0.0.1", "--lmtp", "unix:lmtp.sock", "--cleartext", "loopback"]
    options += ["--auth", "file:passwords", "--maildrop", "maildir:mail/{user}"]
    with server([*TWISTD, *options], tmp_path) as running:
        assert running.addresses()["lmtp"] == str(tmp_path / "lmtp.sock")
        session = log_in(running.port("pop3"))
        assert session.stat() == (0, 0)
        assert "STLS" not in session.capa()
        session.quit()
        assert " checker=FilePasswordDB\n" in running.await_text("login: ")
        running.signal(signal.SIGHUP)
        running.await_text("popserv reload refused: there is no configuration file to read again")
        running.signal(signal.SIGTERM)
        assert running.ends() == -signal.SIGTERM


def test_twistd_says_plainly_that_an_address_is_in_use(place: Place, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        rewrite(place, lambda text: text.replace("tcp:0:interface=127.0.0.1", endpoint, 1))
        with server([*TWISTD, "--config", place.configuration], tmp_path) as running:
            assert running.ends() == 1
            said = running.out.read_text() + running.err.read_text()
    assert f"popserv: cannot listen at {endpoint}: Address already in use" in said
    assert "Traceback" not in said
