"""Sessions that take maildrops over: in one process, and from another one by its socket."""

from __future__ import annotations

import json
import os
import poplib
import signal
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest import SkipTest

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from popserv.limits import Limits
from popserv.maildrop.holder import Holder
from popserv.net.registry import Registry
from popserv.service.endpoints import parse
from popserv.service.quickstart import PORTS, Place, make
from popserv.service.takeover import Takeovers

from ..cli.running import POPSERV, Server, popserv, server
from ..stores.maildirs import folder_for

PASSWORD = b"a quiet word"
MESSAGE = b"Subject: keep me\r\n\r\nplease\r\n"


class Member:
    """A connection as far as the registry knows it."""

    session_id = "0badcafe-7"

    def __init__(self) -> None:
        self.asked_for: list[str] = []

    def give_way(self, account: str) -> None:
        self.asked_for.append(account)

    def drain(self) -> None: ...

    def shed(self) -> None: ...


class TestSocket(TestCase):
    """The local protocol, over a real socket."""

    def setUp(self) -> None:
        self.member = Member()
        registry = Registry(Limits(), reactor)
        registry.opened(self.member)
        self.folder = folder_for(self) / "run"
        self.asked, self.asking = Takeovers(reactor, registry), Takeovers(reactor, Registry(Limits(), reactor))
        offer = self.asked.listener(str(self.folder), self.folder, {})
        endpoint = parse(offer.endpoint)
        self.assertEqual((endpoint.path, endpoint.mode, offer.name), (self.asked.socket, 0o600, ""))
        port = reactor.listenUNIX(endpoint.path, offer.factory, mode=endpoint.mode)
        self.addCleanup(port.stopListening)
        self.holder = Holder(os.getpid(), os.uname().nodename, 0, session="0badcafe-7", socket=self.asked.socket)

    def ask(self, holder: Holder, asking: Takeovers | None = None) -> Deferred[bool]:
        return ensureDeferred((asking or self.asking).ask(holder, "fred"))

    async def test_the_folder_is_private_and_the_question_arrives(self) -> None:
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)
        self.assertTrue(await self.ask(self.holder))
        self.assertEqual(self.member.asked_for, ["fred"])

    async def test_within_one_process_no_socket_is_needed(self) -> None:
        Path(self.asked.socket).rename(self.folder / "elsewhere")
        self.assertTrue(await self.ask(self.holder, self.asked))
        self.assertEqual(self.member.asked_for, ["fred"])
        (self.folder / "elsewhere").rename(self.asked.socket)

    async def test_another_host_or_nobody_cannot_be_asked(self) -> None:
        for changes in ({"host": "elsewhere.example"}, {"socket": ""}, {"socket": str(self.folder / "gone")}):
            self.assertFalse(await self.ask(attrs.evolve(self.holder, **changes)))
        self.assertEqual(self.member.asked_for, [])

    async def test_a_process_that_does_not_answer_is_not_waited_for_long(self) -> None:
        silent = socket.socket(socket.AF_UNIX)
        self.addCleanup(silent.close)
        silent.bind(str(self.folder / "silent"))
        silent.listen()
        start = time.monotonic()
        self.assertFalse(await self.ask(attrs.evolve(self.holder, socket=str(self.folder / "silent"))))
        self.assertLess(time.monotonic() - start, 1.8)

    async def test_what_is_no_question_gets_no_answer(self) -> None:
        for line in (b"", b"[]\n", b'{"session": "0badcafe-7"}\n', b"x" * 5000, b"[" * 4000 + b"\n"):
            self.assertNotIn(b"asked", await deferToThread(self.say, line))
        self.assertEqual(self.member.asked_for, [])

    def say(self, line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(self.asked.socket)
            try:
                client.sendall(line)
            except BrokenPipeError:
                return b""
            return heard(client)

    async def test_another_user_gets_no_answer(self) -> None:
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        os.chmod(self.asked.socket, 0o666)
        with self.nobody():
            client.connect(self.asked.socket)
        client.settimeout(5)
        client.sendall(json.dumps({"session": "0badcafe-7", "account": "fred"}).encode() + b"\n")
        said = await deferToThread(heard, client)
        self.assertEqual((said, self.member.asked_for), (b"", []))

    async def test_another_user_is_not_asked(self) -> None:
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(str(self.folder / "strange"))
        with self.nobody():
            listening.listen()
        asking = self.ask(attrs.evolve(self.holder, socket=str(self.folder / "strange")))
        listening.settimeout(5)
        connected = (await deferToThread(listening.accept))[0]
        self.addCleanup(connected.close)
        connected.settimeout(5)
        try:
            connected.sendall(b'{"ready": true}\n{"asked": true}\n')
        except BrokenPipeError:
            pass
        self.assertEqual(await deferToThread(heard, connected), b"")
        self.assertFalse(await asking)

    @contextmanager
    def nobody(self) -> Iterator[None]:
        """As somebody who is neither root nor the user that the service has."""
        if os.geteuid() != 0:
            raise SkipTest("only root can become another user")
        for folder in (self.folder, self.folder.parent):
            folder.chmod(0o755)
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)


