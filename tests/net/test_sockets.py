"""Real sockets: last replies that arrive, clients that close one half, readers that are slow."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.threads import deferToThread

from popserv.limits import Limits
from popserv.net.addresses import cleartext_policy
from popserv.protocols.pop3 import ListenerFactory
from tests.net.serving import Served, everything, reactor, secured, until
from tests.net.support import GREETING, LOGIN


class LastReplies(Served):
    async def test_the_reply_to_quit_arrives_though_garbage_follows(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(LOGIN + b"QUIT\r\n" + b"garbage\r\n" * 10_000)
            time.sleep(0.2)
            return everything(client)

        said = await self.client(talk)
        self.assertTrue(said.endswith(b"+OK bye\r\n"), said[-100:])

    async def test_a_line_of_ten_megabytes_is_answered_before_the_end(self) -> None:
        def talk(client: socket.socket) -> bytes:
            with contextlib.suppress(OSError):
                client.sendall(b"x" * 10_000_000)  # the server does not read all of it
            return until(client, b"-ERR line is too long\r\n")

        self.assertEqual(await self.client(talk), GREETING + b"-ERR line is too long\r\n")

    async def test_a_second_overlong_line_is_answered_and_is_the_end(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall((b"x" * 600 + b"\r\n") * 2 + LOGIN)
            time.sleep(0.2)
            return everything(client)

        self.assertEqual(await self.client(talk), GREETING + b"-ERR line is too long\r\n" * 2)

    async def test_a_refused_connection_is_told_why(self) -> None:
        self.listener.registry.limits = Limits(connections_per_address=0)

        def talk(client: socket.socket) -> bytes:
            client.sendall(LOGIN)
            time.sleep(0.2)
            return everything(client)

        said = await self.client(talk)
        self.assertEqual(said, b"-ERR [SYS/TEMP] too many connections from your address, the limit is 0\r\n")

    async def test_the_last_of_the_refused_logins_is_answered(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(b"USER fred\r\nPASS wrong\r\n" * 5)
            time.sleep(0.2)
            return everything(client)

        said = await self.client(talk)
        self.assertEqual(said.count(b"-ERR [AUTH] authentication failed\r\n"), 3)
        self.assertTrue(said.endswith(b"failed\r\n"))

    async def test_a_client_that_closes_its_half_gets_every_reply(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(LOGIN + b"RETR 1\r\nDELE 1\r\nQUIT\r\n")
            client.shutdown(socket.SHUT_WR)
            return everything(client)

        said = await self.client(talk)
        self.assertTrue(said.endswith(b"+OK bye, 1 messages removed\r\n"))

    async def test_a_client_that_closes_its_half_without_quit_removes_nothing(self) -> None:
        def talk(client: socket.socket, commands: bytes = b"DELE 1\r\n") -> bytes:
            client.sendall(LOGIN + commands)
            client.shutdown(socket.SHUT_WR)
            return everything(client)

        self.assertTrue((await self.client(talk)).endswith(b"deleted\r\n"))
        self.assertTrue((await self.client(lambda client: talk(client, b"STAT\r\n"))).endswith(b"+OK 3 52\r\n"))

    async def test_a_client_that_never_closes_is_closed(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(LOGIN + b"QUIT\r\n")
            said = everything(client)
            with self.assertRaises(OSError):
                for _ in range(80):
                    time.sleep(0.1)
                    client.sendall(b"NOOP\r\n")
            return said

        self.assertTrue((await self.client(talk)).endswith(b"+OK bye\r\n"))

    async def test_ten_thousand_commands_in_one_write_do_not_keep_others_waiting(self) -> None:
        def pipeline(client: socket.socket) -> bytes:
            client.sendall(LOGIN + b"NOOP\r\nLIST 1\r\n" * 5_000 + b"QUIT\r\n")
            return everything(client)

        def bystander(client: socket.socket) -> bytes:
            client.sendall(b"USER ann\r\nPASS other\r\nSTAT\r\nQUIT\r\n")
            return everything(client)

        busy, other = self.client(pipeline), self.client(bystander)
        self.assertTrue((await other).endswith(b"+OK 0 0\r\n+OK bye\r\n"))
        self.assertEqual((await busy).count(b"+OK done\r\n+OK 1 28\r\n"), 5_000)

    async def test_a_reset_connection_frees_the_maildrop_and_removes_nothing(self) -> None:
        def reset(client: socket.socket) -> None:
            client.sendall(LOGIN + b"DELE 1\r\n")
            until(client, b"deleted\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def again(client: socket.socket) -> bytes:
            client.sendall(LOGIN + b"QUIT\r\n")
            return everything(client)

        await self.client(reset)
        await self.wait_until_empty()
        self.assertIn(b"+OK 3 messages", await self.client(again))

    async def test_a_unix_socket_is_loopback(self) -> None:
        folder = tempfile.mkdtemp(prefix="popserv-")  # a socket's path is to be short
        self.addCleanup(shutil.rmtree, folder)
        path = f"{folder}/s"
        listener = attrs.evolve(self.listener, cleartext=cleartext_policy("loopback"))
        port = reactor.listenUNIX(path, ListenerFactory(listener))
        self.addCleanup(port.stopListening)

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.settimeout(10)
                client.sendall(LOGIN + b"QUIT\r\n")
                return everything(client)

        self.assertTrue((await deferToThread(talk)).endswith(b"+OK bye\r\n"))


class SlowReaders(Served):
    lines = 40_000
    messages = [b"x" * 70 + b"\n", (b"y" * 70 + b"\n") * lines]

    def retrieve(self, client: socket.socket) -> tuple[int, bytes]:
        client.sendall(LOGIN + b"RETR 2\r\nQUIT\r\n")
        time.sleep(0.3)
        octets, end = 0, b""
        while received := client.recv(30_000):
            time.sleep(0.001)
            octets += len(received)
            end = (end + received)[-20:]
        return octets, end

    async def test_a_large_message_arrives_whole_through_a_narrow_window(self) -> None:
        def talk(client: socket.socket) -> tuple[int, bytes]:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            return self.retrieve(client)

        octets, end = await self.client(talk)
        self.assertTrue(end.endswith(b"y\r\n.\r\n+OK bye\r\n"))
        self.assertGreater(octets, self.lines * 72)

    async def test_a_large_message_arrives_whole_inside_tls(self) -> None:
        octets, end = await self.client(lambda client: self.retrieve(secured(client)), self.listen_tls())
        self.assertTrue(end.endswith(b"y\r\n.\r\n+OK bye\r\n"))
        self.assertGreater(octets, self.lines * 72)

    async def test_SEC_010_a_peer_that_never_reads_costs_two_chunks(self) -> None:
        """A message of 100 MB, in a process of its own: what it keeps is all that the connection costs."""
        for body in (["text"], ["dots"], ["dots", "tls"]):
            await self.measure(body)

    async def measure(self, body: list[str]) -> None:

        def run() -> dict[str, Any]:
            root = Path(__file__).parent.parent.parent
            command = [sys.executable, "-m", "tests.net.endless_server", *body]
            with subprocess.Popen(
                command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as server:
                assert server.stdin is not None and server.stdout is not None
                port = int(server.stdout.readline())
                with socket.create_connection(("127.0.0.1", port), 10) as raw:
                    client = ssl._create_unverified_context().wrap_socket(raw) if "tls" in body else raw
                    client.sendall(LOGIN + b"RETR 1\r\n" + b"NOOP\r\n" * 1000)
                    time.sleep(0.7)
                    server.stdin.write("report\n")
                    server.stdin.flush()
                    report: dict[str, Any] = json.loads(server.stdout.readline())
                server.stdin.close()
                self.assertEqual(server.wait(10), 0)
            return report

        report = await deferToThread(run)
        chunk = Limits().chunk_octets
        self.assertGreater(report["given"], chunk)
        self.assertLessEqual(report["buffered"], 2 * chunk + 1024)
        self.assertLess(report["given"], 30_000_000, "what the kernel buffers, and no more")
        self.assertLess(report["grown_kib"], 4096)


class Tls(Served):
    def upgrade(self, client: socket.socket) -> Any:
        until(client, b"\r\n")
        client.sendall(b"STLS\r\n")
        until(client, b"+OK begin TLS\r\n")
        return secured(client)

    async def test_TLS_002_a_whole_session_behind_stls(self) -> None:
        def talk(client: socket.socket) -> bytes:
            secure = self.upgrade(client)
            secure.sendall(b"CAPA\r\n" + LOGIN + b"RETR 1\r\nQUIT\r\n")
            return everything(secure)

        said = await self.client(talk)
        self.assertTrue(said.startswith(b"+OK capability list follows\r\n"), "no second greeting")
        self.assertTrue(said.endswith(b"..dot\r\n.\r\n+OK bye\r\n"))

    async def test_TLS_022_a_peer_that_answers_close_notify_leaves_no_defect_behind(self) -> None:
        def talk(client: socket.socket) -> bytes:
            secure = secured(client)
            secure.sendall(LOGIN + b"QUIT\r\n")
            said = b""
            while chunk := secure.recv(1000):
                said += chunk
            secure.unwrap().close()
            return said

        self.assertTrue((await self.client(talk, self.listen_tls())).endswith(b"+OK bye\r\n"))
        await self.wait_until_empty()
        self.assertEqual(self.events.named("closed")[0]["why"], "quit")

    async def test_SEC_001_commands_behind_stls_in_one_segment(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(b"STLS\r\nUSER fred\r\nPASS secret\r\n")
            return everything(client)

        self.assertEqual(await self.client(talk), GREETING + b"-ERR data after STLS\r\n")

    async def test_SEC_001_commands_between_ok_and_client_hello(self) -> None:
        def talk(client: socket.socket) -> bytes:
            until(client, b"\r\n")
            client.sendall(b"STLS\r\n")
            until(client, b"+OK begin TLS\r\n")
            client.sendall(b"USER fred\r\nPASS secret\r\nSTAT\r\n")
            with contextlib.suppress(ConnectionResetError):
                return everything(client)
            return b""

        said = await self.client(talk)
        self.assertNotIn(b"+OK", said)
        self.assertNotIn(b"-ERR", said)

    async def test_plain_text_at_the_tls_port(self) -> None:
        def talk(client: socket.socket) -> bytes:
            client.sendall(LOGIN)
            with contextlib.suppress(ConnectionResetError):
                return everything(client)
            return b""

        self.assertNotIn(b"+OK", await self.client(talk, self.listen_tls()))

    async def test_TLS_022_the_end_is_orderly_though_the_peer_never_answers_close_notify(self) -> None:
        def talk(client: socket.socket) -> tuple[bytes, float]:
            secure = secured(client)
            secure.sendall(LOGIN + b"QUIT\r\n" + b"NOOP\r\n" * 1000)
            said = everything(secure)
            started = time.monotonic()
            with socket.socket(fileno=secure.detach()) as raw:
                raw.settimeout(10)
                while raw.recv(4096):
                    pass
            return said, time.monotonic() - started

        said, waited = await self.client(talk, self.listen_tls())
        self.assertTrue(said.endswith(b"+OK bye\r\n"))
        self.assertLess(waited, 1, "the TCP end follows close_notify")


class TlsEndsBelow(Served):
    messages = [(b"y" * 70 + b"\n") * 300_000]

    async def test_the_last_replies_arrive_behind_a_peer_s_close_notify(self) -> None:
        """RFC 8446 section 6.1: it closes one direction; what was asked for before is still answered."""

        def talk(client: socket.socket) -> int:
            secure = secured(client)
            secure.sendall(LOGIN + b"RETR 1\r\nQUIT\r\n")
            secure.setblocking(False)
            with contextlib.suppress(OSError):
                secure.unwrap()
            with socket.socket(fileno=secure.detach()) as raw:
                raw.settimeout(10)
                raw.shutdown(socket.SHUT_WR)
                return sum(iter(lambda: len(raw.recv(1 << 20)), 0))

        octets = await self.client(talk, self.listen_tls())
        await self.wait_until_empty()
        self.assertGreater(octets, 72 * 300_000)
        ended = self.events.named("closed")[0]
        self.assertEqual((ended["retr"], ended["why"]), ((1, 72 * 300_000), "quit"))

    async def test_a_message_is_not_read_on_when_tls_has_ended(self) -> None:
        """The connection below is half closed in the middle of a message, and nobody knows by whom."""
        given: list[int] = []

        def talk(client: socket.socket) -> int:
            secure = secured(client)
            secure.sendall(LOGIN + b"RETR 1\r\n")
            time.sleep(0.3)
            with socket.socket(fileno=secure.detach()) as raw:
                raw.settimeout(10)
                raw.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    while octets := raw.recv(1 << 20):
                        given.append(len(octets))
            return sum(given)

        octets = await self.client(talk, self.listen_tls())
        await self.wait_until_empty()
        self.assertLess(octets, 20_000_000)
        self.assertEqual(self.events.named("closed")[0]["retr"], (0, 0))