def heard(connected: socket.socket) -> bytes:
    """All that comes until the end, however that comes."""
    said = b""
    try:
        while chunk := connected.recv(100):
            said += chunk
    except ConnectionResetError:
        pass
    return said


class TestFolder(TestCase):
    def setUp(self) -> None:
        self.base = folder_for(self)

    def listener(self, runtime: str, environment: dict[str, str]) -> str:
        takeovers = Takeovers(reactor, Registry(Limits(), reactor))
        takeovers.listener(runtime, self.base, environment)
        return str(Path(takeovers.socket).parent)

    def test_the_configured_one_goes_before_that_of_systemd_and_that_before_a_temporary_one(self) -> None:
        self.assertEqual(self.listener("run", {"RUNTIME_DIRECTORY": "/nowhere"}), str(self.base / "run"))
        inherited = str(self.base / "inherited")
        self.assertEqual(self.listener("", {"RUNTIME_DIRECTORY": f"{inherited}:/nowhere"}), inherited)
        temporary = Takeovers(reactor, Registry(Limits(), reactor))
        temporary.listener("", self.base, {})
        folder = Path(temporary.socket).parent
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        temporary.stop()
        self.assertFalse(folder.exists())

    def test_one_where_others_may_write_is_refused(self) -> None:
        (self.base / "open").mkdir()
        (self.base / "open").chmod(0o777)
        self.assertRaises(PermissionError, self.listener, "open", {})

    def test_a_path_too_long_for_a_socket_is_refused(self) -> None:
        self.assertRaises(OSError, self.listener, "x" * 100, {})

    def test_sockets_that_nobody_listens_at_any_more_are_removed(self) -> None:
        folder = self.base / "run"
        folder.mkdir(0o700)
        listening = []
        for name in ("takeover-1-dead", "takeover-2-alive", "takeover-3-new", "other-4"):
            one = socket.socket(socket.AF_UNIX)
            self.addCleanup(one.close)
            one.bind(str(folder / name))
            if name == "takeover-2-alive":
                one.listen()
            if name != "takeover-3-new":
                os.utime(folder / name, (0, 0))
            listening.append(one)
        (folder / "takeover-5-file").touch()
        os.utime(folder / "takeover-5-file", (0, 0))
        self.listener("run", {})
        left = {"takeover-2-alive", "takeover-3-new", "other-4", "takeover-5-file"}
        self.assertEqual({path.name for path in folder.iterdir()}, left)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Mail that two services serve, on any ports."""
    made = Place(tmp_path_factory.mktemp("shared"))
    make(made, "demo", PASSWORD, dict.fromkeys(PORTS, 0))
    lines = made.configuration.read_text().splitlines()
    text = "\n".join(
        'endpoint = "tcp:0:interface=127.0.0.1"' if line.startswith("endpoint") else line for line in lines
    )
    text = text.replace("[policy]", "").replace("[maildrop]", "[policy]\nsessions_per_account = 1\n\n[maildrop]")
    text = text.replace("[maildrop]", '[maildrop]\nlock = "takeover"').replace("[server]", '[server]\nruntime = "run"')
    made.configuration.write_text(text)
    assert 'runtime = "run"' in text
    assert 'lock = "takeover"' in made.configuration.read_text()
    return made


@pytest.fixture(scope="module")
def services(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    command = [*POPSERV, "run", "--config", place.configuration]
    with (
        server(command, tmp_path_factory.mktemp("one")) as one,
        server(command, tmp_path_factory.mktemp("other")) as other,
    ):
        yield one, other


def log_in(service: Server) -> poplib.POP3:
    client = poplib.POP3("127.0.0.1", service.port("pop3"), timeout=20)
    client.user("demo")
    client.pass_(PASSWORD.decode())
    return client


@pytest.mark.parametrize("second", [0, 1], ids=["in one process", "in two processes"])
def test_P3_017_the_newer_session_has_the_maildrop_and_the_older_removes_nothing(
    place: Place, services: tuple[Server, Server], second: int
) -> None:
    assert popserv("deliver", "--config", place.configuration, "demo", given=MESSAGE).returncode == 0
    older = log_in(services[0])
    count = older.stat()[0]
    older.dele(count)
    start = time.monotonic()
    newer = log_in(services[second])
    assert time.monotonic() - start < 2
    assert newer.stat()[0] == count
    with pytest.raises(poplib.error_proto, match=r"\[SYS/TEMP\] another session has taken this maildrop over"):
        older.quit()
    older.close()
    newer.quit()
    last = log_in(services[1 - second])
    assert last.stat()[0] == count
    last.quit()


def test_a_process_that_does_not_answer_keeps_its_session(services: tuple[Server, Server]) -> None:
    older = log_in(services[0])
    services[0].signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(poplib.error_proto, match=r"\[IN-USE\] .* since 2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ'?$"):
            log_in(services[1])
        assert time.monotonic() - start < 5
    finally:
        services[0].signal(signal.SIGCONT)
    assert older.noop().startswith(b"+OK")
    older.quit()


def test_a_process_that_is_shutting_down_gives_its_sessions_up(
    place: Place, services: tuple[Server, Server], tmp_path: Path
) -> None:
    with server([*POPSERV, "run", "--config", place.configuration], tmp_path) as leaving:
        older = log_in(leaving)
        leaving.signal(signal.SIGTERM)
        leaving.await_text("popserv stops")
        newer = log_in(services[0])
        assert newer.noop().startswith(b"+OK")
        older.close()
        assert leaving.ends() == 0
        newer.quit()


def test_a_client_that_takes_nothing_of_a_message_is_not_waited_for(
    place: Place, services: tuple[Server, Server]
) -> None:
    message = MESSAGE + (b"x" * 998 + b"\r\n") * 20_000
    assert popserv("deliver", "--config", place.configuration, "demo", given=message).returncode == 0
    older = log_in(services[0])
    count = older.stat()[0]
    older.sock.sendall(b"RETR %d\r\n" % count)
    assert older.file.readline().startswith(b"+OK")
    newer = log_in(services[1])
    newer.dele(count)
    newer.quit()
    older.close()


def test_of_several_newcomers_one_has_the_maildrop_in_the_end(services: tuple[Server, Server]) -> None:
    older = log_in(services[0])
    with ThreadPoolExecutor(4) as threads:
        newcomers = list(threads.map(_try_to_log_in, [services[number % 2] for number in range(4)]))
    older.close()
    arrived = [client for client in newcomers if client is not None]
    alive = [client for client in arrived if _answers(client)]
    assert len(alive) == 1
    for client in arrived:
        client.close()


def _try_to_log_in(service: Server) -> poplib.POP3 | None:
    try:
        return log_in(service)
    except poplib.error_proto:
        return None


def _answers(client: poplib.POP3) -> bool:
    try:
        return client.noop().startswith(b"+OK")
    except (poplib.error_proto, OSError):
        return False
